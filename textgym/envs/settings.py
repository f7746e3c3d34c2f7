"""The arguments of the environments, and how objects among them travel in a spec.

Gymnasium copies every argument of a spec deeply. An object, such as a reward model, is put into a
handle there, whose copy is the handle itself.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gymnasium.vector import AutoresetMode

from textgym.dynamics.moves import ACTION_KINDS
from textgym.messages import did_you_mean, shown, whole_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgym.types import Task, Tokenizer

__all__ = ["RENDER_MODES", "Handle", "Settings", "hold", "read_mode", "read_size", "release"]

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
_LARGEST = 2**31 - 1
_SIZES = ("prompt_tokens", "completion_tokens", "max_actions", "num_choices")
_HELD = frozenset(
    {"task", "tokenizer"}
    | {
        f"{role}{kwargs}"
        for role in ("reward", "proposer", "drafter")
        for kwargs in ("", "_kwargs")
    }
)
_PLAIN = (str, int, float, bool, Path, type(None))


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
            ``textgym.constraints.compile_constraints`` takes.
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
            if getattr(self, name) is not None:
                object.__setattr__(self, name, read_size(name, getattr(self, name)))
        for name in ("dense", "emit_mask"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(  # noqa: TRY004 - a setting is wrong, not an argument
                    f"{name} must be True or False, got {getattr(self, name)!r}"
                )
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


def read_size(name: str, value: Any) -> int:
    """Returns a size as a plain integer, also one of numpy's.

    Raises:
        ValueError: If it is no positive integer, or none that an array has.
    """
    size = whole_number(value)
    if size is None or size < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    if size > _LARGEST:
        raise ValueError(f"{name} must be at most {_LARGEST}, got {shown(size)}")
    return size


def read_mode(value: str | AutoresetMode) -> AutoresetMode:
    """Returns an autoreset mode, which may be given by its name.

    Raises:
        ValueError: If there is none of that name; the message lists the known ones.
    """
    modes = [mode.value for mode in AutoresetMode]
    if value not in (*modes, *AutoresetMode):
        raise ValueError(
            f"unknown autoreset_mode {value!r}; known: {', '.join(modes)}"
            f"{did_you_mean(str(value).title(), modes)}"
        )
    return AutoresetMode(value)


class Handle:
    """Holds an object in an environment's spec; a copy of a handle is the handle itself.

    Attributes:
        target: The object.
    """

    __slots__ = ("target",)

    def __init__(self, target: Any) -> None:
        self.target = target

    def __deepcopy__(self, _memo: dict[int, Any]) -> Handle:
        """Returns the handle itself."""
        return self

    def __repr__(self) -> str:
        """Names the type of what is held."""
        return f"Handle({type(self.target).__name__})"


def hold(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Puts every object among an environment's arguments into a handle."""
    return {key: _hold(value) if key in _HELD else value for key, value in kwargs.items()}


def release(value: Any) -> Any:
    """Returns what a handle holds, also within lists and dictionaries; anything else as it is."""
    if isinstance(value, list | tuple):
        return [release(item) for item in value]
    if isinstance(value, dict):
        return {key: release(item) for key, item in value.items()}
    return value.target if isinstance(value, Handle) else value


def _hold(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_hold(item) for item in value]
    if isinstance(value, dict):
        return {key: _hold(item) for key, item in value.items()}
    return value if isinstance(value, (*_PLAIN, Handle)) else Handle(value)
