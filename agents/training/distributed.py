"""Several processes that train one policy, each on a device of its own: what they tell each other.

``accelerate launch`` or ``torchrun`` starts them, and accelerate chooses the backend and the
devices. Every process has all weights, unless they are cut, and draws
the same random numbers. Each writes its share of an iteration's texts; those are gathered, so that
advantages, measures and decisions come from the same numbers everywhere; each computes its share of
a minibatch's gradient, and the shares are summed. So an iteration is what one process would have
made of as many texts, but for the order of sums.

With ``shard`` every process keeps a part of the weights, gradients and moments alone, and all make
their passes together, see ``agents.models.sharding``; only a copy of the policy that writes texts
is whole everywhere.

Simplification: a gradient of whole weights is summed after the backward pass, not while it runs.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, distributed

from agents.maths.masks import Form, in_form
from agents.models.sharding import own_part
from agents.rollouts.engine import EngineError
from agents.training.guards import GuardError
from textgym.rewards import RewardError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agents.config import LearnerConfig
    from agents.rollouts.rollout import Rollout

__all__ = ["Processes", "current_processes", "fingerprint"]

_T = TypeVar("_T")

_PATIENCE = timedelta(hours=1)  # how long a process waits for the others
_BOTH = "cuda:nccl,cpu:gloo"  # what sends tensors of either place
_MOST_AT_ONCE = 2**25  # numbers that are sent in one piece
_INT32_BYTES = 4
_GONE = "onnection"  # closed, reset or refused, as backends say of a process that is gone
_CPU = torch.device("cpu")
_KINDS = {kind.__name__: kind for kind in (EngineError, GuardError, RewardError)}


@dataclass(frozen=True, slots=True)
class Processes:
    """All processes, seen from one of them; by default it is alone, and nothing is sent.

    What sends has to be called in all processes, in the same order.

    Attributes:
        rank: Which one this is; 0 is the main process, which logs and writes files.
        count: How many there are.
        device: This one's own, through which tensors are sent.
        sharded: Whether weights are cut, so that every pass sends and has to be made by all.
        offloaded: Whether what is cut rests on the host between passes.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = _CPU
    sharded: bool = False
    offloaded: bool = False

    def without_effect(self, config: LearnerConfig) -> list[str]:
        """What of a learner's settings changes nothing here, and why: a line, or none."""
        asked = {"shard": config.shard, "offload": config.offload}
        asked |= {"checkpoint_in_parts": config.checkpoint_in_parts}
        names = ", ".join(name for name, wanted in asked.items() if wanted)
        if names and not self.sharded:
            why = "one process alone" if self.count == 1 else "without shard every process"
            return [f"without effect: {names}, as {why} has all weights"]
        if config.offload and self.device.type == "cpu":
            return ["without effect: offload, as on a CPU weights rest on the host anyway"]
        return []

    @property
    def is_main(self) -> bool:
        """Whether this is the one that logs and writes files."""
        return self.rank == 0

    def share(self, total: int, rank: int | None = None) -> slice:
        """A process's share of so many things, next to each other; shares differ by at most one.

        Args:
            total: How many there are.
            rank: Whose share; ``None`` for this process's own.
        """
        rank = self.rank if rank is None else rank
        return slice(total * rank // self.count, total * (rank + 1) // self.count)

    def deal(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """This process's share of texts, dealt so that every process has as much to read.

        Args:
            rows: Numbers of texts, ``(n,)``.
            lengths: Of those texts, ``(n,)``.

        Returns:
            Some of the numbers; none, where there are fewer texts than processes.
        """
        if self.count == 1:
            return rows
        return rows[lengths.argsort(descending=True, stable=True)][self.rank :: self.count]

    def exchange(self, value: _T) -> list[_T]:
        """What each process gave, by rank: small Python values."""
        told = [value] * self.count
        if self.count > 1:
            distributed.all_gather_object(told, value)
        return told

    def as_main(self, value: _T) -> _T:
        """What the main process gave; waits for it."""
        return self.exchange(value)[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """All processes get through the block, which sends nothing, or all of them raise.

        Raises:
            GuardError: If the block raised one in another process.
            RewardError: Likewise.
            RuntimeError: If it raised anything else in another process.
        """
        try:
            yield
        except Exception as error:
            self.tell_failure(error)
            raise
        self.require_success()

    @contextmanager
    def passes(self) -> Iterator[None]:
        """As ``together``, for forward passes, which send something where weights are cut.

        Raises:
            GuardError: As there, or, with weights that are cut, if another process has left.
            RewardError: As there.
            RuntimeError: As there.
        """
        if not self.sharded:
            with self.together():
                yield
            return
        try:
            yield
        except Exception as error:
            self.leave(error)
            raise

    def leave(self, error: Exception) -> None:
        """Leaves the others, who wait in a pass for this process, which failed in its own.

        They cannot be told: what they wait for are weights. They notice that nobody is there.

        Raises:
            GuardError: If it failed because another one had left.
        """
        distributed.destroy_process_group()
        if isinstance(error, RuntimeError) and _GONE in str(error):
            raise GuardError(
                "another process failed in a pass that all make together: see what it says"
            ) from error

    def evened(self, parts: list[Tensor], filler: Tensor) -> tuple[list[Tensor], int]:
        """As many parts in every process, where all have to make as many passes.

        Args:
            parts: This process's own.
            filler: A part that is read once more, and left out of what is computed.

        Returns:
            The own parts, behind them fillers, and how many are own.
        """
        if not self.sharded:
            return parts, len(parts)
        missing = max(self.exchange(len(parts))) - len(parts)
        return [*parts, *[filler] * missing], len(parts)

    def tell_failure(self, error: Exception) -> None:
        """Tells the others, who are in ``require_success``, that this process failed."""
        self.exchange((type(error).__name__, str(error)))

    def require_success(self) -> None:
        """Requires that no process has told of a failure; waits until each has come so far.

        Raises:
            GuardError: If one failed with that.
            RewardError: Likewise.
            RuntimeError: If one failed with anything else.
        """
        for rank, told in enumerate(self.exchange(("", ""))):
            if told[0]:
                raise _KINDS.get(told[0], RuntimeError)(f"in process {rank}: {told[1]}")

    def require_same(self, **values: Any) -> None:
        """Requires that every process has the same.

        Raises:
            ValueError: In all of them, if one has something else.
        """
        everyone = self.exchange(values)
        for rank, theirs in enumerate(everyone):
            differs = [name for name in values if theirs[name] != everyone[0][name]]
            if differs:
                name = differs[0]
                raise ValueError(
                    f"process {rank} has another {name} than process 0 ({theirs[name]}, not "
                    f"{everyone[0][name]}): start all processes alike"
                )

    def start_alike(self, module: torch.nn.Module, **values: Any) -> None:
        """Gives a module the main process's weights, and requires that all else is the same.

        Raises:
            ValueError: If ``values`` are not the same everywhere, or the module is on a GPU that is
                another process's.
        """
        if self.count == 1:
            return
        self.require_same(**values)
        with self.together():
            there = next(module.parameters()).device
            if there.type == "cuda" and there != self.device:
                raise ValueError(
                    f"process {self.rank} has {self.device} and its model is on {there}: call "
                    "agents.training.distributed.current_processes('cuda') before models are made"
                )
        for tensor in module.parameters():
            sent = tensor.detach().to(self.device).contiguous()
            distributed.broadcast(sent, 0)
            tensor.detach().copy_(sent)

    def gather(self, own: Tensor, total: int) -> Tensor:
        """Puts everybody's share together.

        Args:
            own: This process's share, ``(n, ...)``, of which all but n is the same everywhere.
            total: How many rows there are in all.

        Returns:
            ``(total, ...)``, in the order of ``share``.
        """
        if self.count == 1:
            return own
        shares = [self.share(total, rank) for rank in range(self.count)]
        sizes = [share.stop - share.start for share in shares]
        sent = own.new_zeros((max(sizes), *own.shape[1:]), device=self.device)
        sent[: len(own)] = own
        received = [torch.empty_like(sent) for _ in sizes]
        distributed.all_gather(received, sent)
        parts = [part[:size] for part, size in zip(received, sizes, strict=True)]
        return torch.cat(parts).to(own.device)

    def gather_rollout(self, own: Rollout, total: int) -> Rollout:
        """Puts everybody's episodes together, as wide as the longest needs; seconds stay own.

        Args:
            own: What this process played, its arrays as wide as the allowance.
            total: How many episodes there are in all.
        """
        steps, width = map(max, zip(*self.exchange(own.longest()), strict=True))
        own = own.cut(steps, width)
        if own.kept is not None:
            form = Form.common(self.exchange(Form.of(own.kept)))
            own = replace(own, kept=in_form(own.kept, form))
        whole: dict[str, Any] = {}
        for name, value in own.by_row().items() if self.count > 1 else ():
            is_tensor = isinstance(value, Tensor)
            gathered = self.gather(value if is_tensor else torch.from_numpy(value), total)
            whole[name] = gathered if is_tensor else gathered.numpy()
        return replace(own, **whole)

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Sums tensors over the processes, in place."""
        for some in _batches(tensors) if self.count > 1 else ():
            flat = torch.cat([each.detach().flatten() for each in some]).to(self.device)
            distributed.all_reduce(flat)
            totals = torch.split(flat, [each.numel() for each in some])
            for each, total in zip(some, totals, strict=True):
                each.detach().copy_(total.view_as(each))

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sums gradients; a parameter that no process has one of is left without."""
        if self.count == 1 or self.sharded:  # which are summed part by part, as they come
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        there = torch.tensor([float(parameter.grad is not None) for parameter in trained])
        self.sum_([there])
        for parameter, anywhere in zip(trained, there.tolist(), strict=True):
            if anywhere and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.sum_(parameter.grad for parameter in trained if parameter.grad is not None)

    def summed(self, measured: Mapping[str, float]) -> dict[str, float]:
        """Sums figures by name; a process without a share may have none."""
        totals: dict[str, float] = {}
        for each in self.exchange(dict(measured)):
            for name, value in each.items():
                totals[name] = totals.get(name, 0.0) + value
        return totals


def current_processes(
    device: torch.device | str = "cpu", config: LearnerConfig | None = None
) -> Processes:
    """Joins the processes that were started together; alone if this one was started by itself.

    To be called before a model is put on a GPU: it makes each process's own GPU its ``cuda``.

    Args:
        device: The kind of device to train on.
        config: Whether they are to cut weights, if there are several, and where those are to rest;
            ``None`` for neither.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(device=torch.device(device))
    from accelerate import PartialState

    kind = torch.device(device).type
    if kind == "cuda" and not distributed.is_initialized():
        # accelerate's NCCL alone would send nothing of what rests on the host.
        distributed.init_process_group(_BOTH, timeout=_PATIENCE)
    state = PartialState(cpu=kind == "cpu", timeout=_PATIENCE)
    cut = config is not None and config.shard
    return Processes(
        state.process_index,
        state.num_processes,
        state.device,
        sharded=cut,
        offloaded=cut and config is not None and config.offload,
    )


def fingerprint(module: torch.nn.Module) -> int:
    """A number that nearly all other weights would not have, the same in any order of sums.

    Of weights that are cut it is that of the own part; those of all processes sum to the whole's.
    """
    total = 0
    for parameter in module.parameters():
        part = own_part(parameter.detach())
        bits = torch.int32 if part.element_size() == _INT32_BYTES else torch.int16
        total += int(part.contiguous().view(bits).sum(dtype=torch.int64))
    return total


def _batches(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one dtype together, up to a size."""
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        some = by_dtype.setdefault(tensor.dtype, [])
        if some and sum(each.numel() for each in some) + tensor.numel() > _MOST_AT_ONCE:
            yield list(some)
            some.clear()
        some.append(tensor)
    yield from (some for some in by_dtype.values() if some)
