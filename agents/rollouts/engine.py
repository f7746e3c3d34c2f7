"""The seam where another engine writes the texts of a collection.

An ``Engine`` is given prompts as ids and gives whole completions back: ids, the log-probability of
each under the distribution it was drawn from, and what top-k and top-p kept. ``Dictation`` then
says them token by token, as the built-in ``Actor`` would, so that the environment is stepped with
the very ids that came back, and stop reasons, rewards and the recorder are what they always are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from agents.models.episodes import Act

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from agents.maths.distributions import Sampling
    from agents.models.policy import TransformerPolicy
    from textgym.envs.vector import TextVectorEnv

__all__ = ["Dictation", "Engine", "EngineError", "Order", "Written", "require_engine"]

_LEAST, _MOST = -1000.0, 1e-3  # of a log-probability; what is drawn has one, and rounding is small
_BUILT_IN = 'take engine="builtin", which writes these step by step'


class EngineError(RuntimeError):
    """An engine did not write what was asked for; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What every text of a collection has in common.

    Attributes:
        sampling: How ids are drawn.
        legal: The ids that can be drawn, the same before every token.
        eos_id: The id that ends a text, which is written as well.
        most: How many ids a text has at most, above 0; one of so many ends without ``eos_id``.
    """

    sampling: Sampling
    legal: tuple[int, ...]
    eos_id: int
    most: int


class Written(NamedTuple):
    """What an engine wrote after a prompt."""

    ids: list[int]
    log_probs: list[float]
    """Of each id under the very distribution that it was drawn from."""
    kept: list[list[int]] | None
    """The ids that top-k and top-p left, for each id that was drawn; ``None`` without limits."""


class Engine(Protocol):
    """Writes texts with weights that it is given."""

    @property
    def returns_kept(self) -> bool:
        """Whether it says what top-k and top-p kept; without that it may use neither."""

    def refresh(self, policy: TransformerPolicy) -> None:
        """Takes over a policy's weights; what is written from now on is written with them.

        Raises:
            EngineError: If it cannot.
        """

    def write(self, prompts: Sequence[list[int]], uniform: Tensor, order: Order) -> list[Written]:
        """Writes a text after each prompt.

        Args:
            prompts: Their ids, the beginning of text included.
            uniform: Numbers in [0, 1), one for each id of each text, ``(n, C)`` float32. Who has
                generators of its own seeds them with these.
            order: What the texts have in common.

        Raises:
            EngineError: If a text is missing or is not whole.
        """


def require_engine(engine: Engine, envs: TextVectorEnv, sampling: Sampling) -> None:
    """Requires an environment and a way to draw that an engine of whole texts can serve.

    Raises:
        ValueError: If texts are not just appended to under one fixed mask, or sampling is truncated
            and the engine does not say what was kept.
    """
    if envs.action_kind != "append":
        kind = {"choose": "chosen among candidates", "edit": "edited"}[envs.action_kind]
        raise ValueError(f"texts are {kind}, and an engine only appends tokens: {_BUILT_IN}")
    if envs.converses:
        raise ValueError(
            f"somebody replies in these texts, and an engine writes on to the end: {_BUILT_IN}"
        )
    if not envs.mask_is_fixed:
        raise ValueError(
            f"a constraint changes what is legal from token to token, which an engine is not told: "
            f"{_BUILT_IN}"
        )
    if not sampling.keeps_all and not engine.returns_kept:
        raise ValueError(
            "top_k and top_p need an engine that says what they kept, as ratios would be wrong "
            "without: leave them out, or start vLLM with --return-sampling-mask and set top_k"
        )


class Dictation:
    """Says, token by token, what an engine has written: an ``Actor`` without a model.

    Attributes:
        rows: The numbers of the open rows in the environment, ``(count,)`` int64.
    """

    def __init__(self, engine: Engine, order: Order, uniform: Tensor, vocabulary: int) -> None:
        """Makes one without open rows.

        Args:
            engine: Who writes.
            order: What the texts have in common.
            uniform: For each episode in the order in which they begin, ``(N, C)`` float32.
            vocabulary: How many ids there are.
        """
        self._engine, self._order, self._uniform = engine, order, uniform
        self._legal, self._vocabulary = frozenset(order.legal), vocabulary
        self._texts: list[Written] = []  # of the open rows
        self._said = np.zeros(0, dtype=np.int64)  # how much of each
        self._begun = 0
        self.rows = torch.empty(0, dtype=torch.int64, device=uniform.device)

    def open(
        self,
        rows: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        begins: npt.NDArray[np.int64] | None = None,  # noqa: ARG002 - an actor's signature
    ) -> None:
        """Has the texts of rows that begin written, all of them in one call.

        Args:
            rows: Their numbers in the environment, ``(k,)`` int64, none of them open.
            tokens: Their prompts, ``(k, T)`` int64, right-padded.
            lengths: ``(k,)`` int64, at least 1.
            begins: Not looked at; an engine finds out itself what texts have in common.

        Raises:
            EngineError: If a text is missing or is not whole.
        """
        cut = zip(tokens.tolist(), lengths.tolist(), strict=True)
        prompts = [ids[:length] for ids, length in cut]
        numbers = self._uniform[self._begun : self._begun + len(prompts)]
        written = self._engine.write(prompts, numbers, self._order)
        if len(written) != len(prompts):
            raise EngineError(f"the engine wrote {len(written)} texts of {len(prompts)}")
        for text in written:
            self._require_whole(text)
        self._texts += written
        self._said = np.concatenate([self._said, np.zeros(len(written), dtype=np.int64)])
        self._begun += len(written)
        self.rows = torch.cat([self.rows, rows])

    def close(self, closed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Lets go of rows that have ended; see ``Actor.close``."""
        left = np.flatnonzero(~closed)
        self._texts, self._said = [self._texts[i] for i in left], self._said[left]
        self.rows = self.rows[torch.from_numpy(left).to(self.rows.device)]
        return left

    def act(
        self,
        legal: Tensor,
        uniform: Tensor,  # noqa: ARG002 - an actor's signature; the texts are drawn already
        sampling: Sampling,
        candidates: tuple[Tensor, int] | None = None,  # noqa: ARG002 - as above
    ) -> Act:
        """The next token of every open row; values are for the update to compute.

        Args:
            legal: ``(V,)`` bool.
            uniform: Not looked at.
            sampling: How the texts were drawn.
            candidates: Not looked at.
        """
        said = [*zip(self._texts, self._said.tolist(), strict=True)]
        device = self.rows.device
        action = torch.tensor([text.ids[at] for text, at in said], device=device)
        log_prob = torch.tensor([text.log_probs[at] for text, at in said], device=device)
        if sampling.keeps_all:
            return Act(action, log_prob, None, None)
        kept = torch.zeros((len(said), self._vocabulary), dtype=torch.bool)
        for row, (text, at) in enumerate(said):
            kept[row, (text.kept or [])[at]] = True
        return Act(action, log_prob, None, kept.to(device) & legal)

    def follow(self, tokens: Tensor, lengths: Tensor) -> None:  # noqa: ARG002 - as an actor's
        """Goes on to the next token of every open row, each of which has grown by one."""
        self._said = self._said + 1

    def _require_whole(self, text: Written) -> None:
        """Requires a text that ends as it should, of ids that could be drawn."""
        order, count = self._order, len(text.ids)
        ends = text.ids[-1:] == [order.eos_id] or count == order.most
        if not ends or count > order.most or order.eos_id in text.ids[:-1]:
            raise EngineError(
                f"the engine wrote a text of {count} ids, which is not whole: one ends with the id "
                f"{order.eos_id}, and there only, or has {order.most} ids"
            )
        unknown = [i for i in text.ids if i not in self._legal]
        if unknown:
            raise EngineError(
                f"the engine wrote the id {unknown[0]}, which is not legal here: is it another "
                "model, or does it not know allowed_token_ids?"
            )
        odd = [x for x in text.log_probs if math.isnan(x) or not _LEAST < x <= _MOST]
        if len(text.log_probs) != count or odd:
            what = f"one of {odd[0]}" if odd else f"{len(text.log_probs)}"
            raise EngineError(
                f"the engine gave {what} log-probabilities for {count} ids: each id that was drawn "
                "has one, under the distribution it was drawn from (--logprobs-mode "
                "processed_logprobs)"
            )
        self._require_kept(text)

    def _require_kept(self, text: Written) -> None:
        """Requires the kept ids of each draw, where sampling is truncated."""
        if self._order.sampling.keeps_all:
            return
        kept = [] if text.kept is None else text.kept
        if len(kept) != len(text.ids) or any(
            drawn not in left for drawn, left in zip(text.ids, kept, strict=True)
        ):
            raise EngineError(
                "the engine does not say for each id what top_k and top_p kept beside it: leave "
                "them out, or start vLLM with --return-sampling-mask"
            )
