"""Linear layers in the layout of a CPU's oneDNN library, with the activation behind them fused.

A policy writes a whole collection with weights that do not change, and a reference never changes,
so the cost of packing them once is nothing beside what each forward pass saves: the products run
closer to the processor's limit, and an activation costs a few instructions while its input is still
in a register. Passes with gradients, and whatever is no plain linear layer, such as one with an
adapter, are run as they are.

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
    """Whether weights of this dtype on this device can be packed."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call] # torch's is
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - no public name
    return dtype == torch.float32


class _PackedWeights(NamedTuple):
    """A layer's weights in oneDNN's layout."""

    weight: Tensor
    """Opaque, for ``torch.ops.mkldnn``."""
    bias: Tensor | None


class PackedLayers:
    """Runs linear layers with packed copies of the weights that they had when they first ran."""

    def __init__(self, pass_tokens: int, dtype: torch.dtype) -> None:
        """Packs nothing yet: a layer is packed when it first runs, which takes its memory again.

        Args:
            pass_tokens: How many tokens a pass usually has; other numbers are right, but slower.
            dtype: Of the products; inputs and weights are rounded to it.
        """
        self._pass_tokens, self._dtype = pass_tokens, dtype
        self._packed: dict[nn.Module, _PackedWeights] = {}

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

    def _pack(self, layer: Any) -> _PackedWeights:
        weight = layer.weight.detach().to(self._dtype)
        weight = (weight.T if type(layer) is Conv1D else weight).contiguous()
        reorder = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001 - no public name
        bias = None if layer.bias is None else layer.bias.detach().to(self._dtype, copy=True)
        return _PackedWeights(reorder(weight, self._pass_tokens), bias)
