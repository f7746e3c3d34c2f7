"""Collecting experience: whole episodes, as many as are asked for, in the rows that there are.

A row that ends takes the next prompt as soon as a few rows wait for one, and no closed row is
computed. Every episode has its own uniform numbers, one an action, drawn before the first step, so
what is written after a prompt depends neither on its row nor on its neighbours, nor on the process
that writes it, but for rounding.

Simplification: tokens are appended or candidates chosen; texts that are edited are not collected.
"""

from __future__ import annotations

import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from agents.acting import Actor
from agents.decoding import pack_mask
from agents.guards import explained_memory
from agents.processes import Processes
from agents.rollout import Rollout

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from agents.acting import Act
    from agents.decoding import Sampling
    from agents.policy import TransformerPolicy
    from textgym.states import State
    from textgym.vector import TextVectorEnv

__all__ = ["collect", "require_fitting"]

_WAITING_SHARE = 16  # one row in so many waits for a prompt before prompts are read


@torch.no_grad()
def collect(
    envs: TextVectorEnv,
    policy: TransformerPolicy,
    *,
    sampling: Sampling,
    generator: torch.Generator,
    example_ids: Sequence[int] | None = None,
    processes: Processes | None = None,
) -> Rollout:
    """Plays episodes until all that were asked for have ended.

    Args:
        envs: A text environment with the torch backend and autoreset disabled.
        policy: Who acts.
        sampling: How actions are drawn.
        generator: The sampler's, on the policy's device.
        example_ids: Which examples to start from, at least ``num_envs`` for each process; ``None``
            lets each row draw its own once.
        processes: Who plays the episodes; each has an environment and a generator like this one's,
            plays its share, and is given all. ``None`` for this process alone.

    Raises:
        ValueError: If ``envs`` has another backend or autoreset mode, or does not fit the policy,
            or there are fewer examples than rows.
        RewardError: If the reward fails, in any process; nothing is learned from what was
            collected.
    """
    require_fitting(envs, policy)
    processes = Processes() if processes is None else processes
    rows, columns = envs.num_envs, envs.prompt_tokens + envs.completion_tokens
    total = rows * processes.count if example_ids is None else len(example_ids)
    if total < rows * processes.count:
        raise ValueError(
            f"{total} examples for {rows * processes.count} rows: give at least one a row, or make "
            "the environment with fewer rows"
        )
    # Drawn for all and then shared out, so that a text is the same whoever writes it.
    uniform = torch.rand((total, envs.max_actions), generator=generator, device=policy.device)
    share = processes.share(total)
    mine = None if example_ids is None else example_ids[share]
    with processes.together(), explained_memory():
        actor = Actor(policy, rows=rows, columns=columns)
        collection = _Collection(envs, actor, uniform[share], mine)
        collection.run(sampling)
    return _gathered(collection.result(processes), processes, total)


def require_fitting(envs: TextVectorEnv, policy: TransformerPolicy) -> None:
    """Requires an environment that a policy can be collected from.

    Raises:
        ValueError: If it is another; the message says what to change.
    """
    if not envs.metadata.get("torch") or envs.autoreset_mode is not AutoresetMode.DISABLED:
        raise ValueError(
            'collect needs an environment made with backend="torch" and autoreset_mode="Disabled"'
        )
    if envs.action_kind == "edit":
        raise ValueError("collect appends tokens or chooses candidates, and this environment edits")
    if envs.tokenizer.vocab_size != policy.vocab_size:
        raise ValueError(
            f"the policy has {policy.vocab_size} actions, the environment's tokenizer "
            f"{envs.tokenizer.vocab_size} ids: load the tokenizer that the model was trained with"
        )
    width, most = envs.prompt_tokens + envs.completion_tokens, policy.most_tokens
    if most is not None and width > most:
        raise ValueError(
            f"texts of the environment have {width} tokens and the model reads at most {most}: "
            "make the environment with fewer prompt_tokens or completion_tokens"
        )


class _Collection:
    """One collection on its way; ``run`` is to be called once."""

    def __init__(
        self,
        envs: TextVectorEnv,
        actor: Actor,
        uniform: Tensor,
        example_ids: Sequence[int] | None,
    ) -> None:
        self._envs, self._actor, self._device = envs, actor, actor.rows.device
        self._ids = None if example_ids is None else np.asarray(example_ids, dtype=np.int64)
        self._total, self._started, self._uniform = len(uniform), 0, uniform
        shape = (self._total, envs.max_actions)
        # The first candidate always is the end of text.
        self._end = envs.tokenizer.eos_id if envs.action_kind == "append" else 0
        self._actions = self._whole(*shape) + self._end
        self._candidates: Tensor | None = None
        self._places = self._whole(*shape)
        self._log_probs, self._values, self._rewards = (
            torch.zeros(shape, device=self._device) for _ in range(3)
        )
        self._mask = torch.zeros(shape, dtype=torch.bool, device=self._device)
        self._legal = self._mask  # until the first look at the actions
        width = envs.prompt_tokens + envs.completion_tokens
        self._tokens = self._whole(self._total, width) + envs.tokenizer.pad_id
        self._prompt_lengths, self._lengths = self._whole(self._total), self._whole(self._total)
        self._scores = np.full(self._total, np.nan)
        self._stop_reasons, self._example_ids = np.zeros((2, self._total), dtype=np.int64)
        self._is_open = np.zeros(envs.num_envs, dtype=np.bool_)
        self._episode = np.zeros(envs.num_envs, dtype=np.int64)
        self._episode_there = self._whole(envs.num_envs)
        self._env_seconds = 0.0

    def _whole(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=self._device)

    def run(self, sampling: Sampling) -> None:
        """Steps until every episode has ended."""
        envs, actor = self._envs, self._actor
        self._reset(np.ones(envs.num_envs, dtype=np.bool_))
        fixed = envs.action_masks()[0] if envs.mask_is_fixed else None
        if fixed is not None and sampling.keeps_all:
            self._legal = fixed
        else:
            width = len(pack_mask(envs.action_masks()[0]))
            shape = (*self._mask.shape, width)
            self._legal = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        while len(actor.rows):
            before = envs.dynamics_state
            legal = envs.action_masks()[actor.rows] if fixed is None else fixed
            episodes, steps = self._episode_there[actor.rows], before.steps[actor.rows]
            offered = self._offered(before)
            act = actor.act(legal, self._uniform[episodes, steps], sampling, offered)
            rewards = self._step(act.action)
            self._note(act, before, legal, episodes, steps, rewards)
            action = act.action
            just_closed = envs.ended_rows & self._is_open
            if just_closed.any():
                self._finish(just_closed)
                action = action[actor.close(self._send(just_closed)[actor.rows])]
            if envs.converses or offered is not None:
                state = envs.dynamics_state
                actor.follow(state.tokens[actor.rows], state.length[actor.rows])
            else:
                actor.feed(action)
            self._refill()

    def _send(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _refill(self) -> None:
        """Starts waiting episodes in closed rows, once there are a few."""
        waiting, closed = self._total - self._started, np.flatnonzero(~self._is_open)
        enough = max(1, len(self._is_open) // _WAITING_SHARE)
        if waiting and (len(closed) >= min(enough, waiting) or not self._is_open.any()):
            chosen = np.zeros_like(self._is_open)
            chosen[closed[:waiting]] = True
            self._reset(chosen)

    def _reset(self, chosen: npt.NDArray[np.bool_]) -> None:
        envs, rows = self._envs, np.flatnonzero(chosen)
        episodes = np.arange(self._started, self._started + len(rows))
        options: dict[str, Any] = {"reset_mask": chosen}
        if self._ids is not None:
            options["example_id"] = np.zeros(envs.num_envs, dtype=np.int64)
            options["example_id"][rows] = self._ids[episodes]
        start = time.perf_counter()
        _, infos = envs.reset(options=options)
        self._env_seconds += time.perf_counter() - start
        self._example_ids[episodes] = infos["example_id"][rows]
        self._episode[rows], self._is_open[rows] = episodes, True
        self._started += len(rows)
        there, self._episode_there = self._send(rows), self._send(self._episode.copy())
        state = envs.dynamics_state
        lengths = state.length[there]
        self._prompt_lengths[self._send(episodes)] = state.prompt_length[there]
        self._actor.open(there, state.tokens[there], lengths)

    def _step(self, action: Tensor) -> Tensor:
        """Steps the environment; closed rows are given an action that does nothing."""
        every = self._whole(self._envs.num_envs) + self._end
        every[self._actor.rows] = action
        start = time.perf_counter()
        _, rewards, _, _, infos = self._envs.step(every)
        self._env_seconds += time.perf_counter() - start
        ended = infos.get("_score")
        if ended is not None:
            self._scores[self._episode[ended]] = infos["score"][ended]
            self._stop_reasons[self._episode[ended]] = infos["stop_reason"][ended]
        reward: Tensor = rewards[self._actor.rows]
        return reward

    def _note(
        self,
        act: Act,
        before: State,
        legal: Tensor,
        episodes: Tensor,
        steps: Tensor,
        rewards: Tensor,
    ) -> None:
        """Writes one action of every open row where its episode is."""
        at = (episodes, steps)
        self._actions[at] = act.action
        self._places[at] = before.length[self._actor.rows] - 1
        self._log_probs[at] = act.log_prob
        if act.value is not None:
            self._values[at] = act.value
        self._rewards[at] = rewards.float()
        self._mask[at] = True
        if before.candidates is not None:
            offered = before.candidates[self._actor.rows]
            if self._candidates is None:
                shape = (*self._mask.shape, *offered.shape[1:])
                self._candidates = self._whole(*shape) + self._envs.tokenizer.pad_id
            self._candidates[at] = offered
        if self._legal.dtype == torch.uint8:
            self._legal[at] = pack_mask(legal if act.kept is None else act.kept)

    def _offered(self, before: State) -> tuple[Tensor, int] | None:
        """What the open rows can choose from, and the padding's id."""
        if before.candidates is None:
            return None
        return before.candidates[self._actor.rows], self._envs.tokenizer.pad_id

    def _finish(self, just_closed: npt.NDArray[np.bool_]) -> None:
        """Takes the texts of rows that have ended."""
        rows = self._send(np.flatnonzero(just_closed))
        episodes, state = self._episode_there[rows], self._envs.dynamics_state
        self._tokens[episodes] = state.tokens[rows]
        self._lengths[episodes] = state.length[rows]
        self._is_open = self._is_open & ~just_closed

    def result(self, processes: Processes) -> Rollout:
        """What was played, as wide as the longest of all processes' episodes."""
        widths = int(self._mask.sum(dim=1).max()), int(self._lengths.max())
        steps, longest = map(max, zip(*processes.exchange(widths), strict=True))
        legal = self._legal if self._legal.ndim == 1 else self._legal[:, :steps]
        has_values = self._actor.values() is not None
        return Rollout(
            tokens=self._tokens[:, :longest],
            prompt_lengths=self._prompt_lengths,
            lengths=self._lengths,
            places=self._places[:, :steps],
            actions=self._actions[:, :steps],
            log_probs=self._log_probs[:, :steps],
            values=self._values[:, :steps] if has_values else None,
            rewards=self._rewards[:, :steps],
            mask=self._mask[:, :steps],
            legal=legal,
            candidates=None if self._candidates is None else self._candidates[:, :steps],
            pad_id=self._envs.tokenizer.pad_id,
            truncated=self._send(np.isnan(self._scores)),
            scores=self._scores,
            stop_reasons=self._stop_reasons,
            example_ids=self._example_ids,
            env_seconds=self._env_seconds,
        )


def _gathered(own: Rollout, processes: Processes, total: int) -> Rollout:
    """The episodes of all processes, in order; seconds stay this one's."""
    whole: dict[str, Any] = {}
    for name in (field.name for field in fields(own)) if processes.count > 1 else ():
        value = getattr(own, name)
        if isinstance(value, np.ndarray):
            whole[name] = processes.gather(torch.from_numpy(value), total).numpy()
        elif isinstance(value, Tensor) and not (name == "legal" and value.ndim == 1):
            whole[name] = processes.gather(value, total)
    return replace(own, **whole)
