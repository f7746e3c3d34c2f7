"""What a policy is computed in, what it may be trained in, and the copy of it that writes.

Weights that learn are float32 always. Passes may round the operands of their products to bfloat16,
which is faster on some machines and slower on others; texts are then written by a copy whose
weights are that narrow, or shares those that are, as of a bfloat16 model below adapters. Of weights
that are cut over the processes the copy is whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from agents.models.loading import cast_weights
from agents.models.sharding import shard
from textgym.pretrained.adapters import has_adapters
from textgym.pretrained.precision import pinned_bf16

if TYPE_CHECKING:
    from torch import Tensor

    from agents.models.policy import TransformerPolicy
    from agents.training.distributed import Processes
    from textgym.pretrained.precision import Bfloat16

__all__ = ["Sampler", "agreed_precision", "pinned_precision", "require_float32"]


class Sampler:
    """The copy of a policy that writes, where the policy does not do so itself.

    Attributes:
        copy: It; ``None`` without need.
    """

    def __init__(self, policy: TransformerPolicy, processes: Processes) -> None:
        """Makes none yet.

        Args:
            policy: What learns.
            processes: Whether its weights are to be cut.
        """
        self.actor = policy.without_critic()
        self._policy, self._sharded = policy, processes.sharded
        self._device, self._offloaded = processes.device, processes.offloaded
        self._is_cut = False
        self.copy: TransformerPolicy | None = None

    def compute_in(self, *, bf16: bool, writes: bool = True) -> None:
        """Makes a copy, if there is to be one, or makes it as narrow as is said.

        Args:
            bf16: Whether it is to be in bfloat16.
            writes: Whether it is what writes; else an engine does.
        """
        dtype = torch.bfloat16 if bf16 else self.actor.dtype
        if self._is_cut and self.copy is not None:  # what is cut cannot be copied again
            cast_weights(self.copy.model, dtype)
            self.refresh()
        else:
            wanted = self._sharded or (bf16 and writes)
            shares = not self._sharded
            self.copy = self.actor.frozen_copy(dtype, shares=shares) if wanted else None

    def cut(self, *policies: TransformerPolicy | None) -> None:
        """Cuts what learns, and others, if that is wanted; to be called in all processes."""
        for each in (self._policy, *policies) if self._sharded else ():
            if each is not None:
                shard(each, each.trunks, self._device, offload=self._offloaded)
                each.runs_on = self._device
        self._is_cut = self._sharded

    def refresh(self) -> TransformerPolicy:
        """Takes over the weights as they are now; returns who writes.

        Where they are cut, it has to be called in all processes.
        """
        if self.copy is None:
            return self._policy
        self.copy.copy_weights(self.actor)
        return self.copy

    @property
    def base(self) -> TransformerPolicy:
        """Below adapters, the reference: the policy without its critic; with it where it is cut.

        Raises:
            ValueError: If there are no adapters, without which a policy is 0 nats from itself.
        """
        if not has_adapters(self.actor.model):
            raise ValueError("this learner has no reference, as it pays no KL: give it reference=")
        return self._policy if self._is_cut else self.actor

    @property
    def whole_actor(self) -> TransformerPolicy:
        """The same without a critic."""
        return self.actor if self.whole is self._policy else self.whole

    @property
    def whole(self) -> TransformerPolicy:
        """The policy in one piece: itself, or else the copy as it was refreshed last."""
        return self.copy if self._is_cut and self.copy is not None else self._policy


def agreed_precision(bf16: Bfloat16, policy: TransformerPolicy, processes: Processes) -> bool:
    """Whether all processes compute in bfloat16; the main one alone tries, where it is to be tried.

    Args:
        bf16: The setting.
        policy: Is left as it is.
        processes: Who have to agree.
    """
    with processes.together():
        found = processes.is_main and pinned_precision(bf16, policy)
    return processes.as_main(found)


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
