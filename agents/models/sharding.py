"""A policy whose weights lie in parts in several processes, and are put together where it runs.

Every weight is cut along its first dimension, a part for each process, and so are its gradient and
an optimiser's moments. A pass gathers one layer's weights, runs it, and lets them go again; in the
backward pass they are gathered once more, and each process keeps its part of the summed gradient.
So all processes have to make the same passes at the same time. It is torch's own ``fully_shard``,
on CPUs as on GPUs; the lean forward does not pass through a layer's ``forward``, so its hooks are
put around the method that does run it.

Source: Zhao et al., "PyTorch FSDP" (2023), and Rajbhandari et al., "ZeRO" (2020), stage 3.

Simplifications: weights are gathered as they are kept, in float32 also where products are narrower;
the gradient is summed after every part of a minibatch, so that it is never whole anywhere; neither
weights nor moments are moved to the host; no model is cut within a layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from agents.forward.contract import Trunk

__all__ = [
    "copy_over",
    "own_part",
    "own_share",
    "require_shardable",
    "shard",
    "whole",
    "whole_weights",
]

_PASSES = ("evaluate", "state_values")
"""The methods of a policy that run it, around which its weights are gathered."""


def shard(policy: nn.Module, trunks: Sequence[Trunk], device: torch.device) -> None:
    """Cuts a policy's weights in place; each process keeps its part.

    ``evaluate`` and ``state_values`` have to be called in all processes from then on, as often and
    in the same order; nothing else runs it. It cannot be copied.

    Args:
        policy: With the same weights in all processes.
        trunks: What runs its models.
        device: This process's own.

    Raises:
        ValueError: If it is not known what the model's layers are, or it is quantised.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    require_shardable(policy, trunks)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for trunk in trunks:
        for block in trunk.blocks:
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
            method = trunk.method_of(block)
            if method is not None:
                register_fsdp_forward_method(block, method)
    fully_shard(policy, mesh=mesh, reshard_after_forward=True)
    for method in _PASSES:
        register_fsdp_forward_method(policy, method)
    for module in policy.modules():
        if isinstance(module, FSDPModule):
            # Losses are sums with weights of the whole minibatch. gloo has no other sum.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(enable=True)


def require_shardable(policy: nn.Module, trunks: Sequence[Trunk]) -> None:
    """Requires that a policy can be cut; the arguments are those of ``shard``.

    Raises:
        ValueError: If it cannot; the message is one line that says why.
    """
    if not all(trunk.blocks for trunk in trunks):
        raise ValueError("it is not known what the model's layers are: leave shard out")
    if not all(p.is_floating_point() for p in policy.parameters()):
        raise ValueError(
            "the model is quantised, and such weights cannot be cut: leave shard out, or load it "
            "with dtype='bfloat16' and train adapters on it (lora=)"
        )


def whole(tensor: Tensor) -> Tensor:
    """A tensor whose parts are in several processes, put together; any other as it is.

    To be called in all processes for each such tensor, in the same order.
    """
    gather = getattr(tensor, "full_tensor", None)  # of a DTensor alone, which is slow to import
    return tensor if gather is None else gather()


def own_part(tensor: Tensor) -> Tensor:
    """What this process keeps of a tensor, all of it if it is not cut."""
    local = getattr(tensor, "to_local", None)
    return tensor if local is None else local()


def own_share(given: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole tensor, cut as another one is, without sending anything.

    Args:
        given: The same in all processes, on any device.
        like: Of that shape, and cut or not.
    """
    given, cut = given.to(like.device), cast("Any", like)
    if not hasattr(cut, "placements"):
        return given
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(given, cut.device_mesh, cut.placements, src_data_rank=None)


@torch.no_grad()
def copy_over(own: Tensor, new: Tensor) -> None:
    """Takes over values, rounded to the own dtype, where either may be cut."""
    own.copy_(own_share(new, own) if hasattr(own, "device_mesh") else whole(new))


@torch.no_grad()
def whole_weights(module: nn.Module, *, keep: bool) -> dict[str, Tensor]:
    """The state of a module whose weights are cut, whole and on the host.

    To be called in all processes. Tied weights are put together once.

    Args:
        module: Whose.
        keep: Whether this process wants them; the others help, and get nothing.

    Returns:
        By their names in ``state_dict``.
    """
    gathered: dict[int, Tensor] = {}
    found: dict[str, Tensor] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in gathered:
            together = whole(tensor.detach())
            gathered[id(tensor)] = together.cpu() if keep else tensor
        if keep:
            found[name] = gathered[id(tensor)]
    return found
