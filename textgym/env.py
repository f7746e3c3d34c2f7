"""One text at a time: ``TextEnv``, a thin shell over ``textgym.dynamics``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded

from textgym import dynamics
from textgym.handles import release
from textgym.rendering import render_ansi
from textgym.world import Settings, WorldView, build_world, check_actions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from textgym.dynamics import State
    from textgym.handles import Handle
    from textgym.types import Task, Tokenizer

__all__ = ["TextEnv"]


class TextEnv(WorldView, gym.Env[Any, Any]):
    """Write a text token by token; it is scored when it is finished.

    Description:
        An episode starts with the beginning-of-text id and a prompt. Every action appends one
        token to it.

    Action space:
        ``Discrete(V)``: the id of the next token. The end-of-text id is an action like any other.
        The tokenizer's forbidden ids are illegal: ``action_masks()`` says so, and by default such
        an action changes nothing and uses one of the allowance. An id outside the space raises.

    Observation space:
        ``Box(0, V-1, (T,), int64)``: prompt and completion, padded to the right, where T is
        ``prompt_tokens + completion_tokens``. With ``obs_mode="dict"``, ``tokens``,
        ``attention_mask`` and ``prompt_mask``, each ``(T,)`` int64.

    Rewards:
        The completion's score when it is finished, and 0 before. With ``dense=True`` each step pays
        what it adds to the score of the text so far, where the empty completion counts as 0; the
        sum is the same score.

    Starting state:
        An example drawn uniformly from the split, or ``reset(options={"example_id": k})``. A prompt
        longer than its room keeps its last tokens.

    Episode end:
        ``terminated`` at the end-of-text token and when the allowance of ``completion_tokens``
        actions, which is part of the task, is used up; ``info["stop_reason"]`` says which.
        ``truncated`` is always False here; it belongs to an outside ``TimeLimit``.

    Info:
        After ``reset``: ``example_id`` and ``prompt_length``. When the text is finished:
        ``stop_reason`` (a ``StopReason``), ``score`` and ``completion_length`` (in tokens, the end
        of text included). With ``emit_mask=True``, always ``action_mask``, ``(V,)`` int8.

    Version history:
        v0: the first.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as Gymnasium declares it
        "render_modes": ["human", "ansi"],
        "render_fps": 4,
    }

    def __init__(  # noqa: PLR0913 - Gymnasium hands over an environment's settings one by one
        self,
        *,
        task: str | Task | Handle,
        tokenizer: str | Path | Tokenizer | Handle | None = None,
        reward: Any = None,
        reward_kwargs: Mapping[str, Any] | None = None,
        split: str = "train",
        obs_mode: str = "tokens",
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        dense: bool = False,
        emit_mask: bool = False,
        invalid_action: str = "noop",
        render_mode: str | None = None,
    ) -> None:
        """Makes the environment; names are resolved and loaded at once.

        Args:
            task: A registered task's name, or a task.
            tokenizer: What ``load_tokenizer`` takes, or a tokenizer; ``None`` for the task's.
            reward: What ``textgym.rewards.resolve`` takes; ``None`` for the task's.
            reward_kwargs: If given, ``reward`` names a factory that is called with them.
            split: Which of the task's splits the prompts come from.
            obs_mode: ``"tokens"`` or ``"dict"``.
            prompt_tokens: Room for the prompt; ``None`` for the task's.
            completion_tokens: The allowance; ``None`` for the task's.
            dense: Pay each step what it adds to the score.
            emit_mask: Put ``action_mask`` into every info.
            invalid_action: ``"noop"`` or ``"raise"``: what an illegal action does.
            render_mode: ``None``, ``"ansi"`` (``render`` returns a string) or ``"human"`` (every
                step is printed).

        Raises:
            ValueError: If a name or choice is unknown; the message lists the known ones.
            ModuleNotFoundError: If a package is missing; the message says how to get it.
        """
        self._world = build_world(
            Settings(
                task=release(task),
                tokenizer=release(tokenizer),
                reward=release(reward),
                reward_kwargs=release(reward_kwargs),
                split=split,
                obs_mode=obs_mode,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                dense=dense,
                emit_mask=emit_mask,
                invalid_action=invalid_action,
                render_mode=render_mode,
            )
        )
        self._state: State | None = None
        self._example_id = 0
        self._score: float | None = None
        self._potential = 0.0
        self.render_mode = render_mode
        self.observation_space = self._world.observation_space()
        self.action_space = self._world.action_space()

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Seeds ``self.np_random``, by which examples are drawn.
            options: ``{"example_id": k}`` starts with that example, and draws nothing.

        Returns:
            The observation and the info.

        Raises:
            ValueError: If an option is unknown or there is no such example.
        """
        super().reset(seed=seed)
        self._example_id = self._choose_example(options or {})
        self._state = self._world.start([self._example_id])
        self._score, self._potential = None, 0.0
        info: dict[str, Any] = {
            "example_id": self._example_id,
            "prompt_length": int(self._state.prompt_length[0]),
        }
        return self._finish_call(self._state, info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Appends one token.

        Args:
            action: Its id.

        Returns:
            The observation, the reward, whether the text is finished, False, and the info.

        Raises:
            ResetNeeded: If there is no episode, or it is over.
            ValueError: If the action is outside the space, or it is illegal and
                ``invalid_action="raise"``.
            RewardError: If the reward fails.
        """
        if self._state is None or dynamics.is_finished(self._state)[0]:
            raise ResetNeeded("there is no running episode; call reset() before step()")
        actions = np.asarray(action)
        if actions.size != 1 or not np.issubdtype(actions.dtype, np.integer):
            raise ValueError(f"an action is one integer, got {action!r}")
        actions = actions.reshape(1).astype(np.int64)
        check_actions(self._world, actions, np.ones(1, dtype=np.bool_))
        state = dynamics.append(self._state, actions, self._world.rules)
        terminated = bool(dynamics.is_finished(state)[0])
        reward = 0.0
        info: dict[str, Any] = {}
        if terminated or self._world.settings.dense:
            reward, info = self._pay(state, terminated=terminated)
        self._state = state
        observation, info = self._finish_call(state, info)
        return observation, reward, terminated, False, info

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns which actions are legal, ``(V,)`` bool; the end of text always is."""
        return self._world.rules.legal.copy()  # type: ignore[no-any-return]

    def text(self) -> tuple[str, str]:
        """Returns the prompt and the completion so far.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        if self._state is None:
            raise ResetNeeded("there is no episode yet; call reset() first")
        prompt = self._world.examples[self._example_id].prompt
        return prompt, self._world.completions(self._state)[0]

    def render(self) -> str | None:
        """Returns the text with its score in mode ``"ansi"``, else ``None``."""
        return render_ansi(*self.text(), self._score) if self.render_mode == "ansi" else None

    def _choose_example(self, options: Mapping[str, Any]) -> int:
        unknown = set(options) - {"example_id"}
        if unknown:
            raise ValueError(f"unknown options {sorted(unknown)}; known: example_id")
        if "example_id" in options:
            return self._world.example_id(options["example_id"])
        return int(self.np_random.integers(len(self._world.examples)))

    def _pay(self, state: State, *, terminated: bool) -> tuple[float, dict[str, Any]]:
        score = float(self._world.score([self._example_id], self._world.completions(state))[0])
        reward = score
        if self._world.settings.dense:
            reward, self._potential = score - self._potential, score
        if not terminated:
            return reward, {}
        self._score = score
        return reward, {
            "stop_reason": int(state.stop_reason[0]),
            "score": score,
            "completion_length": int(state.length[0] - state.prompt_length[0]),
        }

    def _finish_call(self, state: State, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if self._world.settings.emit_mask:
            info["action_mask"] = self.action_masks().astype(np.int8)
        if self.render_mode == "human":
            sys.stdout.write(f"{render_ansi(*self.text(), self._score)}\n")
        observation = dynamics.observe(state, self._world.settings.obs_mode)
        if isinstance(observation, dict):
            return {key: value[0] for key, value in observation.items()}, info
        return observation[0], info
