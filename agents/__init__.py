"""The writer: transformer policies and the algorithms that train them in text environments.

``from agents import PPO, PPOConfig, TransformerPolicy, load_model`` is what most scripts begin
with. A name is imported from its module when it is asked for, so that importing this package loads
no torch; ``best_of_n`` and ``presets`` are modules. What is not listed here, such as ``agents.sft``
or ``agents.bridges.sb3.ppo``, is imported from where it is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from textgym.installation import require_own_agents

if TYPE_CHECKING:
    from agents import best_of_n, presets
    from agents.dpo import DPO, DPOConfig
    from agents.grpo import GRPO, GRPOConfig
    from agents.maths.distributions import Sampling
    from agents.measuring.evaluation import evaluate_policy
    from agents.models.loading import load_model
    from agents.models.policy import TransformerPolicy
    from agents.ppo import PPO, PPOConfig
    from agents.reinforce import Reinforce, ReinforceConfig
    from agents.rloo import RLOO, RLOOConfig
    from agents.rollouts.collect import collect
    from agents.rollouts.rollout import Rollout
    from agents.rollouts.texts import generate
    from textgym.pretrained.adapters import AdapterConfig

__all__ = [
    "DPO",
    "GRPO",
    "PPO",
    "RLOO",
    "AdapterConfig",
    "DPOConfig",
    "GRPOConfig",
    "PPOConfig",
    "RLOOConfig",
    "Reinforce",
    "ReinforceConfig",
    "Rollout",
    "Sampling",
    "TransformerPolicy",
    "best_of_n",
    "collect",
    "evaluate_policy",
    "generate",
    "load_model",
    "presets",
]

_MODULES = {
    "AdapterConfig": "textgym.pretrained.adapters",
    "DPO": "agents.dpo",
    "DPOConfig": "agents.dpo",
    "GRPO": "agents.grpo",
    "GRPOConfig": "agents.grpo",
    "PPO": "agents.ppo",
    "PPOConfig": "agents.ppo",
    "RLOO": "agents.rloo",
    "RLOOConfig": "agents.rloo",
    "Reinforce": "agents.reinforce",
    "ReinforceConfig": "agents.reinforce",
    "Rollout": "agents.rollouts.rollout",
    "Sampling": "agents.maths.distributions",
    "TransformerPolicy": "agents.models.policy",
    "collect": "agents.rollouts.collect",
    "evaluate_policy": "agents.measuring.evaluation",
    "generate": "agents.rollouts.texts",
    "load_model": "agents.models.loading",
}

require_own_agents()


def __getattr__(name: str) -> Any:
    """Imports a name of ``__all__`` from its module."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
