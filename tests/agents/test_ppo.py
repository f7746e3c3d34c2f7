"""The training loop: its guards, its data order, and resuming bit for bit."""

import copy
import dataclasses
import itertools

import pytest
import torch

from agents.policy import TransformerPolicy
from agents.ppo import PPO, GuardError, PPOConfig
from tests.agents.models import make_model, make_toy
from textgym import RewardError

CONFIG = PPOConfig(
    iterations=6, minibatches=2, epochs=2, learning_rate=1e-3, kl_coefficient=0.1, kl_target=0.05
)


def _ppo(config=CONFIG, envs=None, **model):
    policy, reference = (TransformerPolicy(make_model(**model)) for _ in "pr")
    return PPO(policy, reference, envs or make_toy(), config)


def _weights(ppo):
    return {name: value.clone() for name, value in ppo.policy.state_dict().items()}


def test_three_and_three_iterations_are_six(tmp_path):
    """Resume is exact: weights, moments, schedule, sampler and data order, to the last bit."""
    straight, first = _ppo(), _ppo()
    expected = [straight.step()[0] for _ in range(6)]
    for _ in range(3):
        first.step()
    first.save(tmp_path)
    resumed = _ppo(seed=9)  # other weights, to be replaced
    resumed.reference.load_state_dict(first.reference.state_dict())
    resumed.load(tmp_path)
    actual = [resumed.step()[0] for _ in range(3)]
    assert expected[3:] == actual
    assert actual[0]["kl_coefficient"] not in {0.1, actual[1]["kl_coefficient"]}  # it adapts
    for name, value in _weights(straight).items():
        assert torch.equal(value, _weights(resumed)[name]), name


def test_a_checkpoint_of_another_config_is_refused(tmp_path):
    ppo = _ppo()
    ppo.step()
    ppo.save(tmp_path)
    other = _ppo(dataclasses.replace(CONFIG, clip=0.3, gamma=0.9))
    with pytest.raises(ValueError, match="another clip, gamma"):
        other.load(tmp_path)


def test_the_reference_never_moves_and_the_policy_does():
    """Frozen in the wrong order, the policy would be the one that stands still."""
    ppo = _ppo()
    before, start = copy.deepcopy(ppo.reference.state_dict()), _weights(ppo)
    ppo.step()
    for name, value in before.items():
        assert torch.equal(value, ppo.reference.state_dict()[name]), name
    assert any(not torch.equal(value, _weights(ppo)[name]) for name, value in start.items())


def test_the_kl_coefficient_rises_above_the_target_and_falls_below_it():
    """Beside so small a target every iteration is far off: a tenth up or down, by its own KL."""
    ppo = _ppo(dataclasses.replace(CONFIG, kl_target=1e-9, kl_gain=0.5, kl_coefficient=1.0))
    steps = [ppo.step()[0] for _ in range(6)]
    moves = [b["kl_coefficient"] / a["kl_coefficient"] for a, b in itertools.pairwise(steps)]
    assert moves == pytest.approx([1.1 if step["kl"] > 0 else 0.9 for step in steps[:-1]])
    assert moves[0] == pytest.approx(0.9)  # the first texts are the reference's own
    assert max(moves) > 1


def test_without_a_target_the_kl_coefficient_is_fixed():
    ppo = _ppo(dataclasses.replace(CONFIG, kl_target=None))
    assert {ppo.step()[0]["kl_coefficient"] for _ in range(3)} == {0.1}


@pytest.mark.parametrize("setting", [{"kl_target": 0.0}, {"kl_gain": -0.1}, {"kl_target": -3.0}])
def test_an_impossible_target_is_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        dataclasses.replace(CONFIG, **setting)


def test_policy_and_reference_must_not_share_weights():
    policy = TransformerPolicy(make_model())
    with pytest.raises(ValueError, match="share weights"):
        PPO(policy, policy, make_toy(), CONFIG)


def test_a_frozen_policy_is_noticed():
    """A gradient of exactly 0 is a silent failure unless somebody looks."""
    ppo = _ppo()
    for parameter in ppo.policy.model.parameters():
        parameter.requires_grad_(requires_grad=False)
    torch.nn.init.zeros_(ppo.policy.value_head.weight)
    ppo.envs = make_toy(reward="tests.agents.test_ppo:nothing")
    with pytest.raises(GuardError, match="exactly 0"):
        ppo.step()


def nothing(prompts, completions, **columns):
    """A reward of 0 for all."""
    return [0.0] * len(completions)


def fails_in_the_second_batch(prompts, completions, **columns):
    """A reward that raises for one of the texts."""
    if any("h" in prompt for prompt in prompts):
        raise RuntimeError("the scorer ran away")
    return [0.0] * len(completions)


def test_a_reward_that_fails_stops_the_run_with_its_text():
    ppo = _ppo(envs=make_toy(reward=fails_in_the_second_batch))
    with pytest.raises(RewardError, match="the scorer ran away"):
        ppo.step()


def test_a_ratio_off_one_at_the_first_minibatch_is_noticed():
    """Dropout in the update only, forced on behind the policy's back."""
    ppo = _ppo(dropout=0.5)
    evaluate = ppo.policy.evaluate

    def with_dropout(*args):
        ppo.policy.model.train(torch.is_grad_enabled())
        return evaluate(*args)

    ppo.policy.evaluate = with_dropout
    with pytest.raises(GuardError, match="off 1 by"):
        ppo.step()


def test_a_sampler_with_another_temperature_is_noticed():
    ppo = _ppo(envs=make_toy(rows=32))
    ppo.policy.model.lm_head.weight.data *= 30
    evaluate = ppo.policy.evaluate
    ppo.policy.evaluate = lambda *args: evaluate(*args[:-1], 3.0)
    with pytest.raises(GuardError, match="sampler's log-probabilities differ"):
        ppo.step()


def test_every_prompt_is_used_once_before_any_is_used_again():
    """Eight examples in batches of 4: two batches are one permutation."""
    ppo = _ppo(envs=make_toy(rows=4))
    for _ in range(3):
        assert sorted(ppo._next_examples() + ppo._next_examples()) == list(range(8))


def test_the_logged_kl_is_that_of_the_rollout():
    """Recomputed from what was collected, with the reference's own forward pass."""
    ppo = _ppo()
    ppo.step()
    current = copy.deepcopy(ppo.policy.state_dict())
    metrics, rollout = ppo.step()
    ppo.policy.load_state_dict(current)
    args = rollout.tokens, rollout.prompt_lengths, rollout.actions, rollout.legal, 0.9
    with torch.no_grad():
        ratio = ppo.policy.evaluate(*args).log_probs - ppo.reference.evaluate(*args).log_probs
    expected = float((ratio * rollout.mask).sum(dim=1).mean())
    assert metrics["kl"] == pytest.approx(expected, abs=1e-5)
    assert metrics["kl"] != 0.0


def test_kl_starts_at_zero_and_entropy_is_positive():
    metrics, _ = _ppo().step()
    assert metrics["kl"] == 0.0
    assert metrics["entropy"] > 0.0
    assert metrics["clip_fraction"] >= 0.0


def test_a_truncated_row_is_bootstrapped_with_the_final_states_value():
    """With a constant critic of 1 and no reward, what a cut-off row still expects is 1."""
    ppo = _ppo(
        dataclasses.replace(CONFIG, kl_coefficient=0.0),
        envs=make_toy(rows=32, max_episode_steps=2, reward=nothing),
    )
    torch.nn.init.ones_(ppo.policy.value_head.bias)
    from agents.rollout import collect

    rollout = collect(
        ppo.envs, ppo.policy, temperature=0.9, generator=torch.Generator().manual_seed(0)
    )
    batch, _ = ppo._learnable(rollout)
    assert rollout.truncated.any()
    assert not rollout.truncated.all()
    for row in range(32):
        expected = 1.0 if rollout.truncated[row] else 0.0
        returns = batch.returns[row][rollout.mask[row]]
        torch.testing.assert_close(torch.full_like(returns, expected), returns)


@pytest.mark.parametrize(
    ("field", "value"), [("iterations", 0), ("temperature", 0.0), ("gamma", 1.1), ("clip", -1.0)]
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        PPOConfig(**{field: value})


def test_more_minibatches_than_rows_is_refused():
    with pytest.raises(ValueError, match="3 minibatches need as many rows"):
        _ppo(dataclasses.replace(CONFIG, minibatches=3), envs=make_toy(rows=2))


def test_bfloat16_runs_and_keeps_weights_in_float32():
    ppo = _ppo(dataclasses.replace(CONFIG, bf16=True))
    metrics, _ = ppo.step()
    assert metrics["sampler_gap"] < 0.05
    assert {p.dtype for p in ppo.policy.parameters()} == {torch.float32}
