"""What an agent of the edit kind starts from: a draft of the completion.

A draft is drawn row by row, each row from a generator of its own, so that it depends on nothing
but its example and its seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from textgym.messages import listed
from textgym.proposing.proposals import ordinary_ids
from textgym.rewards.factories import load_factory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textgym.types import Example, Task, Tokenizer

__all__ = ["ColumnDrafter", "CorruptedDrafter", "Drafter", "EmptyDrafter", "resolve_drafter"]

_COLUMN = "column:"
_KNOWN = ("corrupted", "empty", f"{_COLUMN}NAME")
_RATE = 0.2
_REPLACE, _DELETE, _DUPLICATE, _SWAP = range(4)
_CHANGES = (_REPLACE, _DELETE, _DUPLICATE, _SWAP)


@runtime_checkable
class Drafter(Protocol):
    """Writes drafts."""

    def draft(
        self, examples: Sequence[Example], generators: Sequence[np.random.Generator]
    ) -> list[list[int]]:
        """Writes one draft per example.

        Args:
            examples: N examples.
            generators: N generators; the draft of row i draws from the i-th and no other.

        Returns:
            N drafts' ids, without special ids, each no longer than the allowance; may be empty.
        """


class EmptyDrafter:
    """Starts from nothing."""

    def draft(
        self, examples: Sequence[Example], generators: Sequence[np.random.Generator]
    ) -> list[list[int]]:
        """Returns empty drafts and draws nothing; see ``Drafter``."""
        return [[] for _ in zip(examples, generators, strict=True)]


class ColumnDrafter:
    """Starts from a text that the task brings along."""

    def __init__(self, tokenizer: Tokenizer, completion_tokens: int, column: str) -> None:
        """Takes the drafts from a column.

        Args:
            tokenizer: The tokenizer.
            completion_tokens: The allowance; a longer draft is cut there.
            column: The column's name.
        """
        self._tokenizer = tokenizer
        self._completion_tokens = completion_tokens
        self._column = column

    def draft(
        self, examples: Sequence[Example], generators: Sequence[np.random.Generator]
    ) -> list[list[int]]:
        """Encodes the column's texts and draws nothing; see ``Drafter``.

        Raises:
            ValueError: If there is no such column; the message lists those that there are.
        """
        texts = []
        for example, _ in zip(examples, generators, strict=True):
            if self._column not in example.columns:
                raise ValueError(
                    f"the examples have no column {self._column!r} for drafts; "
                    f"they have: {listed(example.columns)}"
                )
            texts.append(example.text(self._column))
        return _encode(self._tokenizer, texts, self._completion_tokens)


class CorruptedDrafter:
    """Starts from the reference with some of its tokens changed.

    Each token is changed with the same probability, independently of the others: replaced by any
    token, deleted, written twice, or swapped with the one after it, each a quarter of the time. A
    token that was swapped forward is not changed again, and the last one has none to swap with.
    """

    def __init__(self, tokenizer: Tokenizer, completion_tokens: int, rate: float = _RATE) -> None:
        """Changes references.

        Args:
            tokenizer: The tokenizer.
            completion_tokens: The allowance; references and drafts are cut there.
            rate: The probability that a token is changed.

        Raises:
            ValueError: If ``rate`` is no probability.
        """
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise ValueError(f"the rate of changes must be from 0 to 1, got {rate!r}")
        self._ids = ordinary_ids(tokenizer)
        self._tokenizer = tokenizer
        self._completion_tokens = completion_tokens
        self._rate = rate

    def draft(
        self, examples: Sequence[Example], generators: Sequence[np.random.Generator]
    ) -> list[list[int]]:
        """Changes the references; an example without one gets an empty draft. See ``Drafter``."""
        texts = [example.text("reference") for example in examples]
        references = _encode(self._tokenizer, texts, self._completion_tokens)
        return [
            self._corrupt(reference, generator)
            for reference, generator in zip(references, generators, strict=True)
        ]

    def _corrupt(self, reference: list[int], generator: np.random.Generator) -> list[int]:
        count = len(reference)
        changed = generator.random(count) < self._rate
        changes = np.where(changed, generator.integers(0, len(_CHANGES), count), -1).tolist()
        others = self._ids[generator.integers(0, len(self._ids), count)].tolist()
        draft: list[int] = []
        place = 0
        while place < count:
            token, change = reference[place], changes[place]
            place += 1
            if change == _REPLACE:
                draft.append(others[place - 1])
            elif change == _DUPLICATE:
                draft += [token, token]
            elif change == _SWAP and place < count:
                draft += [reference[place], token]
                place += 1
            elif change != _DELETE:
                draft.append(token)
        return draft[: self._completion_tokens]


def resolve_drafter(
    drafter: str | Drafter,
    tokenizer: Tokenizer,
    task: Task,
    prompt_tokens: int,
    completion_tokens: int,
    drafter_kwargs: Mapping[str, Any] | None = None,
) -> Drafter:
    """Makes the drafter that is named.

    Args:
        drafter: ``"corrupted"``, see ``CorruptedDrafter``; ``"empty"``; ``"column:NAME"``, see
            ``ColumnDrafter``; ``"module:attribute"``, a factory that is called with ``tokenizer``,
            ``prompt_tokens``, ``completion_tokens`` and ``drafter_kwargs``; or an object.
        tokenizer: The tokenizer.
        task: The task, for messages.
        prompt_tokens: Room for the prompt, the beginning-of-text id included.
        completion_tokens: The allowance.
        drafter_kwargs: ``rate`` for ``"corrupted"``; none for the others but a factory.

    Raises:
        ValueError: If there is no such drafter, or its arguments do not fit.
        TypeError: If the object, or what the factory returned, is no drafter.
        ModuleNotFoundError: If a package is missing; the message names it.
    """
    kwargs = dict(drafter_kwargs or {})
    if drafter == "corrupted":
        rate = kwargs.pop("rate", _RATE)
        resolved: Any = CorruptedDrafter(tokenizer, completion_tokens, rate)
    elif drafter == "empty":
        resolved = EmptyDrafter()
    elif isinstance(drafter, str) and drafter.startswith(_COLUMN):
        resolved = ColumnDrafter(tokenizer, completion_tokens, drafter.removeprefix(_COLUMN))
    elif isinstance(drafter, str):
        factory = load_factory("drafter", drafter, _KNOWN)
        resolved = factory(
            tokenizer=tokenizer,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            **kwargs,
        )
        kwargs = {}
    else:
        resolved = drafter
    if kwargs:
        raise ValueError(f"drafter {drafter!r} of {task.name} takes no {sorted(kwargs)[0]!r}")
    if not isinstance(resolved, Drafter):
        raise TypeError(f"drafter {drafter!r} is a {type(resolved).__name__}, which has no draft")
    return resolved


def _encode(tokenizer: Tokenizer, texts: Sequence[str], completion_tokens: int) -> list[list[int]]:
    # Some tokenizers read a special token out of a text that spells it.
    ordinary = set(ordinary_ids(tokenizer).tolist())
    return [
        [token for token in ids if token in ordinary][:completion_tokens]
        for ids in tokenizer.encode_batch(texts)
    ]
