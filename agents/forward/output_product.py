"""The product of an output layer, whose results are float32 whatever its operands are rounded to.

Logits reach plus and minus 40 in pretrained models, where bfloat16 has steps of an eighth to a
quarter of a nat, so rounding the product's *results* costs far more than rounding its operands, and
costs the sampler and the update differently. Operands are rounded once to ``dtype``, so sampler,
update and reference have the same ones. Source: MiniMax-M1 (2025), whose gap between sampler and
update closed with a float32 output layer.

On a CPU the operands are float32 numbers that bfloat16 can hold, and oneDNN is told that it may
multiply them as such: with AMX that takes the time of a bfloat16 product, elsewhere that of a
float32 one, which there is the faster, with the same results but for the order of sums.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from agents.forward.onednn import can_pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

__all__ = ["OutputProduct"]


class OutputProduct:
    """An output layer as it is now; outside of autograd, whose gradients its methods are made for.

    Attributes:
        dtype: What the operands are rounded to.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        *,
        pass_tokens: int | None = None,
    ) -> None:
        """Rounds the weights, which takes their memory again where they are of another dtype.

        Args:
            weight: ``(V, width)``.
            bias: ``(V,)``, if there is one.
            dtype: What the operands are rounded to.
            pass_tokens: How many states a call usually has, if there are many calls; on a CPU the
                weights are then laid out for oneDNN.
        """
        self.dtype = dtype
        self._is_cuda = weight.device.type == "cuda"
        self._matrix = self._operand(weight.detach())
        self._bias = None if bias is None else bias.detach().to(dtype).float()
        self._packed: Tensor | None = None
        if pass_tokens is not None and can_pack(weight.device, torch.float32):
            reorder = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001 - no public name
            with _as_narrow_as(dtype):
                self._packed = reorder(self._matrix.contiguous(), pass_tokens)

    @classmethod
    def of(
        cls, layer: nn.Linear, dtype: torch.dtype | None = None, *, pass_tokens: int | None = None
    ) -> OutputProduct:
        """Takes a layer's weights; ``None`` rounds the operands to their own dtype."""
        weight = layer.weight
        return cls(weight, layer.bias, dtype or weight.dtype, pass_tokens=pass_tokens)

    @property
    def bias(self) -> Tensor | None:
        """The bias, ``(V,)`` float32, if there is one."""
        return self._bias

    @torch.no_grad()
    def logits(self, states: Tensor, bias: Tensor | None = None) -> Tensor:
        """Logits of states.

        Args:
            states: ``(M, width)``.
            bias: Instead of the layer's own, ``(V,)`` float32; minus infinity for what is illegal.

        Returns:
            ``(M, V)`` float32.
        """
        added, operand = self._bias if bias is None else bias, self._operand(states)
        if self._packed is not None:
            run = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - no public name
            with _as_narrow_as(self.dtype):
                packed: Tensor = run(operand, self._packed, added, "none", [], "")
            return packed
        if self._is_cuda:
            product = self._multiply(operand, self._matrix.T)
            return product if added is None else product + added
        with _as_narrow_as(self.dtype), torch.autocast(states.device.type, enabled=False):
            return F.linear(operand, self._matrix, added)

    def for_states(self, for_logits: Tensor) -> Tensor:
        """The states' gradient, ``(M, width)`` float32, from that of the logits, ``(M, V)``."""
        return self._multiply(self._operand(for_logits), self._matrix)

    def for_weight(self, for_logits: Tensor, states: Tensor) -> Tensor:
        """The weight's gradient, ``(V, width)`` float32, from that of the logits."""
        return self._multiply(self._operand(for_logits).T, self._operand(states))

    def _operand(self, x: Tensor) -> Tensor:
        # A GPU multiplies bfloat16 into float32; elsewhere torch has no such product.
        rounded = x.to(self.dtype)
        return rounded if self._is_cuda else rounded.float()

    def _multiply(self, left: Tensor, right: Tensor) -> Tensor:
        if self._is_cuda:
            if left.dtype == torch.float32:
                return left @ right
            return torch.mm(left, right, out_dtype=torch.float32)
        with _as_narrow_as(self.dtype), torch.autocast(left.device.type, enabled=False):
            return left @ right


@contextmanager
def _as_narrow_as(dtype: torch.dtype) -> Iterator[None]:
    """Lets oneDNN round float32 operands to bfloat16 inside, if that is what they hold."""
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined] # torch makes it at import
    before = products.fp32_precision
    if dtype == torch.bfloat16:
        products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before
