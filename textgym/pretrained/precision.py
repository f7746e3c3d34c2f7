"""Whether a model is trained faster in bfloat16 on this very machine, by trying.

A GPU of the last years, and a processor with AMX, multiply bfloat16 several times as fast as
float32; other processors, half as fast. No list of instructions says which, so a second is spent on
forward and backward passes of the model itself, in turn in both, without changing it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor, nn

__all__ = ["Bfloat16", "PassSeconds", "pinned_bf16", "time_passes"]

Bfloat16: TypeAlias = bool | Literal["auto"]
"""Whether to compute in bfloat16; ``auto`` for whatever is faster here."""

_LOG = logging.getLogger(__name__)
_ROUNDS = 5
_SECONDS = 1.0
_SHORT, _LONG = (1, 16), (16, 64)  # rows and tokens of a pass
_WORTH_IT = 1.1
_FAR_SLOWER = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSeconds:
    """Seconds of a forward and a backward pass, the shortest of several."""

    float32: float
    bfloat16: float

    @property
    def speedup(self) -> float:
        """How many times as fast bfloat16 is."""
        return self.float32 / self.bfloat16

    @property
    def bf16(self) -> bool:
        """Whether bfloat16 is faster by a tenth at least: less is not worth its rounding."""
        return self.speedup >= _WORTH_IT

    def __str__(self) -> str:
        """One sentence."""
        chosen = "bfloat16" if self.bf16 else "float32"
        return f"bfloat16 is {self.speedup:.2f} times as fast as float32 here: {chosen}"


def time_passes(
    model: nn.Module, forward: Callable[[Tensor], Tensor], *, vocabulary: int
) -> PassSeconds:
    """Times forward and backward passes for about a second, or once each if they take longer.

    On a CPU that is one thread's own time, of which other programs take nothing: on a machine that
    is busy, threads that wait for each other would decide.

    Args:
        model: Whose weights are float32; has no gradients before and after.
        forward: From ids, ``(N, L)`` int64, to any result of the model's; one without a gradient,
            of a frozen model, has no backward pass.
        vocabulary: The ids are below it.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _time_passes(model, forward, vocabulary)
    finally:
        torch.set_num_threads(threads)


def _time_passes(
    model: nn.Module, forward: Callable[[Tensor], Tensor], vocabulary: int
) -> PassSeconds:
    device, times = next(model.parameters()).device, dict[bool, float]()
    for shape in (_SHORT, _LONG):
        ids, stop = _ids(shape, vocabulary, device), time.perf_counter() + _SECONDS
        for bf16 in (False, True):
            # The first pass of a shape allocates, and is not counted.
            _seconds(model, forward, ids, bf16=bf16)
            times[bf16] = _seconds(model, forward, ids, bf16=bf16)
        for _ in range(_ROUNDS):
            if time.perf_counter() > stop:
                break
            for bf16 in (False, True):
                times[bf16] = min(times[bf16], _seconds(model, forward, ids, bf16=bf16))
        # A small model gets larger passes, unless a processor without bfloat16 imitates it, which
        # may take it thirty times as long.
        if max(times.values()) > _SECONDS / 20 or times[True] > _FAR_SLOWER * times[False]:
            break
    return PassSeconds(float32=times[False], bfloat16=times[True])


def pinned_bf16(
    bf16: Bfloat16, model: nn.Module, forward: Callable[[Tensor], Tensor], *, vocabulary: int
) -> bool:
    """Decides ``auto`` by ``time_passes``, and logs what was found; passes all else on.

    Two runs on one machine may decide differently where the two are nearly as fast: to have the
    same numbers again, say which.

    Args:
        bf16: The setting.
        model: As there.
        forward: As there.
        vocabulary: As there.
    """
    if bf16 != "auto":
        return bf16
    seconds = time_passes(model, forward, vocabulary=vocabulary)
    _LOG.info("%s", seconds)
    return seconds.bf16


def _ids(shape: tuple[int, int], vocabulary: int, device: torch.device) -> Tensor:
    """Ids that need no random numbers, of which the run's own are not taken."""
    import torch

    rows, tokens = shape
    return (torch.arange(rows * tokens, device=device) % vocabulary).reshape(rows, tokens)


def _seconds(
    model: nn.Module, forward: Callable[[Tensor], Tensor], ids: Tensor, *, bf16: bool
) -> float:
    import torch

    now = time.thread_time if ids.device.type == "cpu" else time.perf_counter
    start = now()
    with torch.enable_grad():
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=bf16):
            result = forward(ids)
        if result.requires_grad:
            result.float().sum().backward()  # type: ignore[no-untyped-call] # torch leaves it without types
    model.zero_grad(set_to_none=True)
    if ids.device.type == "cuda":
        torch.cuda.synchronize(ids.device)
    return now() - start
