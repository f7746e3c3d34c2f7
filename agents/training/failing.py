"""An iteration that fails: the agent is put back to where it began, and a refused batch is kept."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from agents.training.guards import GuardError, explained_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agents.learner import Agent
    from agents.rollouts.rollout import Rollout

__all__ = ["save_failed_batch", "undone_on_failure"]


@contextmanager
def undone_on_failure(agent: Agent) -> Iterator[None]:
    """Puts an agent back to before the iteration in a ``with`` block, if that fails.

    Prompts and draws come again. What the algorithm remembers is put back as well, unless weights
    have moved: they stay, and the agent is not whole.

    Args:
        agent: Who learns.

    Raises:
        GuardError: If an invariant of training is broken, or memory runs out; the message says
            which, and where the batch was saved.
    """
    draws, known = agent.random.before_iteration(), agent.record()
    agent.collected = None
    try:
        with explained_memory():
            yield
    except BaseException as error:
        agent.optimizer.zero_grad(set_to_none=True)  # of half a minibatch
        agent.random.go_back(draws)
        if agent.is_whole:
            agent.recall(known)
        if not isinstance(error, GuardError):
            raise
        raise GuardError(f"iteration {agent.iteration + 1}: {error}{_kept(agent)}") from error
    agent.is_whole = True


def save_failed_batch(rollout: Rollout, path: Path) -> None:
    """Writes what a guard refused, to be looked at.

    Args:
        rollout: What was collected.
        path: The safetensors file.
    """
    names = (
        "tokens",
        "texts",
        "candidates",
        "places",
        "actions",
        "log_probs",
        "rewards",
        "mask",
        "legal",
    )
    kept = {name: getattr(rollout, name) for name in names}
    save_file({name: each.contiguous() for name, each in kept.items() if each is not None}, path)


def _kept(agent: Agent) -> str:
    """Saves the batch that a guard refused; returns where, as the end of a message."""
    if agent.collected is None or not agent.processes.is_main:
        return ""
    path = agent.failure_folder / f"failed-batch-{agent.iteration + 1}.safetensors"
    save_failed_batch(agent.collected, path)
    return f" (the batch is in {path})"
