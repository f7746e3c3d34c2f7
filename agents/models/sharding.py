"""A policy whose weights lie in parts in several processes, and are put together where it runs.

Every weight is cut along its first dimension, a part for each process, and so are its gradient and
an optimiser's moments. A pass gathers one layer's weights, runs it, and lets them go again; in the
backward pass they are gathered once more, and each process keeps its part of the summed gradient.
So all processes have to make the same passes at the same time. It is torch's own ``fully_shard``,
on CPUs as on GPUs; the lean forward does not pass through a layer's ``forward``, so its hooks are
put around the method that does run it.

Source: Zhao et al., "PyTorch FSDP" (2023), and Rajbhandari et al., "ZeRO" (2020), stage 3.

Simplifications: weights are gathered as they are kept, in float32 also where products are narrower;
the gradient is summed after every part of a minibatch, so that it is never whole anywhere; no model
is cut within a layer. Offloading to the host has been run on CPUs alone, where it moves nothing.
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
    "is_cut",
    "own_part",
    "own_share",
    "require_shardable",
    "shard",
    "whole",
    "whole_weights",
]

_PASSES = ("evaluate", "state_values")
"""The methods of a policy that run it, around which its weights are gathered."""


def shard(
    policy: nn.Module, trunks: Sequence[Trunk], device: torch.device, *, offload: bool = False
) -> None:
    """Cuts a policy's weights in place; each process keeps its part.

    ``evaluate`` and ``state_values`` have to be called in all processes from then on, as often and
    in the same order; nothing else runs it. It cannot be copied.

    Args:
        policy: With the same weights in all processes.
        trunks: What runs its models.
        device: This process's own.
        offload: Whether parts of weights and gradients rest on the host, where an optimiser then
            steps, and come to the device for a pass alone.

    Raises:
        ValueError: If it is not known what the model's layers are, or it is quantised.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        CPUOffloadPolicy,
        FSDPModule,
        OffloadPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    require_shardable(policy, trunks)
    rest = CPUOffloadPolicy(pin_memory=device.type == "cuda") if offload else OffloadPolicy()
    manner: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (torch.distributed.get_world_size(),)),
        "reshard_after_forward": True,
        "offload_policy": rest,
    }
    for trunk in trunks:
        for block in trunk.blocks:
            fully_shard(block, **manner)
            method = trunk.method_of(block)
            if method is not None:
                register_fsdp_forward_method(block, method)
    fully_shard(policy, **manner)
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
    if not is_cut(tensor):
        return tensor
    cut = cast("Any", tensor)
    together: Tensor = cut.to(cut.device_mesh.device_type).full_tensor()  # it may rest on the host
    return together


def is_cut(tensor: Tensor) -> bool:
    """Whether its parts are in several processes."""
    return hasattr(tensor, "placements")  # of a DTensor alone, which is slow to import


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
    if not is_cut(like):
        return given
    from torch.distributed.tensor import distribute_tensor

    share = distribute_tensor(given, cut.device_mesh, cut.placements, src_data_rank=None)
    return share.to(like.device)  # that of the mesh is another, where the other rests on the host


@torch.no_grad()
def copy_over(own: Tensor, new: Tensor) -> None:
    """Takes over values, rounded to the own dtype, where either may be cut."""
    own.copy_(own_share(new, own) if is_cut(own) else whole(new))


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
