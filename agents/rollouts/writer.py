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

    def __init__(self, policy: TransformerPolicy, *, rows: int, columns: int) -> None:
        """Makes an actor without open rows.

        Args:
            policy: Who acts.
            rows: The most rows that are open at once.
            columns: The most tokens of a text.
        """
        self._policy = policy
        self._trunk = policy.trunk.packed(rows, policy.dtype)
        self._output = OutputProduct.of(policy.head, pass_tokens=rows)
        self._cache = self._trunk.new_cache(rows, columns)
        width = policy.head.weight.shape[1]
        self._hidden = torch.empty((0, width), dtype=policy.dtype, device=policy.device)
        self._longest = 0
        self.rows = torch.empty(0, dtype=torch.int64, device=policy.device)

    def open(self, rows: Tensor, tokens: Tensor, lengths: Tensor) -> None:
        """Takes in rows that begin.

        Args:
            rows: Their numbers in the environment, ``(k,)`` int64, none of them open.
            tokens: Their texts so far, ``(k, T)`` int64, right-padded.
            lengths: ``(k,)`` int64, at least 1.
        """
        slots = self._cache.add(lengths)
        self.rows = torch.cat([self.rows, rows])
        self._hidden = torch.cat([self._hidden, self._read(slots, tokens, lengths)])

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
        # An upper bound: to know the longest open text, the host would have to wait.
        self._longest = min(self._longest + 1, self._cache.columns)
        self._cache.reserve(self._longest)
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
        slots = torch.arange(len(lengths), device=lengths.device)
        one_more = lengths == self._cache.lengths + 1
        if bool(one_more.any()):
            # Rows that grew by more write a wrong column here, and read theirs anew below.
            self.feed(tokens[slots, lengths - 1])
        leap = slots[~one_more]
        self._cache.lengths = lengths
        if len(leap):
            self._hidden = self._hidden.clone()
            self._hidden[leap] = self._read(leap, tokens[leap], lengths[leap])

    def _read(self, slots: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        longest = int(lengths.max())
        self._longest = max(self._longest, longest)
        self._cache.reserve(self._longest)
        wanted = torch.arange(len(slots), device=slots.device) * longest + lengths - 1
        return self._trunk.read(tokens[:, :longest], slots, self._cache, wanted)
