"""The log-probabilities of edits: first a place is drawn, then what is done there.

The log-probability of an edit is that of its place and, given the place, that of its id. The mask
of an environment that edits says which places and which ids are legal; ``legal_ids_at`` leaves out
the pairs that have no effect, so that no action is wasted. A text that changes in place has no
cache: it is read anew before each edit.

Simplifications: the likeliest edit is taken to be the likeliest id at the likeliest place; a
pretrained model has hardly met the ids by which it deletes and inserts, and has to learn their use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from agents.forward.output_product import OutputProduct
from agents.maths.distributions import action_log_probs, entropies_of
from agents.models.output_layer import chosen_log_probs

if TYPE_CHECKING:
    from torch import nn

    from agents.models.heads import EditHead
    from textgym.types import Tokenizer

__all__ = ["EditIds", "edit_log_probs", "legal_ids_at"]


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


def edit_log_probs(
    policy_head: nn.Linear,
    edit_head: EditHead,
    hidden: Tensor,
    lengths: Tensor,
    edits: Tensor,
    legal: tuple[Tensor, Tensor],
    temperature: float,
    *,
    entropies: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of M edits, each of a text as it was before it.

    An edit's entropy is that of its place and, at the place that was taken, that of its id: the
    whole distribution's on average over places drawn from it, and so is its gradient.

    Args:
        policy_head: The output layer.
        edit_head: What points at places.
        hidden: Last hidden states of the texts, ``(M, L, width)``.
        lengths: Of the texts, ``(M,)`` int64.
        edits: Places and ids, ``(M, 2)`` int64.
        legal: The legal places, ``(M, T)`` bool, and the ids that are legal at the chosen place,
            packed by ``pack_mask``, ``(M, ceil(V / 8))`` uint8.
        temperature: The sampler's.
        entropies: Whether to give them as well.

    Returns:
        ``(M,)`` float32 each, the second ``None`` unless it was asked for.
    """
    places, ids = legal
    place, token = edits.unbind(dim=-1)
    place_logits = edit_head.place_logits(hidden, lengths, places.shape[1])
    of_places = action_log_probs(place_logits, places, temperature)
    of_place = of_places.gather(-1, place[:, None]).squeeze(-1)
    states = edit_head.token_states(hidden, lengths, place)
    of_id, of_ids = chosen_log_probs(
        states,
        policy_head.weight,
        policy_head.bias,
        token,
        ids,
        temperature,
        entropies=entropies,
    )
    if of_ids is None:
        return of_place + of_id, None
    # A place is also worth what its ids leave open. What the likeliest one leaves is taken off:
    # that depends on the text alone, so it changes no mean, and there is less noise.
    with torch.no_grad():
        likeliest = edit_head.token_states(hidden, lengths, of_places.argmax(dim=-1))
        logits = OutputProduct.of(policy_head).logits(likeliest)
        every = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
        usual = entropies_of(action_log_probs(logits, every, temperature))
    worth = (of_place - of_place.detach()) * (of_ids.detach() - usual)  # 0 but its gradient
    return of_place + of_id, of_ids + worth + entropies_of(of_places)
