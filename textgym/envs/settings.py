"""The arguments of the environments, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from textgym.dynamics.choose_edit import ACTION_KINDS
from textgym.envs.handles import release
from textgym.messages import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from textgym.types import Task, Tokenizer

__all__ = ["RENDER_MODES", "Settings"]

RENDER_MODES = ("ansi", "human", "rgb_array")
_CHOICES = {
    "action_kind": tuple(ACTION_KINDS),
    "obs_mode": ("tokens", "dict"),
    "invalid_action": ("noop", "raise"),
    "render_mode": (None, *RENDER_MODES),
}
_READ_BY = {
    "num_choices": "choose",
    "proposer": "choose",
    "proposer_kwargs": "choose",
    "drafter": "edit",
    "drafter_kwargs": "edit",
}
_SIZES = ("prompt_tokens", "completion_tokens", "max_actions", "num_choices")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The arguments that both environments take. All of them may be written as JSON.

    Attributes:
        task: A registered task's name, a file's path (see ``textgym.tasks``), or a task.
        action_kind: ``"append"``, ``"choose"`` or ``"edit"``.
        tokenizer: What ``load_tokenizer`` takes, or a tokenizer; ``None`` for the task's.
        reward: What ``textgym.rewards.resolve`` takes; ``None`` for the task's.
        reward_kwargs: If given, ``reward`` names a factory that is called with them.
        split: Which of the task's splits the prompts come from.
        obs_mode: ``"tokens"`` or ``"dict"``.
        prompt_tokens: Room for the prompt; ``None`` for the task's.
        completion_tokens: Room for the completion; ``None`` for the task's.
        max_actions: The allowance of choices or edits; ``None`` for ``completion_tokens``, as it
            always is when tokens are appended.
        num_choices: K, for ``"choose"``: the end of text, and what the proposer proposes. A
            proposer that is an object proposes as many as it does.
        proposer: For ``"choose"``: what ``textgym.proposing.proposals.resolve_proposer`` takes.
        proposer_kwargs: Of the proposer.
        drafter: For ``"edit"``: what ``textgym.proposing.drafts.resolve_drafter`` takes.
        drafter_kwargs: Of the drafter.
        constraints: What completions may consist of: what
            ``textgym.constraints.compiling.compile_constraints`` takes.
        dense: Pay each step what it adds to the score.
        emit_mask: Put ``action_mask`` into every info; constraints do so too.
        invalid_action: ``"noop"`` or ``"raise"``: what an illegal action does.
        render_mode: ``None``, ``"ansi"`` (``render`` returns a string), ``"rgb_array"`` (a picture)
            or ``"human"`` (every step is printed).
    """

    task: str | Path | Task
    action_kind: str = "append"
    tokenizer: str | Path | Tokenizer | None = None
    reward: Any = None
    reward_kwargs: Mapping[str, Any] | None = None
    split: str = "train"
    obs_mode: str = "tokens"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    max_actions: int | None = None
    num_choices: int = 16
    proposer: Any = "ngram"
    proposer_kwargs: Mapping[str, Any] | None = None
    drafter: Any = "corrupted"
    drafter_kwargs: Mapping[str, Any] | None = None
    constraints: Mapping[str, Any] | None = None
    dense: bool = False
    emit_mask: bool = False
    invalid_action: str = "noop"
    render_mode: str | None = None

    def __post_init__(self) -> None:
        """Checks the choices.

        Raises:
            ValueError: If one is unknown or a size is not positive; the message lists the known.
        """
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; known: {known}")
        for name in _SIZES:
            size = getattr(self, name)
            if size is not None and (
                isinstance(size, bool) or not isinstance(size, int) or size < 1
            ):
                raise ValueError(f"{name} must be a positive integer or None, got {size!r}")
        for name in ("dense", "emit_mask"):
            if getattr(self, name) not in (True, False):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        self._check_kind()

    @property
    def shows_mask(self) -> bool:
        """Whether infos have the mask of legal actions."""
        return self.emit_mask or self.constraints is not None

    def _check_kind(self) -> None:
        """Refuses what another kind of action would read, and nothing here."""
        if self.action_kind == "append" and self.max_actions is not None:
            raise ValueError("max_actions is for choices and edits; use completion_tokens")
        for field in fields(self):
            kind = _READ_BY.get(field.name, self.action_kind)
            if kind != self.action_kind and getattr(self, field.name) != field.default:
                raise ValueError(
                    f"{field.name} is for action_kind={kind!r}, but this is {self.action_kind!r}"
                )
        if self.action_kind == "choose" and (self.num_choices or 0) < len(("the end", "another")):
            raise ValueError("num_choices must be at least 2: the end of text, and a candidate")

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Settings:
        """Makes settings of an environment's arguments; what is held by handles is released.

        Raises:
            TypeError: If there is an unknown argument.
            ValueError: See ``__post_init__``.
        """
        known = [field.name for field in fields(cls)]
        for name in arguments:
            if name not in known:
                raise TypeError(
                    f"unexpected keyword argument {name!r} of an environment"
                    f"{did_you_mean(name, known)}; textgym.envs.settings.Settings has them all"
                )
        return cls(**{key: release(value) for key, value in arguments.items()})
