"""Supervised training of a language model, by transformers' ``Trainer``.

A row is one document or, packed, several that do not see each other; see
``agents.models.documents``. Text environments start at the beginning of a text, so rows of plain
text do as well: at equal tokens, rows cut from the middle of a stream gave a worse perplexity on
beginnings. The loss is a mean over the learned tokens of a whole update, however many portions it
is accumulated from.

A run that was stopped goes on from its last whole checkpoint. Of several processes, started by a
launcher, each reads its share of an update's rows.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from transformers import (
    EarlyStoppingCallback,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    Trainer,
)
from transformers.trainer_callback import PrinterCallback

from agents.models.documents import (
    Document,
    collate,
    mean_nats,
    packed,
    require_packable,
    text_documents,
)
from agents.models.loading import save_model
from agents.models.tokenizer_fit import write_as_trained
from agents.training.distributed import Processes, current_processes
from agents.training.optimizers import MuonWithAdamW
from textgym.files import atomic_folder, last_checkpoint
from textgym.pretrained.adapters import has_adapters
from textgym.pretrained.precision import Bfloat16, pinned_bf16
from textgym.pretrained.training_arguments import training_arguments
from textgym.provenance import checkpoint_home, code_version, json_hash, weights_hash
from textgym.ranges import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, TRAINER_SEED, Range, require_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import TrainerCallback, TrainingArguments

    from textgym.types import Tokenizer

__all__ = [
    "SFTConfig",
    "fit_language_model",
    "make_language_model",
    "train_language_model",
]

_LOG = logging.getLogger(__name__)
_REPORTED = ("logging_steps", "save_steps")  # what is reported and kept on the way decides nothing
_WRITTEN_LAST = "trainer_state.json"  # the last file of a checkpoint that Trainer writes
_ADAPTERS = "adapters.safetensors"  # in a checkpoint, where they alone learn
_SIZES = ("layers", "width", "heads", "steps", "batch_size", "accumulation")
_LOOKS = ("eval_steps", "patience", "save_steps", "logging_steps")
_RANGES = {
    **dict.fromkeys((*_SIZES, *_LOOKS), COUNT),
    **dict.fromkeys(("epochs", "matrix_rate", "rate"), POSITIVE),
    "row_tokens": Range(2, COUNT.high),  # one is seen, and one learned
    "weight_decay": NOT_NEGATIVE,
    **dict.fromkeys(("warmup", "cooldown"), SHARE),
    "seed": TRAINER_SEED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SFTConfig:
    """How a language model is trained, in minutes on two cores; from scratch, a GPT-2's shape."""

    layers: int = 4
    """Transformer blocks, from scratch."""
    width: int = 256
    """Size of the hidden states, from scratch; a multiple of ``heads``."""
    heads: int = 4
    """Attention heads, from scratch."""
    steps: int = 520
    """Updates. More give a lower perplexity, and take longer."""
    epochs: float | None = None
    """Passes over the data, in the place of ``steps``; None takes those."""
    batch_size: int = 48
    """Rows in a portion, of each process. Muon's own cost does not depend on it, so it weighs more
    with few rows."""
    accumulation: int = 1
    """Portions in an update: as many times the rows in the memory of one portion."""
    row_tokens: int = 64
    """Length of a row, and from scratch the longest text that the model can read."""
    packing: bool = False
    """Put several short documents into a row, where they do not see each other. It saves the time
    that padding takes, and an update then has more documents."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """Muon for the matrices inside the blocks and AdamW for the rest, which is for models from
    scratch; or AdamW for all, which is for models that were trained by it."""
    matrix_rate: float = 2e-2
    """Learning rate of Muon, for the matrices inside the blocks."""
    rate: float = 4e-3
    """Learning rate of AdamW, for embeddings, gains and biases, or for all. Of a pretrained model
    about 2e-5, with adapters 2e-4."""
    weight_decay: float = 0.01
    """Weight decay of the matrices."""
    warmup: float = 0.02
    """Share of the steps in which the learning rates rise from 0."""
    cooldown: float = 0.4
    """Share of the steps, the last ones, in which the learning rates fall to 0."""
    bf16: Bfloat16 = "auto"
    """Forward and backward passes in bfloat16; the weights stay float32. It is faster on some
    machines and slower on others: auto tries for a second."""
    eval_steps: int | None = None
    """Updates between two looks at what is held out; None looks at the end alone."""
    patience: int | None = None
    """Looks without a lower perplexity after which training ends, with the weights of the best.
    None trains to the end, and keeps the last."""
    save_steps: int = 100
    """Updates between checkpoints: at most so many are lost when a run is killed. With patience,
    each look is one."""
    logging_steps: int = 10
    """Updates between two logs, which callbacks receive."""
    seed: int = 0
    """Seed of the first weights and of the order of the rows."""

    def __post_init__(self) -> None:
        """Raises a ``ValueError`` that names the first number that is out of its range."""
        require_ranges(self, _RANGES)
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")


def make_language_model(config: SFTConfig, tokenizer: Tokenizer) -> GPT2LMHeadModel:
    """Makes an untrained GPT-2 without dropout, seeded by ``config.seed``.

    Eager attention: at this size fused attention costs a quarter of the speed on a CPU.
    """
    shape = GPT2Config(
        vocab_size=tokenizer.vocab_size,
        n_positions=config.row_tokens,
        n_embd=config.width,
        n_layer=config.layers,
        n_head=config.heads,
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        attn_implementation="eager",  # type: ignore[call-arg] # taken by the base class
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = GPT2LMHeadModel(shape)
    write_as_trained(model, tokenizer)
    return model


def train_language_model(
    config: SFTConfig,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    out: Path,
    *,
    device: str = "cpu",
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, float]:
    """Trains a language model from scratch on the beginnings of plain texts, and saves it.

    Args:
        config: Shape of the model and settings of its training.
        tokenizer: Turns texts into ids; saved beside the model.
        texts: The training texts, in any order; empty ones are left out.
        out: The folder to write; checkpoints lie beside it, in ``<out>.checkpoints``.
        device: ``cpu`` or ``cuda``.
        callbacks: transformers' callbacks, for progress.

    Returns:
        As of ``fit_language_model``.

    Raises:
        ValueError: If there is no text.
    """
    model, length = make_language_model(config, tokenizer), config.row_tokens
    figures = fit_language_model(
        config,
        model,
        tokenizer,
        # Trainer counts a GPT-2's first label, which nothing predicts: the figures are of that.
        [Document(d.ids, int(config.packing)) for d in text_documents(tokenizer, texts, length)],
        out.with_name(f"{out.name}.checkpoints"),
        device=device,
        callbacks=callbacks,
    )
    with atomic_folder(out) as folder:
        save_model(model, folder, tokenizer)
    return figures


def fit_language_model(
    config: SFTConfig,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    checkpoints: Path,
    *,
    held_out: Sequence[Document] = (),
    device: str = "cpu",
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, float]:
    """Trains a language model in place; what of it is frozen stays as it is.

    Args:
        config: Settings of the training.
        model: Its first weights; with adapters they alone learn.
        tokenizer: The one whose ids the documents have.
        documents: What is learned, each of at most ``row_tokens`` ids.
        checkpoints: Where checkpoints lie. A run with the same settings, documents, first weights
            and code goes on from them; another one starts anew, and logs a warning that says what
            differs.
        held_out: What is looked at on the way and at the end.
        device: ``cpu`` or ``cuda``.
        callbacks: transformers' callbacks, for progress; at a look, ``on_evaluate`` is given
            ``eval_loss`` and ``eval_perplexity``.

    Returns:
        ``tokens`` (learned from and padding, of a row as long as they get), ``steps`` and
        ``train_loss`` (nats a token, since the last start); with held-out documents ``perplexity``.

    Raises:
        ValueError: If there is nothing to learn from, or to look at; or the model cannot keep
            packed documents apart.
    """
    processes = current_processes(device)
    config = _whole_steps(config, rows := _rows(config, documents), processes)
    watched = _rows(config, held_out)
    if not rows:
        raise ValueError("there is no text to learn from: give at least one non-empty text")
    if config.patience is not None and config.eval_steps is None:
        raise ValueError("patience counts looks at what is held out: give eval_steps as well")
    if config.eval_steps is not None and not watched:
        raise ValueError("eval_steps needs held-out documents to look at, and there are none")
    if config.packing:
        require_packable(model)
    bf16 = processes.as_main(_pinned_bf16(config, model, device))
    decides = _decides(config, [*rows, *watched], model, bf16=bf16, processes=processes)
    home, said = checkpoint_home(checkpoints, decides)
    if said:
        _LOG.warning(said)
    optimizer = _optimizer(config, model, bf16=bf16)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _trapezoid(step, config))
    stoppers = [EarlyStoppingCallback(config.patience)] if config.patience is not None else []
    trainer = _LanguageTrainer(
        model=model,
        args=_arguments(config, home, device, bf16=bf16),
        train_dataset=rows,
        eval_dataset=watched or None,
        data_collator=lambda batch: collate(batch, tokenizer.pad_id),
        optimizers=(optimizer, schedule),
        callbacks=[*callbacks, *stoppers],
    )
    trainer.remove_callback(PrinterCallback)
    last = last_checkpoint(home, complete_when=_WRITTEN_LAST)
    result = trainer.train(resume_from_checkpoint=None if last is None else str(last))
    portion = config.batch_size * config.row_tokens * processes.count
    figures = {
        "steps": float(result.global_step),
        "tokens": float(result.global_step * config.accumulation * portion),
        "train_loss": sum(processes.exchange(result.training_loss)) / processes.count,
    }
    return figures | ({"perplexity": math.exp(trainer.held_out_loss())} if watched else {})


class _LanguageTrainer(Trainer):
    """``Trainer`` that weighs held-out tokens alike, and saves adapters where they alone learn."""

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], *given: Any, **named: Any
    ) -> Any:
        """Returns the loss; with a cache, packed documents would see each other."""
        return super().compute_loss(model, inputs | {"use_cache": False}, *given, **named)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measures the loss and the perplexity on what is held out."""
        loss = self.held_out_loss()
        metrics = {"eval_loss": loss, "eval_perplexity": math.exp(loss)}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def held_out_loss(self) -> float:
        """The mean over all held-out tokens, in nats."""
        rows: Any = self.eval_dataset
        model: Any = self.model
        was_training = model.training
        model.eval()
        try:
            with self.compute_loss_context_manager():
                size = self.args.per_device_eval_batch_size
                return mean_nats(model, rows, model.config.pad_token_id or 0, size)
        finally:
            model.train(was_training)

    # Trainer knows adapters by peft's own wrapper, which models here do without.
    @property
    def _whole(self) -> Any:
        return self.model

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not has_adapters(self._whole):
            super()._save(output_dir, state_dict)
            return
        from safetensors.torch import save_file

        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        learns = {n: p.detach().cpu() for n, p in self._whole.named_parameters() if p.requires_grad}
        save_file(learns, folder / _ADAPTERS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not has_adapters(self._whole):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        from safetensors.torch import load_file

        weights = load_file(Path(resume_from_checkpoint) / _ADAPTERS)
        parameters = dict(self._whole.named_parameters())
        with torch.no_grad():
            for name, value in weights.items():
                parameters[name].copy_(value)

    def _load_best_model(self) -> None:
        if has_adapters(self._whole):
            self._load_from_checkpoint(str(self.state.best_model_checkpoint))
        else:
            super()._load_best_model()


def _rows(config: SFTConfig, documents: Sequence[Document]) -> list[list[Document]]:
    """What has a token to learn, in rows."""
    learned = [one for one in documents if len(one.ids) > one.start]
    if config.packing:
        return packed(learned, config.row_tokens)
    return [[document] for document in learned]


def _whole_steps(config: SFTConfig, rows: Sequence[Any], processes: Processes) -> SFTConfig:
    """The same settings with the number of updates in the place of epochs."""
    if config.epochs is None:
        return config
    portions = math.ceil(len(rows) / config.batch_size / processes.count)
    updates = config.epochs * math.ceil(portions / config.accumulation)
    return replace(config, steps=max(1, math.ceil(updates)))


def _optimizer(config: SFTConfig, model: PreTrainedModel, *, bf16: bool) -> torch.optim.Optimizer:
    """What updates the parameters that learn.

    Raises:
        ValueError: If Muon shall train adapters.
    """
    if config.optimizer == "muon":
        if has_adapters(model):
            raise ValueError("optimizer is muon, which is for whole matrices: take adamw with lora")
        return MuonWithAdamW(
            model,
            matrix_rate=config.matrix_rate,
            rate=config.rate,
            weight_decay=config.weight_decay,
            bf16=bf16,
        )
    learns = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learns if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in learns if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.rate)


def _decides(
    config: SFTConfig,
    rows: Sequence[Sequence[Document]],
    model: PreTrainedModel,
    *,
    bf16: bool,
    processes: Processes,
) -> dict[str, str]:
    """Hashes all that decides the weights; settings by exclusion, so that none is forgotten."""
    settings = {name: value for name, value in asdict(config).items() if name not in _REPORTED}
    return {
        "settings": json_hash(settings | {"bf16": bf16, "processes": processes.count}),
        "data": json_hash([[[one.ids, one.start] for one in row] for row in rows]),
        "first weights": weights_hash(model),
        "code": json_hash(code_version()),
    }


def _trapezoid(step: int, config: SFTConfig) -> float:
    """The factor of the learning rates: rises linearly, is 1, falls linearly."""
    rising = (step + 1) / max(1, round(config.steps * config.warmup))
    falling = (config.steps - step) / max(1, round(config.steps * config.cooldown))
    return max(0.0, min(1.0, rising, falling))


def _pinned_bf16(config: SFTConfig, model: PreTrainedModel, device: str) -> bool:
    def forward(ids: Tensor) -> Tensor:
        logits: Tensor = there(input_ids=ids[:, : config.row_tokens]).logits
        return logits

    there: Any = model.to(device)  # type: ignore[arg-type] # transformers' decorator hides the type
    return pinned_bf16(config.bf16, there, forward, vocabulary=model.config.vocab_size)


def _arguments(config: SFTConfig, folder: Path, device: str, *, bf16: bool) -> TrainingArguments:
    looks: dict[str, Any] = {}
    if config.eval_steps is not None:
        looks = {"eval_strategy": "steps", "eval_steps": config.eval_steps}
    if config.patience is not None:
        looks |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    return training_arguments(
        folder,
        device=device,
        batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        seed=config.seed,
        data_seed=config.seed,
        max_steps=config.steps,
        max_grad_norm=1.0,
        bf16=bf16,
        save_strategy="steps",
        save_steps=config.save_steps if config.patience is None else config.eval_steps,
        save_total_limit=2,
        logging_steps=config.logging_steps,
        logging_strategy="steps",
        dataloader_pin_memory=False,
        **looks,
    )
