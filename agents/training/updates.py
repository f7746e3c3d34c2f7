"""An iteration's gradient steps: what every algorithm does around its own loss.

Texts of like length go through the model together, as many as ``micro_batch_tokens`` allows with
padding. How a minibatch is cut changes its gradient by rounding alone (tested), because losses are
sums with weights that are worked out for the whole minibatch, see ``agents.maths.losses``.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from agents.maths.advantages import masked_mean
from agents.maths.importance import largest_weight
from agents.training.guards import (
    SMALLER_PASSES,
    GuardError,
    memory_guard,
    require_agreement,
    require_finite_gradient,
    require_unit_ratio,
)
from agents.training.sampler_gap import SamplerGap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from torch import Tensor

    from agents.config import LearnerConfig
    from agents.models.episodes import Evaluation
    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from agents.training.distributed import Processes

__all__ = ["PhaseClock", "Updates", "descend", "parts"]


class Updates:
    """The gradient steps of one iteration, made inside a ``with`` block.

    Of several processes each computes its share of a minibatch's gradient. Where one of them fails
    in its share, all of them raise.

    Example::

        with self.updates() as updates:
            for _ in range(config.epochs):
                for minibatch in updates.minibatches(len(rollout)):
                    for part in updates.parts(minibatch, rollout.read_lengths[minibatch]):
                        new = self.policy.evaluate(rollout, part, config.temperature)
                        loss, figures = ...
                        updates.backward(loss, figures)
                    updates.step()
        metrics = updates.means()
    """

    def __init__(
        self,
        policy: TransformerPolicy,
        optimizer: torch.optim.Optimizer,
        config: LearnerConfig,
        *,
        generator: torch.Generator,
        processes: Processes,
        iteration: int,
        engine: bool = False,
    ) -> None:
        """Prepares an iteration's updates.

        Args:
            policy: What learns.
            optimizer: Over its parameters.
            config: The learner's.
            generator: Shuffles the texts.
            processes: Who trains the same policy.
            iteration: The number of the iteration, from 0.
            engine: Whether another engine than the policy wrote the texts.
        """
        self._policy, self._optimizer, self._config = policy, optimizer, config
        self._engine = engine
        self._generator, self._processes, self._iteration = generator, processes, iteration
        self._figures: dict[str, Tensor] = {}  # of the minibatch so far, on the device
        self._history: list[dict[str, float]] = []
        cap = largest_weight(config.importance_cap, is_own=not engine)
        self._gap = SamplerGap(cap, policy.device)
        self._gap_figures: dict[str, float] = {}
        self._in_a_share = False  # whether the other processes wait to hear of this one
        self._counts = True  # whether the part at hand is this process's own
        self._stopped = False

    def minibatches(self, count: int) -> Iterator[Tensor]:
        """Deals texts, or groups of them, out in random order: the minibatches of one epoch.

        Their sizes differ by at most one; ``chunk`` would make fewer of them, or a last one of a
        few.

        Args:
            count: How many there are; fewer than ``minibatches`` go one by one.

        Yields:
            Their numbers, int64; none after ``stop``.
        """
        if self._stopped or not count:
            return
        order = torch.randperm(count, generator=self._generator, device=self._policy.device)
        for minibatch in order.tensor_split(min(self._config.minibatches, count)):
            if not self._stopped:
                yield minibatch

    def stop(self) -> None:
        """Leaves out the minibatches that are left of this iteration."""
        self._stopped = True

    def parts(
        self, minibatch: Tensor, lengths: Tensor, tokens: Tensor | None = None
    ) -> Iterator[Tensor]:
        """This process's share of a minibatch, in parts that each go through one forward pass.

        With weights that are cut, all processes make as many passes: one that has fewer parts gets
        a text of the minibatch again, of which ``backward`` then counts nothing.

        Args:
            minibatch: Numbers of texts, or of groups of them, ``(n,)`` int64.
            lengths: The longest text that each has, ``(n,)`` int64.
            tokens: What there is to read in each, ``(n,)`` int64; ``None`` for ``lengths``.

        Yields:
            The numbers in parts; none, where there are fewer texts than processes.
        """
        self._in_a_share = True
        deal, sizes = self._processes.deal, lengths if tokens is None else tokens
        own = parts(deal(minibatch, lengths), deal(sizes, lengths), self._config.micro_batch_tokens)
        every, count = self._processes.evened(own, minibatch.index_select(0, sizes.argmin()[None]))
        for number, part in enumerate(every):
            self._counts = number < count
            yield part

    def require_unmoved(
        self, new: Evaluation, rollout: Rollout, part: Tensor, old_log_probs: Tensor | None
    ) -> None:
        """Requires, before the first step, that the policy that learns is the one that acted.

        Args:
            new: What it says of the part.
            rollout: All texts.
            part: Numbers of the part's texts, ``(n,)`` int64.
            old_log_probs: Of the actions under the policy that acted, ``(N, C)``; ``None`` if they
                are ``new``'s own, which then must be near the sampler's.

        Raises:
            GuardError: If it is not, or nothing that acts can learn.
        """
        if self._history or not self._counts:
            return
        if not new.log_probs.requires_grad:
            raise GuardError(
                "the policy is frozen: its log-probabilities require no gradient, so only values "
                "would be learned"
            )
        mask, sampled = rollout.mask[part], rollout.log_probs[part]
        self._gap.add(new.log_probs - sampled, mask)
        bf16 = bool(self._config.bf16) or self._policy.dtype is torch.bfloat16
        if old_log_probs is None:
            gap = float(masked_mean((new.log_probs.detach() - sampled).abs(), mask))
            require_agreement(gap, bf16=bf16 or self._engine, engine=self._engine)
        else:
            require_unit_ratio(new.log_probs, old_log_probs[part], mask, bf16=bf16)

    def backward(self, loss: Tensor, figures: Mapping[str, Tensor]) -> None:
        """Adds the gradient of a part to the parameters'.

        Args:
            loss: The part's share of the minibatch's loss.
            figures: Its shares of whatever is to be measured, scalars.
        """
        if not loss.requires_grad:
            raise GuardError(
                "the policy is frozen: nothing in it requires a gradient, so nothing can be learned"
            )
        if not self._counts:
            loss, figures = 0.0 * loss, {}
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without types
        for name, share in figures.items():
            so_far = self._figures.get(name, torch.zeros_like(share))
            self._figures[name] = so_far + share.detach()

    def sum_gradient(self) -> dict[str, float]:
        """Sums the minibatch's gradient, and what was measured of it, over the processes.

        Returns:
            The measurements of the whole minibatch.

        Raises:
            GuardError: If another process failed in its share.
            RewardError: Likewise.
        """
        self._in_a_share = False
        self._processes.require_success()
        # Brought to the host together, for which it waits once.
        values = torch.stack([*self._figures.values()]).tolist() if self._figures else []
        figures = dict(zip(self._figures, values, strict=True))
        self._figures = {}
        self._processes.sum_gradients(self._policy.parameters())
        return self._processes.summed(figures)

    def step(self) -> dict[str, float]:
        """Makes the gradient step of a minibatch.

        Returns:
            Its measurements, ``gradient_norm`` among them, and ``critic_gradient_norm`` where
            there is a critic.

        Raises:
            GuardError: If the gradient is not finite, or another process failed in its share.
        """
        figures = self.sum_gradient()
        if not self._history:
            self._gap_figures = self._gap.figures(self._processes)
        figures |= descend(
            _trained_apart(self._policy),
            self._optimizer,
            max_norm=self._config.max_gradient_norm,
            iteration=self._iteration + 1,
        )
        self._history.append(figures)
        return figures

    def means(self) -> dict[str, float]:
        """The means of what the steps measured, how many ``updates`` there were, the sampler's gap.

        The last is of the first minibatch alone, see ``SamplerGap``.
        """
        first = self._history[0] if self._history else {}
        means = {name: float(np.mean([each[name] for each in self._history])) for name in first}
        return {**means, **self._gap_figures, "updates": float(len(self._history))}

    def __enter__(self) -> Self:
        """Begins."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tells the other processes of a failure in this one's share, and says what to lower.

        Raises:
            GuardError: If memory ran out.
        """
        if self._in_a_share and isinstance(error, Exception):
            explained = memory_guard(error, SMALLER_PASSES)
            if self._processes.sharded:
                self._processes.leave(error)
            else:
                self._processes.tell_failure(explained or error)
            if explained is not None:
                raise explained from error


def parts(rows: Tensor, lengths: Tensor, most_tokens: int) -> list[Tensor]:
    """Cuts rows into parts of like length.

    Args:
        rows: Numbers of texts, ``(n,)`` int64.
        lengths: Of those texts, ``(n,)`` int64.
        most_tokens: The most tokens of a part, padding included; a longer text goes alone.

    Returns:
        The numbers, longest texts first, in parts.
    """
    order = lengths.argsort(descending=True, stable=True)
    ordered = lengths[order].tolist()
    cuts, first = [], 0
    while first < len(ordered):
        count = max(1, most_tokens // ordered[first])
        cuts.append(rows[order[first : first + count]])
        first += count
    return cuts


class PhaseClock:
    """Seconds by phase of an iteration, each in one phase; on a GPU, work belongs to its phase.

    Attributes:
        seconds: By name of the phase.
    """

    def __init__(self, device: torch.device) -> None:
        """Starts with no phase."""
        self._device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures what is done inside, and adds it to the phase."""
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        spent = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def move(self, whole: str, part: str, seconds: float) -> None:
        """Counts some of a phase's seconds as another's."""
        self.seconds[whole] -= seconds
        self.seconds[part] = seconds


def descend(
    trained: Mapping[str, Sequence[torch.nn.Parameter]],
    optimizer: torch.optim.Optimizer,
    *,
    max_norm: float | None,
    iteration: int,
) -> dict[str, float]:
    """Steps the optimiser by the accumulated gradient and clears it.

    A critic of its own has a gradient of its own: what it is wrong by must not shorten the policy's
    steps. A gradient of exactly 0 makes no step, which Adam's momentum otherwise would: texts may
    have nothing to tell apart, or all of their ratios at the clip.

    Args:
        trained: Parameters that have a gradient, by the name of its norm: the policy's, and apart
            from it a critic's.
        optimizer: Over them.
        max_norm: A longer gradient is scaled down to this, each by itself; ``None`` leaves them.
        iteration: For messages, from 1.

    Returns:
        The norms before clipping, by name.

    Raises:
        GuardError: If a gradient is not finite.
    """
    limit, norms = float("inf") if max_norm is None else max_norm, dict[str, float]()
    for name, parameters in trained.items():
        norms[name] = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        require_finite_gradient(norms[name], iteration)
        if norms[name] == 0.0:
            for parameter in parameters:
                parameter.grad = None
    if any(norms.values()):
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norms


def _trained_apart(policy: TransformerPolicy) -> dict[str, list[torch.nn.Parameter]]:
    """What has a gradient, by the name of its norm; a trunk that both read has one for both."""
    trained = [p for p in policy.parameters() if p.grad is not None]
    if policy.critic is None:
        return {"gradient_norm": trained}
    valuing = {*policy.value_parameters()}
    return {
        "gradient_norm": [p for p in trained if p not in valuing],
        "critic_gradient_norm": [p for p in trained if p in valuing],
    }
