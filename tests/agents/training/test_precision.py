"""The copy that writes: how much it holds, and that it is the policy."""

import torch

from agents.grpo import GRPO, GRPOConfig
from agents.models.loading import cast_weights
from agents.models.policy import TransformerPolicy
from tests.agents.toys import make_model, make_toy
from textgym.pretrained.adapters import AdapterConfig, add_adapters

CONFIG = GRPOConfig(group_size=2, bf16=True, learning_rate=1e-2)


def _learner(dtype, *, config=CONFIG):
    model = make_model("llama")
    cast_weights(model, dtype)
    add_adapters(model, AdapterConfig(rank=2), base="scratch:none")
    return GRPO(TransformerPolicy(model), make_toy(rows=8), config)


def _bytes(*modules):
    """Of different storages, each once."""
    every = [p.untyped_storage() for module in modules for p in module.parameters()]
    return sum({each.data_ptr(): each.nbytes() for each in every}.values())


def _numbers(policy):
    """Of the base, of the adapters, and of the heads."""
    base = [p for p in policy.model.parameters() if not p.requires_grad]
    adapters = [p for p in policy.model.parameters() if p.requires_grad]
    heads = policy.value_head.parameters()
    return (sum(p.numel() for p in each) for each in (base, adapters, heads))


def test_a_narrow_base_below_adapters_is_there_once():
    """Base 2 bytes, adapters 4 and those of the copy 2, heads 4 each."""
    learner = _learner(torch.bfloat16)
    base, adapters, heads = _numbers(learner.policy)
    assert base > 5 * adapters
    expected = 2 * base + (4 + 2) * adapters + 2 * 4 * heads
    assert expected == _bytes(learner.policy, learner._copies.copy)


def test_a_wide_base_has_a_narrow_copy():
    learner = _learner(torch.float32)
    base, adapters, heads = _numbers(learner.policy)
    expected = (4 + 2) * (base + adapters) + 2 * 4 * heads
    assert expected == _bytes(learner.policy, learner._copies.copy)


def test_all_weights_that_learn_have_a_copy_that_follows():
    learner = GRPO(TransformerPolicy(make_model()), make_toy(rows=8), CONFIG)
    copy = learner._copies.copy
    assert not {p.data_ptr() for p in copy.parameters()} & {
        p.data_ptr() for p in learner.policy.parameters()
    }
    learner.step()
    learner._copies.refresh()
    for own, new in zip(copy.model.parameters(), learner.policy.model.parameters(), strict=True):
        assert torch.equal(own, new.bfloat16())


def test_a_shared_base_writes_what_one_of_its_own_would(monkeypatch):
    """Three iterations to the bit; the base stays as it was."""
    sharing = _learner(torch.bfloat16)
    base = [p.clone() for p in sharing.policy.parameters() if not p.requires_grad]
    copied = TransformerPolicy.frozen_copy
    monkeypatch.setattr(
        TransformerPolicy, "frozen_copy", lambda policy, dtype, **_: copied(policy, dtype)
    )
    apart = _learner(torch.bfloat16)
    for _ in range(3):
        (_, mine), (_, theirs) = sharing.step(), apart.step()
        assert torch.equal(mine.tokens, theirs.tokens)
        assert torch.equal(mine.log_probs, theirs.log_probs)
    for own, other in zip(sharing.policy.parameters(), apart.policy.parameters(), strict=True):
        assert torch.equal(own, other)
    after = [p for p in sharing.policy.parameters() if not p.requires_grad]
    assert all(torch.equal(a, b) for a, b in zip(base, after, strict=True))
