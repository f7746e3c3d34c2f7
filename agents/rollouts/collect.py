"""Collecting experience: whole episodes, as many as are asked for, in the rows that there are.

A row that ends takes the next prompt as soon as a few rows wait for one, and no closed row is
computed. Every episode has its own uniform numbers, one an action, drawn before the first step, so
what is written after a prompt depends neither on its row nor on its neighbours, nor on the process
that writes it, but for rounding. Drafts that are edited are drawn from seeds of the sampler's, one
an episode, so they do not either, and come again after a resume.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from agents.config import Scoring
from agents.models.edits import EditIds
from agents.rollouts.checks import require_fitting
from agents.rollouts.editor import Editor
from agents.rollouts.engine import Dictation, Order, require_engine
from agents.rollouts.recorder import Recorder, idle_action
from agents.rollouts.scores import LateScores
from agents.rollouts.writer import Actor
from textgym.dynamics.states import take_rows
from textgym.envs.backends import TorchBackend
from textgym.tokenizers import legal_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from agents.maths.distributions import Sampling
    from agents.models.episodes import Act
    from agents.models.policy import TransformerPolicy
    from agents.rollouts.engine import Engine
    from agents.rollouts.rollout import Rollout
    from textgym.dynamics.states import State
    from textgym.envs.vector import TextVectorEnv

__all__ = ["Manner", "collect", "play"]

Writer: TypeAlias = Actor | Editor | Dictation

_WAITING_SHARE = 6  # one row in so many waits for a prompt before prompts are read


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a collection is made, which changes nothing of what is drawn but by rounding.

    Attributes:
        engine: Who writes instead of the policy, with its weights; ``None`` for the policy itself.
        scoring: How the reward is asked.
        pass_tokens: The most tokens of a pass in which prompts are read, padding included, though a
            longer one goes alone; ``None`` reads all that begin at once.
    """

    engine: Engine | None = None
    scoring: Scoring = field(default_factory=Scoring)
    pass_tokens: int | None = None


_USUAL = Manner()


def collect(
    envs: TextVectorEnv,
    policy: TransformerPolicy,
    *,
    sampling: Sampling,
    generator: torch.Generator,
    example_ids: Sequence[int] | None = None,
    group: int = 1,
) -> Rollout:
    """Plays episodes until all that were asked for have ended.

    Args:
        envs: A text environment with the torch backend and autoreset disabled.
        policy: Who acts.
        sampling: How actions are drawn.
        generator: The sampler's, on the policy's device.
        example_ids: Which examples to start from, at least ``num_envs``; ``None`` lets each row
            draw its own once.
        group: How many episodes that follow each other, of one example, edit the same draft.

    Raises:
        ValueError: If ``envs`` has another backend or autoreset mode, or does not fit the policy,
            there are fewer examples than rows, or the episodes are no whole groups.
        RewardError: If the reward fails; nothing is learned from what was collected.
    """
    rollout = play(
        envs,
        policy,
        sampling=sampling,
        generator=generator,
        example_ids=example_ids,
        group=group,
    )
    return rollout.cut(*rollout.longest())


@torch.no_grad()
def play(
    envs: TextVectorEnv,
    policy: TransformerPolicy,
    *,
    sampling: Sampling,
    generator: torch.Generator,
    example_ids: Sequence[int] | None = None,
    group: int = 1,
    share: slice = slice(None),
    manner: Manner = _USUAL,
) -> Rollout:
    """``collect`` for one of several that play a share each; arrays are as wide as the allowance.

    Args:
        envs: As of ``collect``, and so on.
        policy: Who acts.
        sampling: How actions are drawn.
        generator: The sampler's; all who share draw the same numbers.
        example_ids: All that are played.
        group: See ``collect``.
        share: Which of them are played here.
        manner: How, if not as usual.

    Raises:
        ValueError: See ``collect``, or if the engine cannot serve the environment.
        RewardError: See ``collect``.
        EngineError: If the engine does not write what was asked for.
    """
    require_fitting(envs, policy)
    total = envs.num_envs if example_ids is None else len(example_ids)
    count = len(range(total)[share])
    if count < envs.num_envs:
        raise ValueError(
            f"{count} examples for {envs.num_envs} rows: give at least one a row, or make the "
            "environment with fewer rows"
        )
    if total % group:
        raise ValueError(f"{total} episodes are no whole groups of {group}")
    # Drawn for all and then shared out, so that a text is the same whoever writes it.
    shape = (total, envs.max_actions, *idle_action(envs, policy.device).shape)
    uniform = torch.rand(shape, generator=generator, device=policy.device)
    seeds = _draft_seeds(total, group, generator)[share] if envs.action_kind == "edit" else None
    mine = None if example_ids is None else example_ids[share]
    uniform = uniform[share]
    if manner.engine is None:
        writer: Writer = _actor(envs, policy, manner.pass_tokens)
    else:
        writer = _dictation(envs, manner.engine, sampling, uniform)
    collection = _Collection(envs, writer, uniform, seeds, mine, manner.scoring)
    collection.run(sampling)
    return collection.result()


def _draft_seeds(total: int, group: int, generator: torch.Generator) -> list[int]:
    """A seed for each episode; those of a group are the same."""
    count = (total // group,)
    seeds = torch.randint(2**31, count, generator=generator, device=generator.device)
    repeated: list[int] = seeds.repeat_interleave(group).tolist()
    return repeated


def _actor(
    envs: TextVectorEnv, policy: TransformerPolicy, pass_tokens: int | None
) -> Actor | Editor:
    columns = envs.prompt_tokens + envs.completion_tokens
    if envs.action_kind == "edit":
        return Editor(policy, columns=columns, special=EditIds.of(envs.tokenizer))
    return Actor(policy, rows=envs.num_envs, columns=columns, pass_tokens=pass_tokens)


def _dictation(
    envs: TextVectorEnv, engine: Engine, sampling: Sampling, uniform: Tensor
) -> Dictation:
    require_engine(engine, envs, sampling)
    tokenizer = envs.tokenizer
    order = Order(
        sampling=sampling,
        legal=tuple(np.flatnonzero(legal_ids(tokenizer)).tolist()),
        eos_id=tokenizer.eos_id,
        most=envs.max_actions,
    )
    return Dictation(engine, order, uniform, tokenizer.vocab_size)


class _Collection:
    """One collection on its way; ``run`` is to be called once."""

    def __init__(
        self,
        envs: TextVectorEnv,
        actor: Writer,
        uniform: Tensor,
        seeds: Sequence[int] | None,
        example_ids: Sequence[int] | None,
        scoring: Scoring,
    ) -> None:
        self._envs, self._actor, device = envs, actor, actor.rows.device
        self._send = TorchBackend(device).send
        self._ids = None if example_ids is None else np.asarray(example_ids, dtype=np.int64)
        self._total, self._started, self._uniform, self._seeds = len(uniform), 0, uniform, seeds
        self._idle = idle_action(envs, device)
        self._recorder = Recorder(envs, self._total, device)
        self._late = LateScores(envs, self._recorder, scoring)
        self._is_open = np.zeros(envs.num_envs, dtype=np.bool_)
        self._episode = np.zeros(envs.num_envs, dtype=np.int64)
        self._order = np.zeros(0, dtype=np.int64)  # the actor's open rows, on the host
        self._episode_there: Tensor = self._send(self._episode)
        self._env_seconds, self._reward_seconds_before = 0.0, envs.reward_seconds

    def run(self, sampling: Sampling) -> None:
        """Steps until every episode has ended and is paid."""
        with self._late:
            self._play(sampling)
            self._late.settle()

    def _play(self, sampling: Sampling) -> None:
        envs, actor, recorder = self._envs, self._actor, self._recorder
        self._reset(np.ones(envs.num_envs, dtype=np.bool_))
        fixed = envs.action_masks()[0] if envs.mask_is_fixed else None
        recorder.legal = fixed
        while len(actor.rows):
            before = take_rows(envs.dynamics_state, actor.rows)
            legal = envs.action_masks()[actor.rows] if fixed is None else fixed
            at = self._episode_there[actor.rows], before.steps
            act = self._act(before, legal, self._uniform[at], sampling)
            recorder.note(at, act, before, legal, self._step(act.action))
            action = act.action
            just_closed = envs.ended_rows & self._is_open
            if just_closed.any():
                self._finish(just_closed)
                left = actor.close(just_closed[self._order])
                self._order, action = self._order[left], action[self._send(left)]
            self._go_on(action)
            self._refill()

    def result(self) -> Rollout:
        """What was played, its arrays as wide as the allowance."""
        late, now = self._late.seconds, self._envs.reward_seconds
        return self._recorder.rollout(
            env_seconds=self._env_seconds + late,
            reward_seconds=now - self._reward_seconds_before + late,
        )

    def _act(self, before: State, legal: Tensor, uniform: Tensor, sampling: Sampling) -> Act:
        if isinstance(self._actor, Editor):
            return self._actor.act(legal, uniform, sampling)
        offered = before.candidates
        return self._actor.act(
            legal,
            uniform,
            sampling,
            None if offered is None else (offered, self._envs.tokenizer.pad_id),
        )

    def _go_on(self, action: Tensor) -> None:
        """Shows the actor what the open rows have become."""
        actor, state = self._actor, self._envs.dynamics_state
        if (
            isinstance(actor, Actor)
            and self._envs.action_kind == "append"
            and not self._envs.converses
        ):
            actor.feed(action)
        else:
            actor.follow(state.tokens[actor.rows], state.length[actor.rows])

    def _refill(self) -> None:
        """Starts waiting episodes in closed rows, once there are a few."""
        waiting, closed = self._total - self._started, np.flatnonzero(~self._is_open)
        a_few = max(1, len(self._is_open) // _WAITING_SHARE)
        if isinstance(self._actor, Dictation):  # what is asked for together is written together
            a_few = len(self._is_open)
        if waiting and (len(closed) >= min(a_few, waiting) or not self._is_open.any()):
            chosen = np.zeros_like(self._is_open)
            chosen[closed[:waiting]] = True
            self._reset(chosen)

    def _reset(self, chosen: npt.NDArray[np.bool_]) -> None:
        envs, rows = self._envs, np.flatnonzero(chosen)
        episodes = slice(self._started, self._started + len(rows))
        options: dict[str, Any] = {"reset_mask": chosen}
        if self._ids is not None:
            options["example_id"] = np.zeros(envs.num_envs, dtype=np.int64)
            options["example_id"][rows] = self._ids[episodes]
        seeds: list[int | None] | None = None
        if self._seeds is not None:
            seeds = [None] * envs.num_envs
            for row, seed in zip(rows.tolist(), self._seeds[episodes], strict=True):
                seeds[row] = seed
        start = time.perf_counter()
        _, infos = envs.reset(seed=seeds, options=options)
        self._env_seconds += time.perf_counter() - start
        self._episode[rows] = np.arange(episodes.start, episodes.stop)
        self._is_open[rows] = True
        self._started += len(rows)
        there, self._episode_there = self._send(rows), self._send(self._episode)
        state = envs.dynamics_state
        self._recorder.begin(episodes, state.prompt_length[there], infos["example_id"][rows])
        self._order = np.concatenate([self._order, rows])
        # What stands before the first action is the same after the same example.
        self._actor.open(there, state.tokens[there], state.length[there], infos["example_id"][rows])

    def _step(self, action: Tensor) -> Tensor:
        """Steps the environment; closed rows are given an action that does nothing."""
        actions = self._idle.repeat(self._envs.num_envs, *(1,) * self._idle.ndim)
        actions[self._actor.rows] = action
        start = time.perf_counter()
        _, rewards, _, _, infos = self._envs.step(actions)
        self._env_seconds += time.perf_counter() - start
        ended = infos.get("_score")
        if ended is not None:
            episodes = self._episode[ended]
            terms = infos.get("reward_terms", {})
            self._recorder.end(episodes, infos["stop_reason"][ended])
            if self._late.applies:
                self._late.owe(episodes)
            else:
                said = {n: term[ended] for n, term in terms.items() if not n.startswith("_")}
                self._recorder.score(episodes, infos["score"][ended], said)
        reward: Tensor = rewards[self._actor.rows]
        return reward

    def _finish(self, just_closed: npt.NDArray[np.bool_]) -> None:
        """Takes the texts of rows that have ended."""
        rows, state = self._send(np.flatnonzero(just_closed)), self._envs.dynamics_state
        self._recorder.finish(self._episode_there[rows], state.tokens[rows], state.length[rows])
        self._is_open = self._is_open & ~just_closed
