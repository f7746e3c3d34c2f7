"""What a single and a vector environment have in common: settings, and what they resolve to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from textgym import rewards
from textgym.dynamics import Rules, State, lay_out
from textgym.handles import hold
from textgym.tasks import get_task
from textgym.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gymnasium.envs.registration import EnvSpec

    from textgym.types import Example, RewardFunction, Task, Tokenizer

__all__ = ["Settings", "World", "WorldView", "build_world", "check_actions"]

_OBS_MODES = ("tokens", "dict")
_INVALID_ACTIONS = ("noop", "raise")
_RENDER_MODES = (None, "ansi", "human")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The arguments of both environments; ``TextEnv`` says what they mean."""

    task: str | Task
    tokenizer: str | Path | Tokenizer | None = None
    reward: Any = None
    reward_kwargs: Mapping[str, Any] | None = None
    split: str = "train"
    obs_mode: str = "tokens"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    dense: bool = False
    emit_mask: bool = False
    invalid_action: str = "noop"
    render_mode: str | None = None

    def __post_init__(self) -> None:
        """Checks the choices.

        Raises:
            ValueError: If one is unknown or a size is not positive; the message lists the known.
        """
        for name, known in (
            ("obs_mode", _OBS_MODES),
            ("invalid_action", _INVALID_ACTIONS),
            ("render_mode", _RENDER_MODES),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; known: {known}")
        for name in ("prompt_tokens", "completion_tokens"):
            size = getattr(self, name)
            if size is not None and (
                isinstance(size, bool) or not isinstance(size, int) or size < 1
            ):
                raise ValueError(f"{name} must be a positive integer or None, got {size!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What an environment's settings resolve to.

    Attributes:
        settings: What was asked for.
        task: The task.
        tokenizer: The tokenizer.
        reward: The checked reward.
        examples: The examples of the split.
        rules: The rules, with numpy arrays.
    """

    settings: Settings
    task: Task
    tokenizer: Tokenizer
    reward: RewardFunction
    examples: Sequence[Example]
    rules: Rules

    def observation_space(self) -> spaces.Space[Any]:
        """Makes the space of one row's observation."""
        size, shape = self.tokenizer.vocab_size, (self.rules.width,)
        tokens = spaces.Box(0, size - 1, shape, np.int64)
        if self.settings.obs_mode == "tokens":
            return tokens
        return spaces.Dict(
            tokens=tokens,
            attention_mask=spaces.Box(0, 1, shape, np.int64),
            prompt_mask=spaces.Box(0, 1, shape, np.int64),
        )

    def action_space(self) -> spaces.Discrete:
        """Makes the space of one row's action."""
        return spaces.Discrete(self.tokenizer.vocab_size)

    def example_id(self, number: Any) -> int:
        """Checks a number that a caller chose an example by.

        Raises:
            TypeError: If it is no integer.
            ValueError: If there is no such example.
        """
        if isinstance(number, bool | np.bool_) or not isinstance(number, int | np.integer):
            raise TypeError(f"example_id must be an integer, got {number!r}")
        if not 0 <= number < len(self.examples):
            raise ValueError(
                f"example_id {number} does not exist; split {self.settings.split!r} of "
                f"{self.task.name} has examples 0 to {len(self.examples) - 1}"
            )
        return int(number)

    def start(self, example_ids: Sequence[int]) -> State:
        """Makes the states that the examples start in, one row each, as numpy arrays."""
        prompts = [self.examples[number].prompt for number in example_ids]
        return lay_out(self.tokenizer.encode_batch(prompts), self.rules)

    def completions(self, state: State) -> list[str]:
        """Decodes what has been written after each row's prompt, for a state of numpy arrays."""
        return self.tokenizer.decode_batch(
            [
                tokens[start:stop].tolist()
                for tokens, start, stop in zip(
                    state.tokens, state.prompt_length, state.length, strict=True
                )
            ]
        )

    def score(
        self, example_ids: Sequence[int], completions: Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """Scores a batch of completions in one call, ``(n,)``.

        Raises:
            RewardError: If the reward fails; see ``textgym.rewards``.
        """
        examples = [self.examples[number] for number in example_ids]
        columns = {
            key: [example.columns[key] for example in examples] for key in examples[0].columns
        }
        prompts = [example.prompt for example in examples]
        return np.array(self.reward(prompts, completions, **columns), dtype=np.float64)


class WorldView:
    """What both environments tell about their world, for agents to read."""

    _world: World
    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """What this environment can be made from again; objects in it are held, not copied."""
        return self._spec

    @spec.setter
    def spec(self, value: EnvSpec | None) -> None:
        if value is not None:
            value.kwargs = hold(value.kwargs)
        self._spec = value

    @property
    def task(self) -> Task:
        """The task."""
        return self._world.task

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return self._world.tokenizer

    @property
    def prompt_tokens(self) -> int:
        """Room for the prompt, the beginning-of-text token included."""
        return self._world.rules.prompt_tokens

    @property
    def completion_tokens(self) -> int:
        """The allowance of actions."""
        return self._world.rules.completion_tokens

    @property
    def num_examples(self) -> int:
        """How many examples the split has."""
        return len(self._world.examples)


def build_world(settings: Settings) -> World:
    """Resolves names, loads what they name, and makes the rules.

    Raises:
        ValueError: If a name is unknown, the split is empty or a size does not fit.
        ModuleNotFoundError: If a package is missing; the message says how to get it.
    """
    task = get_task(settings.task) if isinstance(settings.task, str) else settings.task
    named = task.tokenizer if settings.tokenizer is None else settings.tokenizer
    tokenizer = load_tokenizer(named) if isinstance(named, str | Path) else named
    reward = rewards.resolve(
        task.reward if settings.reward is None else settings.reward, settings.reward_kwargs
    )
    examples = task.examples(settings.split)
    if not examples:
        raise ValueError(f"split {settings.split!r} of {task.name} has no examples")
    return World(
        settings=settings,
        task=task,
        tokenizer=tokenizer,
        reward=reward,
        examples=examples,
        rules=_rules(task, tokenizer, settings),
    )


def check_actions(
    world: World, actions: npt.NDArray[np.int64], alive: npt.NDArray[np.bool_]
) -> None:
    """Checks the actions of the open rows, both ``(N,)``.

    Raises:
        ValueError: If one is no id at all; or if one is illegal and ``invalid_action="raise"``.
    """
    size = len(world.rules.legal)
    outside = alive & ((actions < 0) | (actions >= size))
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(f"row {row}: action {actions[row]} is not in 0..{size - 1}")
    if world.settings.invalid_action == "raise":
        illegal = alive & ~world.rules.legal[np.where(alive, actions, 0)]
        if illegal.any():
            row = int(illegal.argmax())
            raise ValueError(
                f"row {row}: action {actions[row]} is illegal; action_masks() says which are legal"
            )


def _rules(task: Task, tokenizer: Tokenizer, settings: Settings) -> Rules:
    if tokenizer.eos_id in (*tokenizer.forbidden_ids, tokenizer.pad_id):
        raise ValueError(
            f"the tokenizer forbids its own end-of-text id {tokenizer.eos_id}, so no text could end"
        )
    legal = np.ones(tokenizer.vocab_size, dtype=np.bool_)
    legal[[*tokenizer.forbidden_ids, tokenizer.pad_id]] = False
    return Rules(
        prompt_tokens=settings.prompt_tokens or task.prompt_tokens,
        completion_tokens=settings.completion_tokens or task.completion_tokens,
        pad_id=tokenizer.pad_id,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        legal=legal,
    )
