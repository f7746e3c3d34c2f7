"""GRPO, RLOO and REINFORCE++: exact resume, and what each needs."""

import dataclasses

import pytest
import torch

from agents.grpo import GRPO, GRPOConfig, _Batch
from agents.maths.advantages import leave_one_out
from agents.models.policy import TransformerPolicy
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from agents.training.guards import GuardError
from tests.agents.learners import only_gradient
from tests.agents.toys import make_model, make_toy

SIBLINGS = [
    (GRPO, GRPOConfig(group_size=4, minibatches=2, epochs=2, iterations=4)),
    (GRPO, GRPOConfig(group_size=2, kl_coefficient=0.0, weigh="tokens", clip_high=0.3, bf16=True)),
    (RLOO, RLOOConfig(group_size=4, normalise=True, iterations=4)),
    (Reinforce, ReinforceConfig(group_size=2, kl_in="loss", iterations=4)),
    (Reinforce, ReinforceConfig(minibatches=2, iterations=4, gamma=0.9)),
]
NAMES = ["grpo", "grpo_bf16", "rloo", "reinforce_groups", "reinforce"]


def _make(kind, config, seed=0, rows=8, **kwargs):
    return kind(TransformerPolicy(make_model(seed=seed)), make_toy(rows=rows, **kwargs), config)


def _figures(metrics):
    return {name: value for name, value in metrics.items() if not name.startswith("seconds")}


@pytest.mark.parametrize(("kind", "config"), SIBLINGS, ids=NAMES)
def test_two_and_two_iterations_are_four(kind, config, tmp_path):
    straight, first = _make(kind, config), _make(kind, config)
    expected = [_figures(straight.step()[0]) for _ in range(4)]
    for _ in range(2):
        first.step()
    first.save(tmp_path / "checkpoint")
    resumed = kind.load(tmp_path / "checkpoint", make_toy())
    assert expected[2:] == [_figures(resumed.step()[0]) for _ in range(2)]


@pytest.mark.parametrize(("kind", "config"), SIBLINGS[:4], ids=NAMES[:4])
def test_the_completions_of_a_prompt_stand_side_by_side(kind, config):
    """Group n is rows n * size to (n + 1) * size, however many rows the environment has."""
    agent = _make(kind, dataclasses.replace(config, episodes=16), rows=4)
    _, rollout = agent.step()
    ids = rollout.example_ids.reshape(-1, config.group_size)
    assert (ids == ids[:, :1]).all()
    assert len(set(ids[:, 0].tolist())) == min(8, 16 // config.group_size)


@pytest.mark.parametrize(("kind", "config"), SIBLINGS[:4], ids=NAMES[:4])
def test_texts_that_are_no_whole_groups_are_refused(kind, config):
    message = f"7 texts an iteration are no whole groups of {config.group_size}"
    with pytest.raises(ValueError, match=message):
        _make(kind, config, rows=7)


def test_without_a_price_of_kl_there_is_no_reference():
    agent = _make(*SIBLINGS[1])
    assert agent.reference is None
    assert "kl" not in agent.step()[0]
    assert _make(*SIBLINGS[0]).reference is not None


def test_an_only_update_in_bfloat16_need_not_ask_who_acted():
    """Its own log-probabilities are those that would be computed anew, and so is its KL."""
    agent = _make(GRPO, GRPOConfig(group_size=4, bf16=True, kl_coefficient=0.3))
    with torch.no_grad():
        for parameter in agent.policy.model.parameters():
            parameter.add_(0.05)
    rollout, rows = agent.collect([0] * 4 + [1] * 4), torch.arange(8)
    acted, reference = agent.old_log_probs(rollout), agent.reference_log_probs(rollout)
    advantages, results = torch.arange(8.0) - 3.5, []
    for old in (acted, None):
        new = agent.policy.evaluate(rollout, rows, 1.0, bf16=True)
        batch = _Batch(
            old_log_probs=old,
            reference_log_probs=reference,
            advantages=advantages,
            counts=rollout.mask,
        )
        weights = agent._weights(rollout.mask, rows, rows)
        loss, measured = agent._loss(new, rollout, batch, rows, weights)
        gradient = torch.autograd.grad(loss, list(agent.policy.model.parameters()))
        results.append((measured, gradient))
    (_, expected), (measured, actual) = results
    for other, mine in zip(expected, actual, strict=True):
        torch.testing.assert_close(other, mine)
    texts = torch.where(rollout.mask, acted - reference, 0.0).sum(dim=1)
    torch.testing.assert_close(texts.mean(), measured["kl"])
    assert measured["kl"].detach() != 0.0


def test_an_only_update_in_bfloat16_still_stops_for_another_sampler(monkeypatch, tmp_path):
    agent = _make(GRPO, GRPOConfig(group_size=4, bf16=True))
    agent.failure_folder = tmp_path
    collect = agent.collect

    def shifted(*args, **kwargs):
        rollout = collect(*args, **kwargs)
        return dataclasses.replace(rollout, log_probs=rollout.log_probs - 0.2)

    assert "kl" in agent.step()[0]
    monkeypatch.setattr(agent, "collect", shifted)
    with pytest.raises(GuardError, match="the sampler's log-probabilities differ"):
        agent.step()


@pytest.mark.parametrize("clip", [None, 0.2])
def test_the_first_gradient_of_rloo_is_that_of_reinforce(clip):
    """Minus the mean over texts of advantage times the gradient of the whole text, clip or none."""
    config = RLOOConfig(group_size=2, kl_coefficient=0.0, max_gradient_norm=None, clip=clip)
    agent = _make(RLOO, config)
    rollout = agent.collect([0, 0, 1, 1, 2, 2, 3, 3])
    rewards = torch.zeros_like(rollout.rewards)
    rewards[:, 0] = torch.arange(8.0) ** 2
    rollout = dataclasses.replace(rollout, rewards=rewards)
    agent.collect = lambda *_, **__: rollout
    advantages = leave_one_out(torch.arange(8.0) ** 2, 2)
    expected = -(advantages * agent.policy.evaluate(rollout).log_probs.sum(dim=1)).mean()
    expected.backward()
    there = {name: p.grad.clone() for name, p in agent.policy.model.named_parameters()}
    agent.policy.zero_grad()
    gradient, _ = only_gradient(agent)
    for name, other in there.items():
        torch.testing.assert_close(other, gradient[f"model.{name}"], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (GRPOConfig, {"group_size": 1}),
        (GRPOConfig, {"clip_high": 0.0}),
        (RLOOConfig, {"kl_coefficient": -1.0}),
        (RLOOConfig, {"clip": 0.0}),
        (ReinforceConfig, {"gamma": 1.5}),
        (ReinforceConfig, {"group_size": 0}),
        (ReinforceConfig, {"clip": 0.0}),
    ],
)
def test_settings_out_of_range_are_refused_by_name(config, settings):
    name = next(iter(settings)).removesuffix("_high")
    with pytest.raises(ValueError, match=name):
        config(**settings)


def test_the_rounding_of_an_unmoved_policys_kl_is_not_scaled_up():
    """All scores 0 at the reference itself: what is left to compare is the seventh digit of KL."""
    agent = _make(RLOO, RLOOConfig(normalise=True), reward="tests.agents.test_ppo:nothing")
    assert agent.step()[0]["gradient_norm"] < 1e-2


def lengths_after_a(prompts, completions, **columns):
    """The length of a completion of the prompt a, and 1 for those of others."""
    return [
        float(len(text)) if prompt == "a" else 1.0
        for prompt, text in zip(prompts, completions, strict=True)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_first_minibatch_without_contrast_is_no_mistake(seed):
    """Of 16 minibatches of one text half have nothing to learn; only if all had it would be odd."""
    config = GRPOConfig(
        group_size=8, minibatches=16, episodes=16, kl_coefficient=0.0, iterations=1, seed=seed
    )
    agent = _make(GRPO, config, reward="tests.agents.test_siblings:lengths_after_a")
    agent.next_examples = lambda count: [0, 7][:count]  # a and h
    metrics = agent.step()[0]
    assert metrics["groups_without_contrast"] == 0.5
    assert metrics["gradient_norm"] > 0.0


def indifferent(prompts, completions, **columns):
    """A reward of 1 for all."""
    return [1.0] * len(completions)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(GRPO, GRPOConfig), (RLOO, RLOOConfig), (Reinforce, ReinforceConfig)],
    ids=["grpo", "rloo", "reinforce"],
)
def test_a_learner_whose_texts_have_become_equally_good_goes_on(kind, settings, tmp_path):
    """Later it is what success looks like, and at the start what a hard task looks like.

    Adam would go on by its momentum. Ten such iterations from the first on are a mistake.
    """
    config = settings(kl_coefficient=0.0, iterations=40)
    agent = _make(kind, config)
    agent.step()
    learned = [p.clone() for p in agent.policy.parameters()]
    agent.envs = make_toy(reward="tests.agents.test_siblings:indifferent")
    assert [agent.step()[0]["gradient_norm"] for _ in range(12)] == [0.0] * 12
    assert all(torch.equal(a, b) for a, b in zip(learned, agent.policy.parameters(), strict=True))
    young = _make(kind, config, reward="tests.agents.test_siblings:indifferent")
    young.failure_folder = tmp_path
    for _ in range(9):
        assert young.step()[0]["gradient_norm"] == 0.0
    with pytest.raises(GuardError, match="exactly 0 in the first 10 iterations"):
        young.step()


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (RLOO, RLOOConfig(epochs=2, learning_rate=1e-2)),
        (Reinforce, ReinforceConfig(epochs=2, weigh="tokens")),
        (GRPO, GRPOConfig(epochs=2, learning_rate=1e-2, ratio="text", weigh="tokens")),
    ],
    ids=["rloo", "reinforce", "gspo"],
)
def test_the_policy_s_own_divergence_is_per_action_also_where_ratios_are_of_texts(kind, config):
    """Two updates, of which the first finds 0; RLOO's was per text, several times as much."""
    learner, before = _make(kind, config), []
    learner.optimizer.register_step_pre_hook(
        lambda *_: before.append({n: p.clone() for n, p in learner.policy.state_dict().items()})
    )
    metrics, rollout = learner.step()
    learner.policy.load_state_dict(before[1])  # what the second update read the texts by
    logits = learner.policy.model(input_ids=rollout.tokens).logits.detach()
    logits = logits.masked_fill(~rollout.legal, -torch.inf)
    text, column = rollout.mask.nonzero(as_tuple=True)
    actions = rollout.actions[text, column]
    now = logits.log_softmax(-1)[text, rollout.places[text, column], actions]
    moved = now - rollout.log_probs[text, column]
    expected = float((moved.exp() - 1 - moved).mean())
    assert 2 * metrics["approximate_kl"] == pytest.approx(expected, rel=1e-3)
    assert expected > 1e-5
