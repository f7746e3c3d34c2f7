"""Trains a reward model on comparisons: transformers' ``Trainer`` with a loss of ours.

All texts of a comparison go through one forward pass, so a batch of N pairs is 2N rows. A run that
was stopped goes on from its last whole checkpoint, and ends with the weights that it would have had
anyway.

With ``lora``, adapters are trained beside a frozen trunk, and merged into it at the end: what is
saved is a model as any other.

Simplification: one process and one device.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, Trainer
from transformers.trainer_callback import PrinterCallback

from reward_models.learning.comparisons import (
    Collator,
    encode_comparisons,
    kind_of,
    rating_loss_for,
)
from reward_models.learning.objectives import (
    TieThreshold,
    correct_orders,
    objective_for,
    scale_ratings,
)
from reward_models.learning.provenance import decided_by, home_of, records_of
from reward_models.measuring.pairs import evaluate_reward
from reward_models.measuring.ratings import evaluate_ratings
from reward_models.models.transformer import PreferenceModel
from reward_models.preferences.rankings import Rating, completions_of, decided_pairs
from reward_models.reading.scoring import TOKENIZER_FILE, PreferenceReward
from textgym.files import files_of_folder, last_checkpoint, write_json
from textgym.pretrained.adapters import AdapterConfig, add_adapters, merge_adapters
from textgym.pretrained.precision import pinned_bf16
from textgym.pretrained.training_arguments import training_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import TrainerCallback, TrainingArguments

    from reward_models.learning.comparisons import Comparison, Kind
    from reward_models.learning.objectives import Objective
    from reward_models.learning.settings import RewardTrainingConfig, RewardTrainingData
    from reward_models.preferences.rankings import Item
    from reward_models.reading.scoring import Reader

__all__ = ["fit_reward_model", "train_reward_model"]

_METRICS_FILE = "metrics.json"
_WRITTEN_LAST = "trainer_state.json"  # of a checkpoint, by Trainer
_REFERENCE_ITEMS = 500  # 1,000 texts of pairs: their standard deviation is known to about 2 %
_TIE = 0.5
_FEWEST = 2  # ratings and texts that are different, for a correlation
_ENDS = ("low", "high")


def train_reward_model(
    config: RewardTrainingConfig,
    data: RewardTrainingData,
    language_model_folder: str | Path,
    tokenizer: Reader,
    out: str | Path,
    device: str = "cpu",
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, float]:
    """Trains a ``PreferenceModel`` that starts from a language model; see ``fit_reward_model``.

    Args:
        config: How to train.
        data: What to train and measure on.
        language_model_folder: What the language model's ``save_pretrained`` wrote.
        tokenizer: The language model's tokenizer; it is saved beside the model.
        out: The folder to write.
        device: ``cpu`` or ``cuda``.
        callbacks: transformers' callbacks.

    Raises:
        ValueError: As there; or if the tokenizer does not fit the language model.
        FileNotFoundError: If there is no language model.
    """
    model = PreferenceModel.from_language_model(
        language_model_folder,
        pooling=config.pooling,
        max_length=config.max_length,
        seed=config.seed,
    )
    return fit_reward_model(config, data, model, tokenizer, out, device, callbacks)


def fit_reward_model(
    config: RewardTrainingConfig,
    data: RewardTrainingData,
    model: Any,
    tokenizer: Reader,
    out: str | Path,
    device: str = "cpu",
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, float]:
    """Trains, measures, normalises and saves a reward model that ``load_reward(out)`` loads.

    Checkpoints lie in ``out/checkpoints`` while training goes on. A run with the same settings,
    data as the model reads them, first weights and code goes on from there; another one starts
    anew, and logs a warning that says what differs. ``Trainer`` seeds the global
    generators of Python, numpy and torch with ``config.seed``.

    Args:
        config: How to train.
        data: What to train and measure on.
        model: A ``ScorerModel`` of transformers with its first weights, which is trained in place,
            such as a ``PreferenceModel``, or an ``LSTMScorer`` whose output is ``score``.
        tokenizer: The model's tokenizer; it is saved beside the model.
        out: The folder to write. It is made, and files of an earlier run are replaced.
        device: ``cpu`` or ``cuda``.
        callbacks: transformers' callbacks; ``on_log`` gets ``loss``, ``accuracy`` and more.

    Returns:
        ``pairs`` (or ``rankings``, or ``ratings``) learned from, ``dropped_identical`` (two texts
        read the same after truncation), ``steps``, ``score_mean`` and ``score_std`` of the
        reference texts before normalisation; ``tie_threshold`` where one is learned,
        ``rating_offset`` and ``rating_scale`` of ratings; and with held-out data a ``PairReport``'s
        fields as ``evaluation_accuracy`` and so on, and ``evaluation_spearman`` of ratings. The
        same is in ``out/metrics.json``, which a stopped run has not; what it was made from is in
        ``out/training.json``.

    Raises:
        ValueError: If nothing is left to learn from, the tokenizer cannot be saved or does not fit
            the model, or the device is unknown.
    """
    out = Path(out)
    _require_fitting(tokenizer, model, device)
    kind = kind_of(data.train)
    if kind == "ratings" and config.rating_loss == "auto":
        config = replace(config, rating_loss=rating_loss_for(data.train))
    grouped = kind == "ratings" and config.rating_loss == "differences"
    max_tokens = model.config.max_tokens  # what the reward will read, too
    learned = encode_comparisons(data.train, tokenizer, max_tokens, grouped=grouped)
    metrics: dict[str, float] = {
        kind: sum(len(one["rows"]) for one in learned) if kind == "ratings" else len(learned),
        "dropped_identical": 0 if kind == "ratings" else len(data.train) - len(learned),
    }
    watched: list[Comparison] = []
    if config.eval_steps is not None:
        watched = _held_out(data.evaluation, kind, tokenizer, max_tokens, grouped=grouped)
    if kind == "ratings":
        metrics |= scale_ratings(learned, config.rating_loss, watched)
    if config.lora is not None:
        _adapt(model, config)
    bf16 = _pinned_bf16(config, model, tokenizer, device)
    decides = decided_by(config, learned, watched, model, bf16=bf16)
    home = home_of(out / "checkpoints", decides)
    threshold = _threshold(config, kind, learned)
    trainer = _ComparisonTrainer(
        model=_with(model, threshold),
        args=_arguments(config, home, device, bf16=bf16),
        train_dataset=learned,
        eval_dataset=watched or None,
        data_collator=Collator(tokenizer.pad_id),
        callbacks=[*callbacks, *_stoppers(config)],
        kind=kind,
        objective=objective_for(kind, config, threshold),
    )
    trainer.remove_callback(PrinterCallback)
    last = last_checkpoint(home, complete_when=_WRITTEN_LAST)
    result = trainer.train(resume_from_checkpoint=None if last is None else str(last))
    metrics["steps"] = result.global_step
    if config.lora is not None:
        model.trunk = merge_adapters(model.trunk)
        model.requires_grad_(True)
    # Under bf16, Trainer left an autocast around the model's forward; scores are float32.
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    if threshold is not None:
        metrics["tie_threshold"] = float(threshold().detach())
        del model.tie_threshold
    reward = PreferenceReward(model, tokenizer, device=device)
    # Before normalising: calibration is a matter of raw scores.
    metrics |= _evaluate(reward, data.evaluation)
    metrics |= _normalise(reward, data.reference or _texts(_some(data.train, config.seed)))
    _save(model, tokenizer, records_of(config, data, decides) | {_METRICS_FILE: metrics}, out)
    return metrics


class _ComparisonTrainer(Trainer):
    """``Trainer`` with an objective; counts how many pairs of texts a batch orders rightly."""

    def __init__(self, *, kind: Kind, objective: Objective, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._kind = kind
        self._objective = objective
        self._ordered: list[torch.Tensor] = []

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        *_unused: Any,
        **_also_unused: Any,
    ) -> torch.Tensor:
        """Returns the mean loss of N comparisons; see ``Collator`` for the inputs."""
        flat = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        item, place, numbers = inputs["item"], inputs["place"], inputs["numbers"]
        scores = flat.new_zeros(len(numbers), int(place.max()) + 1)
        scores = scores.index_put((item, place), flat)
        mask = torch.zeros_like(scores, dtype=torch.bool).index_put(
            (item, place), torch.ones_like(flat, dtype=torch.bool)
        )
        self._ordered.append(correct_orders(self._kind, scores.detach(), mask, numbers))
        return self._objective(scores, mask, numbers).mean()

    def prediction_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        *_unused: Any,
        **_also_unused: Any,
    ) -> tuple[torch.Tensor, None, None]:
        """Returns the loss of held-out comparisons."""
        with torch.no_grad():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach(), None, None

    def evaluate(self, *arguments: Any, **settings: Any) -> dict[str, float]:
        """Measures the loss and the accuracy on the held-out comparisons."""
        learned, self._ordered = self._ordered, []
        try:
            return super().evaluate(*arguments, **settings)
        finally:
            self._ordered = learned

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the accuracy since the last report to what is reported."""
        ordered = torch.cat(self._ordered) if self._ordered else torch.zeros(0)
        self._ordered.clear()
        if len(ordered):
            logs["eval_accuracy" if "eval_loss" in logs else "accuracy"] = float(ordered.mean())
        super().log(logs, start_time)


def _pinned_bf16(config: RewardTrainingConfig, model: Any, tokenizer: Any, device: str) -> bool:
    """Whether to compute in bfloat16, see ``textgym.pretrained.precision``."""

    def forward(ids: torch.Tensor) -> torch.Tensor:
        ids = ids[:, : model.config.max_tokens]
        scores: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids))
        return scores

    vocabulary = tokenizer.vocab_size
    return pinned_bf16(config.bf16, model.to(device), forward, vocabulary=vocabulary)


def _arguments(
    config: RewardTrainingConfig, folder: Path, device: str, *, bf16: bool
) -> TrainingArguments:
    looks: dict[str, Any] = {}
    if config.eval_steps is not None:
        looks = {
            "eval_strategy": "steps",
            "eval_steps": config.eval_steps,
            "per_device_eval_batch_size": config.batch_size,
        }
    if config.patience is not None:
        looks |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    return training_arguments(
        folder,
        device=device,
        batch_size=config.batch_size,
        seed=config.seed,
        learning_rate=config.learning_rate,
        num_train_epochs=config.epochs,
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=bf16,
        save_steps=config.save_steps if config.patience is None else config.eval_steps,
        save_total_limit=1,
        logging_steps=config.logging_steps,
        gradient_accumulation_steps=config.accumulation,
        **looks,
    )


def _stoppers(config: RewardTrainingConfig) -> list[TrainerCallback]:
    """What ends the training early, if anything does."""
    if config.patience is None:
        return []
    return [EarlyStoppingCallback(early_stopping_patience=config.patience)]


def _adapt(model: Any, config: RewardTrainingConfig) -> None:
    """Freezes the trunk and puts adapters beside it.

    Raises:
        ValueError: If the model has no trunk of transformers.
    """
    if not isinstance(model, PreferenceModel):
        raise ValueError(  # noqa: TRY004 - a setting is wrong, not an argument
            f"lora is {config.lora}, but a {type(model).__name__} has no trunk to put adapters on: "
            "start from a language model or an encoder"
        )
    settings = AdapterConfig(rank=config.lora or 1, seed=config.seed)
    add_adapters(model.trunk, settings, base="")


def _held_out(
    items: Sequence[Item], kind: Kind, tokenizer: Reader, max_tokens: int, *, grouped: bool
) -> list[Comparison]:
    """Encodes what is looked at on the way.

    Raises:
        ValueError: If there is none, or it is of another kind than what is learned from.
    """
    if not items or kind_of(items) != kind:
        raise ValueError(
            f"eval_steps needs held-out {kind} to look at, and there are none: hold some out, or "
            "leave it out"
        )
    return encode_comparisons(items, tokenizer, max_tokens, grouped=grouped)


def _threshold(
    config: RewardTrainingConfig, kind: Kind, learned: Sequence[Comparison]
) -> TieThreshold | None:
    """A threshold if ties shall have one, and there are any."""
    ties = sum(one["numbers"][0] == _TIE for one in learned) if kind == "pairs" else 0
    if config.ties == "half" or not ties:
        return None
    soft = sum(_TIE < one["numbers"][0] < 1 for one in learned)
    if soft:
        raise ValueError(
            f"{soft} pairs have a probability between a tie and an answer, which the loss with a "
            "threshold for ties cannot use: set ties to 'half'"
        )
    return TieThreshold(ties / len(learned))


def _with(model: Any, threshold: TieThreshold | None) -> Any:
    """Lets a threshold be trained, and saved in checkpoints, with the model."""
    if threshold is not None:
        model.tie_threshold = threshold
    return model


def _require_fitting(tokenizer: Any, model: torch.nn.Module, device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise ValueError(
            f"device is {device!r}; training knows 'cpu' and 'cuda'. "
            "CUDA_VISIBLE_DEVICES chooses among several"
        )
    if not hasattr(tokenizer, "save"):
        raise ValueError(
            f"{type(tokenizer).__name__} has no method save(path), so the reward model could not "
            "be loaded again: give it one, or use a sentencepiece tokenizer"
        )
    # The first of a model's embeddings is that of the tokens.
    rows = next(m.num_embeddings for m in model.modules() if isinstance(m, torch.nn.Embedding))
    if tokenizer.vocab_size > rows:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} ids, but the model knows {rows}: "
            "use the tokenizer that the model was trained with"
        )


def _evaluate(reward: PreferenceReward, held_out: Sequence[Item]) -> dict[str, float]:
    """Measures on held-out comparisons; a tie has no order to be right about."""
    pairs = decided_pairs(held_out)
    ratings = [item for item in held_out if isinstance(item, Rating)]
    figures: dict[str, float] = {}
    units = [r.prompt or r.completion for r in ratings]
    if min(len({item.rating for item in ratings}), len(set(units))) >= _FEWEST:
        scores = reward.raw([r.prompt for r in ratings], [r.completion for r in ratings])
        report = evaluate_ratings(
            scores.numpy(),
            [r.rating for r in ratings],
            units,
            np.random.default_rng(0),
        )
        figures["evaluation_ratings"] = len(ratings)
        for name, estimate in (("spearman", report.correlation), ("order", report.order)):
            figures[f"evaluation_{name}"] = estimate.value
            figures |= {f"evaluation_{name}_{end}": getattr(estimate, end) for end in _ENDS}
    if pairs:
        measured = asdict(evaluate_reward(reward, pairs))
        figures |= {f"evaluation_{name}": value for name, value in measured.items()}
    return figures


def _some(items: Sequence[Item], seed: int) -> Sequence[Item]:
    """Draws the items whose texts scores are scaled by: the first ones may all be of one kind."""
    if len(items) <= _REFERENCE_ITEMS:
        return items
    drawn = np.random.default_rng(seed).permutation(len(items))[:_REFERENCE_ITEMS]
    return [items[place] for place in np.sort(drawn).tolist()]


def _texts(items: Sequence[Item]) -> list[tuple[str, str]]:
    return [(item.prompt, text) for item in items for text in completions_of(item)]


def _normalise(reward: PreferenceReward, reference: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Sets the model's constants so that the reference scores have mean 0 and variance 1."""
    prompts, completions = zip(*reference, strict=True)
    raw = reward.raw(prompts, completions)
    mean, std = float(raw.mean()), float(raw.std(correction=0))
    if not std > 0:
        raise ValueError(
            f"the {len(raw)} reference texts all have the score {mean}, which cannot be scaled: "
            "give different texts, or train with a lower learning rate"
        )
    reward.model.config.score_mean = mean
    reward.model.config.score_std = std
    return {"score_mean": mean, "score_std": std}


def _save(model: Any, tokenizer: Any, records: dict[str, Any], out: Path) -> None:
    """Writes beside the files of ``out``, then moves each; checkpoints have served their time."""
    with files_of_folder(out) as folder:
        model.save_pretrained(folder)
        tokenizer.save(folder / TOKENIZER_FILE)
        for name, record in records.items():
            write_json(folder / name, record)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
