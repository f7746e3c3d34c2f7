"""What both environments tell about their world, for agents to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textgym.handles import hold
from textgym.rendering import conversation_spans, edit_spans, text_spans, to_ansi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gymnasium.envs.registration import EnvSpec

    from textgym.rendering import Span
    from textgym.states import State
    from textgym.types import Task, Tokenizer
    from textgym.world import World

__all__ = ["WorldView", "draw"]


class WorldView:
    """Properties of an environment's world, and a spec that does not copy objects."""

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

    def _parts(self, state: State) -> list[list[tuple[bool, str]]]:
        """Returns each row's turns in a conversation; nothing elsewhere."""
        rows = range(len(state.tokens))
        return [self._world.parts(state, row) if self.converses else [] for row in rows]

    def _spans(
        self,
        prompt: str,
        before: str,
        after: str,
        score: float | None,
        parts: Sequence[tuple[bool, str]],
    ) -> list[Span]:
        """Makes what is shown of a text; ``before`` is what the last edit found."""
        if self.action_kind == "edit":
            return edit_spans(prompt, before, after, score)
        if parts:
            return conversation_spans(prompt, parts, score)
        return text_spans(prompt, after, score)


def draw(spans: Sequence[Span], mode: str) -> Any:
    """Returns a string with mode ``"ansi"`` or ``"human"``, a picture with ``"rgb_array"``."""
    if mode != "rgb_array":
        return to_ansi(spans)
    from textgym.rasterise import render_rgb

    return render_rgb([spans])
