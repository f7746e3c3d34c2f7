"""The values of published settings, each as its source has it."""

import dataclasses
from typing import get_args

import pytest

from agents.maths.kl import adapted_coefficient
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO
from agents.presets import PRESETS, PresetName
from tests.agents.toys import make_model, make_toy

SHARED = {
    "episodes": 512,
    "epochs": 4,
    "minibatches": 1,
    "final_rate": 0.0,
    "max_gradient_norm": None,
    "temperature": 0.7,
    "top_k": None,
    "top_p": None,
    "kl_in": "reward",
    "kl_estimator": "k1",
    "clip": 0.2,
    "value_clip": 0.2,
    "dual_clip": None,
    "value_weight": 0.1,
    "gamma": 1.0,
    "lam": 0.95,
    "scale_rewards": False,
    "reward_clip": None,
    "critic_warmup": 0,
    "entropy_coefficient": 0.0,
    "target_kl": None,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "weight_decay": 0.0,
    "warmup": 0,
    "critic_learning_rate": None,
    "importance_cap": None,
}
OWN = {
    "lm-human-preferences": {
        "iterations": 1953,
        "learning_rate": 1e-5,
        "kl_coefficient": 0.15,
        "kl_target": 6.0,
        "whiten_rewards": True,
        "whiten_advantages": "minibatch",
        "missing_end_penalty": 0.0,
        "adam_epsilon": 1e-5,
        "adam": "tensorflow",
    },
    "summarize-from-feedback": {
        "iterations": 1953,
        "learning_rate": 3e-6,
        "kl_coefficient": 0.05,
        "kl_target": None,
        "whiten_rewards": False,
        "whiten_advantages": "batch",
        "missing_end_penalty": 0.0,
        "adam_epsilon": 1e-5,
        "adam": "torch",
    },
    "trl": {
        "iterations": 1954,
        "learning_rate": 3e-6,
        "kl_coefficient": 0.05,
        "kl_target": None,
        "whiten_rewards": False,
        "whiten_advantages": "batch",
        "missing_end_penalty": 1.0,
        "adam_epsilon": 1e-8,
        "adam": "torch",
    },
}
# Not theirs to say, or tested below.
OURS = {"seed", "bf16", "micro_batch_tokens", "kl_gain"}
# Where and how things are computed, which the presets leave as it is.
PLACES = {
    "shard": False,
    "offload": False,
    "checkpoint_in_parts": False,
    "gradient_checkpointing": False,
    "engine": "builtin",
    "engine_folder": None,
    "engine_timeout": 600.0,
    "reward_workers": 0,
    "reward_retries": 0,
}


@pytest.mark.parametrize("name", get_args(PresetName))
def test_every_value_is_the_published_one(name):
    made = dataclasses.asdict(PRESETS[name]())
    assert {k: v for k, v in made.items() if k not in OURS} == SHARED | PLACES | OWN[name]


def test_the_price_follows_at_the_published_horizon():
    """512 texts over a horizon of 10,000, times an error of at most a fifth: 1.024 % a batch."""
    config = PRESETS["lm-human-preferences"]()
    risen = adapted_coefficient(0.15, 60.0, target=config.kl_target, gain=config.kl_gain)
    assert risen == pytest.approx(0.15 * 1.01024)
    fallen = adapted_coefficient(0.15, 5.4, target=config.kl_target, gain=config.kl_gain)
    assert fallen == pytest.approx(0.15 * (1 - 0.1 * 0.0512))


@pytest.mark.parametrize("name", PRESETS)
def test_each_one_trains(name):
    ppo = PPO(TransformerPolicy(make_model()), make_toy(rows=64), PRESETS[name]())
    metrics, rollout = ppo.step()
    assert len(rollout) == 512
    assert metrics["updates"] == 4.0
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-6)
