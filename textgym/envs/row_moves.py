"""One text's moves: how it begins, what a caller's action does to it, and what is replied.

The usual action, a token that is appended, goes by ``Row.append`` without any array but the text;
everything else goes through ``textgym.dynamics.moves`` with a state of one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.envs.row import Row
from textgym.messages import shown
from textgym.types import StopReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from textgym.envs.world import World
    from textgym.types import Example

__all__ = ["RowMoves"]


class RowMoves:
    """What can happen to the text of a ``TextEnv``."""

    def __init__(self, world: World) -> None:
        """Chooses the shortest way for the world's kind of action.

        Args:
            world: The world.
        """
        self._world, self._rules = world, world.rules
        self._moves = world.moves(world.rules)
        self._raises = world.settings.invalid_action == "raise"
        self._legal = world.rules.legal.tolist()
        self._sizes = world.action_sizes()
        self.appends = (
            world.settings.action_kind == "append"
            and self._moves.plain
            and not world.rules.converses
        )
        """Whether an action appends a token, and nothing else has to be done."""

    def choose(
        self, options: Mapping[str, Any], generator: np.random.Generator
    ) -> tuple[Example, int]:
        """Returns what a text starts with, as a caller wants it or drawn, and its number.

        Args:
            options: What ``textgym.envs.resets.read_row_options`` returns.
            generator: Draws an example, if none is asked for.

        Raises:
            TypeError: If an example is no integer or a prompt no text.
            ValueError: If there is no such example.
        """
        if "prompt" in options:
            return self._world.example_of(options["prompt"]), -1
        if "example_id" in options:
            number = self._world.example_id(options["example_id"])
        else:
            number = int(generator.integers(len(self._world.examples)))
        return self._world.examples[number], number

    def begin(self, example: Example, number: int, generator: np.random.Generator) -> Row:
        """Starts a text.

        Args:
            example: What it starts with.
            number: The example's number in the split; -1 for a caller's own prompt.
            generator: Draws its draft, if it has one.

        Raises:
            ValueError: If the prompt cannot be encoded.
        """
        if self.appends and number >= 0:
            tokens, length = self._world.prompts.row(number)
            return Row(tokens, length, length, 0, int(StopReason.RUNNING))
        laid = self._world.start([example], np.array([number]), [generator])
        return Row.of(self._moves.begin(laid))

    def legal(self, row: Row) -> npt.NDArray[np.bool_]:
        """Returns which actions are legal, ``(A,)`` bool; at least one is."""
        return self._moves.legal(row.state())[0]  # type: ignore[no-any-return] # a state's arrays are Any

    def append(self, row: Row, action: Any, example: Example) -> Row:  # noqa: ARG002 - as move
        """Appends a token, if ``appends``: the way of most steps, without other arrays.

        Args:
            row: An open text.
            action: A caller's action.
            example: What the text started with.

        Raises:
            ValueError: If the action is outside the space, or it is illegal and
                ``invalid_action="raise"``.
        """
        token = action if type(action) is int else _read_token(action)
        if not 0 <= token < len(self._legal):
            raise ValueError(f"action {token} is not in 0..{len(self._legal) - 1}")
        legal = self._legal[token]
        if not legal and self._raises:
            raise _illegal(token)
        return row.append(token, self._rules, legal=legal)

    def move(self, row: Row, action: Any, example: Example) -> Row:
        """Takes an action of any kind, and lets the other side reply; see ``append``."""
        array, state = self._read(action), row.state()
        if self._raises and not self._moves.permits(state, array)[0]:
            raise _illegal(action)
        after = self._moves(state, array)
        if self._rules.converses and after.stop_reason[0] == StopReason.END_OF_TEXT:
            after = self._moves.propose(self._world.answer(after, [example]))
        return Row.of(after)

    def _read(self, action: Any) -> npt.NDArray[np.int64]:
        size = len(self._sizes)
        array = _integers(action, size).astype(np.int64).reshape(1, size)
        if ((array < 0) | (array >= self._sizes)).any():
            last = " and ".join(f"0..{size - 1}" for size in self._sizes)
            raise ValueError(f"action {action} is not in {last}")
        return array if size > 1 else array[:, 0]


def _read_token(action: Any) -> int:
    return int(_integers(action, 1).reshape(()))


def _integers(action: Any, size: int) -> npt.NDArray[np.integer]:
    try:
        array = np.asarray(action)
    except ValueError:  # lists of different lengths
        array = np.zeros(0)
    if array.size != size or array.dtype.kind not in "iu":
        wanted = "one integer" if size == 1 else f"{size} integers"
        raise ValueError(f"an action is {wanted}, got {shown(action)}")
    return array


def _illegal(action: Any) -> ValueError:
    return ValueError(f"action {action} is illegal; action_masks() says which are legal")
