"""A policy that edits a batch of texts: it reads each anew before each of its edits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from agents.maths.distributions import Sampling, action_log_probs, sample
from agents.models.edits import EditIds, legal_ids_at
from agents.models.episodes import Act
from textgym.envs.backends import TorchBackend

if TYPE_CHECKING:
    import numpy.typing as npt

    from agents.models.policy import TransformerPolicy

__all__ = ["Editor", "choose_edits"]


@torch.no_grad()
def choose_edits(
    policy: TransformerPolicy,
    tokens: Tensor,
    lengths: Tensor,
    legal: Tensor,
    uniform: Tensor | None,
    sampling: Sampling,
    special: EditIds,
) -> Act:
    """Chooses an edit of each text, by a forward pass of its own.

    Args:
        policy: Who edits.
        tokens: ``(N, T)`` int64, right-padded.
        lengths: ``(N,)`` int64.
        legal: The legal places, then the legal ids, ``(N, T + V)`` bool.
        uniform: Two numbers in [0, 1) a row, ``(N, 2)`` float32; ``None`` takes the likeliest.
        sampling: How to draw.
        special: The ids that delete and insert.

    Returns:
        Its actions are ``(N, 2)``: a place and an id.
    """
    head, columns = policy.require_edit_head(), tokens.shape[1]
    read = tokens[:, : int(lengths.max())]
    hidden = policy.trunk.full(read)
    draws = (None, None) if uniform is None else uniform.unbind(1)
    places = legal[:, :columns]
    place, place_log_prob, places_kept = _draw(
        head.place_logits(hidden, lengths, columns), places, draws[0], sampling
    )
    there = tokens.gather(1, place[:, None]).squeeze(1)
    ids = legal_ids_at(legal[:, columns:], there, special)
    logits = policy.logits_of(head.token_states(hidden, lengths, place))
    token, log_prob, ids_kept = _draw(logits, ids, draws[1], sampling)
    value = None
    if policy.critic is None:
        rows = torch.arange(len(read), device=read.device)
        value = policy.values_at(read, rows, lengths - 1, hidden[rows, lengths - 1])
    limited = uniform is not None and not sampling.keeps_all
    return Act(
        torch.stack([place, token], dim=1),
        place_log_prob + log_prob,
        value,
        _beside(places_kept, ids_kept) if limited else None,
        _beside(places, ids),
    )


def _beside(places: Tensor, ids: Tensor) -> Tensor:
    """Places, filled up to whole bytes of ``pack_mask``, and behind them ids, ``(N, A)`` bool."""
    return torch.cat([F.pad(places, (0, -places.shape[1] % 8)), ids], dim=1)


def _draw(
    logits: Tensor, legal: Tensor, uniform: Tensor | None, sampling: Sampling
) -> tuple[Tensor, Tensor, Tensor]:
    """As ``sample``, but takes the likeliest without a number, and always says what was left."""
    if uniform is None:
        log_probs = action_log_probs(logits, legal, sampling.temperature)
        best = log_probs.max(dim=-1)
        return best.indices, best.values, legal
    action, log_prob, kept = sample(logits, legal, uniform, sampling)
    return action, log_prob, legal if kept is None else kept


class Editor:
    """Edits with a policy whose weights stay as they are meanwhile; the verbs are ``Actor``'s.

    Attributes:
        rows: The open rows of the environment, ``(count,)`` int64.
    """

    def __init__(self, policy: TransformerPolicy, *, columns: int, special: EditIds) -> None:
        """Makes an editor without open rows.

        Args:
            policy: Who edits.
            columns: T, the places of a row.
            special: The ids that delete and insert.
        """
        self._policy, self._special = policy.packed(columns, policy.dtype), special
        self.rows = torch.empty(0, dtype=torch.int64, device=policy.device)
        self._tokens = torch.empty((0, columns), dtype=torch.int64, device=policy.device)
        self._lengths = self.rows

    def open(
        self,
        rows: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        begins: npt.NDArray[np.int64] | None = None,  # noqa: ARG002 - an actor's signature
    ) -> None:
        """Takes in rows that begin; see ``Actor.open``."""
        self.rows = torch.cat([self.rows, rows])
        self.follow(torch.cat([self._tokens, tokens]), torch.cat([self._lengths, lengths]))

    def close(self, closed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Lets go of rows that have ended; see ``Actor.close``."""
        source = np.flatnonzero(~closed)
        there = TorchBackend(self.rows.device).send(source)
        self.rows = self.rows[there]
        self.follow(self._tokens[there], self._lengths[there])
        return source

    def act(self, legal: Tensor, uniform: Tensor, sampling: Sampling) -> Act:
        """Chooses the next edit of every open row; see ``choose_edits``."""
        return choose_edits(
            self._policy, self._tokens, self._lengths, legal, uniform, sampling, self._special
        )

    def follow(self, tokens: Tensor, lengths: Tensor) -> None:
        """Takes over what the open rows have become; see ``Actor.follow``."""
        self._tokens, self._lengths = tokens, lengths
