"""Where a vector environment's arrays live: in numpy, or in torch on some device."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from textgym.dynamics.states import FIELDS, Array, State, map_fields, narrow, read_only
from textgym.messages import shown

__all__ = ["Backend", "NumpyBackend", "TorchBackend", "check_actions", "make_backend"]


class Backend(Protocol):
    """Moves arrays between the host, in numpy, and where the dynamics run."""

    @property
    def device(self) -> Any:
        """Where the arrays live."""

    def send(self, array: npt.NDArray[Any]) -> Array:
        """Takes an array from the host, which nobody may write to afterwards."""

    def send_state(self, state: State, *, grows: bool) -> State:
        """Takes a state from the host.

        Args:
            state: In numpy; nobody may write to it afterwards.
            grows: Whether tokens will be appended to it, and nothing else done.
        """

    def send_rewards(self, rewards: npt.NDArray[np.float64]) -> Array:
        """Takes rewards, ``(N,)``, from the host, in the backend's floating point."""

    def as_int8(self, array: Array) -> Array:
        """Returns a boolean array that nobody else has as int8, where it is."""

    def actions(self, actions: Any, shape: tuple[int, ...]) -> Array:
        """Brings a caller's actions, ``(N,)`` or ``(N, 2)``, to where the dynamics run, as int64.

        Raises:
            ValueError: If they are no integers of that shape.
        """

    def clip(self, actions: Array, sizes: Array) -> Array:
        """Returns the actions with 0 for those outside ``0..sizes-1``, without a host transfer.

        Args:
            actions: As ``actions`` gives them.
            sizes: How many values an action has, ``(1,)``, or each of its parts, ``(2,)``, sent.
        """

    def fetch(self, actions: Array, state: State) -> tuple[npt.NDArray[np.int64], State]:
        """Brings actions and state to the host, in one transfer."""

    def freeze(self, state: State) -> State:
        """Returns the same state, read-only where that is possible."""


class NumpyBackend:
    """Everything stays where it is."""

    @property
    def device(self) -> str:
        """The processor."""
        return "cpu"

    def send(self, array: npt.NDArray[Any]) -> Array:
        """Returns the array."""
        return array

    def send_state(self, state: State, *, grows: bool) -> State:
        """Returns the state; a copy of narrow tokens, as appending makes many, costs half."""
        return narrow(state) if grows else state

    def send_rewards(self, rewards: npt.NDArray[np.float64]) -> Array:
        """Returns the rewards, float64."""
        return rewards

    def as_int8(self, array: Array) -> Array:
        """Returns the same bytes as int8."""
        return array.view(np.int8)

    def actions(self, actions: Any, shape: tuple[int, ...]) -> Array:
        """Converts the actions to int64; see ``Backend``."""
        try:
            array = np.asarray(actions)
        except ValueError:  # lists of different lengths
            raise _no_actions(shape, shown(actions)) from None
        if array.shape != shape or array.dtype.kind not in "iu":
            raise _no_actions(shape, f"{array.dtype} of shape {array.shape}")
        return array.astype(np.int64, copy=False)

    def clip(self, actions: Array, sizes: Array) -> Array:
        """Replaces actions outside the space; see ``Backend``."""
        # Without its sign, a negative number is larger than any size.
        inside = actions.view(np.uint64) < sizes.view(np.uint64)
        return actions if np.count_nonzero(inside) == inside.size else np.where(inside, actions, 0)

    def fetch(self, actions: Array, state: State) -> tuple[npt.NDArray[np.int64], State]:
        """Returns both as they are."""
        return actions, state

    def freeze(self, state: State) -> State:
        """Returns views that refuse to be written into."""
        return map_fields(lambda array: read_only(array.astype(np.int64, copy=False)), state)


class TorchBackend:
    """Tensors on one device; rewards are float32."""

    def __init__(self, device: Any) -> None:
        """Makes the backend.

        Args:
            device: A ``torch.device`` or its name, such as ``"cuda"``.
        """
        import torch

        self._torch = torch
        self._device = torch.device(device)

    def __reduce__(self) -> tuple[type[TorchBackend], tuple[str]]:
        """Travels as its device's name."""
        return type(self), (str(self._device),)

    @property
    def device(self) -> Any:
        """The torch device."""
        return self._device

    def send(self, array: npt.NDArray[Any]) -> Array:
        """Copies the array to the device, for which the host does not wait."""
        # CUDA has read what is not pinned when the call returns; Metal may not have.
        copied = self._torch.tensor(array, device="cpu")
        return copied.to(self._device, non_blocking=self._device.type != "mps")

    def send_state(self, state: State, *, grows: bool) -> State:  # noqa: ARG002 - as the other
        """Copies the state to the device."""
        return map_fields(self.send, state)

    def send_rewards(self, rewards: npt.NDArray[np.float64]) -> Array:
        """Copies the rewards to the device, as float32."""
        return self.send(rewards.astype(np.float32))

    def as_int8(self, array: Array) -> Array:
        """Returns a boolean tensor as int8, on its device."""
        return array.char()

    def actions(self, actions: Any, shape: tuple[int, ...]) -> Array:
        """Brings the actions to the device; see ``Backend``."""
        try:
            tensor = self._torch.as_tensor(actions, device=self._device)
        except (RuntimeError, TypeError, ValueError):
            raise _no_actions(shape, shown(actions)) from None
        whole = not tensor.is_floating_point() and tensor.dtype != self._torch.bool
        if tensor.shape != shape or not whole:
            raise _no_actions(shape, f"{tensor.dtype} of shape {tuple(tensor.shape)}")
        return tensor.long()

    def clip(self, actions: Array, sizes: Array) -> Array:
        """Replaces actions outside the space; see ``Backend``."""
        return self._torch.where((actions >= 0) & (actions < sizes), actions, 0)

    def fetch(self, actions: Array, state: State) -> tuple[npt.NDArray[np.int64], State]:
        """Packs both into one tensor, so that the host waits for the device once."""
        fields = {name: getattr(state, name) for name in FIELDS}
        arrays = [actions, *(array for array in fields.values() if array is not None)]
        columns = [array.reshape(len(actions), -1) for array in arrays]
        host = self._torch.cat(columns, dim=1).cpu()
        widths = [column.shape[1] for column in columns]
        parts = host.split(widths, dim=1)  # type: ignore[no-untyped-call] # torch's has no types
        fetched = iter(
            part.numpy().reshape(array.shape) for part, array in zip(parts, arrays, strict=True)
        )
        return next(fetched), State(
            **{name: None if array is None else next(fetched) for name, array in fields.items()}
        )

    def freeze(self, state: State) -> State:
        """Returns the state itself: torch has no read-only tensors."""
        return state


def make_backend(name: str, device: Any) -> Backend:
    """Makes a backend by name.

    Raises:
        ValueError: If the name is unknown, or numpy is asked for another device than the CPU.
    """
    if name == "torch":
        return TorchBackend(device)
    if name != "numpy":
        raise ValueError(f"unknown backend {name!r}; known: numpy, torch")
    if str(device) != "cpu":
        raise ValueError(f"backend='numpy' has no device {str(device)!r}; use backend='torch'")
    return NumpyBackend()


def _no_actions(shape: tuple[int, ...], got: str) -> ValueError:
    wanted = f"{shape[0]} integers" if len(shape) == 1 else f"integers of shape {shape}"
    return ValueError(f"actions must be {wanted}, got {got}")


def check_actions(
    actions: npt.NDArray[np.int64], open_rows: npt.NDArray[np.bool_], sizes: npt.NDArray[np.int64]
) -> None:
    """Checks that the actions of open rows are in their space.

    Args:
        actions: ``(N,)`` or ``(N, 2)``, on the host.
        open_rows: Which rows are open, ``(N,)``.
        sizes: How many values an action has, or each of its two parts.

    Raises:
        ValueError: If one is outside.
    """
    outside = (actions < 0) | (actions >= sizes)
    if not outside.any():
        return
    outside = open_rows & outside.reshape(len(actions), -1).any(1)
    if outside.any():
        row = int(outside.argmax())
        last = " and ".join(f"0..{size - 1}" for size in np.atleast_1d(sizes))
        raise ValueError(f"row {row}: action {actions[row]} is not in {last}")
