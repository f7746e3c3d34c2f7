"""What ``learn`` does: iterations, until there are enough actions or somebody says stop.

An iteration is made or undone, and a checkpoint is of what lies between two of them.

Whoever looks on is a ``Listener``. ``Functions`` is the one for callbacks that are functions; the
one for callbacks and loggers of Stable-Baselines3 is in ``agents.bridges.sb3.callbacks``, so that
whoever has none of them does not wait for that package.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from agents.training.checkpoint import save_learner
from agents.training.distributed import Processes
from agents.training.guards import GuardError, explained_memory, save_failed_batch
from agents.training.progress import training_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from agents.rollouts.rollout import Rollout
    from agents.training.checkpoint import Resumable

__all__ = [
    "Functions",
    "Listener",
    "Saves",
    "Steppable",
    "only_functions",
    "run",
    "undone_on_failure",
]


class Steppable(Protocol):
    """What can be run iteration by iteration."""

    @property
    def num_timesteps(self) -> int:
        """Actions taken so far, which are tokens; a checkpoint keeps the number."""

    def step(self) -> tuple[Mapping[str, float], Rollout | None]:
        """Runs one iteration; returns its metrics and, if there was one, its collection."""


class Listener(Protocol):
    """Who is told of a run; ``known`` is what Stable-Baselines3 calls ``locals``."""

    def begin(self, known: dict[str, Any]) -> None:
        """Training starts."""

    def before_iteration(self) -> None:
        """An iteration starts."""

    def after_iteration(self, known: dict[str, Any]) -> bool:
        """An iteration has been made; returns whether to go on."""

    def end(self) -> None:
        """Training has ended."""


@dataclass(slots=True)
class Functions:
    """Functions of ``locals`` and ``globals`` that return whether to go on; each is called.

    Attributes:
        functions: What is called after each iteration.
        known: What they are told.
    """

    functions: Sequence[Callable[[dict[str, Any], dict[str, Any]], Any]] = ()
    known: dict[str, Any] = field(default_factory=dict)

    def begin(self, known: dict[str, Any]) -> None:
        """Keeps what is known from the start on."""
        self.known = dict(known)

    def before_iteration(self) -> None:
        """Nothing is to be done."""

    def after_iteration(self, known: dict[str, Any]) -> bool:
        """Calls every function."""
        self.known |= known
        answers = [bool(function(self.known, globals())) for function in self.functions]
        return all(answers)

    def end(self) -> None:
        """Nothing is to be done."""


def only_functions(callback: Any) -> list[Callable[..., Any]] | None:
    """The functions of a callback or of lists of them; ``None`` if there is anything else in it."""
    if callback is None:
        return []
    if isinstance(callback, list):
        each = [only_functions(inner) for inner in callback]
        return None if None in each else [f for inner in each if inner is not None for f in inner]
    is_function = callable(callback) and not isinstance(callback, type)
    return [callback] if is_function else None


def run(
    learner: Steppable,
    total_timesteps: int,
    listener: Listener,
    *,
    progress_bar: bool = False,
    processes: Processes | None = None,
) -> None:
    """Runs a learner until it has written so many tokens, or a listener stops it.

    Args:
        learner: What learns.
        total_timesteps: Its ``num_timesteps`` at the end, those that it begins with included; the
            last iteration is finished, so it may become a few more.
        listener: Told ``self`` and ``total_timesteps``, and of an iteration ``iteration``, counted
            from this call's first as 1, ``metrics``, ``rollout``, ``seconds`` since the beginning
            and, one entry an episode, ``dones``, ``rewards`` (the returns) and ``infos``.
        progress_bar: Whether to draw a bar, where there is a terminal.
        processes: Who trains this learner; the main one alone listens and draws, and decides for
            all whether to go on. ``None`` for this process alone.

    Raises:
        RuntimeError: If an iteration leaves ``num_timesteps`` as it was.
    """
    processes = Processes() if processes is None else processes
    if not processes.is_main:
        listener, progress_bar = Functions(), False
    first, iteration, goes_on, started = learner.num_timesteps, 0, True, time.monotonic()
    name = type(learner).__name__
    listener.begin({"self": learner, "total_timesteps": total_timesteps, "tb_log_name": name})
    with training_bar(total_timesteps, start=first, visible=progress_bar) as bar:
        while goes_on and learner.num_timesteps < total_timesteps:
            before, iteration = learner.num_timesteps, iteration + 1
            listener.before_iteration()
            metrics, rollout = learner.step()
            tokens, seconds = learner.num_timesteps, time.monotonic() - started
            if tokens <= before:
                raise RuntimeError(
                    f"{name}.step() left num_timesteps at {tokens}; it must count the actions that "
                    "it takes"
                )
            bar.update(tokens, metrics)
            known = {"metrics": metrics, "rollout": rollout, "iteration": iteration}
            with processes.together():
                goes_on = listener.after_iteration(
                    known | _episodes(rollout, seconds) | {"seconds": seconds}
                )
            goes_on = processes.as_main(goes_on)
    listener.end()


def _episodes(rollout: Rollout | None, seconds: float) -> dict[str, Any]:
    """What callbacks expect of an environment's step, with one entry for each whole episode."""
    if rollout is None:
        return {}
    returns = (rollout.rewards * rollout.mask).sum(dim=1).cpu().numpy()
    lengths = rollout.mask.sum(dim=1).cpu().numpy()
    cut = rollout.truncated.cpu().numpy()
    infos = [
        {
            "episode": {"r": float(paid), "l": int(length), "t": seconds},
            "score": float(rollout.scores[row]),
            "stop_reason": int(rollout.stop_reasons[row]),
            "TimeLimit.truncated": bool(cut[row]),
        }
        for row, (paid, length) in enumerate(zip(returns, lengths, strict=True))
    ]
    return {"dones": lengths > 0, "rewards": returns, "infos": infos}


class Saves:
    """When checkpoints are written: at once, or, of weights that are cut, when all can help."""

    def __init__(self) -> None:
        """Nobody has asked for one."""
        self._asked: list[Path] = []
        self._wait = False

    def ask(self, learner: Resumable, folder: Path) -> None:
        """Writes a checkpoint, or notes that a callback of the main process has asked for it."""
        if learner.processes.sharded and self._wait:
            self._asked.append(folder)
        elif learner.processes.sharded or learner.processes.is_main:
            save_learner(learner, folder)

    def make(self, learner: Resumable) -> None:
        """Writes what was asked for; to be called in all processes."""
        for folder in learner.processes.as_main(self._asked) if learner.processes.sharded else ():
            save_learner(learner, folder)
        self._asked = []

    @contextmanager
    def later(self, learner: Resumable) -> Iterator[None]:
        """Inside, where the main process alone is called back, saves wait until all can help."""
        self._wait = True
        try:
            yield
        finally:
            self._wait = False
        self.make(learner)


@contextmanager
def undone_on_failure(learner: Resumable) -> Iterator[None]:
    """Goes back to before the iteration in a ``with`` block, if that fails.

    Prompts and draws come again. What the algorithm remembers is put back as well, unless weights
    have moved: they stay, and the learner is not whole.

    Args:
        learner: Whose iteration it is.

    Raises:
        GuardError: If an invariant of training is broken, or memory runs out; the message says
            which, and where the batch was saved.
    """
    draws, known = learner.random.before_iteration(), learner.record()
    learner.collected = None
    try:
        with explained_memory():
            yield
    except BaseException as error:
        learner.optimizer.zero_grad(set_to_none=True)  # of half a minibatch
        learner.random.go_back(draws)
        if learner.is_whole:
            learner.recall(known)
        if not isinstance(error, GuardError):
            raise
        number, where = learner.iteration + 1, ""
        if learner.collected is not None and learner.processes.is_main:
            path = learner.failure_folder / f"failed-batch-{number}.safetensors"
            save_failed_batch(learner.collected, path)
            where = f" (the batch is in {path})"
        raise type(error)(f"iteration {number}: {error}{where}") from error
    learner.is_whole = True
