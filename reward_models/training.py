"""Trains a preference model on comparisons: transformers' ``Trainer`` with a loss of ours.

Both completions of a pair go through one forward pass, so a batch of N pairs is 2N rows. A run
that was stopped goes on from its last whole checkpoint, and ends with the weights that it would
have had anyway.

Simplifications: one process and one device; no evaluation during training; every parameter is
trained.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from reward_models.evaluation import evaluate_reward
from reward_models.losses import centring, noisy_bradley_terry
from reward_models.transformer import (
    TOKENIZER_FILE,
    PreferenceModel,
    PreferenceReward,
    encode_rows,
    pad_rows,
)
from textgym.checkpoints import atomic_folder, last_checkpoint, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import TrainerCallback

    from reward_models.preferences.pairs import Preference
    from textgym.types import Tokenizer

__all__ = ["RewardTrainingConfig", "RewardTrainingData", "train_reward_model"]

EncodedPair = dict[Literal["chosen", "rejected"], list[int]]

_METRICS_FILE = "metrics.json"
_WRITTEN_LAST = "trainer_state.json"  # of a checkpoint, by Trainer
_REFERENCE_PAIRS = 500  # 1,000 texts: their standard deviation is known to about 2 %


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTrainingConfig:
    """How a preference model is trained. The defaults suit a model of four million parameters."""

    learning_rate: float = 5e-4
    """Highest step size of AdamW; it falls to 0 along a line."""
    epochs: int = 1
    """Passes over the pairs. Answers are noisy, and a second pass learns the noise."""
    batch_size: int = 32
    """Pairs in one update."""
    max_length: int = 64
    """Most tokens of prompt and completion; of a longer text the last ones are read."""
    pooling: Literal["mean", "last"] = "mean"
    """How a text's states become one."""
    label_noise: float = 0.0
    """Share of the answers taken for coin tosses; twice the share that is turned round."""
    centring: float = 0.01
    """Weight of the squared sum of a pair's scores; 0 leaves their level free."""
    warmup: float = 0.05
    """Share of the updates in which the step size rises from 0."""
    weight_decay: float = 0.01
    """AdamW's weight decay."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    bf16: bool = False
    """Compute in bfloat16: faster wherever the processor has instructions for it."""
    seed: int = 0
    """Decides the head's first weights and the order of the pairs."""
    save_steps: int = 100
    """Updates between checkpoints."""
    logging_steps: int = 25
    """Updates between two reports to the callbacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTrainingData:
    """What a preference model is trained and measured on.

    Attributes:
        train: The comparisons to learn from.
        evaluation: Held-out comparisons; empty for none.
        reference: ``(prompt, completion)`` texts of the reference policy whose scores shall have
            mean 0 and variance 1; empty takes both completions of the first 500 training pairs.
    """

    train: Sequence[Preference]
    evaluation: Sequence[Preference] = ()
    reference: Sequence[tuple[str, str]] = ()


def train_reward_model(
    config: RewardTrainingConfig,
    data: RewardTrainingData,
    language_model_folder: str | Path,
    tokenizer: Tokenizer,
    out: str | Path,
    device: str = "cpu",
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, float]:
    """Trains, measures, normalises and saves a reward model that ``load_reward(out)`` loads.

    Checkpoints lie in ``out/checkpoints`` while training goes on. A run with the same config, pairs
    and language model goes on from there; another one starts anew. ``Trainer`` seeds the global
    generators of Python, numpy and torch with ``config.seed``.

    Args:
        config: How to train.
        data: What to train and measure on.
        language_model_folder: What the language model's ``save_pretrained`` wrote.
        tokenizer: The language model's tokenizer; it is saved beside the model.
        out: The folder to write. It is made, and files of an earlier run are replaced.
        device: ``cpu`` or ``cuda``.
        callbacks: transformers' callbacks; ``on_log`` gets ``loss``, ``accuracy`` and more.

    Returns:
        ``pairs``, ``dropped_identical`` (both texts read the same after truncation), ``steps``,
        ``score_mean`` and ``score_std`` of the reference texts before normalisation, and with
        evaluation pairs a ``PairReport``'s fields as ``evaluation_accuracy`` and so on. The same
        is in ``out/metrics.json``, which a stopped run has not.

    Raises:
        ValueError: If no pair is left to learn from, the tokenizer cannot be saved or does not fit
            the language model, or the device is unknown.
        FileNotFoundError: If there is no language model.
    """
    out = Path(out)
    model = PreferenceModel.from_language_model(
        language_model_folder,
        pooling=config.pooling,
        max_length=config.max_length,
        seed=config.seed,
    )
    _require_fitting(tokenizer, model, device)
    pairs = _encode_pairs(data.train, tokenizer, config.max_length)
    checkpoints = out / "checkpoints" / _digest(config, pairs, model)
    trainer = _PairTrainer(
        model=model,
        args=_training_arguments(config, checkpoints, device),
        train_dataset=pairs,
        data_collator=_Collator(tokenizer.pad_id),
        callbacks=list(callbacks),
        config=config,
    )
    trainer.remove_callback(PrinterCallback)
    last = last_checkpoint(checkpoints, complete_when=_WRITTEN_LAST)
    result = trainer.train(resume_from_checkpoint=None if last is None else str(last))
    metrics: dict[str, float] = {
        "pairs": len(pairs),
        "dropped_identical": len(data.train) - len(pairs),
        "steps": result.global_step,
    }
    # Under bf16, Trainer left an autocast around the model's forward; scores are float32.
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    reward = PreferenceReward(model, tokenizer, device=device)
    if data.evaluation:  # before normalising: calibration is a matter of raw scores
        report = asdict(evaluate_reward(reward, data.evaluation))
        metrics |= {f"evaluation_{name}": value for name, value in report.items()}
    metrics |= _normalise(reward, data.reference or _texts(data.train[:_REFERENCE_PAIRS]))
    _save(model, tokenizer, metrics, out)
    return metrics


class _PairTrainer(Trainer):
    """``Trainer`` with the Bradley-Terry loss; counts how many pairs a batch orders rightly."""

    def __init__(self, *, config: RewardTrainingConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._config = config
        self._ordered: list[torch.Tensor] = []

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        *_unused: Any,
        **_also_unused: Any,
    ) -> torch.Tensor:
        """Returns the mean loss of N pairs: rows 0 to N - 1 are the chosen ones."""
        chosen, rejected = model(**inputs).chunk(2)
        self._ordered.append((chosen.detach() > rejected.detach()).float())
        loss = noisy_bradley_terry(chosen, rejected, self._config.label_noise)
        return (loss + self._config.centring * centring(chosen, rejected)).mean()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the accuracy since the last report to what is reported."""
        if self._ordered:
            logs["accuracy"] = float(torch.cat(self._ordered).mean())
            self._ordered.clear()
        super().log(logs, start_time)


class _Collator:
    """Makes a batch of pairs: chosen rows above rejected rows, padded to the longest of them."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, pairs: Sequence[EncodedPair]) -> dict[str, torch.Tensor]:
        rows = [pair["chosen"] for pair in pairs] + [pair["rejected"] for pair in pairs]
        ids, mask = pad_rows(rows, self._pad_id)
        return {"input_ids": ids, "attention_mask": mask}


def _training_arguments(
    config: RewardTrainingConfig, folder: Path, device: str
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        learning_rate=config.learning_rate,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=config.bf16,
        seed=config.seed,
        save_steps=config.save_steps,
        save_total_limit=1,
        logging_steps=config.logging_steps,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
    )


def _require_fitting(tokenizer: Tokenizer, model: PreferenceModel, device: str) -> None:
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
    rows = model.trunk.get_input_embeddings().num_embeddings
    if tokenizer.vocab_size > rows:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} ids, but the language model knows {rows}: "
            "use the tokenizer that the language model was trained with"
        )


def _encode_pairs(
    preferences: Sequence[Preference], tokenizer: Tokenizer, max_length: int
) -> list[EncodedPair]:
    """Encodes the pairs whose two rows differ: equal rows have no gradient, only a loss."""
    chosen, rejected = (
        encode_rows(tokenizer, texts, max_length)
        for texts in (
            [preference.prompt + preference.chosen for preference in preferences],
            [preference.prompt + preference.rejected for preference in preferences],
        )
    )
    pairs: list[EncodedPair] = [
        {"chosen": better, "rejected": worse}
        for better, worse in zip(chosen, rejected, strict=True)
        if better != worse
    ]
    if not pairs:
        raise ValueError(
            f"none of {len(preferences)} preferences is left to learn from: there are none, or "
            f"both texts of each are equal within max_length = {max_length} tokens"
        )
    return pairs


def _texts(preferences: Sequence[Preference]) -> list[tuple[str, str]]:
    return [
        (preference.prompt, completion)
        for preference in preferences
        for completion in (preference.chosen, preference.rejected)
    ]


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


def _save(model: PreferenceModel, tokenizer: Any, metrics: dict[str, float], out: Path) -> None:
    """Writes beside the files of ``out``, then moves each; checkpoints have served their time."""
    staging = out / "staging"
    with atomic_folder(staging) as folder:
        model.save_pretrained(folder)
        tokenizer.save(folder / TOKENIZER_FILE)
        write_json(folder / _METRICS_FILE, metrics)
    for path in staging.iterdir():
        path.replace(out / path.name)
    staging.rmdir()
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


def _digest(
    config: RewardTrainingConfig, pairs: Sequence[EncodedPair], model: PreferenceModel
) -> str:
    """Hashes everything that decides the weights: only the same run may go on from a checkpoint."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([asdict(config), pairs]).encode())
    for name, weight in model.state_dict().items():
        digest.update(name.encode() + weight.numpy().tobytes())
    return digest.hexdigest()
