"""Episodes of a batch: what is known of them beside their texts, and how they end and begin.

Infos are as Gymnasium's vector environments give them: every entry is an array of length N, and
``_key`` says in which rows it means something.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from textgym.dynamics.append import legal_ids_of
from textgym.dynamics.states import (
    Array,
    Rules,
    State,
    is_finished,
    is_truncated,
    observe,
    replace_rows,
    take_rows,
)
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textgym.envs.backends import Backend
    from textgym.envs.batch_moves import BatchMoves
    from textgym.envs.starts import Beginnings, Starts
    from textgym.envs.world import World

__all__ = ["Episodes", "Finished", "Payment", "Turnover"]

Payment: TypeAlias = (
    "tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_] | slice] | None"
)
"""Which rows were scored, ``(n,)``, their scores, and which of them are finished, if any were."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finished:
    """Finished texts that are not scored yet.

    Attributes:
        examples: What each started with.
        completions: The texts.
        ids: What the agent wrote in each, for a reward that reads it; else ``None``.
    """

    examples: Sequence[Example]
    completions: Sequence[str]
    ids: Sequence[list[int]] | None

    def take(self, some: slice) -> Finished:
        """Returns some of them."""
        ids = None if self.ids is None else self.ids[some]
        return Finished(examples=self.examples[some], completions=self.completions[some], ids=ids)

    @classmethod
    def join(cls, parts: Sequence[Finished]) -> Finished:
        """Returns those of several, at least one, of one environment, in order."""
        ids = [number for part in parts for number in part.ids or ()]
        return cls(
            examples=[example for part in parts for example in part.examples],
            completions=[text for part in parts for text in part.completions],
            ids=None if parts[0].ids is None else ids,
        )


@dataclass(slots=True, eq=False)
class Episodes:
    """N episodes on the host.

    Attributes:
        examples: What each row started with, ``(N,)``, each an ``Example``.
        example_ids: Their numbers in the split, ``(N,)`` int64; -1 for a caller's own prompt.
        prompt_lengths: How many places their prompts take, ``(N,)`` int64.
        scores: The scores of finished texts, ``(N,)`` float64; NaN before.
        potentials: The scores of the texts so far, where they are paid for, ``(N,)`` float64.
        closed: Rows that no action changes before they are reset, ``(N,)`` bool.
        reward_seconds: How long the reward has worked on these rows so far.
        later: Who is handed finished texts instead of the reward; ``None`` has them scored.
    """

    examples: npt.NDArray[np.object_]
    example_ids: npt.NDArray[np.int64]
    prompt_lengths: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    potentials: npt.NDArray[np.float64]
    closed: npt.NDArray[np.bool_]
    reward_seconds: float = 0.0
    later: Callable[[Finished], None] | None = None

    @classmethod
    def none_yet(cls, count: int) -> Episodes:
        """Returns ``count`` rows in which nothing has begun."""
        return cls(
            examples=_array_of([Example(prompt="")] * count),
            example_ids=np.full(count, -1),
            prompt_lengths=np.zeros(count, dtype=np.int64),
            scores=np.full(count, np.nan),
            potentials=np.zeros(count),
            closed=np.ones(count, dtype=np.bool_),
        )

    def begin(
        self, rows: npt.NDArray[np.int64], beginnings: Beginnings, infos: dict[str, Any]
    ) -> None:
        """Notes what the given rows start with, also in ``infos``."""
        self.examples[rows] = _array_of(beginnings.examples)
        self.example_ids[rows] = beginnings.numbers
        self.prompt_lengths[rows] = beginnings.prompt_length
        self.scores[rows], self.potentials[rows] = np.nan, 0.0
        self.name(rows, infos)

    def name(self, rows: npt.NDArray[np.int64], infos: dict[str, Any]) -> None:
        """Adds to ``infos`` which examples the given rows are of, and where their prompts end."""
        _add_entries(
            infos,
            len(self.examples),
            rows,
            example_id=self.example_ids[rows],
            prompt_length=self.prompt_lengths[rows],
        )

    def named(self) -> dict[str, Any]:
        """Returns the infos that every step has: what ``name`` adds, of all rows."""
        everywhere = np.ones(len(self.examples), dtype=np.bool_)
        return {
            "example_id": self.example_ids.copy(),
            "_example_id": everywhere,
            "prompt_length": self.prompt_lengths.copy(),
            "_prompt_length": everywhere.copy(),
        }

    def pay(
        self, world: World, host: State, finished: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any], Payment]:
        """Scores the rows that need it in one batch: the finished ones, or all open ones if dense.

        Finished ones that are scored later are paid 0, and their score is NaN.

        Args:
            world: Decodes and scores.
            host: The state after the step, in numpy.
            finished: Which texts were finished in the step, ``(N,)`` bool.

        Returns:
            The rewards, ``(N,)`` float64, the infos of the finished rows, and what to ``book`` once
            the step has succeeded.

        Raises:
            RewardError: If the reward fails.
        """
        dense, count = world.settings.dense, len(self.examples)
        rewards = np.zeros(count)
        infos: dict[str, Any] = {}
        rows = (~self.closed if dense else finished).nonzero()[0]
        if not rows.size:
            return rewards, infos, None
        taken = take_rows(host, rows)
        examples, completions = self.examples[rows].tolist(), world.completions(taken)
        texts = Finished(examples=examples, completions=completions, ids=world.ids_read(taken))
        scores, terms = self._scores(world, texts)
        rewards[rows] = np.nan_to_num(scores - self.potentials[rows])
        ended = finished[rows] if dense else slice(None)
        if rows[ended].size:
            _add_entries(
                infos,
                count,
                rows[ended],
                stop_reason=taken.stop_reason[ended],
                score=scores[ended],
                completion_length=world.completion_lengths(taken)[ended],
            )
            parts = {name: part[ended] for name, part in terms.items()}
            _add_terms(infos, count, rows[ended], parts)
        return rewards, infos, (rows, scores, ended)

    def _scores(
        self, world: World, texts: Finished
    ) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]]]:
        """What the reward says of texts, and its parts; NaN of those that are scored later."""
        if self.later is not None and not world.settings.dense:
            self.later(texts)
            return np.full(len(texts.completions), np.nan), {}
        start = time.perf_counter()
        scores = world.score(texts.examples, texts.completions, texts.ids)
        self.reward_seconds += time.perf_counter() - start
        return scores

    def book(self, payment: Payment, *, dense: bool) -> None:
        """Notes what has been paid: final scores, and the potentials of dense rewards."""
        if payment is None:
            return
        rows, scores, ended = payment
        if dense:
            self.potentials[rows] = scores
        self.scores[rows[ended]] = scores[ended]

    def take(self, rows: npt.NDArray[np.int64]) -> Episodes:
        """Returns new episodes, a copy of the rows whose numbers are given."""
        return Episodes(
            examples=self.examples[rows],
            example_ids=self.example_ids[rows],
            prompt_lengths=self.prompt_lengths[rows],
            scores=self.scores[rows],
            potentials=self.potentials[rows],
            closed=self.closed[rows],
            reward_seconds=self.reward_seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Turnover:
    """Ends and begins episodes in one of Gymnasium's three autoreset modes.

    Attributes:
        mode: The mode.
        rules: The rules.
        starts: Make what rows start with.
        backend: Where states are.
        moves: Say what is legal.
    """

    mode: AutoresetMode
    rules: Rules
    starts: Starts
    backend: Backend
    moves: BatchMoves

    def end(
        self, state: State, host: State, episodes: Episodes
    ) -> tuple[State, npt.NDArray[np.float64], Array, Array, dict[str, Any]]:
        """Pays for what an action has finished, and starts anew what is to start in this step.

        Args:
            state: All rows after the action, where they are.
            host: The same in numpy.
            episodes: What is known of them; it is brought up to date.

        Returns:
            The state with new episodes in it, rewards, terminations, truncations and infos.

        Raises:
            RewardError: If the reward fails. Nothing has changed then.
        """
        was_closed, world = episodes.closed, self.starts.world
        finished = now_closed = ~was_closed & is_finished(host)
        if self.rules.step_limit is not None:
            now_closed = finished | (~was_closed & is_truncated(host, self.rules))
        restarting = self._restarting(was_closed, now_closed)
        rewards, infos, payment = episodes.pay(world, host, finished)
        fresh = self.starts.drawn(restarting) if restarting.size else None
        # Nothing that can fail comes after this.
        episodes.book(payment, dense=world.settings.dense)
        if self.mode is AutoresetMode.NEXT_STEP and fresh is not None:
            state = self.begin(state, restarting, fresh, episodes, infos)
        terminated = is_finished(state)
        truncated = is_truncated(state, self.rules)
        if self.mode is AutoresetMode.SAME_STEP and fresh is not None:
            episodes.name(restarting, infos)
            infos = self._final_infos(state, infos, now_closed)
            state = self.begin(state, restarting, fresh, episodes, infos)
            now_closed = np.zeros_like(now_closed)
        elif self.mode is AutoresetMode.DISABLED:
            now_closed = now_closed | was_closed
        episodes.closed = now_closed
        return state, rewards, terminated, truncated, infos | episodes.named()

    def begin(
        self,
        state: State | None,
        rows: npt.NDArray[np.int64],
        fresh: Beginnings,
        episodes: Episodes,
        infos: dict[str, Any],
    ) -> State:
        """Puts what rows start with into the state, and notes it in ``episodes`` and ``infos``.

        Args:
            state: All rows; ``None`` before the first reset, which starts all of them.
            rows: The numbers of those that start, ``(n,)``, in order.
            fresh: What they start with.
            episodes: What is known of all rows.
            infos: This call's infos.
        """
        episodes.begin(rows, fresh, infos)
        if state is None or len(rows) == len(episodes.closed):
            return fresh.state
        return replace_rows(state, self.backend.send(rows), fresh.state)

    def show_mask(
        self,
        infos: dict[str, Any],
        state: State | None,
        present: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Adds the legal actions, if they are wanted, of the rows that are present, or of all.

        Args:
            infos: Where they are added.
            state: All rows; ``None`` where they do not matter, as the mask is fixed, and rows are
                told to be present.
            present: Which rows are, ``(N,)``; ``None`` for all of them.
        """
        world = self.starts.world
        if not world.settings.shows_mask:
            return
        if present is None:
            present = np.ones(0 if state is None else len(state.steps), dtype=np.bool_)
        marks = present.copy()
        if state is None or world.mask_is_fixed:
            shown = legal_ids_of(self.rules, len(marks))
            if not marks.all():
                shown &= self.backend.send(marks)[:, None]
        else:
            shown = self.moves.legal(state) & self.backend.send(marks)[:, None]
        infos["action_mask"], infos["_action_mask"] = self.backend.as_int8(shown), marks

    def _restarting(
        self, was_closed: npt.NDArray[np.bool_], now_closed: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Returns the rows that start anew in this step."""
        if self.mode is AutoresetMode.DISABLED:
            return np.zeros(0, dtype=np.int64)
        return (now_closed if self.mode is AutoresetMode.SAME_STEP else was_closed).nonzero()[0]

    def _final_infos(
        self, state: State, infos: dict[str, Any], closed: npt.NDArray[np.bool_]
    ) -> dict[str, Any]:
        """Moves this step's infos into ``final_info`` beside ``final_obs``, as Gymnasium does."""
        self.show_mask(infos, state, closed)
        observation = observe(state, self.starts.world.settings.obs_mode)
        if isinstance(state.tokens, np.ndarray):
            observation = _rows_of(observation, np.flatnonzero(closed), len(closed))
        return {
            "final_obs": observation,
            "_final_obs": closed.copy(),
            "final_info": infos,
            "_final_info": closed.copy(),
        }


def _add_entries(
    infos: dict[str, Any], count: int, rows: npt.NDArray[np.int64], **entries: npt.NDArray[Any]
) -> None:
    """Adds entries that only some rows have to ``infos``.

    Args:
        infos: Where they are added.
        count: N, the number of rows.
        rows: The numbers of the rows that have them, ``(n,)``.
        **entries: Their values, ``(n,)``.
    """
    marks = _mark(rows, count)
    for key, values in entries.items():
        array = np.zeros(count, dtype=values.dtype)
        array[rows] = values
        infos[key], infos[f"_{key}"] = array, marks.copy()


def _add_terms(
    infos: dict[str, Any],
    count: int,
    rows: npt.NDArray[np.int64],
    terms: dict[str, npt.NDArray[np.float64]],
) -> None:
    """Adds the parts of a weighted reward under ``reward_terms``, if there are any; see above."""
    if terms:
        nested: dict[str, Any] = {}
        _add_entries(nested, count, rows, **terms)
        infos["reward_terms"], infos["_reward_terms"] = nested, _mark(rows, count)


def _mark(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.bool_]:
    """Returns which of ``count`` rows are among the given numbers, ``(count,)`` bool."""
    mask = np.zeros(count, dtype=np.bool_)
    mask[rows] = True
    return mask


def _rows_of(
    observation: Array | dict[str, Array], rows: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.object_]:
    """Makes an object array with the observations of the given rows, and ``None`` elsewhere."""
    final = np.full(count, None, dtype=object)
    for row in rows:
        if isinstance(observation, dict):
            final[row] = {key: value[row].copy() for key, value in observation.items()}
        else:
            final[row] = observation[row].copy()
    return final


def _array_of(examples: Sequence[Example]) -> npt.NDArray[np.object_]:
    return np.fromiter(examples, dtype=np.object_, count=len(examples))
