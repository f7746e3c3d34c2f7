"""Which settings may change where a run goes on from a checkpoint, and why the others may not.

What may change is how an objective is approached: how much is written and read for a step, how far
a step goes, how long it all takes. What must stay is the objective, what is measured, and what a
checkpoint remembers: a run's curves, its critic and its price of KL are then of one thing. Whoever
wants another objective begins anew from the policy that there is.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAY_CHANGE", "MUST_STAY", "changed_settings"]

_SIZE = "how much a gradient is made of"
_RATE = "how far a step goes"
_BOUND = "how far an update may go"
_PASSES = "how the same numbers are computed"
_MOMENTS = "how the moments that the checkpoint keeps are made and used"
_DRAWN = "what is drawn, and so all that is measured of it"
_PAID = "what is paid, and so what returns, and the critic, are"
_PRICE = "the price of KL, which a reward is weighed against"
_LOSS = "the objective itself"

MAY_CHANGE: Mapping[str, str] = MappingProxyType(
    {
        "iterations": "how long the run is, and over how long its rates fall",
        "episodes": _SIZE,
        "group_size": _SIZE,
        "draws": _SIZE,
        "epochs": _SIZE,
        "minibatches": _SIZE,
        "micro_batch_tokens": _PASSES,
        "bf16": _PASSES,
        "gradient_checkpointing": _PASSES,
        "shard": _PASSES,
        "offload": _PASSES,
        "checkpoint_in_parts": "how the same numbers are written",
        "importance_cap": _PASSES,
        "engine": _PASSES,
        "reward_workers": "how a reward is asked",
        "reward_retries": "how a reward is asked",
        "engine_folder": "where weights pass through",
        "engine_timeout": "how long is waited",
        "learning_rate": _RATE,
        "critic_learning_rate": _RATE,
        "final_rate": _RATE,
        "warmup": _RATE,
        "max_gradient_norm": _RATE,
        "adam_epsilon": _RATE,
        "critic_warmup": "how long values are learned alone",
        "value_weight": "how much of a shared trunk the values have",
        "lam": "how returns are foreseen, not what they are",
        "kl_gain": "how fast a price follows its target",
        "clip": _BOUND,
        "clip_high": _BOUND,
        "dual_clip": _BOUND,
        "value_clip": _BOUND,
        "target_kl": _BOUND,
    }
)
"""What may change, by the name of the setting, and what it is."""

MUST_STAY: Mapping[str, str] = MappingProxyType(
    {
        "seed": "the generators go on from the checkpoint, and would not hear of it",
        "adam": _MOMENTS,
        "adam_beta1": _MOMENTS,
        "adam_beta2": _MOMENTS,
        "temperature": _DRAWN,
        "top_k": _DRAWN,
        "top_p": _DRAWN,
        "gamma": _PAID,
        "scale_rewards": _PAID,
        "whiten_rewards": _PAID,
        "reward_clip": _PAID,
        "missing_end_penalty": _PAID,
        "overlong_buffer": _PAID,
        "kl_coefficient": _PRICE,
        "kl_target": _PRICE,
        "kl_in": _PRICE,
        "kl_estimator": _PRICE,
        "beta": _PRICE,
        "entropy_coefficient": _LOSS,
        "whiten_advantages": _LOSS,
        "normalise": _LOSS,
        "scale_by_spread": _LOSS,
        "weigh": _LOSS,
        "ratio": _LOSS,
        "surrogate": _LOSS,
        "overlong": _LOSS,
        "parts": _LOSS,
        "sft_weight": _LOSS,
        "loss": _LOSS,
        "weight_decay": _LOSS,
        "label_smoothing": _LOSS,
    }
)
"""What must stay as it was, by the name of the setting, and what it is."""


def changed_settings(made_with: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """What a run goes on with that it was not made with.

    Args:
        made_with: The settings in a checkpoint, by name.
        config: Those of the learner that goes on.

    Returns:
        A line for each.

    Raises:
        ValueError: If one of them must stay; the message says what it is.
    """
    changed = [name for name in config if made_with.get(name) != config[name]]
    refused = [name for name in changed if name not in MAY_CHANGE]
    if refused:
        named = "; ".join(
            f"{name} {made_with.get(name)}, not {config[name]} ({MUST_STAY.get(name, 'unknown')})"
            for name in refused
        )
        raise ValueError(f"made with {named}")
    return [
        f"{name} is {config[name]} from here on, and was {made_with.get(name, 'unknown')}"
        for name in changed
    ]
