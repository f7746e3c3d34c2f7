"""``textgym play``: episodes of an environment to watch, at random, by a policy, or by hand."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console

from agents.maths.distributions import Sampling
from agents.measuring.baselines import uniform_actions
from agents.rollouts.predict import predict_actions
from textgym.cli.console import chosen_device, say, say_coloured, use_quiet_transformers
from textgym.cli.parsing import CommandError
from textgym.cli.policy.policies import (
    environment_arguments,
    make_envs,
    make_policy,
    read_arguments,
)
from textgym.cli.policy.running import FORESEEABLE
from textgym.types import StopReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from textgym.envs.vector import TextVectorEnv

__all__ = ["PlayConfig", "play"]

_ENDED = {
    StopReason.END_OF_TEXT: "by its end of text",
    StopReason.LENGTH: "as its allowance was used up",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayConfig:
    """Watch episodes of an environment: played at random, by a policy, or by you.

    Each step is a line: the prompt, what was written so far, and in the end the score. By hand, you
    type what comes next (or a candidate's number; or a place and what stands there); an empty line
    ends the text.
    """

    env: str
    """The environment's id, such as TextGym/Alphabet-v0; ``textgym envs`` lists them."""
    policy: str | None = None
    """Who plays: a folder, such as runs/ppo/policy, or smollm2, hub:NAME, scratch:...; None draws
    legal actions at random."""
    hand: bool = False
    """Play yourself, from the keyboard."""
    env_kwargs: str = "{}"
    """Arguments of the environment as JSON, such as '{"split": "test"}'."""
    count: int = 1
    """How many episodes."""
    temperature: float = 1.0
    """Divides the policy's logits. Higher is more varied, and 0.01 nearly always the likeliest."""
    seed: int = 0
    """Decides the prompts, and what is drawn."""
    steps: bool = True
    """Show every step, and not the finished texts alone."""
    delay: float = 0.0
    """Seconds to wait after each step that is shown. More is easier to follow."""
    device: str = "auto"
    """Where the policy runs: cpu, cuda, or auto for cuda if there is one."""


def play(
    config: PlayConfig, console: Console | None = None, ask: Callable[[str], str] = input
) -> None:
    """Plays episodes and shows them.

    Args:
        config: What and how.
        console: Where to print; ``None`` for the terminal.
        ask: Asks whoever plays by hand.

    Raises:
        CommandError: If something in the command is wrong.
        RewardError: If the reward fails.
    """
    console = console or Console()
    if config.policy is not None and config.hand:
        raise CommandError("give --policy or --hand: one of them plays")
    try:
        envs, act = _player(config, console, ask)
    except FORESEEABLE as error:
        raise CommandError(" ".join(str(error).split())) from error
    scores = []
    try:
        for number in range(config.count):
            if number and config.steps:
                say(console, "")
            scores.append(_episode(envs, act, config, console, number))
    except EOFError:
        say(console, "")
    if len(scores) > 1:
        say(console, f"mean score {np.mean(scores):.3f} of {len(scores)} episodes")


def _player(
    config: PlayConfig, console: Console, ask: Callable[[str], str]
) -> tuple[TextVectorEnv, Callable[[Any], NDArray[np.int64]]]:
    """Makes the environment, of one row, and what turns an observation into an action."""
    device = chosen_device(config.device) if config.policy else "cpu"
    arguments = (
        environment_arguments(config.env_kwargs, config.policy)
        if config.policy
        else read_arguments(config.env_kwargs)
    )
    envs = make_envs(config.env, {**arguments, "render_mode": "ansi"}, num_envs=1, device=device)
    if config.hand:
        return envs, _Hand(envs, console, ask).act
    if config.policy is None:
        rng = np.random.default_rng(config.seed)
        return envs, lambda _: _draw(envs, rng)
    use_quiet_transformers()
    policy = make_policy(config.policy, envs, device=device)
    generator = torch.Generator(device).manual_seed(config.seed)
    sampling = Sampling(temperature=config.temperature)
    return envs, lambda observation: predict_actions(
        policy,
        envs,
        observation,
        sampling=sampling,
        generator=generator,
        action_masks=envs.action_masks(),
    )


def _episode(
    envs: TextVectorEnv,
    act: Callable[[Any], NDArray[np.int64]],
    config: PlayConfig,
    console: Console,
    number: int,
) -> float:
    """Plays one episode; returns its score."""
    observation, _ = envs.reset(seed=config.seed if number == 0 else None)
    if config.steps:
        _show(envs, console)
    while True:
        action: Any = torch.from_numpy(act(observation)).to(envs.device)
        observation, _, ended, cut, infos = envs.step(action)
        done = bool(ended[0]) or bool(cut[0])
        if config.steps or done:
            _show(envs, console)
            time.sleep(config.delay)
        if done:
            break
    if "score" not in infos:
        say(console, "cut by an outside limit, without a score")
        return float("nan")
    score, reason = float(infos["score"][0]), StopReason(int(infos["stop_reason"][0]))
    if config.steps:
        say(console, f"score {score:.3f}; the text ended {_ENDED[reason]}")
    return score


def _show(envs: TextVectorEnv, console: Console) -> None:
    """Prints the text as it is now; nothing in it commands the terminal."""
    (shown,) = envs.render() or ("",)
    say_coloured(console, shown)


def _draw(envs: TextVectorEnv, rng: np.random.Generator) -> NDArray[np.int64]:
    """A legal action, each as likely as any other; of an edit, a legal pair."""
    if envs.action_kind != "edit":
        return uniform_actions(np.asarray(envs.action_masks()), rng)
    pairs = np.asarray(envs.pair_masks())
    flat = uniform_actions(pairs.reshape(1, -1), rng)
    return np.stack(np.divmod(flat, pairs.shape[2]), axis=1)


class _Hand:
    """Reads actions from the keyboard; what is no legal action is asked for again."""

    def __init__(self, envs: TextVectorEnv, console: Console, ask: Callable[[str], str]) -> None:
        self._envs, self._console, self._ask = envs, console, ask
        self._waiting: list[int] = []  # ids of a text that was typed at once
        read = {"append": self._append, "choose": self._choose, "edit": self._edit}
        self._read = read[envs.action_kind]

    def act(self, observation: Any) -> NDArray[np.int64]:
        """The next action, ``(1,)`` or ``(1, 2)`` int64."""
        while True:
            try:
                return self._read(np.asarray(observation)[0])
            except ValueError as error:
                say(self._console, str(error))

    def _append(self, _: NDArray[np.int64]) -> NDArray[np.int64]:
        tokenizer, legal = self._envs.tokenizer, np.asarray(self._envs.action_masks())[0]
        if not self._waiting:
            typed = self._ask("next, or nothing to end: ")
            self._waiting = tokenizer.encode(typed) if typed else [tokenizer.eos_id]
        ids, self._waiting = self._waiting, []
        if not ids or not legal[ids[0]]:
            raise ValueError("that cannot be written here")
        self._waiting = ids[1:]
        return np.array(ids[:1], dtype=np.int64)

    def _choose(self, seen: NDArray[np.int64]) -> NDArray[np.int64]:
        legal = np.asarray(self._envs.action_masks())[0]
        rows = seen[self._envs.layout["candidates"]].reshape(len(legal), -1).tolist()
        texts = self._envs.tokenizer.decode_batch(rows)
        shown = [f"{n} {texts[n]!r}" for n in range(1, len(texts)) if legal[n]]
        say(self._console, f"0 ends; {', '.join(shown)}")
        typed = self._ask("number, or nothing to end: ")
        chosen = int(typed) if typed.strip().isdecimal() else (-1 if typed else 0)
        if not 0 <= chosen < len(legal) or not legal[chosen]:
            raise ValueError(f"{typed} is none of the numbers")
        return np.array([chosen], dtype=np.int64)

    def _edit(self, seen: NDArray[np.int64]) -> NDArray[np.int64]:
        tokenizer, pairs = self._envs.tokenizer, np.asarray(self._envs.pair_masks())[0]
        pad, eos = tokenizer.pad_id, tokenizer.eos_id
        stops = np.arange(pairs.shape[1]) == eos
        places = np.flatnonzero(pairs[:, ~stops].any(axis=1))
        texts = [(n, "" if seen[n] == pad else tokenizer.decode([int(seen[n])])) for n in places]
        say(self._console, ", ".join(f"{n} {text!r}" for n, text in texts))
        typed = self._ask("PLACE TEXT, PLACE - to delete, PLACE + to double, or nothing to end: ")
        if not typed:
            return np.array([[0, eos]], dtype=np.int64)
        place, _, what = typed.partition(" ")
        ids = {"-": [pad], "+": [tokenizer.bos_id]}.get(what) or tokenizer.encode(what)
        if not place.isdecimal() or int(place) not in places or len(ids) != 1:
            raise ValueError(f"{typed!r} is no place and one token; such as {places[0]} -")
        if not pairs[int(place), ids[0]]:
            raise ValueError(f"{typed!r} cannot be done there")
        return np.array([[int(place), ids[0]]], dtype=np.int64)
