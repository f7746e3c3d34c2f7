"""What a policy reads and what it answers: whole texts, the actions taken in them, and figures.

A text that grew holds all that was there before each of its actions, and is read once. One that was
edited is read as it was before every edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import torch

from agents.maths.masks import unpack_mask
from agents.models.candidates import chosen_candidates
from agents.models.edits import edit_log_probs
from agents.models.output_layer import chosen_log_probs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from agents.forward.contract import Trunk
    from agents.models.heads import EditHead

__all__ = ["Act", "Episodes", "Evaluation", "Reader", "evaluate_edited", "evaluate_grown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Episodes:
    """N whole texts of at most T tokens, and at most C actions in each.

    Attributes:
        tokens: The final texts, right-padded, ``(N, T)`` int64: the very ids that were sampled,
            never decoded and encoded again.
        places: The index of the last token before each action, ``(N, C)`` int64.
        actions: Ids, or numbers of candidates, ``(N, C)`` int64, or places and ids of edits,
            ``(N, C, 2)``; what ends a text where ``mask`` is false.
        mask: True iff text n was open before step c, ``(N, C)`` bool.
        legal: The legal actions: ``(A,)`` bool if they never change, else packed by ``pack_mask``,
            ``(N, C, ceil(A / 8))`` uint8. Of edits, the places and behind them the ids that were
            legal at the chosen place, each packed.
        kept: What top-k and top-p left of them, packed in the same way, or by ``pack_ids`` where
            that is smaller, ``(N, C, K)`` int32; ``None`` without such limits. An action that alone
            was left has a log-probability of 0 and no gradient.
        candidates: What could be chosen, ``(N, C, K, L)`` int64; ``None`` if there were none.
        texts: The whole text before each action, ``(N, C, T)`` int64, where texts are edited;
            ``None`` where they grow, and ``tokens`` holds what was there before.
        pad_id: The padding's id.
    """

    tokens: Tensor
    places: Tensor
    actions: Tensor
    mask: Tensor
    legal: Tensor
    kept: Tensor | None = None
    candidates: Tensor | None = None
    texts: Tensor | None = None
    pad_id: int

    def __len__(self) -> int:
        """N."""
        return len(self.tokens)


class Act(NamedTuple):
    """What the open rows of an environment do next, in the order in which they were asked."""

    action: Tensor
    """``(count,)`` int64."""
    log_prob: Tensor
    """Under the distribution that it was drawn from, ``(count,)`` float32."""
    value: Tensor | None
    """Of the state before it, ``(count,)`` float32; ``None`` where a critic of its own says so."""
    kept: Tensor | None
    """What top-k and top-p left, ``(count, A)`` bool; ``None`` where all that is legal."""
    legal: Tensor | None = None
    """Of edits, what was legal: the places, filled up to whole bytes of ``pack_mask``, and the ids
    at the chosen place, ``(count, A)`` bool, as is ``kept``; ``None`` where a mask says it."""


class Evaluation(NamedTuple):
    """What one forward pass says about the actions of whole texts.

    It is a tuple, in which hooks around the pass find the tensors that gradients come in by.

    Attributes:
        log_probs: Of the given actions, under the distribution that they were drawn from, over what
            top-k and top-p left, ``(N, C)`` float32, 0 outside the mask.
        values: Of the states before the actions, ``(N, C)`` float32, 0 outside the mask.
        entropies: Of the distributions over what was legal, ``(N, C)`` float32 in nats, 0 outside
            the mask; ``None`` unless they were asked for.
        unlimited: The log-probabilities over all that was legal, as if there were no limits;
            ``None`` where there were none.
    """

    log_probs: Tensor
    values: Tensor
    entropies: Tensor | None = None
    unlimited: Tensor | None = None

    @property
    def legal_log_probs(self) -> Tensor:
        """The log-probabilities over all that was legal, which divergences are measured by."""
        return self.log_probs if self.unlimited is None else self.unlimited

    @classmethod
    def of_actions(
        cls,
        shape: Sequence[int],
        at: tuple[Tensor, ...],
        values: Tensor,
        log_probs: Tensor,
        entropies: Tensor | None = None,
        unlimited: Tensor | None = None,
    ) -> Evaluation:
        """Puts figures of M single actions where those are in the texts.

        Args:
            shape: ``(N, C)``.
            at: The texts and the actions in them, ``(M,)`` int64 each.
            values: ``(M,)``.
            log_probs: ``(M,)``.
            entropies: ``(M,)``, if there are any.
            unlimited: ``(M,)``, if they differ.
        """
        blank = torch.zeros(shape, device=log_probs.device)
        figures = (log_probs, values, entropies, unlimited)
        placed = [None if each is None else blank.index_put(at, each) for each in figures]
        return cls(*placed)  # type: ignore[arg-type] # the first two are there


class Reader(Protocol):
    """What a policy has that reads whole texts."""

    @property
    def head(self) -> nn.Linear:
        """The output layer."""

    @property
    def trunk(self) -> Trunk:
        """The language model up to its last hidden state."""

    def require_edit_head(self) -> EditHead:
        """The edit head."""

    def values_at(self, tokens: Tensor, rows: Tensor, at: Tensor, hidden: Tensor) -> Tensor:
        """The values of the states that end at some places of texts."""


def evaluate_grown(
    policy: Reader,
    episodes: Episodes,
    rows: Tensor | slice,
    temperature: float,
    *,
    entropies: bool,
    detach_values: bool,
) -> Evaluation:
    """Evaluates texts that grew: the final text holds all that was there before.

    Args:
        policy: Whose models read them.
        episodes: See ``TransformerPolicy.evaluate``, as of all that follows.
        rows: See there.
        temperature: See there.
        entropies: See there.
        detach_values: See there.
    """
    mask, places = episodes.mask[rows], episodes.places[rows]
    # Nothing is chosen behind a text's last token, so it is not read.
    width = 1 + int(torch.where(mask, places, 0).max())
    tokens, at = episodes.tokens[rows, :width], mask.nonzero(as_tuple=True)
    text, last = at[0], places[at]
    hidden = policy.trunk.full(tokens, text * width + last)
    actions = episodes.actions[rows][at]
    legal = episodes.legal if episodes.legal.ndim == 1 else episodes.legal[rows][at]

    def figures(mask: Tensor, *, entropies: bool) -> tuple[Tensor, Tensor | None]:
        if episodes.candidates is None:
            weight, bias = policy.head.weight, policy.head.bias
            return chosen_log_probs(
                hidden, weight, bias, actions, mask, temperature, entropies=entropies
            )
        offered = episodes.candidates[rows][at], episodes.pad_id
        return chosen_candidates(hidden, policy.head, offered, actions, mask, temperature)

    of_masks = _figures_of(episodes, figures, legal, rows, at, entropies=entropies)
    read = hidden.detach() if detach_values else hidden
    values = policy.values_at(tokens, text, last, read)
    return Evaluation.of_actions(mask.shape, at, values, *of_masks)


def evaluate_edited(
    policy: Reader,
    episodes: Episodes,
    rows: Tensor | slice,
    temperature: float,
    *,
    entropies: bool,
    detach_values: bool,
) -> Evaluation:
    """Evaluates texts that were edited, each read as it was before every edit.

    Args:
        policy: Whose models read them.
        episodes: See ``TransformerPolicy.evaluate``, as of all that follows.
        rows: See there.
        temperature: See there.
        entropies: See there.
        detach_values: See there.
    """
    mask, texts = episodes.mask[rows], cast("Tensor", episodes.texts)[rows]
    at, columns = mask.nonzero(as_tuple=True), texts.shape[-1]
    last = episodes.places[rows][at]
    tokens = texts[at][:, : int(last.max()) + 1]
    hidden, bytes_of_places = policy.trunk.full(tokens), -(-columns // 8)

    def figures(packed: Tensor, *, entropies: bool) -> tuple[Tensor, Tensor | None]:
        return edit_log_probs(
            policy.head,
            policy.require_edit_head(),
            hidden,
            last + 1,
            episodes.actions[rows][at],
            (unpack_mask(packed[:, :bytes_of_places], columns), packed[:, bytes_of_places:]),
            temperature,
            entropies=entropies,
        )

    legal = episodes.legal[rows][at]
    of_masks = _figures_of(episodes, figures, legal, rows, at, entropies=entropies)
    edits = torch.arange(len(last), device=last.device)
    read = hidden.detach() if detach_values else hidden
    values = policy.values_at(tokens, edits, last, read[edits, last])
    return Evaluation.of_actions(mask.shape, at, values, *of_masks)


def _figures_of(
    episodes: Episodes,
    figures: Callable[..., tuple[Tensor, Tensor | None]],
    legal: Tensor,
    rows: Tensor | slice,
    at: tuple[Tensor, ...],
    *,
    entropies: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What an evaluation says of M actions, but for the values of the states before them.

    Args:
        episodes: The texts, some of whose ``rows`` are evaluated.
        figures: From a mask and ``entropies`` to log-probabilities and entropies, ``(M,)`` each.
        legal: The mask of what was legal.
        rows: As of ``TransformerPolicy.evaluate``.
        at: Where the actions are in those rows.
        entropies: Whether to give entropies, which are of all that was legal.

    Returns:
        Log-probabilities, entropies, and the log-probabilities without limits, where there are any.
    """
    log_probs, every = figures(legal, entropies=entropies)
    if episodes.kept is None:
        return log_probs, every, None
    limited, _ = figures(episodes.kept[rows][at], entropies=False)
    return limited, every, log_probs
