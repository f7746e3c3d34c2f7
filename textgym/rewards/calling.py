"""How a function is called that was written for another trainer, or for none.

TRL calls a reward by keywords: ``prompts``, ``completions`` and ``completion_ids``, the data's
columns, then ``trainer_state``, ``log_extra``, ``log_metric`` and sometimes ``environments``
(``GRPOTrainer._calculate_rewards`` of TRL 1.16). A function names what it wants, in any order.
Here it gets what there is: the texts, the columns, and the ids that the agent wrote. There is no
trainer: its state and its environments are ``None``, and what is logged through it is dropped.

Simplifications: a function that looks ``completion_ids`` up in its ``**kwargs`` without naming it
is not given them, and coroutines of several rewards run one after the other.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

__all__ = ["AdaptedReward", "ChatReward", "FilledReward", "adapt", "columns_read", "require_call"]

_TEXTS, _IDS = ("prompts", "completions"), "completion_ids"
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _drop(*_: Any, **__: Any) -> None:
    """Takes what a function wants to log."""


_OF_A_TRAINER: Mapping[str, Any] = MappingProxyType(
    {"trainer_state": None, "environments": None, "log_extra": _drop, "log_metric": _drop}
)


def adapt(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function that can be called as ``function(prompts, completions, **columns)``.

    One that can be called so already is returned as it is.

    Args:
        function: It takes prompts and completions first, whatever it calls them, or it names
            ``completions`` or ``completion_ids``, wherever they stand, or takes keywords alone.
            Without ``**kwargs`` it is given the columns that it names. It may be a coroutine
            function.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return function  # something built in, which does not say what it takes
    kinds = {parameter.kind for parameter in parameters}
    names = [parameter.name for parameter in parameters]
    in_order = names[:2] == ["prompts", "completions"]
    kind = inspect.Parameter
    has_places = not kinds.isdisjoint(
        {kind.POSITIONAL_ONLY, kind.POSITIONAL_OR_KEYWORD, kind.VAR_POSITIONAL}
    )
    names_texts = not {"completions", _IDS}.isdisjoint(names)
    by_name = not in_order and (names_texts or not has_places)
    columns = parameters if by_name else _behind_the_texts(parameters)
    takes_all = kind.VAR_KEYWORD in kinds
    special = by_name or not {_IDS, *_OF_A_TRAINER}.isdisjoint(names) or _is_async(function)
    if takes_all and not special:
        return function
    return AdaptedReward(
        function,
        by_name=by_name,
        named=tuple(parameter.name for parameter in columns),
        takes_all=takes_all,
        reads=_required(columns),
    )


def require_call(name: str, adapted: Callable[..., Any]) -> None:
    """Refuses a function that can be called in no way of ours, whatever the columns are.

    Args:
        name: How the message calls it.
        adapted: What ``adapt`` returned.

    Raises:
        ValueError: If it is one; the message says why.
    """
    function, by_name = adapted, False
    if isinstance(adapted, AdaptedReward):
        function, by_name = adapted.function, adapted.by_name
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    parameters = list(signature.parameters.values())
    columns = parameters if by_name else _behind_the_texts(parameters)
    named = {one.name: None for one in columns if one.kind in _BY_NAME}
    try:
        signature.bind(*(() if by_name else _TEXTS), **named)
    except TypeError as error:
        raise ValueError(
            f"reward {name!r} cannot be called with prompts and completions: {error}; it takes "
            f"{signature}"
        ) from error
    if not parameters:
        raise ValueError(f"reward {name!r} takes nothing; it would be given the texts")


def columns_read(function: Callable[..., Any]) -> tuple[str, ...]:
    """Returns the columns that a reward cannot do without, as far as it shows.

    They are its attribute ``reads``, or else what its signature asks for behind the texts and has
    no default for.
    """
    reads = getattr(function, "reads", None)
    if isinstance(reads, tuple):
        return reads
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return _required(_behind_the_texts(list(parameters)))


@dataclass(frozen=True, slots=True)
class AdaptedReward:
    """A function that is called in its own way.

    Attributes:
        function: The function, or one that returns a coroutine.
        by_name: Whether it is given the texts by their names, not by their places.
        named: The arguments that it names, but for the texts where these are given by places.
        takes_all: Whether it takes arguments that it does not name.
        reads: The columns that it cannot do without.
    """

    function: Callable[..., Any]
    by_name: bool
    named: tuple[str, ...]
    takes_all: bool
    reads: tuple[str, ...] = ()

    @property
    def __name__(self) -> str:
        """What the function is called."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    @property
    def reads_ids(self) -> bool:
        """Whether it wants the ids that the agent wrote."""
        return _IDS in self.named

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Any:
        """Scores a batch, as the function does.

        Raises:
            ValueError: If the function names ``completion_ids`` and there are none.
        """
        if self.reads_ids and _IDS not in columns:
            raise ValueError(
                "it reads completion_ids, which only an environment can give: texts alone do not "
                "say what their tokens were"
            )
        given = {name: _OF_A_TRAINER[name] for name in self.named if name in _OF_A_TRAINER}
        given |= columns
        if self.by_name:
            given |= {"prompts": prompts, "completions": completions}
        if not self.takes_all:
            given = {name: value for name, value in given.items() if name in self.named}
        texts = () if self.by_name else (prompts, completions)
        result = self.function(*texts, **given)
        return _outcome(result) if inspect.isawaitable(result) else result


@dataclass(frozen=True, slots=True)
class ChatReward:
    """A function that reads messages, as TRL gives them for conversational data.

    A prompt becomes ``[{"role": "user", "content": prompt}]``, and a completion the same with the
    role ``"assistant"``.

    Attributes:
        reward: The function.
    """

    reward: Callable[..., Any]

    @property
    def reads_ids(self) -> bool:
        """Whether it wants the ids that the agent wrote."""
        return bool(getattr(self.reward, "reads_ids", False))

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that it cannot do without."""
        return columns_read(self.reward)

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Any:
        """Scores a batch, as the function does."""
        return self.reward(_said("user", prompts), _said("assistant", completions), **columns)


@dataclass(frozen=True, slots=True)
class FilledReward:
    """A function that may return ``None`` for a text that it cannot judge, as TRL allows.

    Attributes:
        reward: The function.
        value: The score of such a text.
    """

    reward: Callable[..., Any]
    value: float

    @property
    def reads_ids(self) -> bool:
        """Whether it wants the ids that the agent wrote."""
        return bool(getattr(self.reward, "reads_ids", False))

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that it cannot do without."""
        return columns_read(self.reward)

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Any:
        """Scores a batch, as the function does, without a ``None``."""
        scores = self.reward(prompts, completions, **columns)
        if not isinstance(scores, list | tuple):
            return scores
        return [self.value if score is None else score for score in scores]


def _behind_the_texts(parameters: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """A signature's parameters but for those that two texts, given by their places, fill."""
    places = [parameter for parameter in parameters if parameter.kind in _BY_PLACE]
    return [parameter for parameter in parameters if parameter not in places[: len(_TEXTS)]]


def _required(parameters: Iterable[inspect.Parameter]) -> tuple[str, ...]:
    """The columns among parameters that have no default and can be given by name."""
    return tuple(
        parameter.name
        for parameter in parameters
        if parameter.kind in _BY_NAME
        and parameter.default is parameter.empty
        and parameter.name not in (*_TEXTS, _IDS, *_OF_A_TRAINER)
    )


def _said(role: str, texts: Sequence[str]) -> list[list[dict[str, str]]]:
    return [[{"role": role, "content": text}] for text in texts]


def _is_async(function: Callable[..., Any]) -> bool:
    # What is called when an instance is called; functions have one too, and it is no coroutine's.
    call = getattr(type(function), "__call__", None)  # noqa: B004 - it is looked at, not called
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _outcome(awaitable: Awaitable[Any]) -> Any:
    """Waits in a thread of its own, because this one may run an event loop, as in a notebook."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    async def wait() -> Any:
        return await awaitable

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, wait()).result()
