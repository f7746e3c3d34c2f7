"""How likely a completion is, behind its prompt, to a language model that stays as it is.

Prompt and completion are encoded apart, as environments do, behind the beginning of text. The end
of text is not scored, because a reward sees texts and not whether they were cut off. Of what does
not fit, the prompt's beginning goes first; of a completion that is longer than the model can read,
the beginning is scored.

Simplification: whole logits are made for a batch, ``batch_size * tokens * vocabulary`` floats.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn import functional as F

from reward_models.metrics.columns import require_texts
from reward_models.reading.scoring import TOKENIZER_FILE, pad_rows
from textgym.pretrained.models import open_causal_model, open_config
from textgym.rewards import describe
from textgym.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.types import Tokenizer

__all__ = ["LikelihoodReward", "load_log_likelihood", "load_perplexity"]

Kind = Literal["mean", "total", "perplexity"]


class LikelihoodReward:
    """A language model and its tokenizer as a reward."""

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        kind: Kind = "mean",
        max_tokens: int | None = None,
        batch_size: int = 16,
    ) -> None:
        """Takes a model over, in evaluation mode.

        Args:
            model: A causal language model of transformers. It is not copied.
            tokenizer: The tokenizer that it was trained with.
            kind: ``"mean"`` and ``"total"`` log-likelihood of the completion's tokens in nats, or
                ``"perplexity"``, ``exp(-mean)``.
            max_tokens: The most tokens that are read; ``None`` for as many as the model has
                positions.
            batch_size: The most texts in one forward pass; no score depends on it.

        Raises:
            ValueError: If the tokenizer has ids that the model has not, or a size does not fit.
        """
        vocabulary = int(model.get_output_embeddings().weight.shape[0])
        if tokenizer.vocab_size > vocabulary:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} ids, but the language model knows "
                f"{vocabulary}: name the tokenizer that it was trained with"
            )
        room = getattr(model.config, "max_position_embeddings", None)
        self.max_tokens = max_tokens or room
        if self.max_tokens is not None and not 1 < self.max_tokens <= (room or self.max_tokens):
            raise ValueError(f"max_tokens must be in 2..{room}, got {self.max_tokens}")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; a batch has at least one text")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.kind = kind
        self.batch_size = batch_size

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores each completion after its prompt, ``(N,)``.

        An empty completion scores as one token would that is drawn blindly from the tokenizer's
        ids, so that to write nothing is no way to a high score.
        """
        require_texts(completions)
        totals, counts = self.log_likelihoods(prompts, completions)
        blind = -math.log(self.tokenizer.vocab_size)
        scores = []
        for total, count in zip(totals.tolist(), counts.tolist(), strict=True):
            mean = total / count if count else blind
            if self.kind == "total":
                scores.append(total if count else blind)
            else:
                scores.append(mean if self.kind == "mean" else math.exp(-mean))
        return scores

    def log_likelihoods(
        self, prompts: Sequence[str], completions: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds up the log-probabilities of each completion's tokens.

        Args:
            prompts: The prompts' texts, ``(N,)``.
            completions: The completions' texts, ``(N,)``.

        Returns:
            The sums in nats, ``(N,)`` float64 on the CPU, and how many tokens they are of, ``(N,)``
            int64.

        Raises:
            ValueError: If there are not as many completions as prompts.
        """
        if len(prompts) != len(completions):
            raise ValueError(f"{len(prompts)} prompts came with {len(completions)} completions")
        rows, counts = self._rows(prompts, completions)
        totals = torch.zeros(len(rows), dtype=torch.float64)
        # Neighbours in length share a batch, so that little of it is padding.
        order = sorted(
            (row for row in range(len(rows)) if counts[row]), key=lambda row: len(rows[row])
        )
        device = self.model.device
        with torch.inference_mode():
            for start in range(0, len(order), self.batch_size):
                chunk = order[start : start + self.batch_size]
                # Padding on the right: a causal model never sees it from a real token.
                ids, mask = pad_rows([rows[row] for row in chunk], self.tokenizer.pad_id)
                logits = self.model(
                    input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
                ).logits
                totals[chunk] = _scored(
                    logits, ids.to(device), [counts[row] for row in chunk], mask
                )
        return totals, torch.tensor(counts, dtype=torch.int64)

    def _rows(
        self, prompts: Sequence[str], completions: Sequence[str]
    ) -> tuple[list[list[int]], list[int]]:
        """The ids that are read, and how many of the last of them are the completion's."""
        rows, counts = [], []
        for before, written in zip(
            self.tokenizer.encode_batch(list(prompts)),
            self.tokenizer.encode_batch(list(completions)),
            strict=True,
        ):
            room = len(before) + len(written) if self.max_tokens is None else self.max_tokens - 1
            scored = written[:room]
            kept = min(len(before), room - len(scored))
            rows.append([self.tokenizer.bos_id, *before[len(before) - kept :], *scored])
            counts.append(len(scored))
        return rows, counts


@describe(high=0, reads=["prompt"], is_factory=True, is_shared=True)
def load_log_likelihood(
    path: str | Path,
    *,
    tokenizer: str | Path | None = None,
    total: bool = False,
    device: str = "cpu",
    max_tokens: int | None = None,
    batch_size: int = 16,
) -> LikelihoodReward:
    """The log-likelihood of a completion's tokens under a language model, in nats a token.

    Args:
        path: The folder of any causal language model of transformers.
        tokenizer: What ``textgym.load_tokenizer`` takes; ``None`` for the one in the folder.
        total: Whether to add up instead of averaging, which favours short texts.
        device: Where to compute, such as ``cpu`` or ``cuda``.
        max_tokens: The most tokens that are read; ``None`` for as many as the model has positions.
        batch_size: The most texts in one forward pass; no score depends on it.

    Raises:
        FileNotFoundError: If the folder holds no model or no tokenizer.
        ValueError: If one of them is damaged, weights are missing or no safetensors, or the
            tokenizer does not fit the model.
    """
    return _load(
        Path(path),
        tokenizer,
        device,
        kind="total" if total else "mean",
        max_tokens=max_tokens,
        batch_size=batch_size,
    )


@describe(low=1, reads=["prompt"], is_factory=True, is_shared=True)
def load_perplexity(
    path: str | Path,
    *,
    tokenizer: str | Path | None = None,
    device: str = "cpu",
    max_tokens: int | None = None,
    batch_size: int = 16,
) -> LikelihoodReward:
    """The perplexity of a completion under a language model; weigh it negatively: less is better.

    Args:
        path: The folder of any causal language model of transformers.
        tokenizer: What ``textgym.load_tokenizer`` takes; ``None`` for the one in the folder.
        device: Where to compute, such as ``cpu`` or ``cuda``.
        max_tokens: The most tokens that are read; ``None`` for as many as the model has positions.
        batch_size: The most texts in one forward pass; no score depends on it.

    Raises:
        FileNotFoundError: If the folder holds no model or no tokenizer.
        ValueError: If one of them is damaged, weights are missing or no safetensors, or the
            tokenizer does not fit the model.
    """
    return _load(
        Path(path),
        tokenizer,
        device,
        kind="perplexity",
        max_tokens=max_tokens,
        batch_size=batch_size,
    )


def _load(
    folder: Path, tokenizer: str | Path | None, device: str, **settings: Any
) -> LikelihoodReward:
    config = open_config(folder)
    read = load_tokenizer(_tokenizer_of(folder) if tokenizer is None else tokenizer)
    model: Any = open_causal_model(folder, config=config, dtype=torch.float32)
    return LikelihoodReward(model.to(device), read, **settings)


def _tokenizer_of(folder: Path) -> Path:
    if (folder / TOKENIZER_FILE).is_file():
        return folder / TOKENIZER_FILE
    if (folder / "tokenizer.json").is_file():
        return folder
    raise FileNotFoundError(
        f"no {TOKENIZER_FILE} and no tokenizer.json in {folder}: name the tokenizer, for instance "
        f'{{"path": {str(folder)!r}, "tokenizer": "reviews-4096"}}'
    )


def _scored(
    logits: torch.Tensor, ids: torch.Tensor, counts: list[int], mask: torch.Tensor
) -> torch.Tensor:
    """Adds up the log-probabilities of the last ``counts[n]`` real tokens of each row, ``(N,)``."""
    lengths = mask.sum(1).to(ids.device)
    places = torch.arange(ids.shape[1], device=ids.device)
    first = lengths - torch.tensor(counts, device=ids.device)
    scored = (places >= first[:, None]) & (places < lengths[:, None])
    # Only what is scored, ids in the last dimension: anything else copies all of the logits.
    rows, before = scored[:, 1:].nonzero(as_tuple=True)
    losses = F.cross_entropy(logits[rows, before].float(), ids[rows, before + 1], reduction="none")
    # The host adds them up: not every device has float64.
    totals = torch.zeros(len(ids), dtype=torch.float64)
    return totals.index_add(0, rows.cpu(), -losses.cpu().double())
