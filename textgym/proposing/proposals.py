"""What could be written next: the K candidates that an agent of the choose kind picks from.

Shapes: N rows (texts), T places in a row, K candidates, L tokens of the longest candidate, V ids.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from textgym.messages import require_texts, shown, whole_number
from textgym.rewards.factories import load_factory
from textgym.tokenizers import legal_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textgym.dynamics.states import Array
    from textgym.types import Example, Task, Tokenizer

__all__ = ["BigramProposer", "ListProposer", "Proposer", "ordinary_ids", "resolve_proposer"]

_KNOWN = ("ngram", "list")


@runtime_checkable
class Proposer(Protocol):
    """Proposes what could be written next. The end of text is no candidate; it is always there."""

    @property
    def num_candidates(self) -> int:
        """K, how many candidates a text gets."""

    @property
    def num_tokens(self) -> int:
        """L, how many tokens the longest candidate has."""

    def propose(self, tokens: Array, length: Array) -> Array:
        """Proposes K candidates per text; the same text always gets the same ones.

        Args:
            tokens: The texts, right-padded, ``(N, T)`` int64, of numpy or torch.
            length: How many places each text takes, at least 1, ``(N,)`` int64.

        Returns:
            A new array of the same kind on the same device, ``(N, K, L)`` int64, right-padded with
            the padding id. Padding alone is no candidate.
        """


class BigramProposer:
    """The tokens that most often follow a text's last token in the examples.

    A token after which fewer than K are seen gets the most frequent tokens of all besides. Equally
    frequent tokens come in the order of their ids. Special ids are never proposed.
    """

    def __init__(
        self, num_candidates: int, tokenizer: Tokenizer, examples: Sequence[Example]
    ) -> None:
        """Counts the pairs of tokens in the examples.

        Args:
            num_candidates: K.
            tokenizer: The tokenizer.
            examples: Of each, the prompt and, where there is one, the ``reference`` after it.
        """
        self._num_candidates = num_candidates
        counted = _count(tokenizer, examples)
        table = _likeliest(*counted, ordinary_ids(tokenizer), tokenizer.vocab_size, num_candidates)
        table = np.where(table < 0, tokenizer.pad_id, table)
        self._table = _DeviceArray(table[:, :, None])

    @property
    def num_candidates(self) -> int:
        """K."""
        return self._num_candidates

    @property
    def num_tokens(self) -> int:
        """1: a candidate is a token."""
        return 1

    def propose(self, tokens: Array, length: Array) -> Array:
        """Looks the last tokens up; see ``Proposer``."""
        place = (length - 1)[:, None]
        if isinstance(tokens, np.ndarray):
            last = np.take_along_axis(tokens, place, axis=1)
        else:
            last = tokens.gather(1, place)
        return self._table.like(tokens)[last[:, 0]]


class ListProposer:
    """The same phrases for every text."""

    def __init__(self, num_candidates: int, tokenizer: Tokenizer, phrases: Sequence[str]) -> None:
        """Encodes the phrases.

        Args:
            num_candidates: K; what it exceeds the number of phrases by is no candidate.
            tokenizer: The tokenizer.
            phrases: The candidates' texts, each as it is to be appended, so with its leading space.

        Raises:
            ValueError: If there is no phrase, an empty one, or more than K.
        """
        if isinstance(phrases, str) or not all(isinstance(phrase, str) for phrase in phrases):
            raise ValueError(f"phrases must be a list of texts, got {shown(phrases)}")
        if not phrases or not all(phrases):
            raise ValueError(
                f"phrases must be texts that are not empty, got {shown(list(phrases))}"
            )
        if len(phrases) > num_candidates:
            raise ValueError(
                f"there are {len(phrases)} phrases for {num_candidates} candidates; give "
                f"num_candidates={len(phrases)} or fewer phrases"
            )
        require_texts(phrases, "the phrase")
        encoded = tokenizer.encode_batch(phrases)
        shape = (num_candidates, max(map(len, encoded)))
        table = np.full(shape, tokenizer.pad_id, dtype=np.int64)
        for row, ids in enumerate(encoded):
            table[row, : len(ids)] = ids
        self._table = _DeviceArray(table)
        self._shape = shape

    @property
    def num_candidates(self) -> int:
        """K."""
        return self._shape[0]

    @property
    def num_tokens(self) -> int:
        """L, the length of the longest phrase."""
        return self._shape[1]

    def propose(self, tokens: Array, length: Array) -> Array:  # noqa: ARG002 - it depends on neither
        """Repeats the phrases; see ``Proposer``."""
        table = self._table.like(tokens)[None]
        if isinstance(tokens, np.ndarray):
            return table.repeat(len(tokens), axis=0)
        return table.repeat(len(tokens), 1, 1)


class _DeviceArray:
    """A numpy array, and copies of it on the devices where it was asked for."""

    def __init__(self, values: npt.NDArray[np.int64]) -> None:
        self._values = values
        self._copies: dict[str, Array] = {}

    def like(self, array: Array) -> Array:
        if isinstance(array, np.ndarray):
            return self._values
        device = str(array.device)
        if device not in self._copies:
            # An array that is not numpy's is torch's, so this finds a module already loaded.
            torch = importlib.import_module("torch")
            self._copies[device] = torch.from_numpy(self._values).to(array.device)
        return self._copies[device]


def resolve_proposer(
    proposer: str | Proposer,
    num_candidates: int,
    tokenizer: Tokenizer,
    task: Task,
    examples: Sequence[Example],
    proposer_kwargs: Mapping[str, Any] | None = None,
) -> Proposer:
    """Makes the proposer that is named.

    Args:
        proposer: ``"ngram"``, see ``BigramProposer``; ``"list"``, see ``ListProposer``;
            ``"module:attribute"``, a factory that is called with ``num_candidates``, ``tokenizer``
            and ``proposer_kwargs``; or an object, which has its own number of candidates.
        num_candidates: K.
        tokenizer: The tokenizer.
        task: The task; ``"list"`` takes its attribute ``phrases`` where none are given.
        examples: The examples of the split.
        proposer_kwargs: ``phrases`` for ``"list"``; none for ``"ngram"`` or an object.

    Raises:
        ValueError: If there is no such proposer, or its arguments do not fit.
        TypeError: If the object, or what the factory returned, is no proposer.
        ModuleNotFoundError: If a package is missing; the message names it.
    """
    kwargs = dict(proposer_kwargs or {})
    count = whole_number(num_candidates)
    if count is None or count < 1:
        raise ValueError(f"num_candidates must be a positive integer, got {num_candidates!r}")
    if proposer == "list":
        phrases = kwargs.pop("phrases", getattr(task, "phrases", None))
        if phrases is None:
            raise ValueError(
                f"{task.name} has no phrases of its own; give "
                "proposer_kwargs={'phrases': [...]} or another proposer"
            )
        resolved: Any = ListProposer(num_candidates, tokenizer, phrases)
    elif proposer == "ngram":
        resolved = BigramProposer(num_candidates, tokenizer, examples)
    elif isinstance(proposer, str):
        factory = load_factory("proposer", proposer, _KNOWN)
        resolved = factory(num_candidates=num_candidates, tokenizer=tokenizer, **kwargs)
        kwargs = {}
    else:
        resolved = proposer
    if kwargs:
        raise ValueError(f"proposer {proposer!r} takes no {sorted(kwargs)[0]!r}")
    if not isinstance(resolved, Proposer):
        raise TypeError(
            f"proposer {proposer!r} is a {type(resolved).__name__}, which lacks num_candidates, "
            "num_tokens or propose"
        )
    return resolved


def ordinary_ids(tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """Returns the ids that stand for text: neither special nor the end of text."""
    legal = legal_ids(tokenizer)
    legal[tokenizer.eos_id] = False
    return np.flatnonzero(legal)


def _count(
    tokenizer: Tokenizer, examples: Sequence[Example]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns every token of the examples' texts and the one before it, both ``(M,)``."""
    prompts = tokenizer.encode_batch([example.prompt for example in examples])
    references = tokenizer.encode_batch([example.text("reference") for example in examples])
    before, after = [], []
    for prompt, reference in zip(prompts, references, strict=True):
        ids = [tokenizer.bos_id, *prompt, *reference]
        before += ids[:-1]
        after += ids[1:]
    return np.array(before, dtype=np.int64), np.array(after, dtype=np.int64)


def _likeliest(
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    vocab_size: int,
    count: int,
) -> npt.NDArray[np.int64]:
    """Returns the likeliest of ``ids`` after each token, ``(V, count)``; -1 where there is none."""
    ordinary = np.isin(after, ids)
    before, after = before[ordinary], after[ordinary]
    frequency = np.bincount(after, minlength=vocab_size)[ids]
    fallback = ids[np.argsort(-frequency, kind="stable")][:count]
    seen, seen_count = np.unique(before * vocab_size + after, return_counts=True)
    # After every token the most frequent ones of all, ranked below whatever was seen there.
    always = (np.arange(vocab_size)[:, None] * vocab_size + fallback).ravel()
    always_rank = np.tile(-1 - np.arange(len(fallback)), vocab_size)
    # Of a pair that occurs twice, unique keeps the first, which was seen.
    pairs, first = np.unique(np.concatenate([seen, always]), return_index=True)
    rank = np.concatenate([seen_count, always_rank])[first]
    row, token = np.divmod(pairs, vocab_size)
    order = np.lexsort((token, -rank, row))
    row, token = row[order], token[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    table = np.full((vocab_size, count), -1, dtype=np.int64)
    kept = place < count
    table[row[kept], place[kept]] = token[kept]
    return table
