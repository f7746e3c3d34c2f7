"""What optimises a reward in a cell: our learners, best of n, and an agent of anybody's own.

Each yields what it has after so many tokens: a policy to be measured, or texts that were chosen.

An agent of one's own is ``module:attribute``, called with a vector environment as Gymnasium makes
it (numpy, the default autoreset) and a ``Budget``. It returns what predicts as Stable-Baselines3's
models do: ``predict(observation, deterministic=False)`` gives actions and a state. If that is a
``TransformerPolicy``, or has one as its ``policy``, its KL from the start is measured too.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gymnasium as gym
import numpy as np

from agents.dpo import DPO, DPOConfig
from agents.grpo import GRPO, GRPOConfig
from agents.ppo import PPO, PPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from textgym.messages import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agents.config import LearnerConfig
    from agents.learner import Learner
    from agents.models.policy import TransformerPolicy
    from textgym.envs.vector import TextVectorEnv

__all__ = [
    "KINDS",
    "Budget",
    "BudgetError",
    "Counted",
    "find_agent",
    "learner_config",
    "play_own",
    "train",
    "train_own",
    "trained_policy",
]

KINDS: Mapping[str, tuple[type[Learner], type[LearnerConfig]]] = {
    "dpo": (DPO, DPOConfig),
    "grpo": (GRPO, GRPOConfig),
    "ppo": (PPO, PPOConfig),
    "reinforce": (Reinforce, ReinforceConfig),
    "rloo": (RLOO, RLOOConfig),
}
"""Our learners by their names; DPO writes its pairs, and the reward says which text is better."""

_SLACK = 1.05  # a whole batch of texts is finished


class BudgetError(RuntimeError):
    """A cell has left its budget; ``kind`` says which one.

    Attributes:
        kind: ``time``, ``KL budget`` or ``tokens``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What an agent may spend, and what all have been given.

    Attributes:
        tokens: Actions that it may take in the environment.
        seed: What it shall draw everything from.
        seconds: How long the whole cell may take, if there is a limit.
        policy: The start, as ``agents.models.loading.load_model`` takes it, for who wants it.
        settings: The agent's own, from the study.
        deadline: When that is up, on ``time.monotonic``.
    """

    tokens: int
    seed: int
    seconds: float | None
    policy: str
    settings: Mapping[str, Any]
    deadline: float

    def require_time(self) -> None:
        """Requires that there is some left.

        Raises:
            BudgetError: If there is not.
        """
        if time.monotonic() > self.deadline:
            raise BudgetError("time", f"took more than {self.seconds:g} seconds")


class Counted(gym.vector.VectorWrapper):
    """Counts the actions taken, a row that is being reset not among them."""

    def __init__(self, envs: Any) -> None:
        """Begins at none."""
        super().__init__(envs)
        self.tokens = 0
        self._ended = np.zeros(envs.num_envs, dtype=np.bool_)

    def reset(self, **settings: Any) -> Any:
        """Starts anew; the count goes on."""
        self._ended[:] = False
        return super().reset(**settings)

    def step(self, actions: Any) -> Any:
        """Steps and counts."""
        result = super().step(actions)
        self.tokens += int((~self._ended).sum())
        self._ended = np.asarray(result[2]) | np.asarray(result[3])
        return result

    def action_masks(self) -> Any:
        """What is legal, for agents that ask."""
        return self.unwrapped.action_masks()  # type: ignore[attr-defined] # a text environment's


def train(
    kind: str,
    policy: TransformerPolicy,
    envs: TextVectorEnv,
    budget: Budget,
    measured: Callable[[int], None],
    marks: list[int],
) -> dict[str, float]:
    """Trains one of ours, and stops to be measured.

    Args:
        kind: One of ``KINDS``.
        policy: Trained in place.
        envs: As learners take it.
        budget: What may be spent.
        measured: Called with the tokens so far, whenever one of the marks is passed.
        marks: Numbers of tokens, rising, the budget last.

    Returns:
        Seconds by phase.

    Raises:
        ValueError: If its settings are none of its config's.
        BudgetError: If time runs out.
        GuardError: If an invariant of training is broken.
    """
    learner_type, _ = KINDS[kind]
    learner = learner_type(policy, envs, _config(kind, envs, budget))  # type: ignore[call-arg] # each of these makes its own reference
    waiting, seconds = list(marks), dict[str, float]()

    def after_iteration(known: dict[str, Any], _: dict[str, Any]) -> bool:
        for name, value in known["metrics"].items():
            if name.startswith("seconds_"):
                phase = name.removeprefix("seconds_")
                seconds[phase] = seconds.get(phase, 0.0) + value
        budget.require_time()
        passed = [mark for mark in waiting if mark <= learner.num_timesteps]
        if passed:
            waiting[:] = waiting[len(passed) :]
            measured(learner.num_timesteps)
        return bool(waiting)

    learner.learn(budget.tokens, after_iteration)
    return seconds


def train_own(name: str, envs: Any, budget: Budget) -> tuple[Any, int]:
    """Calls an agent of anybody's own.

    Args:
        name: ``module:attribute``.
        envs: A vector environment of Gymnasium.
        budget: What it may spend.

    Returns:
        What predicts, and how many actions it has taken.

    Raises:
        ValueError: If there is no such agent, or it returns what does not predict.
        BudgetError: If it has taken more actions than it had.
    """
    counted = Counted(envs)
    policy = find_agent(name)(counted, budget)
    if not callable(getattr(policy, "predict", None)) and not hasattr(policy, "next_logits"):
        raise ValueError(
            f"the agent {name} returned a {type(policy).__name__} without predict(observation): "
            "return what acts"
        )
    if counted.tokens > _SLACK * budget.tokens + counted.num_envs:
        raise BudgetError(
            "tokens", f"took {counted.tokens:,} actions, and its budget was {budget.tokens:,}"
        )
    budget.require_time()
    return policy, counted.tokens


def find_agent(name: str) -> Any:
    """Finds what ``module:attribute`` names; modules of the working directory are found as well.

    Raises:
        ValueError: If there is none.
    """
    module, separator, attribute = name.partition(":")
    if not separator:
        near = did_you_mean(name, KINDS)
        raise ValueError(
            f"unknown agent {name}{near}; known: best-of-n, {', '.join(KINDS)}, or module:attribute"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ValueError(
            f"the agent {name} cannot be found: there is no module {module}"
        ) from error
    except AttributeError as error:
        raise ValueError(f"the agent {name} cannot be found: {error}") from error


def learner_config(kind: str, settings: Mapping[str, Any], seed: int = 0) -> LearnerConfig:
    """Makes the config of one of ours.

    Args:
        kind: One of ``KINDS``.
        settings: By name, from the study.
        seed: The cell's.

    Raises:
        ValueError: If a setting is none of its config's, or out of range.
        TypeError: If one is of another type.
    """
    _, config_type = KINDS[kind]
    known = [each.name for each in fields(config_type)]
    for name in settings:
        if name not in known or name == "seed":
            raise ValueError(f"{kind} has no setting {name} here{did_you_mean(name, known)}")
    return config_type(**{**settings, "seed": seed})


def _config(kind: str, envs: TextVectorEnv, budget: Budget) -> LearnerConfig:
    """The learner's settings; its iterations are those that the tokens are enough for."""
    config = learner_config(kind, budget.settings, budget.seed)
    if "iterations" in budget.settings:
        return config
    texts = config.num_texts(envs.num_envs)
    return replace(config, iterations=max(1, math.ceil(budget.tokens / (texts * envs.max_actions))))


def trained_policy(agent: Any) -> TransformerPolicy | None:
    """The transformer policy of what an agent returned, if there is one."""
    for each in (agent, getattr(agent, "policy", None)):
        if hasattr(each, "next_logits"):
            return cast("TransformerPolicy", each)
    return None


def play_own(agent: Any, envs: Any, numbers: list[int], seed: int) -> tuple[list[str], float]:
    """Lets anything that predicts write one text for each example.

    Args:
        agent: It has ``predict``.
        envs: A text environment of numpy with autoreset disabled.
        numbers: The examples' numbers.
        seed: Of the environment's rows.

    Returns:
        The texts, and the mean number of actions.

    Raises:
        RuntimeError: If it does not come to an end.
    """
    texts: list[str] = []
    actions = 0
    for start in range(0, len(numbers), envs.num_envs):
        part = np.asarray(numbers[start : start + envs.num_envs])
        observation, _ = envs.reset(
            seed=seed + start, options={"example_id": np.resize(part, envs.num_envs)}
        )
        is_open, state = np.ones(envs.num_envs, dtype=np.bool_), None
        for _ in range(envs.max_actions):
            chosen, state = _predicted(agent, observation, state, envs)
            actions += int(is_open[: len(part)].sum())
            observation, *_ = envs.step(chosen)
            is_open &= ~envs.ended_rows
            if not is_open.any():
                break
        texts += envs.texts()[1][: len(part)]
    return texts, actions / len(numbers)


def _predicted(agent: Any, observation: Any, state: Any, envs: Any) -> tuple[Any, Any]:
    """Asks for actions, with the masks where the agent knows them, as sb3-contrib's do."""
    more: dict[str, Any] = {}
    if "action_masks" in inspect.signature(agent.predict).parameters:
        more["action_masks"] = envs.action_masks()
    return agent.predict(observation, state=state, deterministic=False, **more)  # type: ignore[no-any-return] # two values by contract
