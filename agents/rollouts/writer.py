"""A policy at work on a batch of texts that begin and end at different times.

The actor holds the open rows of an environment, each in a slot of a key-value cache. A step runs
only the new column of every open row; a row that ends leaves at once, and the last slots move up,
so no closed row is ever computed; a row that begins takes the next slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agents.forward.output_product import OutputProduct
from agents.maths.distributions import sample
from agents.models.candidates import candidate_logits
from agents.models.episodes import Act
from textgym.envs.backends import TorchBackend

if TYPE_CHECKING:
    import numpy.typing as npt

    from agents.maths.distributions import Sampling
    from agents.models.policy import TransformerPolicy

__all__ = ["Actor"]


class Actor:
    """Writes with a policy whose weights stay as they are meanwhile."""

    def __init__(
        self,
        policy: TransformerPolicy,
        *,
        rows: int,
        columns: int,
        pass_tokens: int | None = None,
    ) -> None:
        """Makes an actor without open rows.

        Args:
            policy: Who acts.
            rows: The most rows that are open at once.
            columns: The most tokens of a text.
            pass_tokens: The most tokens of a pass that reads, padding included, though a longer
                text goes alone; ``None`` reads all that is there to read at once.
        """
        self._policy, self._pass_tokens = policy, pass_tokens
        self._trunk = policy.trunk.packed(rows, policy.dtype)
        self._output = OutputProduct.of(policy.head, pass_tokens=rows)
        self._cache = self._trunk.new_cache(rows, columns)
        width = policy.head.weight.shape[1]
        self._hidden = torch.empty((0, width), dtype=policy.dtype, device=policy.device)
        # Of the open rows, on the host; None where texts grow by more than it is told of.
        self._lengths: npt.NDArray[np.int64] | None = np.zeros(0, dtype=np.int64)
        self._longest = 0
        self.rows = torch.empty(0, dtype=torch.int64, device=policy.device)

    def open(
        self,
        rows: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        begins: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Takes in rows that begin; of those that begin alike, one is read for all.

        Args:
            rows: Their numbers in the environment, ``(k,)`` int64, none of them open.
            tokens: Their texts so far, ``(k, T)`` int64, right-padded.
            lengths: ``(k,)`` int64, at least 1.
            begins: Numbers that are the same for the same text, ``(k,)`` on the host; ``None``
                where nothing is known of it.
        """
        slots = self._cache.add(lengths)
        self.rows = torch.cat([self.rows, rows])
        known = lengths.cpu().numpy()  # the one thing that the host waits for
        if self._lengths is not None:
            self._lengths = np.concatenate([self._lengths, known])
            self._longest = int(self._lengths.max(initial=0))
        longest = int(known.max(initial=0))
        read = self._begin(slots, tokens, lengths, longest, begins)
        self._hidden = torch.cat([self._hidden, read])

    def close(self, closed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Lets go of rows that have ended; the order of the others may change.

        Args:
            closed: Which of the open rows, in the order of ``rows``, ``(count,)`` on the host,
                which would have to wait to ask a device how many they are.

        Returns:
            Where each of the rows that are left was before, ``(count,)`` int64.
        """
        source = self._cache.drop(np.flatnonzero(closed))
        there = TorchBackend(self.rows.device).send(source)
        self.rows, self._hidden = self.rows[there], self._hidden[there]
        if self._lengths is not None:
            self._lengths = self._lengths[source]
        return source

    def logits(self) -> Tensor:
        """The next token's logits in the open rows, ``(count, V)`` float32."""
        return self._output.logits(self._hidden)

    def values(self) -> Tensor | None:
        """The values of the open rows' states; see ``Act``."""
        if self._policy.critic is not None:
            return None
        return self._policy.values_of(self._hidden)

    def act(
        self,
        legal: Tensor,
        uniform: Tensor,
        sampling: Sampling,
        candidates: tuple[Tensor, int] | None = None,
    ) -> Act:
        """Chooses the next token, or the next candidate, of every open row.

        Args:
            legal: ``(A,)``, or ``(count, A)`` in the order of ``rows``, bool.
            uniform: One number in [0, 1) a row, ``(count,)`` float32.
            sampling: How to draw.
            candidates: What can be chosen, ``(count, K, L)`` int64, and the padding's id; ``None``
                where a token is appended.
        """
        logits = self.logits()
        if candidates is not None:
            logits = candidate_logits(logits, *candidates)
        action, log_prob, kept = sample(logits, legal, uniform, sampling)
        return Act(action, log_prob, self.values(), kept)

    def feed(self, action: Tensor) -> None:
        """Appends one token to every open row, ``(count,)`` int64."""
        if not len(action):
            return
        if self._lengths is not None:
            self._lengths = self._lengths + 1
        # An upper bound: the longest text may have ended since others began.
        self._longest = min(self._longest + 1, self._cache.columns)
        self._cache.fit(self._longest)
        self._hidden = self._trunk.step(action, self._cache)
        self._cache.lengths = self._cache.lengths + 1

    def follow(self, tokens: Tensor, lengths: Tensor) -> None:
        """Catches up with open rows that have grown by any number of tokens.

        Args:
            tokens: ``(count, T)`` int64, in the order of ``rows``.
            lengths: ``(count,)`` int64.
        """
        if not len(lengths):
            return
        self._lengths = None
        slots = torch.arange(len(lengths), device=lengths.device)
        one_more = lengths == self._cache.lengths + 1
        if bool(one_more.any()):
            # Rows that grew by more write a wrong column here, and read theirs anew below.
            self.feed(tokens[slots, lengths - 1])
        leap = slots[~one_more]
        self._cache.lengths = lengths
        if len(leap):
            self._hidden = self._hidden.clone()
            longest = int(lengths[leap].max())
            self._hidden[leap] = self._read(leap, tokens[leap], lengths[leap], longest)

    def _begin(
        self,
        slots: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        longest: int,
        begins: npt.NDArray[np.int64] | None,
    ) -> Tensor:
        """Reads texts that begin, each once; returns their last hidden states, ``(k, width)``."""
        numbers = np.arange(len(slots)) if begins is None else begins
        _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
        if len(first) == len(slots):
            return self._read(slots, tokens, lengths, longest)
        send = TorchBackend(slots.device).send
        read, alike = send(first), send(which)
        hidden = self._read(slots[read], tokens[read], lengths[read], longest)
        self._cache.copy_texts(slots[read][alike], slots)
        return hidden[alike]

    def _read(self, slots: Tensor, tokens: Tensor, lengths: Tensor, longest: int) -> Tensor:
        """Reads texts, as wide as the longest; returns their last hidden states."""
        self._longest = max(self._longest, longest)
        self._cache.fit(self._longest)
        limit = self._pass_tokens or len(slots) * longest
        at_once = max(1, limit // longest)
        hidden = []
        for start in range(0, len(slots), at_once):
            some = slice(start, start + at_once)
            first = torch.arange(len(slots[some]), device=slots.device) * longest
            read, wanted = tokens[some, :longest], first + lengths[some] - 1
            hidden.append(self._trunk.read(read, slots[some], self._cache, wanted))
        return torch.cat(hidden)
