"""A run that was told to compute in float32 makes no product in bfloat16, whoever makes it.

A processor without instructions for them does them number by number: one costs what all else does.
"""

import pytest
import torch

from agents.dpo import DPO, DPOConfig
from agents.grpo import GRPO, GRPOConfig
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.sft import SFTConfig, train_language_model
from tests.agents.toys import make_model, make_toy
from tests.products import NoBfloat16

LEARNERS = {
    "PPO": (PPO, PPOConfig(iterations=1, bf16=False)),
    "GRPO": (GRPO, GRPOConfig(iterations=1, bf16=False, group_size=4)),
    "DPO": (DPO, DPOConfig(iterations=1, bf16=False)),
}


@pytest.mark.parametrize("kind", ["mm", "addmm", "scaled_dot_product_attention"])
def test_the_watch_sees_products_and_their_gradients(kind):
    def product(a):
        b = a.detach()
        if kind == "addmm":
            return torch.addmm(b, a, b)
        if kind == "mm":
            return a @ b
        return torch.nn.functional.scaled_dot_product_attention(
            *[each[None, None] for each in (a, b, b)]
        )

    whole = torch.randn(4, 4, requires_grad=True)
    with NoBfloat16():
        product(whole).sum().backward()
        with pytest.raises(AssertionError, match="multiplies in bfloat16"):
            product(whole.bfloat16())
        made = product(whole)
        with pytest.raises(AssertionError, match="multiplies in bfloat16"):
            made.bfloat16() @ made.bfloat16()


@pytest.mark.parametrize("name", LEARNERS)
def test_an_iteration_of_a_learner(name):
    kind, config = LEARNERS[name]
    policy = TransformerPolicy(make_model(), *([make_model()] if kind is PPO else []))
    with NoBfloat16():
        kind(policy, make_toy(rows=16), config).step()


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_language_model(optimizer, tmp_path):
    config = SFTConfig(
        layers=1, width=16, heads=2, steps=2, batch_size=2, row_tokens=8, bf16=False,
        optimizer=optimizer,
    )  # fmt: skip
    envs = make_toy(rows=1)
    with NoBfloat16():
        train_language_model(config, envs.tokenizer, ["abcdef", "bcdefg"] * 4, tmp_path / "model")
