"""Linear layers laid out anew for a CPU's oneDNN, with the activation behind them in one pass.

A policy writes a whole collection with weights that stay as they are, and a reference is never
anything else, so the price of laying them out once is nothing beside what each pass saves: the
products run closer to the processor's limit, and an activation costs a few instructions while its
input is still in a register. Passes with gradients, and whatever is no plain linear layer, such as
one with an adapter, are run as they are.

The operators are those that torch's own compiler writes for linear layers in inference.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

__all__ = ["Activation", "PackedLayers", "RunLayer", "can_pack", "run_layer"]

Activation: TypeAlias = Literal["gelu", "silu"]
"""GELU by tanh (Hendrycks and Gimpel 2016), or SiLU."""

_FUSED = {None: ("none", ""), "gelu": ("gelu", "tanh"), "silu": ("swish", "")}


class RunLayer(Protocol):
    """Runs a linear layer, and an activation behind it."""

    def __call__(self, layer: nn.Module, x: Tensor, activation: Activation | None = None) -> Tensor:
        """Runs ``layer`` on ``x``, ``(..., in)``, and returns ``(..., out)``."""


def run_layer(layer: nn.Module, x: Tensor, activation: Activation | None = None) -> Tensor:
    """Runs a layer as it is; see ``RunLayer``."""
    result: Tensor = layer(x)
    if activation == "gelu":
        return F.gelu(result, approximate="tanh")
    return F.silu(result) if activation == "silu" else result


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether weights of this kind can be laid out anew here."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call] # torch's is
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - no public name
    return dtype == torch.float32


class _Packed(NamedTuple):
    """A layer's weights."""

    weight: Tensor
    """Opaque, for ``torch.ops.mkldnn``."""
    bias: Tensor | None


class PackedLayers:
    """Linear layers with their weights as they are when first run, which takes as much memory."""

    def __init__(self, rows: int, dtype: torch.dtype) -> None:
        """Knows no layer yet.

        Args:
            rows: How many inputs a pass usually has; others are right as well, but slower.
            dtype: Of the products; inputs and weights are rounded to it.
        """
        self._rows, self._dtype = rows, dtype
        self._packed: dict[nn.Module, _Packed] = {}

    def __call__(self, layer: nn.Module, x: Tensor, activation: Activation | None = None) -> Tensor:
        """Runs ``layer``, for which ``can_pack`` holds, without gradients; see ``RunLayer``."""
        if type(layer) not in (nn.Linear, Conv1D):
            return run_layer(layer, x, activation)
        if layer not in self._packed:
            self._packed[layer] = self._pack(layer)
        (weight, bias), (name, algorithm) = self._packed[layer], _FUSED[activation]
        run = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - no public name
        result: Tensor = run(x.to(self._dtype), weight, bias, name, [], algorithm)
        return result

    def _pack(self, layer: Any) -> _Packed:
        weight = layer.weight.detach().to(self._dtype)
        weight = (weight.T if type(layer) is Conv1D else weight).contiguous()
        lay_out = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001 - no public name
        bias = None if layer.bias is None else layer.bias.detach().to(self._dtype, copy=True)
        return _Packed(lay_out(weight, self._rows), bias)
