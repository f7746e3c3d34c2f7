"""The reward around a learned model: texts into rows of ids, and rows into scores.

Simplification: one device.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from reward_models.reading.batching import pad_rows, score_rows, spare_pads
from textgym.files import atomic_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = [
    "TOKENIZER_FILE",
    "PreferenceReward",
    "Reader",
    "ScorerModel",
    "encode_rows",
    "join_texts",
    "pad_rows",
    "save_learned",
]

TOKENIZER_FILE = "tokenizer.model"
TRACES_FILE = "learned_from.json"
"""Hashes of what a model learned from, see ``reward_models.preferences.traces``."""


class Reader(Protocol):
    """What of a tokenizer is needed to read texts; ``textgym.types.Tokenizer`` has it all.

    One that also has ``head`` and ``tail``, ids that stand around every text, has them written
    there; else the beginning-of-text id stands before it and nothing behind.
    """

    @property
    def pad_id(self) -> int:
        """The id that fills rows up; a mask tells it from the text."""

    @property
    def bos_id(self) -> int:
        """The beginning-of-text id."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes many texts at once, without special ids."""


class ScorerModel(Protocol):
    """A model that ``PreferenceReward`` can stand around.

    Its ``config`` has ``max_tokens``, the most tokens that are read.
    """

    config: Any

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Gives raw scores, ``(N,)`` float32, of rows of ids, ``(N, L)`` int64."""

    def normalise(self, raw: torch.Tensor) -> torch.Tensor:
        """Makes scores of raw scores, of any shape."""

    def save_pretrained(self, save_directory: str | Path) -> Any:
        """Writes ``config.json`` and ``model.safetensors``."""


class PreferenceReward:
    """The reward function around a learned model: texts in, scores out.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        batch_size: The most texts in one forward pass.
        origin: The folder that it was loaded from; None if it was not.
    """

    def __init__(
        self, model: ScorerModel, tokenizer: Reader, *, device: str = "cpu", batch_size: int = 64
    ) -> None:
        """Takes a model over, in evaluation mode and on ``device``.

        Args:
            model: The model. It is moved, not copied.
            tokenizer: The tokenizer that the model was trained with.
            device: Where scores are computed, such as ``cpu`` or ``cuda``.
            batch_size: The most texts in one forward pass; no score depends on it.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; a batch has at least one text")
        self.model = model
        module: Any = model  # whose to() and eval() have no types in transformers
        module.to(device).eval()
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.origin: Path | None = None

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores each completion after its prompt, ``(N,)``; see ``RewardFunction``.

        Of a text that is longer than the model reads, the last tokens count. An empty completion
        has the score of its prompt alone.
        """
        return [float(score) for score in self.model.normalise(self.raw(prompts, completions))]

    def raw(self, prompts: Sequence[str], completions: Sequence[str]) -> torch.Tensor:
        """Scores before normalisation.

        Args:
            prompts: The prompts' texts, ``(N,)``.
            completions: The completions' texts, ``(N,)``.

        Returns:
            ``(N,)`` float64 on the CPU, so that normalising adds no rounding of its own.

        Raises:
            ValueError: If there are not as many completions as prompts.
            TypeError: If one of them is no text.
        """
        texts = join_texts(prompts, completions)
        rows = encode_rows(self.tokenizer, texts, self.model.config.max_tokens)

        def forward(batch: list[tuple[int, ...]]) -> torch.Tensor:
            ids, mask = pad_rows(batch, self.tokenizer.pad_id)
            return self.model(ids.to(self.model.device), mask.to(self.model.device))

        return score_rows(rows, forward, self.batch_size, spare_pads(self.model))

    def save(self, folder: str | Path) -> None:
        """Writes what ``load_reward`` reads; the folder is whole or absent.

        Raises:
            ValueError: If the tokenizer cannot be saved.
        """
        save_learned(self.model, self.tokenizer, Path(folder), self.origin)


def save_learned(
    model: ScorerModel, tokenizer: Any, folder: Path, origin: Path | None = None
) -> None:
    """Writes a model and its tokenizer into a folder that is whole or absent.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        folder: Where to.
        origin: Where the model was loaded from; what it learned from is copied from there.

    Raises:
        ValueError: If the tokenizer cannot be saved.
    """
    if not hasattr(tokenizer, "save"):
        raise ValueError(
            f"{type(tokenizer).__name__} has no method save(path), so the reward could not be "
            "loaded again: give it one, or use a sentencepiece tokenizer"
        )
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save(temporary / TOKENIZER_FILE)
        if origin is not None and (origin / TRACES_FILE).is_file():
            shutil.copyfile(origin / TRACES_FILE, temporary / TRACES_FILE)


def join_texts(prompts: Sequence[str], completions: Sequence[str]) -> list[str]:
    """Puts each completion behind its prompt.

    Raises:
        ValueError: If there are not as many completions as prompts.
        TypeError: If one of them is no text.
    """
    if len(prompts) != len(completions):
        raise ValueError(f"{len(prompts)} prompts came with {len(completions)} completions")
    for what, texts in (("prompt", prompts), ("completion", completions)):
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(
                    f"{what} {row} is {text!r}, a {type(text).__name__}; a reward reads texts. "
                    "An empty one is ''"
                )
    return [prompt + text for prompt, text in zip(prompts, completions, strict=True)]


def encode_rows(tokenizer: Reader, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Encodes texts between the tokenizer's special ids; of a long one, its end is kept.

    Args:
        tokenizer: Where it has ``head`` and ``tail``, those stand around the text; else the
            beginning-of-text id stands before it.
        texts: The texts, ``(N,)``.
        max_length: The most ids of a row, the special ones included; they are never cut.

    Returns:
        ``N`` rows of at least one id.
    """
    head = getattr(tokenizer, "head", (tokenizer.bos_id,))
    tail = getattr(tokenizer, "tail", ())
    kept = max(0, max_length - len(head) - len(tail))
    return [
        [*head, *ids[max(0, len(ids) - kept) :], *tail] for ids in tokenizer.encode_batch(texts)
    ]
