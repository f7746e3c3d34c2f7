"""What is collected is what was sampled, and what the environment paid for it."""

import gymnasium as gym
import pytest
import torch

from agents.policy import TransformerPolicy
from agents.rollout import collect
from tests.agents.models import make_model, make_toy
from textgym.types import StopReason


def _collect(policy, envs, seed=0, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    return collect(envs, policy, temperature=1.0, generator=generator, **kwargs)


def test_the_ids_are_those_that_were_sampled(policy):
    """Prompt and actions stand in the tokens as they are, the end of text included."""
    envs = make_toy(rows=32)
    rollout = _collect(policy, envs)
    for row in range(32):
        start, n = int(rollout.prompt_lengths[row]), int(rollout.mask[row].sum())
        actions = rollout.actions[row, :n].tolist()
        assert rollout.tokens[row, start : start + n].tolist() == actions
        assert not rollout.tokens[row, start + n :].any()
        assert envs.tokenizer.eos_id not in actions[:-1]
        ended = rollout.stop_reasons[row] == StopReason.END_OF_TEXT
        assert ended == (actions[-1] == envs.tokenizer.eos_id)
        if not ended:
            assert n == envs.completion_tokens


def test_the_score_is_paid_at_the_last_action_and_nowhere_else(policy):
    """Also a score of 0 counts as one: it is neither missing nor moved."""
    rollout = _collect(policy, make_toy(rows=32))
    last = rollout.mask.sum(dim=1) - 1
    paid = rollout.rewards[torch.arange(32), last]
    torch.testing.assert_close(torch.tensor(rollout.scores).float(), paid)
    assert float(rollout.rewards.sum()) == pytest.approx(float(paid.sum()))


def test_stored_log_probs_and_values_are_the_policys(policy):
    """The sampler's numbers are the update's numbers."""
    torch.nn.init.normal_(policy.value_head.weight)
    rollout = _collect(policy, make_toy(rows=16))
    full = policy.evaluate(
        rollout.tokens, rollout.prompt_lengths, rollout.actions, rollout.legal, 1.0
    )
    zero = torch.zeros(())
    torch.testing.assert_close(
        torch.where(rollout.mask, full.log_probs, zero), rollout.log_probs, atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        torch.where(rollout.mask, full.values, zero), rollout.values, atol=1e-5, rtol=1e-4
    )


def test_the_same_seed_collects_the_same(policy):
    first, second, other = (
        _collect(policy, make_toy(), seed=seed, example_ids=list(range(8))) for seed in (3, 3, 4)
    )
    assert torch.equal(first.tokens, second.tokens)
    assert not torch.equal(first.actions, other.actions)


def test_the_given_examples_are_the_prompts(policy):
    envs = make_toy(rows=4)
    _collect(policy, envs, example_ids=[7, 0, 0, 3])
    assert envs.texts()[0] == ["h", "a", "a", "d"]


def test_an_outside_limit_truncates_and_pays_nothing(policy):
    envs = make_toy(rows=32, max_episode_steps=2)
    rollout = _collect(policy, envs)
    cut = rollout.truncated
    assert cut.any()
    assert not rollout.rewards[cut].any()
    assert torch.isnan(torch.tensor(rollout.scores))[cut].all()
    assert (rollout.mask.sum(dim=1)[cut] == 2).all()


@pytest.mark.parametrize("wrong", [{"backend": "numpy"}, {"autoreset_mode": "NextStep"}])
def test_an_environment_made_otherwise_is_refused(policy, wrong):
    kwargs = {"backend": "torch", "autoreset_mode": "Disabled"} | wrong
    envs = gym.make_vec("TextGym/Bandit-v0", num_envs=2, **kwargs).unwrapped
    with pytest.raises(ValueError, match='backend="torch" and autoreset_mode="Disabled"'):
        _collect(policy, envs)


def test_a_vocabulary_that_does_not_fit_is_refused():
    policy = TransformerPolicy(make_model(vocabulary=12))
    with pytest.raises(ValueError, match="12 actions, the environment's tokenizer 11 ids"):
        _collect(policy, make_toy())
