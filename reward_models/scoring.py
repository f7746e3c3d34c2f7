"""Texts into rows of ids, rows into batches of like length, batches into scores.

Rows are padded on the right. A causal trunk then never sees a pad from a real token, and a mask
hides pads from the others, so a score depends on its own text alone.

Simplifications: one device; a batch is bounded by its rows and its padding, not by memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from textgym.checkpoints import atomic_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "TOKENIZER_FILE",
    "PreferenceReward",
    "Reader",
    "ScorerModel",
    "batches",
    "encode_rows",
    "join_texts",
    "pad_rows",
    "right_padded",
    "save_learned",
    "score_rows",
]

TOKENIZER_FILE = "tokenizer.model"
# Another forward pass costs about as much as this many padded tokens do.
_SPARE_PADS = 256


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
    """The reward function around a learned model: texts in, scores out."""

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

        return score_rows(rows, forward, self.batch_size)

    def save(self, folder: str | Path) -> None:
        """Writes what ``load_reward`` reads; the folder is whole or absent.

        Raises:
            ValueError: If the tokenizer cannot be saved.
        """
        save_learned(self.model, self.tokenizer, Path(folder))


def save_learned(model: ScorerModel, tokenizer: Any, folder: Path) -> None:
    """Writes a model and its tokenizer into a folder that is whole or absent.

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


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pads rows of ids on the right to the longest of them: ids and mask, ``(N, L)`` int64."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def right_padded(
    input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Moves padding on the left of a row to its right, so that positions start at the text.

    Args:
        input_ids: Token ids, ``(N, L)`` int64.
        attention_mask: 1 for real tokens and 0 for padding, ``(N, L)``.

    Returns:
        Both, of the same shapes.

    Raises:
        ValueError: If a row is empty, or has padding between its tokens.
    """
    real = attention_mask.bool()
    before = torch.nn.functional.pad(real[:, :-1], (1, 0))
    if bool(((real & ~before).sum(dim=1) != 1).any()):
        raise ValueError(
            "attention_mask has an empty row or padding between tokens: pad on one side, and begin "
            "every row with the beginning-of-text token"
        )
    if bool(real[:, 0].all()):
        return input_ids, attention_mask
    width = real.shape[1]
    start = real.int().argmax(dim=1, keepdim=True)
    places = (torch.arange(width, device=real.device) + start) % width
    return input_ids.gather(1, places), attention_mask.gather(1, places)


def batches(
    lengths: Sequence[int], batch_size: int, spare_pads: int = _SPARE_PADS
) -> Iterator[list[int]]:
    """Groups rows of like length, from the longest to the shortest.

    Args:
        lengths: The rows' lengths, ``(N,)``.
        batch_size: The most rows of a batch.
        spare_pads: The most pads in a batch; beyond them another forward pass is cheaper.

    Yields:
        The numbers of the rows of each batch.
    """
    batch: list[int] = []
    pads = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        needed = lengths[batch[0]] - lengths[row] if batch else 0
        if batch and (len(batch) == batch_size or pads + needed > spare_pads):
            yield batch
            batch, pads, needed = [], 0, 0
        batch.append(row)
        pads += needed
    if batch:
        yield batch


def score_rows(
    rows: Sequence[Sequence[Any]],
    forward: Callable[[list[tuple[Any, ...]]], torch.Tensor],
    batch_size: int,
) -> torch.Tensor:
    """Scores rows in batches of like length; rows that are equal are run once.

    Args:
        rows: The rows, ``(N,)``, none of them empty.
        forward: Takes some rows, as tuples, and gives one score for each, ``(n,)``.
        batch_size: The most rows of a batch.

    Returns:
        ``(N,)`` float64 on the CPU.
    """
    places: dict[tuple[Any, ...], int] = {}
    which = [places.setdefault(tuple(row), len(places)) for row in rows]
    different = list(places)
    scores = torch.zeros(len(different), dtype=torch.float64)
    with torch.inference_mode():
        for batch in batches([len(row) for row in different], batch_size):
            scores[batch] = forward([different[row] for row in batch]).double().cpu()
    return scores[which]
