"""What both environments tell about their world, for agents to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.envs.settings import hold
from textgym.envs.snapshots import kinship
from textgym.rendering.spans import conversation_spans, edit_spans, text_spans, to_ansi
from textgym.rewards import WeightedReward

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from gymnasium.envs.registration import EnvSpec

    from textgym.dynamics.states import State
    from textgym.envs.episodes import Finished
    from textgym.envs.world import World
    from textgym.rendering.spans import Span
    from textgym.types import Example, Task, Tokenizer

__all__ = ["WorldView", "rendered", "spans_of"]


class WorldView:
    """An environment's world, of which it tells some properties, and a spec that copies none of it.

    Both environments are one.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._kinship: Mapping[str, str] | None = None
        self._spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """What this environment can be made from again; objects in it are held, not copied."""
        return self._spec

    @spec.setter
    def spec(self, value: EnvSpec | None) -> None:
        if value is not None:
            value.kwargs = hold(value.kwargs)
        self._spec = value

    def _kin(self) -> dict[str, str]:
        """What a snapshot must be of; worked out when it is first asked for."""
        if self._kinship is None:
            self._kinship = kinship(self._world)
        return dict(self._kinship)

    @property
    def task(self) -> Task:
        """The task."""
        return self._world.task

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return self._world.tokenizer

    @property
    def action_kind(self) -> str:
        """``"append"``, ``"choose"`` or ``"edit"``."""
        return self._world.settings.action_kind

    @property
    def prompt_tokens(self) -> int:
        """Room for the prompt, the beginning-of-text token included."""
        return self._world.rules.prompt_tokens

    @property
    def completion_tokens(self) -> int:
        """Room for the completion, the end-of-text token included."""
        return self._world.rules.completion_tokens

    @property
    def max_actions(self) -> int:
        """The allowance of actions."""
        return self._world.rules.max_actions

    @property
    def num_examples(self) -> int:
        """How many examples the split has."""
        return len(self._world.examples)

    @property
    def converses(self) -> bool:
        """Whether somebody replies, so that an episode has several turns."""
        return self._world.rules.converses

    @property
    def mask_is_fixed(self) -> bool:
        """Whether the same actions are legal in every state, so that one look is enough."""
        return self._world.mask_is_fixed

    @property
    def reward_weights(self) -> tuple[float, ...] | None:
        """What each of ``info["reward_terms"]`` counts in the score, in their order.

        ``None`` if the reward is no weighted sum of them.
        """
        reward = self._world.reward
        return reward.weights if isinstance(reward, WeightedReward) else None

    @property
    def can_score_later(self) -> bool:
        """Whether a text's score is paid once and depends on that text alone.

        So it does not where unfinished texts are paid for, or a reward counts what it has scored.
        """
        return not self._world.settings.dense and not self._world.reward.has_history

    def scores_of(
        self, texts: Finished
    ) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]]]:
        """Asks the reward about texts that were handed over; see ``TextVectorEnv.score_later``.

        Returns:
            The scores, ``(n,)``, and those of its parts by name, as in ``info["reward_terms"]``.

        Raises:
            RewardError: If the reward fails.
        """
        return self._world.score(texts.examples, texts.completions, texts.ids)

    @property
    def layout(self) -> dict[str, slice]:
        """Where things are in an observation of ``obs_mode="tokens"``.

        ``tokens`` are the text; ``candidates``, where something is chosen, are ``(K, L)`` ids,
        flattened.
        """
        width = self._world.rules.width
        count, length = self._world.candidates_shape()
        parts: dict[str, Any] = {"tokens": slice(0, width)}
        if count:
            parts["candidates"] = slice(width, width + count * length)
        return parts

    @property
    def examples(self) -> Sequence[Example]:
        """The examples of the split."""
        return self._world.examples

    def example_of(self, prompt: str) -> Example:
        """Makes the example that a caller's own prompt starts with; its columns are ``None``."""
        return self._world.example_of(prompt)


def spans_of(
    world: World,
    prompts: Sequence[str],
    previous: State | None,
    state: State,
    scores: npt.NDArray[np.float64],
) -> list[list[Span]]:
    """Makes what is shown of N texts.

    Args:
        world: What they are texts of.
        prompts: N prompts.
        previous: What the last action found, in numpy; ``None`` before any.
        state: The texts, in numpy.
        scores: ``(N,)``; NaN where there is none yet.
    """
    shown = [None if np.isnan(score) else float(score) for score in scores]
    after = world.completions(state)
    if world.settings.action_kind == "edit":
        # A text that no action has changed yet is as it was.
        old = after if previous is None else world.completions(previous)
        before = [o if s else a for o, a, s in zip(old, after, state.steps, strict=True)]
        return [edit_spans(*row) for row in zip(prompts, before, after, shown, strict=True)]
    if world.rules.converses:
        turns = [world.turns(state, row) for row in range(len(prompts))]
        return [conversation_spans(*row) for row in zip(prompts, turns, shown, strict=True)]
    return [text_spans(*row) for row in zip(prompts, after, shown, strict=True)]


def rendered(spans: Sequence[Span], mode: str) -> Any:
    """Returns a string with mode ``"ansi"`` or ``"human"``, a picture with ``"rgb_array"``."""
    if mode != "rgb_array":
        return to_ansi(spans)
    from textgym.rendering.pictures import render_rgb

    return render_rgb([spans])
