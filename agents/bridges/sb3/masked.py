"""sb3-contrib's ``MaskablePPO`` with a transformer of ours; see ``agents.bridges.sb3.ppo``.

A module of its own, since sb3-contrib comes with the extra ``baselines``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from agents.bridges.sb3.policy import TextNetworks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents.bridges.sb3.vec_env import TextVecEnv

__all__ = ["MaskableTextActorCriticPolicy", "make_maskable_ppo"]


class MaskableTextActorCriticPolicy(TextNetworks, MaskableActorCriticPolicy):  # type: ignore[misc] # what differs is only how masks come in
    """The policy class for sb3-contrib's MaskablePPO."""


def make_maskable_ppo(env: TextVecEnv, settings: Mapping[str, Any]) -> MaskablePPO:
    """Makes the algorithm.

    Args:
        env: Where it learns.
        settings: Its arguments, ``policy_kwargs`` among them.
    """
    return MaskablePPO(MaskableTextActorCriticPolicy, env, **settings)
