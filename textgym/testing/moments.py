"""An episode taken up again: copies, pickles and snapshots of anybody's vector environment.

Nothing here knows of texts. Copies are taken in the middle of episodes, and nobody looks at the
environment around that moment: it is stepped with actions that were drawn before, in a run that
nothing disturbed. What is prepared for the next step may be what a copy is wrong about.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from textgym.testing.findings import require
from textgym.testing.rolls import draw_actions, equal, host, reset_finished

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gymnasium.vector import VectorEnv

__all__ = ["check_copies", "check_snapshots", "pickled"]

_SEED = 231
_PARTS = 6  # of a run, between which copies are taken


def _pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - made on the line


def check_copies(
    envs: VectorEnv[Any, Any, Any], steps: int, *, make: Callable[[Any], Any], name: str
) -> None:
    """Checks that a copy goes on as its original, and leaves it alone.

    Where one cannot be made, because making it raises, there is none to check.

    Args:
        envs: The environment.
        steps: How long to step.
        make: Makes a copy.
        name: What the message calls it.

    Raises:
        AssertionError: If it goes on in another way; the message says from when on.
    """
    actions, expected = _undisturbed(envs, steps)
    parts = _parts(steps)
    _go_to(envs, actions[: parts[0].start])
    for part in parts:
        try:
            twin = make(envs)
        except Exception:
            return  # what cannot be copied says so itself
        where = f"in the middle of episodes, after step {part.start}"
        same = equal(expected[part], _replay(twin, actions[part]))
        require(same, f"a {name} that is taken {where}, goes on in another way")
        same = equal(expected[part], _replay(envs, actions[part]))
        require(same, f"stepping a {name} that was taken {where}, has changed its original")


def check_snapshots(envs: VectorEnv[Any, Any, Any], steps: int) -> None:
    """Checks that ``restore_state`` goes back to where ``save_state`` was called, if there are.

    Args:
        envs: The environment.
        steps: How long to step.

    Raises:
        AssertionError: If what comes after is not what came the first time.
    """
    save, restore = getattr(envs, "save_state", None), getattr(envs, "restore_state", None)
    if save is None or restore is None:
        return
    actions, expected = _undisturbed(envs, steps)
    parts = _parts(steps)
    _go_to(envs, actions[: parts[0].start])
    for part in parts:
        snapshot = save()
        where = f"that was taken in the middle of episodes, after step {part.start}"
        same = equal(expected[part], _replay(envs, actions[part]))
        require(same, f"a snapshot {where}, has changed what comes after")
        for _ in range(2):  # a snapshot is good for more than one time
            restore(snapshot)
            same = equal(expected[part], _replay(envs, actions[part]))
            require(same, f"after going back to a snapshot {where}, other things come than did")


def pickled(value: Any) -> Any:
    """Returns what a pickle of a value is read as."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - made on the line


def _parts(steps: int) -> list[slice]:
    """The parts of a run, behind its first step, before each of which a copy is taken."""
    length = max(1, steps // _PARTS)
    return [slice(start, start + length) for start in range(1, steps, length)]


def _undisturbed(envs: VectorEnv[Any, Any, Any], steps: int) -> tuple[list[Any], list[Any]]:
    """Draws actions and takes them; returns both."""
    envs.action_space.seed(_SEED)
    envs.reset(seed=_SEED)
    actions, returned = [], []
    for _ in range(steps):
        actions.append(draw_actions(envs))
        returned += _replay(envs, actions[-1:])
    return actions, returned


def _go_to(envs: VectorEnv[Any, Any, Any], actions: Sequence[Any]) -> None:
    envs.reset(seed=_SEED)
    _replay(envs, actions)


def _replay(envs: VectorEnv[Any, Any, Any], actions: Sequence[Any]) -> list[Any]:
    """Takes actions; returns what each step returned."""
    returned = []
    for action in actions:
        returned.append(envs.step(action))
        reset_finished(envs, host(returned[-1][2]) | host(returned[-1][3]))
    return returned
