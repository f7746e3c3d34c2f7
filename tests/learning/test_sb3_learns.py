"""Stable-Baselines3's PPO teaches our transformer a toy whose optimum is known."""

import numpy as np
import pytest
import torch

from agents.bridges.sb3.ppo import make_ppo
from agents.models.policy import TransformerPolicy
from tests.agents.toys import make_model, make_toy

pytestmark = pytest.mark.learning


def test_it_recites_the_alphabet_and_stops():
    """Three letters and the end, each at its place: the optimum is 1, chance is 0.094."""
    torch.manual_seed(0)
    policy = TransformerPolicy(make_model())
    agent = make_ppo(
        policy,
        make_toy("Alphabet", rows=256, completion_tokens=4, dense=True),
        n_steps=4,
        batch_size=256,
        n_epochs=4,
        gamma=1.0,
        gae_lambda=0.8,
        learning_rate=lambda remaining: 4e-3 * (0.1 + 0.9 * remaining),
        seed=0,
    )
    agent.learn(30 * 1024)
    scores = [episode["r"] for episode in agent.ep_info_buffer]
    assert len(scores) == 100
    assert np.mean(scores) > 0.95
