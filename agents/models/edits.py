"""A language model that edits texts: first a place is drawn, then what is done there.

The log-probability of an edit is that of its place and, given the place, that of its id. The mask
of an environment that edits says which places and which ids are legal; ``legal_ids_at`` leaves out
the pairs that have no effect, so that no action is wasted. A text that changes in place has no
cache: it is read anew before each edit.

Simplifications: the likeliest edit is taken to be the likeliest id at the likeliest place; a
pretrained model has hardly met the ids by which it deletes and inserts, and has to learn their use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from agents.maths.distributions import Sampling, action_log_probs, entropies_of, sample, unpack_mask
from agents.models.output_layer import chosen_log_probs
from agents.rollouts.rollout import Evaluation
from agents.rollouts.writer import Act
from textgym.envs.backends import TorchBackend

if TYPE_CHECKING:
    import numpy.typing as npt

    from agents.models.heads import EditHead
    from agents.models.policy import TransformerPolicy
    from textgym.types import Tokenizer

__all__ = ["EditIds", "Editor", "choose_edits", "evaluate_edits", "legal_ids_at"]


class EditIds(NamedTuple):
    """The ids that do something else than being written."""

    delete: int
    insert: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> EditIds:
        """As the environments use them: the padding deletes, the beginning of text inserts."""
        return cls(delete=tokenizer.pad_id, insert=tokenizer.bos_id)


def legal_ids_at(ids: Tensor, there: Tensor, special: EditIds) -> Tensor:
    """Which ids are legal at a place, where a mask says which are legal somewhere.

    What is not there cannot be deleted, and only a token that may be written can be doubled.

    Args:
        ids: ``(N, V)`` bool; not modified.
        there: The tokens at the places, ``(N,)`` int64, padding right behind a text.
        special: The ids that delete and insert.

    Returns:
        ``(N, V)`` bool.
    """
    result = ids.clone()
    ordinary = (there != special.delete) & (there != special.insert)
    may_be_written = ids.gather(1, there[:, None]).squeeze(1) & ordinary
    result[:, special.delete] &= there != special.delete
    result[:, special.insert] &= may_be_written
    return result


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
        Its actions are ``(N, 2)``: a place and an id. What was left of them, ``kept``, is always
        there: the places, filled up to whole bytes of ``pack_mask``, and the ids at the place.
    """
    head, columns = _head(policy), tokens.shape[1]
    read = tokens[:, : int(lengths.max())]
    hidden = policy.trunk.full(read)
    draws = (None, None) if uniform is None else uniform.unbind(1)
    places = legal[:, :columns]
    place, place_log_prob, places_kept = _draw(
        head.place_logits(hidden, lengths, columns), places, draws[0], sampling
    )
    there = tokens.gather(1, place[:, None]).squeeze(1)
    ids = legal_ids_at(legal[:, columns:], there, special)
    logits = policy.head(head.token_states(hidden, lengths, place))
    token, log_prob, ids_kept = _draw(logits, ids, draws[1], sampling)
    value = None
    if policy.critic is None:
        rows = torch.arange(len(read), device=read.device)
        value = policy.values_at(read, rows, lengths - 1, hidden[rows, lengths - 1])
    return Act(
        torch.stack([place, token], dim=1),
        place_log_prob + log_prob,
        value,
        torch.cat([F.pad(places_kept, (0, -columns % 8)), ids_kept], dim=1),
    )


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


def evaluate_edits(
    policy: TransformerPolicy,
    texts: Tensor,
    places: Tensor,
    actions: Tensor,
    mask: Tensor,
    legal: Tensor,
    temperature: float,
    *,
    entropies: bool = False,
) -> Evaluation:
    """Log-probabilities and values of edits, each at the text as it was before it.

    An edit's entropy is that of its place and, at the place that was taken, that of its id: the
    whole distribution's on average over places drawn from it, and so is its gradient.

    Args:
        policy: Whose.
        texts: Before each edit, ``(N, C, T)`` int64, right-padded.
        places: The index of the last token of each text, ``(N, C)`` int64.
        actions: Places and ids, ``(N, C, 2)`` int64.
        mask: Where there was an edit, ``(N, C)`` bool.
        legal: Places, then ids, each packed by ``pack_mask``,
            ``(N, C, ceil(T / 8) + ceil(V / 8))`` uint8.
        temperature: The sampler's.
        entropies: Whether to give them as well.
    """
    head, columns = _head(policy), texts.shape[-1]
    at = mask.nonzero(as_tuple=True)
    last, allowed = places[at], legal[at]
    tokens = texts[at][:, : int(last.max()) + 1]
    place, token = actions[at].unbind(dim=-1)
    hidden, lengths = policy.trunk.full(tokens), last + 1
    cut = -(-columns // 8)
    may_point = unpack_mask(allowed[:, :cut], columns)
    every = action_log_probs(head.place_logits(hidden, lengths, columns), may_point, temperature)
    of_place = every.gather(-1, place[:, None]).squeeze(-1)
    states = head.token_states(hidden, lengths, place)
    output = policy.head
    of_id, uncertain = chosen_log_probs(
        states,
        output.weight,
        output.bias,
        token,
        allowed[:, cut:],
        temperature,
        entropies=entropies,
    )
    if uncertain is not None:
        # A place is also worth what its ids leave open. What the likeliest one leaves is taken off:
        # that depends on the text alone, so it changes no mean, and there is less noise.
        usual = _entropies_at(policy, hidden, lengths, every.argmax(dim=-1), temperature)
        worth = (of_place - of_place.detach()) * (uncertain.detach() - usual)  # 0 but its gradient
        uncertain = uncertain + worth + entropies_of(every)
    rows = torch.arange(len(last), device=last.device)
    values = policy.values_at(tokens, rows, last, hidden[rows, last])
    return Evaluation.of(mask.shape, at, of_place + of_id, values, uncertain)


@torch.no_grad()
def _entropies_at(
    policy: TransformerPolicy, hidden: Tensor, lengths: Tensor, places: Tensor, temperature: float
) -> Tensor:
    """The entropies of ids at places, ``(N,)``, as if every id were legal."""
    logits = policy.head(_head(policy).token_states(hidden, lengths, places))
    legal = torch.ones(policy.vocab_size, dtype=torch.bool, device=logits.device)
    return entropies_of(action_log_probs(logits, legal, temperature))


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
        self._policy, self._special = policy, special
        self.rows = torch.empty(0, dtype=torch.int64, device=policy.device)
        self._tokens = torch.empty((0, columns), dtype=torch.int64, device=policy.device)
        self._lengths = self.rows

    def open(self, rows: Tensor, tokens: Tensor, lengths: Tensor) -> None:
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


def _head(policy: TransformerPolicy) -> EditHead:
    if policy.edit_head is None:
        raise ValueError("the policy has no edit head: make it with edits=True")
    return policy.edit_head
