"""Supervised training of a language model on plain text, by transformers' ``Trainer``.

Every text is one row: the beginning-of-text id, its first tokens, and, if it is short enough, the
end-of-text id. Text environments start at the beginning of a text, so rows do as well: at equal
tokens, rows cut from the middle of a stream gave a worse perplexity on beginnings.

A run that was stopped goes on from its last whole checkpoint.

Simplifications: tokens beyond the first ``row_tokens`` of a text are dropped; one process.
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, Trainer
from transformers.trainer_callback import PrinterCallback

from agents.models.loading import save_model
from agents.models.tokenizer_fit import write_as_trained
from agents.training.optimizers import MuonWithAdamW
from textgym.files import atomic_folder, last_checkpoint
from textgym.pretrained.precision import Bfloat16, pinned_bf16
from textgym.pretrained.training_arguments import training_arguments
from textgym.provenance import checkpoint_home, code_version, json_hash, weights_hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import TrainerCallback, TrainingArguments

    from textgym.types import Tokenizer

__all__ = ["SFTConfig", "make_language_model", "perplexity", "train_language_model"]

_IGNORED = -100  # the label that transformers' losses ignore
_LOG = logging.getLogger(__name__)
_REPORTED = ("logging_steps", "save_steps")  # what is reported and kept on the way decides nothing
_WRITTEN_LAST = "trainer_state.json"  # the last file of a checkpoint that Trainer writes


@dataclass(frozen=True, slots=True, kw_only=True)
class SFTConfig:
    """The shape of a GPT-2 and how it is trained. The defaults are for minutes on two cores."""

    layers: int = 4
    """Transformer blocks."""
    width: int = 256
    """Size of the hidden states; a multiple of ``heads``."""
    heads: int = 4
    """Attention heads."""
    steps: int = 520
    """Updates. More give a lower perplexity, and take longer."""
    batch_size: int = 48
    """Rows in an update. Muon's own cost does not depend on it, so it weighs more with few rows."""
    row_tokens: int = 64
    """Length of a row, and the longest text that the model can read."""
    matrix_rate: float = 2e-2
    """Learning rate of Muon, for the matrices inside the blocks."""
    rate: float = 4e-3
    """Learning rate of AdamW, for embeddings, gains and biases."""
    weight_decay: float = 0.01
    """Weight decay of the matrices."""
    warmup: float = 0.02
    """Share of the steps in which the learning rates rise from 0."""
    cooldown: float = 0.4
    """Share of the steps, the last ones, in which the learning rates fall to 0."""
    bf16: Bfloat16 = "auto"
    """Forward and backward passes in bfloat16; the weights stay float32. It is faster on some
    machines and slower on others: auto tries for a second."""
    save_steps: int = 100
    """Updates between checkpoints: at most so many are lost when a run is killed."""
    logging_steps: int = 10
    """Updates between two logs, which callbacks receive."""
    seed: int = 0
    """Seed of the first weights and of the order of the rows."""


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
    """Trains a language model and saves it as transformers does, its tokenizer beside it.

    Args:
        config: Shape of the model and settings of its training.
        tokenizer: Turns texts into ids; saved beside the model.
        texts: The training texts, in any order; empty ones are left out.
        out: The folder to write; checkpoints lie beside it, in ``<out>.checkpoints``. A run with
            the same settings, texts, first weights and code goes on from them; another one starts
            anew, and logs a warning that says what differs.
        device: ``cpu`` or ``cuda``.
        callbacks: transformers' callbacks, for progress.

    Returns:
        ``tokens`` (trained on, padding included), ``steps`` and ``train_loss`` (nats a token).

    Raises:
        ValueError: If there is no text.
    """
    rows = _rows(tokenizer, texts, config.row_tokens)
    if not rows:
        raise ValueError("there is no text to learn from: give at least one non-empty text")
    model = make_language_model(config, tokenizer)
    bf16 = _pinned_bf16(config, model, device)
    decides = _decides(config, rows, model, bf16=bf16)
    checkpoints, said = checkpoint_home(out.with_name(f"{out.name}.checkpoints"), decides)
    if said:
        _LOG.warning(said)
    optimizer = MuonWithAdamW(
        model, matrix_rate=config.matrix_rate, rate=config.rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _trapezoid(step, config))
    trainer = Trainer(
        model=model,
        args=_arguments(config, checkpoints, device, bf16=bf16),
        train_dataset=rows,
        data_collator=lambda batch: _collate(batch, tokenizer.pad_id),
        optimizers=(optimizer, schedule),
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    last = last_checkpoint(checkpoints, complete_when=_WRITTEN_LAST)
    result = trainer.train(resume_from_checkpoint=None if last is None else str(last))
    with atomic_folder(out) as folder:
        save_model(model, folder, tokenizer)
    return {
        "steps": float(result.global_step),
        "tokens": float(config.steps * config.batch_size * config.row_tokens),
        "train_loss": float(result.training_loss),
    }


@torch.inference_mode()
def perplexity(
    model: PreTrainedModel, tokenizer: Tokenizer, texts: Sequence[str], row_tokens: int
) -> float:
    """The model's perplexity on the first ``row_tokens`` tokens of each text."""
    rows = _rows(tokenizer, texts, row_tokens)
    total, count = 0.0, 0
    for start in range(0, len(rows), 64):
        batch = _collate(rows[start : start + 64], tokenizer.pad_id)
        labels = batch["labels"][:, 1:].to(model.device)
        logits = model(input_ids=batch["input_ids"].to(model.device)).logits[:, :-1].float()
        total += float(
            torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED, reduction="sum"
            )
        )
        count += int((labels != _IGNORED).sum())
    return math.exp(total / count)


def _rows(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> list[list[int]]:
    encoded = tokenizer.encode_batch([text for text in texts if text])
    return [[tokenizer.bos_id, *ids, tokenizer.eos_id][:length] for ids in encoded]


def _decides(
    config: SFTConfig, rows: Sequence[Sequence[int]], model: GPT2LMHeadModel, *, bf16: bool
) -> dict[str, str]:
    """Hashes all that decides the weights; settings by exclusion, so that none is forgotten."""
    settings = {name: value for name, value in asdict(config).items() if name not in _REPORTED}
    return {
        "settings": json_hash(settings | {"bf16": bf16}),
        "data": json_hash(rows),
        "first weights": weights_hash(model),
        "code": json_hash(code_version()),
    }


def _collate(rows: Sequence[list[int]], pad_id: int) -> dict[str, Tensor]:
    """Pads on the right, where causal attention does not look; ids and labels, ``(N, L)`` int64."""
    length = max(map(len, rows))
    input_ids = torch.full((len(rows), length), pad_id)
    labels = torch.full((len(rows), length), _IGNORED)
    for n, row in enumerate(rows):
        input_ids[n, : len(row)] = labels[n, : len(row)] = torch.tensor(row)
    return {"input_ids": input_ids, "labels": labels}


def _trapezoid(step: int, config: SFTConfig) -> float:
    """The factor of the learning rates: rises linearly, is 1, falls linearly."""
    rising = (step + 1) / max(1, round(config.steps * config.warmup))
    falling = (config.steps - step) / max(1, round(config.steps * config.cooldown))
    return max(0.0, min(1.0, rising, falling))


def _pinned_bf16(config: SFTConfig, model: GPT2LMHeadModel, device: str) -> bool:
    def forward(ids: Tensor) -> Tensor:
        logits: Tensor = model(input_ids=ids[:, : config.row_tokens]).logits
        return logits

    there = model.to(device)  # type: ignore[arg-type] # transformers' decorator hides the type
    return pinned_bf16(config.bf16, there, forward, vocabulary=model.config.vocab_size)


def _arguments(config: SFTConfig, folder: Path, device: str, *, bf16: bool) -> TrainingArguments:
    return training_arguments(
        folder,
        device=device,
        batch_size=config.batch_size,
        seed=config.seed,
        data_seed=config.seed,
        max_steps=config.steps,
        max_grad_norm=1.0,
        bf16=bf16,
        save_strategy="steps",
        save_steps=config.save_steps,
        save_total_limit=2,
        logging_steps=config.logging_steps,
        logging_strategy="steps",
        dataloader_pin_memory=False,
    )
