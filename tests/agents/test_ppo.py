"""The training loop: its guards, its data order, and resuming bit for bit."""

import copy
import dataclasses
import itertools
import math
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from agents import learner
from agents.maths.kl import k1, k2
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.training.guards import GuardError
from agents.training.updates import descend
from tests.agents.learners import only_gradient
from tests.agents.toys import make_model, make_toy
from textgym import RewardError
from textgym.types import StopReason

CONFIG = PPOConfig(
    iterations=6, minibatches=2, epochs=2, learning_rate=1e-3, kl_coefficient=0.1, kl_target=0.05
)


def _ppo(config=CONFIG, envs=None, **model):
    return PPO(TransformerPolicy(make_model(**model)), envs or make_toy(), config)


def _weights(ppo):
    return {name: value.clone() for name, value in ppo.policy.state_dict().items()}


def _figures(metrics):
    """All that is measured but time."""
    return {name: value for name, value in metrics.items() if not name.startswith("seconds")}


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        dataclasses.replace(CONFIG, bf16=True, scale_rewards=True, adam="tensorflow", top_k=5),
    ],
    ids=["plain", "bf16"],
)
def test_three_and_three_iterations_are_six(config, tmp_path):
    """Resume is exact: weights, moments, schedule, sampler and data order, to the last bit."""
    straight, first = _ppo(config), _ppo(config)
    expected = [_figures(straight.step()[0]) for _ in range(6)]
    for _ in range(3):
        first.step()
    first.save(tmp_path / "checkpoint")
    resumed = _ppo(config, seed=9).restore(tmp_path / "checkpoint")  # other weights, replaced
    actual = [_figures(resumed.step()[0]) for _ in range(3)]
    anew = PPO.load(tmp_path / "checkpoint", make_toy())
    assert expected[3:] == actual == [_figures(anew.step()[0]) for _ in range(3)]
    assert resumed.num_timesteps == anew.num_timesteps == straight.num_timesteps
    assert actual[0]["kl_coefficient"] not in {0.1, actual[1]["kl_coefficient"]}  # it adapts
    for name, value in _weights(straight).items():
        assert torch.equal(value, _weights(resumed)[name]), name


def test_a_checkpoint_replaces_all_that_was_learned_since(tmp_path):
    """Moments too, of which a policy has none as long as its critic warms up."""
    ppo = _ppo(dataclasses.replace(CONFIG, critic_warmup=1, scale_rewards=True, adam="tensorflow"))
    ppo.step()
    ppo.save(tmp_path / "checkpoint")
    expected = [_figures(ppo.step()[0]) for _ in range(2)]
    ppo.restore(tmp_path / "checkpoint")
    assert expected == [_figures(ppo.step()[0]) for _ in range(2)]
    assert expected == [
        _figures(anew.step()[0])
        for anew in [PPO.load(tmp_path / "checkpoint", make_toy())]
        for _ in range(2)
    ]


def test_a_checkpoint_of_another_config_is_refused(tmp_path):
    ppo = _ppo()
    ppo.step()
    ppo.save(tmp_path / "checkpoint")
    other = _ppo(dataclasses.replace(CONFIG, top_k=3, gamma=0.9))
    with pytest.raises(
        ValueError, match=r"with top_k None, not 3 .*; gamma 1\.0, not 0\.9 .*: give"
    ):
        other.restore(tmp_path / "checkpoint")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    _ppo().save(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=r"one of another model: .* differs"):
        _ppo(width=16).restore(tmp_path / "checkpoint")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*state\.json is missing"):
        _ppo().restore(tmp_path)


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
    ppo = _ppo(dataclasses.replace(CONFIG, kl_target=1e-4, kl_gain=0.5, kl_coefficient=1.0))
    steps = [ppo.step()[0] for _ in range(6)]
    moves = [b["kl_coefficient"] / a["kl_coefficient"] for a, b in itertools.pairwise(steps)]
    assert moves == pytest.approx([1.1 if step["kl"] > 1e-4 else 0.9 for step in steps[:-1]])
    assert moves[0] == pytest.approx(0.9)  # the first texts are the reference's own
    assert max(moves) > 1


def test_the_kl_coefficient_waits_for_a_critic_that_warms_up():
    """A policy that is held still is far below any target, which says nothing of the price."""
    ppo = _ppo(dataclasses.replace(CONFIG, critic_warmup=2, kl_target=1.0, kl_gain=1.0))
    prices = []
    for _ in range(4):
        ppo.step()
        prices.append(ppo.kl_coefficient)
    assert prices[:2] == [0.1, 0.1]
    assert prices[2] == pytest.approx(0.08)


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
        PPO(policy, make_toy(), CONFIG, reference=policy)


def test_a_frozen_policy_is_noticed(tmp_path):
    """A gradient of exactly 0 is a silent failure unless somebody looks."""
    ppo = _ppo(dataclasses.replace(CONFIG, kl_coefficient=0.0, kl_target=None))
    for parameter in ppo.policy.model.parameters():
        parameter.requires_grad_(requires_grad=False)
    torch.nn.init.zeros_(ppo.policy.value_head.weight)
    ppo.envs = make_toy(reward="tests.agents.test_ppo:nothing")
    ppo.failure_folder = tmp_path
    with pytest.raises(GuardError, match="the policy is frozen"):
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
    # Nothing is lost: with a reward that works, it goes on as if nothing had been.
    ppo.envs, other = make_toy(), _ppo()
    for each in (ppo, other):
        each.envs.reset(seed=0)
    assert _figures(ppo.step()[0]) == _figures(other.step()[0])


def test_a_ratio_off_one_at_the_first_minibatch_is_noticed(tmp_path):
    """Dropout in the update only, forced on behind the policy's back."""
    ppo = _ppo(dropout=0.5)
    evaluate = ppo.policy.evaluate

    def with_dropout(*args, **kwargs):
        result = evaluate(*args, **kwargs)
        noise = torch.nn.functional.dropout(result.log_probs, 0.5)
        return result._replace(log_probs=noise)

    ppo.policy.evaluate = with_dropout
    ppo.failure_folder = tmp_path
    with pytest.raises(GuardError, match=r"iteration 1: .* off 1 by .*the batch is in"):
        ppo.step()
    saved = load_file(tmp_path / "failed-batch-1.safetensors")
    assert saved["actions"].shape == saved["log_probs"].shape
    assert saved["mask"].any()


def test_a_sampler_with_another_temperature_is_noticed(tmp_path):
    critic = make_model(seed=3)
    ppo = PPO(TransformerPolicy(make_model(), critic), make_toy(rows=32), CONFIG)
    ppo.failure_folder = tmp_path
    ppo.policy.model.lm_head.weight.data *= 30
    evaluate = ppo.policy.evaluate
    ppo.policy.evaluate = lambda *args, **kwargs: evaluate(*args[:2], 3.0, **kwargs)
    with pytest.raises(GuardError, match="sampler's log-probabilities differ"):
        ppo.step()


def test_with_a_critic_values_come_from_it_and_the_policys_trunk_hears_nothing_of_returns():
    """Only the policy's loss reaches the policy: with no advantage it stands still."""
    policy = TransformerPolicy(make_model(), make_model(seed=3))
    torch.nn.init.normal_(policy.value_head.weight, std=0.1)
    ppo = PPO(policy, make_toy(), dataclasses.replace(CONFIG, critic_warmup=1))
    before = _weights(ppo)
    ppo.step()
    moved = {name for name, value in before.items() if not torch.equal(value, _weights(ppo)[name])}
    assert any(name.startswith("critic.") for name in moved)
    assert not any(name.startswith("model.") for name in moved)
    ppo.step()
    assert not torch.equal(before["model.lm_head.weight"], _weights(ppo)["model.lm_head.weight"])


def test_a_shared_trunk_is_not_gone_back_through_while_the_values_warm_up():
    """Its gradient was computed, and thrown away; the head's is the same as with it."""
    settings = {"kl_in": "loss", "value_weight": 1.0, "max_gradient_norm": None}
    config = dataclasses.replace(CONFIG, epochs=1, minibatches=1, **settings)
    walked, gradients = [], []
    for warmup in (1, 0):
        ppo = _ppo(dataclasses.replace(config, critic_warmup=warmup, entropy_coefficient=0.1))
        ppo.policy.model.transformer.wte.weight.register_hook(lambda _, w=warmup: walked.append(w))
        gradients.append(only_gradient(ppo)[0])
    assert set(walked) == {0}
    alone, together = gradients
    assert alone.keys() == {"value_head.weight", "value_head.bias"}
    assert all(torch.equal(alone[name], together[name]) for name in alone)


def test_every_prompt_is_used_once_before_any_is_used_again():
    """Eight examples in batches of 4: two batches are one permutation."""
    ppo = _ppo(envs=make_toy(rows=4))
    for _ in range(3):
        assert sorted(ppo.next_examples(4) + ppo.next_examples(4)) == list(range(8))


def test_the_logged_kl_is_that_of_the_rollout():
    """Recomputed from what was collected, with the reference's own forward pass."""
    ppo = _ppo()
    ppo.step()
    current = copy.deepcopy(ppo.policy.state_dict())
    metrics, rollout = ppo.step()
    ppo.policy.load_state_dict(current)
    ratio = (
        ppo.evaluate(ppo.policy, rollout).log_probs - ppo.evaluate(ppo.reference, rollout).log_probs
    )
    expected = float((ratio * rollout.mask).sum(dim=1).mean())
    assert metrics["kl"] == pytest.approx(expected, abs=1e-5)
    assert metrics["kl"] != 0.0


def test_kl_starts_at_zero_and_entropy_is_positive():
    metrics, _ = _ppo().step()
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-6)
    assert metrics["entropy"] > 0.0
    assert metrics["clip_fraction"] >= 0.0


@pytest.mark.parametrize("own_critic", [False, True])
def test_a_truncated_row_is_bootstrapped_with_the_final_states_value(own_critic):
    """With no reward, what a cut-off row still expects is the value of the text as it is then.

    The critic says it, where there is one.
    """
    critic = make_model(seed=7) if own_critic else None
    ppo = PPO(
        TransformerPolicy(make_model(), critic),
        make_toy(rows=32, max_episode_steps=2, reward=nothing),
        dataclasses.replace(CONFIG, kl_coefficient=0.0, kl_target=None),
    )
    torch.nn.init.normal_(ppo.policy.value_head.weight)
    rollout = ppo.collect()
    reference = ppo.evaluate(ppo.reference, rollout).log_probs
    batch, _ = ppo._learnable(rollout, reference)
    assert rollout.truncated.any()
    assert not rollout.truncated.all()
    for row in range(32):
        expected = torch.zeros(1)
        if rollout.truncated[row]:
            text = rollout.tokens[row : row + 1, : rollout.lengths[row]]
            with torch.no_grad():
                trunk = (critic or ppo.policy.model).base_model
                states = trunk(input_ids=text).last_hidden_state
                expected = ppo.policy.value_head(states[0, -1])
        returns = batch.returns[row][rollout.mask[row]]
        torch.testing.assert_close(expected.expand_as(returns), returns, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("field", "value"), [("iterations", 0), ("temperature", 0.0), ("gamma", 1.1), ("clip", -1.0)]
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        PPOConfig(**{field: value})


def test_a_price_of_nothing_has_nowhere_to_go():
    with pytest.raises(ValueError, match="kl_coefficient=0 stays 0"):
        PPOConfig(kl_target=6.0, kl_coefficient=0.0)


def test_more_minibatches_than_rows_is_refused():
    with pytest.raises(ValueError, match="2 texts, fewer than its 3 minibatches"):
        _ppo(dataclasses.replace(CONFIG, minibatches=3), envs=make_toy(rows=2))


def test_bfloat16_runs_and_keeps_weights_in_float32():
    ppo = _ppo(dataclasses.replace(CONFIG, bf16=True))
    metrics, _ = ppo.step()
    assert metrics["sampler_gap"] < 0.05
    assert {p.dtype for p in ppo.policy.parameters()} == {torch.float32}


def test_a_single_update_in_bfloat16_needs_no_evaluation_before_it(monkeypatch):
    """The gradient is that with one, up to the rounding of values and of the price of KL."""
    config = dataclasses.replace(CONFIG, bf16=True, epochs=1, minibatches=1, kl_coefficient=0.3)
    without, evaluated = _ppo(config, envs=make_toy(rows=32)), []
    evaluate = learner.evaluate_all

    def counted(policy, rollout, **how):
        evaluated.append(policy.model)
        return evaluate(policy, rollout, **how)

    monkeypatch.setattr(learner, "evaluate_all", counted)
    saved, _ = without.step()
    assert evaluated == [without.reference.model]
    monkeypatch.setattr(PPOConfig, "updates_on_policy", False)
    with_one = _ppo(config, envs=make_toy(rows=32))
    spent, _ = with_one.step()
    assert evaluated[1:] == [with_one.reference.model, with_one.policy.model]
    assert saved["approximate_kl"] == spent["approximate_kl"] == 0
    assert 0 < saved["sampler_gap"] == pytest.approx(spent["sampler_gap"], rel=1e-4)
    assert saved["kl"] == pytest.approx(spent["kl"], abs=0.1)
    assert saved["gradient_norm"] == pytest.approx(spent["gradient_norm"], rel=0.02)


@pytest.mark.parametrize("most_tokens", [1, 20, 10**6])
def test_how_a_minibatch_is_cut_changes_nothing(most_tokens):
    """Ragged texts, one at a time, a few, or all at once: the same gradient."""
    config = dataclasses.replace(CONFIG, minibatches=1, epochs=1, max_gradient_norm=None)
    found = []
    for size in (most_tokens, 64):
        ppo = _ppo(dataclasses.replace(config, micro_batch_tokens=size), envs=make_toy(rows=32))
        found.append(only_gradient(ppo))
        assert ppo.collected.mask.sum(dim=1).unique().numel() > 2
    (cut, measured), (whole, expected) = found
    for name in ("policy_loss", "value_loss", "clip_fraction", "approximate_kl"):
        assert measured[name] == pytest.approx(expected[name], abs=1e-5)
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, cut[name], atol=1e-6, rtol=1e-3, msg=name)


def test_more_texts_than_rows_are_one_iteration():
    """Twenty texts in eight rows; every prompt comes up at least twice."""
    ppo = _ppo(dataclasses.replace(CONFIG, episodes=20))
    metrics, rollout = ppo.step()
    assert len(rollout) == 20
    assert ppo.num_timesteps == rollout.num_actions
    assert sorted(set(rollout.example_ids.tolist())) == list(range(8))
    assert metrics["seconds_environment"] > 0
    with pytest.raises(ValueError, match="7 texts, fewer than its 2 minibatches or its 8 rows"):
        _ppo(dataclasses.replace(CONFIG, episodes=7))


def test_a_missing_end_costs_only_texts_that_were_cut_off():
    """Off the last action of each such text, and of no other."""
    ppo = _ppo(dataclasses.replace(CONFIG, missing_end_penalty=3.0), envs=make_toy(rows=32))
    rollout = ppo.collect()
    shaped = ppo._shaped(rollout)
    for row in range(32):
        cut_off = rollout.stop_reasons[row] == StopReason.LENGTH
        last = int(rollout.mask[row].sum()) - 1
        expected = torch.zeros(rollout.mask.shape[1])
        expected[last] = float(rollout.scores[row]) - 3.0 * cut_off
        torch.testing.assert_close(expected, shaped[row])
    assert 0 < (rollout.stop_reasons == StopReason.LENGTH).sum() < 32


def test_rewards_are_divided_by_the_spread_of_all_so_far_and_clipped():
    envs = make_toy(rows=8, reward="tests.agents.test_ppo:by_prompt")
    ppo = _ppo(dataclasses.replace(CONFIG, scale_rewards=True, reward_clip=1.5), envs=envs)
    rollout = ppo.collect()
    scores = rollout.scores
    expected = np.clip(scores / scores.std(), -1.5, 1.5)
    np.testing.assert_allclose(ppo._shaped(rollout).sum(dim=1), expected, rtol=1e-5)
    both = np.concatenate([scores, (second := ppo.collect()).scores])
    expected = np.clip(second.scores / both.std(), -1.5, 1.5)
    np.testing.assert_allclose(ppo._shaped(second).sum(dim=1), expected, rtol=1e-5)


def by_prompt(prompts, completions, **columns):
    """10 for a, 20 for b, ..."""
    return [10.0 * (ord(prompt[-1]) - ord("a") + 1) for prompt in prompts]


def test_updates_stop_once_the_policy_has_moved_far_enough():
    config = dataclasses.replace(CONFIG, target_kl=1e-9, learning_rate=1e-2)
    assert _ppo(config).step()[0]["updates"] == 2.0  # the first is at the old policy itself
    assert _ppo(dataclasses.replace(config, target_kl=1e9)).step()[0]["updates"] == 4.0


def test_far_enough_is_one_and_a_half_times_the_target():
    """What the second of two updates finds is twice their mean, as the first finds 0."""
    config = dataclasses.replace(CONFIG, minibatches=1, learning_rate=1e-2)
    moved = 2 * _ppo(config).step()[0]["approximate_kl"]
    for target, updates in ((moved / 1.45, 3.0), (moved / 1.55, 2.0)):
        few = dataclasses.replace(config, epochs=3, target_kl=target)
        assert _ppo(few).step()[0]["updates"] == updates


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_kl_in_the_loss_pulls_towards_the_reference(estimator):
    """Without any reward, a policy that was moved away comes back."""
    config = PPOConfig(
        kl_in="loss",
        kl_estimator=estimator,
        kl_coefficient=1.0,
        iterations=30,
        learning_rate=3e-3,
        temperature=1.0,
        value_weight=0.0,
        whiten_advantages="off",
    )
    policy, reference = (TransformerPolicy(make_model(seed=seed)) for seed in (0, 1))
    with torch.no_grad():
        policy.model.lm_head.weight *= 8
    ppo = PPO(policy, make_toy(rows=64, reward=nothing), config, reference=reference)
    kls = [ppo.step()[0]["kl"] for _ in range(30)]
    assert kls[0] > 0.5
    assert kls[-1] < kls[0] / 3


@pytest.mark.parametrize("task", ["Alphabet", "Alphabet-Choose", "Alphabet-Edit"])
def test_an_entropy_bonus_flattens_what_pays_nothing(task):
    """From a policy that prefers some actions to one that has no preference among legal ones."""
    letters = {"proposer": "list", "proposer_kwargs": {"phrases": list("abcd")}}
    envs = make_toy(task, rows=32, reward=nothing, **(letters if "Choose" in task else {}))
    config = PPOConfig(
        kl_coefficient=0.0,
        entropy_coefficient=0.1,
        iterations=12,
        learning_rate=1e-2,
        temperature=1.0,
        value_weight=0.0,
        whiten_advantages="off",
    )
    policy = TransformerPolicy(make_model(), edits=True)
    with torch.no_grad():
        policy.model.lm_head.weight *= 8
        policy.edit_head._pointer.bias += 2
    ppo = PPO(policy, envs, config)
    steps = [ppo.step()[0] for _ in range(12)]
    most = {"Alphabet": math.log(9), "Alphabet-Choose": math.log(5)}
    if task in most:
        assert steps[0]["exact_entropy"] < 0.95 * most[task]
        assert 0.98 * most[task] < steps[-1]["exact_entropy"] <= most[task] + 1e-4
    # Of all texts it is what the surprisal is an estimate of.
    assert steps[0]["exact_entropy"] < steps[-1]["exact_entropy"]
    assert steps[-1]["exact_entropy"] == pytest.approx(steps[-1]["entropy"], rel=0.1)


def test_tensorflows_adam_takes_smaller_first_steps():
    """Epsilon before the bias correction counts for 1/sqrt(1 - beta2) as much in the first step."""
    ppo = _ppo(dataclasses.replace(CONFIG, adam="tensorflow", adam_epsilon=1e-4))
    for _ in range(2):  # a gradient of 0 makes no step, and counts for none
        ppo._prepare_step()
        assert ppo.optimizer.param_groups[0]["eps"] == pytest.approx(1e-4 / math.sqrt(1 - 0.999))
    assert ppo.step()[0]["updates"] == 4
    ppo._prepare_step()
    assert ppo.optimizer.param_groups[0]["eps"] == pytest.approx(1e-4 / math.sqrt(1 - 0.999**5))


@pytest.mark.parametrize("adam", ["torch", "tensorflow"])
def test_adam_is_worked_by_hand_through_a_warm_up(adam):
    """What was kept still while the critic warmed up has made no step when it makes its first."""
    epsilon = 1e-3
    settings = {"adam": adam, "adam_epsilon": epsilon, "critic_warmup": 2, "iterations": 4}
    ppo = _ppo(dataclasses.replace(CONFIG, **settings))
    named = dict(ppo.policy.named_parameters())
    weights = {name: p.detach().double().clone() for name, p in named.items()}
    first, second, made = (dict.fromkeys(named, 0.0) for _ in range(3))

    def by_hand(*_):
        rate = ppo.optimizer.param_groups[0]["lr"]
        for name in (name for name, p in named.items() if p.grad is not None):
            gradient = named[name].grad.double()
            made[name] += 1
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            bias = (1 - 0.999 ** made[name]) ** 0.5
            root = second[name].sqrt()
            root = root / bias + epsilon if adam == "torch" else (root + epsilon) / bias
            weights[name] -= rate * first[name] / (1 - 0.9 ** made[name]) / root

    ppo.optimizer.register_step_pre_hook(by_hand)
    for _ in range(4):
        ppo.step()
    assert {made["value_head.weight"], made["model.transformer.wte.weight"]} == {16, 8}
    for name, expected in weights.items():
        torch.testing.assert_close(expected.float(), named[name].data, atol=1e-6, rtol=0, msg=name)


def test_the_learning_rate_falls_in_equal_steps_to_what_is_left_of_it():
    """From 1e-3 to a fifth of it over four iterations, and not below it in those beyond."""
    ppo = _ppo(dataclasses.replace(CONFIG, iterations=4, final_rate=0.2))
    rates = []
    for _ in range(6):
        ppo.step()
        rates.append(ppo.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 8e-4, 6e-4, 4e-4, 2e-4, 2e-4])


@pytest.mark.parametrize(
    ("most", "step"), [(None, [3.0, 4.0]), (1.0, [0.6, 0.8]), (6.0, [3.0, 4.0])]
)
def test_a_gradient_that_is_too_long_is_scaled_down(most, step):
    """One of norm 5, and a step of size 1 along it; the norm that is told is the one before."""
    layer = torch.nn.Linear(2, 1, bias=False)
    before = layer.weight.detach().clone()
    (layer.weight * torch.tensor([3.0, 4.0])).sum().backward()
    sgd = torch.optim.SGD(layer.parameters(), lr=1.0)
    norms = descend({"norm": [layer.weight]}, sgd, max_norm=most, iteration=1)
    assert norms == {"norm": pytest.approx(5.0)}
    torch.testing.assert_close(before - torch.tensor([step]), layer.weight.detach())
    assert layer.weight.grad is None


def test_learn_counts_the_actions_of_each_call_as_stable_baselines3_does():
    """Eight texts of at most four actions: one iteration too many adds at most 32."""
    ppo = _ppo().learn(total_timesteps=40)
    first, made = ppo.num_timesteps, ppo.iteration
    assert 40 <= first < 40 + 8 * 4
    ppo.learn(40)
    assert 40 <= ppo.num_timesteps < 40 + 8 * 4  # counted from 0, and iterations are not
    assert ppo.iteration > made
    counted = ppo.num_timesteps
    ppo.learn(40, reset_num_timesteps=False)
    assert counted + 40 <= ppo.num_timesteps < counted + 40 + 8 * 4


@pytest.mark.parametrize("reset", [True, False])
def test_learn_without_a_number_makes_what_is_left_of_the_iterations(reset):
    ppo = _ppo()
    _, rollout = ppo.step()
    ppo.learn(reset_num_timesteps=reset)
    assert ppo.iteration == CONFIG.iterations > 1
    counted = ppo.num_timesteps
    assert ppo.learn(reset_num_timesteps=False).iteration == CONFIG.iterations
    assert ppo.num_timesteps == counted
    again = _ppo().learn()
    assert again.num_timesteps == counted + (rollout.num_actions if reset else 0)


def test_predict_is_the_policy_for_one_text_or_many():
    ppo = _ppo()
    observations, _ = ppo.envs.reset(seed=3)
    many, state = ppo.predict(observations, deterministic=True)
    assert state is None
    one, _ = ppo.predict(observations[2].numpy(), deterministic=True)
    assert one.shape == ()
    assert one == many[2]
    lengths = ppo.envs.dynamics_state.length
    logits = ppo.policy.model(input_ids=observations).logits[torch.arange(8), lengths - 1]
    legal = ppo.envs.action_masks()
    assert many.tolist() == logits.masked_fill(~legal, -torch.inf).argmax(-1).tolist()
    only = np.zeros(ppo.policy.vocab_size, dtype=bool)
    only[7] = True
    assert set(ppo.predict(observations, action_masks=only)[0].tolist()) == {7}


def test_predict_chooses_among_the_candidates_of_an_observation():
    """The likeliest of the letters that are offered, by the language model's own logits."""
    letters = {"proposer": "list", "proposer_kwargs": {"phrases": list("abcd")}}
    ppo = _ppo(envs=make_toy("Alphabet-Choose", rows=4, num_choices=6, **letters))
    observations, _ = ppo.envs.reset(seed=3)
    actions, _ = ppo.predict(observations, deterministic=True)
    assert ppo.envs.action_masks()[:, 5].tolist() == [False] * 4  # a sixth is not there
    ids = [ppo.envs.tokenizer.eos_id, *(ppo.envs.tokenizer.encode(c)[0] for c in "abcd")]
    text = observations[:, :2]
    expected = ppo.policy.model(input_ids=text).logits[:, -1, ids].argmax(-1)
    assert actions.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("where", "advice"),
    [
        ("agents.rollouts.collect.Actor.act", "num_envs, then episodes"),
        ("agents.models.policy.TransformerPolicy.evaluate", "micro_batch_tokens, or set bf16"),
        ("agents.ppo.generalised_advantages", "micro_batch_tokens, then num_envs or episodes"),
    ],
)
def test_out_of_memory_says_what_to_lower(where, advice, monkeypatch):
    """While texts are written, in a pass over many of them, and elsewhere."""

    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    ppo = _ppo()
    monkeypatch.setattr(where, full)
    with pytest.raises(GuardError, match=f"iteration 1: out of memory: lower {advice}"):
        ppo.step()


@pytest.mark.parametrize("dense", [False, True])
def test_every_second_is_in_one_phase_and_the_reward_has_its_own(dense):
    """A reward that sleeps 20 ms a call, which is once a step in which a text is to be paid."""
    calls = []

    def slow(prompts, completions, **_):
        calls.append(len(completions))
        time.sleep(0.02)
        return [0.1 * len(text) for text in completions]

    ppo = _ppo(envs=make_toy(rows=8, reward=slow, dense=dense))
    start = time.perf_counter()
    metrics, rollout = ppo.step()
    took = time.perf_counter() - start
    phases = {name for name in metrics if name.startswith("seconds_")}
    named = ("collect", "environment", "reward", "reference", "advantages", "update")
    assert phases == {f"seconds_{name}" for name in named}
    assert all(metrics[name] > 0 for name in phases)
    assert metrics["seconds_reward"] == rollout.reward_seconds >= 0.02 * len(calls)
    assert sum(metrics[name] for name in phases) <= took


def test_the_price_in_the_loss_has_a_gradient():
    """k1 has none there on average: it was the default, and KL rose as if it cost nothing."""
    assert PPOConfig(kl_in="loss").price_estimator is k2
    assert PPOConfig().price_estimator is k1
    with pytest.raises(ValueError, match="k1 has no gradient in the loss"):
        PPOConfig(kl_in="loss", kl_estimator="k1")
    with pytest.raises(ValueError, match="dual_clip must be above 1"):
        PPOConfig(dual_clip=1.0)
