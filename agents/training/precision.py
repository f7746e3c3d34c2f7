"""What a policy is computed in, and what it may be trained in.

Weights that learn are float32 always. Passes may round the operands of their products to bfloat16,
which is faster on some machines and slower on others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from textgym.pretrained.precision import pinned_bf16

if TYPE_CHECKING:
    from torch import Tensor

    from agents.models.policy import TransformerPolicy
    from textgym.pretrained.precision import Bfloat16

__all__ = ["pinned_precision", "require_float32"]


def pinned_precision(bf16: Bfloat16, policy: TransformerPolicy) -> bool:
    """Whether to compute in bfloat16; ``auto`` is decided by passes of this policy on its device.

    Args:
        bf16: The setting.
        policy: Is left as it is.
    """

    def forward(ids: Tensor) -> Tensor:
        logits: Tensor = policy.head(policy.trunk.full(ids[:, : policy.most_tokens]))
        return logits

    return pinned_bf16(bf16, policy, forward, vocabulary=policy.vocab_size)


def require_float32(policy: TransformerPolicy) -> None:
    """Requires that what learns is float32: Adam's steps are rounded away in anything narrower.

    Raises:
        ValueError: If a parameter that requires a gradient is not.
    """
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad and parameter.dtype is not torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise ValueError(
                f"{name} is {kind}, in which a step of Adam is rounded away or overflows: load the "
                "model in float32 and set bf16=True, or train adapters on it (lora=)"
            )
