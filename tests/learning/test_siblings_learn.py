"""GRPO, RLOO and REINFORCE++ on a toy whose optimum is known."""

import numpy as np
import pytest

from agents.grpo import GRPO, GRPOConfig
from agents.measuring.baselines import policy_baseline
from agents.models.policy import TransformerPolicy
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from tests.agents.toys import make_model, make_toy

pytestmark = pytest.mark.learning

COMMON = {"iterations": 50, "learning_rate": 3e-3, "kl_coefficient": 0.0}
OFTEN = {**COMMON, "epochs": 4, "minibatches": 2}
LONGER = {**OFTEN, "iterations": 80, "learning_rate": 2e-3}  # where no ratio is let go


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (GRPO, GRPOConfig(**OFTEN)),
        (RLOO, RLOOConfig(**OFTEN, group_size=8, clip=0.2)),
        (Reinforce, ReinforceConfig(**OFTEN)),
        (Reinforce, ReinforceConfig(**OFTEN, group_size=8, kl_in="loss")),
        (GRPO, GRPOConfig(**OFTEN, weigh="constant", scale_by_spread=False)),
        (GRPO, GRPOConfig(**OFTEN, ratio="text", clip=0.05)),
        (GRPO, GRPOConfig(**LONGER, surrogate="cispo", weigh="tokens")),
        (GRPO, GRPOConfig(**OFTEN, weigh="tokens", draws=3, clip_high=0.28, overlong_buffer=1)),
    ],
    ids=[
        *("grpo", "rloo", "reinforce", "reinforce, groups"),
        *("dr. grpo", "gspo", "cispo", "dapo"),
    ],
)
def test_recites_the_alphabet_and_stops(kind, config):
    """Three letters and the end, each at its place: the optimum is 1, chance is 0.094."""
    envs = make_toy("Alphabet", rows=256)
    agent = kind(TransformerPolicy(make_model()), envs, config)
    history = [agent.step()[0]["reward"] for _ in range(config.iterations)]
    assert history[0] < 0.25
    assert np.mean(history[-5:]) > 0.95
    likeliest = policy_baseline(envs, agent.policy, example_ids=[*range(8)] * 32, seed=0)
    assert likeliest.scores.min() == 1


def starts_with_b(prompts, completions, **columns):
    """A thousand for a b at the start."""
    return [1000.0 * text.startswith("b") for text in completions]


def ends_with_c(prompts, completions, **columns):
    """A hundredth for a c at the end."""
    return [0.01 * text.endswith("c") for text in completions]


def test_parts_that_are_compared_apart_are_both_learned_whatever_their_size():
    """One is a hundred-thousandth of the other."""
    parts = [[f"{__name__}:{name}", 1.0] for name in ("starts_with_b", "ends_with_c")]
    envs = make_toy("Alphabet", rows=128, reward=parts)
    config = GRPOConfig(**{**OFTEN, "iterations": 25}, parts="apart")
    agent = GRPO(TransformerPolicy(make_model()), envs, config)
    rollouts = [agent.step()[1] for _ in range(config.iterations)]
    first, last = (each.terms.mean(axis=0) / (1000, 0.01) for each in (rollouts[0], rollouts[-1]))
    assert first.max() < 0.3
    assert last.min() > 0.9
