"""Another engine at the seam: what it writes is learned from as if the policy had written it."""

import math
from dataclasses import replace

import pytest
import torch

from agents.dpo import DPO, DPOConfig
from agents.grpo import GRPO, GRPOConfig
from agents.maths.distributions import Sampling
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from agents.rollouts.collect import Manner, collect, play
from agents.rollouts.engine import EngineError
from agents.training.guards import GuardError
from tests.agents.learners import make_policy, only_gradient
from tests.agents.rollouts.fake_engines import FakeEngine, same
from tests.agents.toys import make_model, make_toy

ARRAYS = (
    *("tokens", "prompt_lengths", "lengths", "places", "actions", "log_probs", "rewards", "mask"),
    *("legal", "kept", "truncated", "scores", "stop_reasons", "example_ids"),
)
ALL = Sampling()


def _written(policy, engine, *, rows=8, texts=8, sampling=ALL, envs=None, seed=0):
    envs = make_toy(rows=rows) if envs is None else envs
    generator = torch.Generator().manual_seed(seed)
    if engine is not None and engine.policy is None:
        engine.refresh(policy)
    ids = [number % 8 for number in range(texts)]
    arguments = {"sampling": sampling, "generator": generator, "example_ids": ids}
    if engine is None:
        return collect(envs, policy, **arguments)
    rollout = play(envs, policy, manner=Manner(engine=engine), **arguments)
    return rollout.cut(*rollout.longest())


@pytest.mark.parametrize(
    "sampling",
    [ALL, Sampling(temperature=0.5, top_k=3), Sampling(top_p=0.7)],
    ids=["all", "top_k", "top_p"],
)
def test_what_an_engine_writes_is_what_the_policy_would_have(policy, sampling):
    """Bit for bit: ids, log-probabilities, kept sets, rewards and stop reasons."""
    own, other = (_written(policy, each, sampling=sampling) for each in (None, FakeEngine()))
    same(own, other, ARRAYS)
    assert own.stop_reasons.min() < own.stop_reasons.max()  # by the end, and by the allowance
    assert other.values is None


def test_texts_that_wait_for_a_row_are_asked_for_together(policy):
    """One call for all rows, since an engine writes many at once."""
    engine = FakeEngine()
    own = _written(policy, None, rows=8, texts=20)
    other = _written(policy, engine, rows=8, texts=20)
    assert engine.calls == [8, 8, 4]
    same(own, other, [name for name in ARRAYS if name != "log_probs"])
    torch.testing.assert_close(own.log_probs, other.log_probs, atol=1e-5, rtol=1e-4)


def test_a_text_that_an_outside_limit_cuts_off_is_not_said_to_its_end(policy):
    limited = [make_toy(rows=8, max_episode_steps=2) for _ in range(2)]
    own, other = (
        _written(policy, engine, envs=envs)
        for engine, envs in zip((None, FakeEngine()), limited, strict=True)
    )
    assert own.truncated.any()
    same(own, other, [name for name in ARRAYS if name != "scores"])


SETTINGS = {"episodes": 8, "minibatches": 2, "micro_batch_tokens": 40, "importance_cap": 2.0}


def _learned(kind, config, engine, *, critic=False, iterations=2):
    agent = kind(make_policy(critic=critic), make_toy(), config)
    agent.engine = engine
    for _ in range(iterations):
        metrics, _ = agent.step()
    return agent, metrics


def test_at_a_gap_of_0_training_is_the_same_to_the_last_bit():
    """With a critic the built-in run computes old log-probabilities anew as well."""
    config = PPOConfig(**SETTINGS, learning_rate=1e-2)
    engine = FakeEngine()
    own, other = (_learned(PPO, config, each, critic=True) for each in (None, engine))
    for mine, theirs in zip(own[0].policy.parameters(), other[0].policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    figures = {n: x for n, x in other[1].items() if not n.startswith("seconds_")}
    assert {n: own[1][n] for n in figures} == figures
    assert len({*engine.fingerprints}) == 2  # the second collection has the updated weights


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (PPO, PPOConfig(**SETTINGS)),
        (GRPO, GRPOConfig(**SETTINGS, group_size=4)),
        (GRPO, GRPOConfig(**SETTINGS | {"minibatches": 1}, group_size=4, top_k=3)),
        (RLOO, RLOOConfig(**SETTINGS, group_size=4)),
        (Reinforce, ReinforceConfig(**SETTINGS)),
        (DPO, DPOConfig(**SETTINGS | {"importance_cap": None})),
    ],
    ids=["ppo", "grpo", "grpo, one update", "rloo", "reinforce", "dpo"],
)
def test_every_learner_learns_from_an_engine_what_it_learns_by_itself(kind, config):
    config = replace(config, learning_rate=1e-3)
    own, other = (_learned(kind, config, each) for each in (None, FakeEngine()))
    for mine, theirs in zip(own[0].policy.parameters(), other[0].policy.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-3)
    assert own[1]["reward"] == pytest.approx(other[1]["reward"])


@pytest.mark.parametrize(
    ("gap", "cap", "weight"),
    [
        (-0.05, 2.0, math.exp(0.05)),  # the engine said less than the update's: drawn too seldom
        (0.05, 2.0, math.exp(-0.05)),
        (-0.05, 1.0, 1.0),  # as far as the cap allows
        (-0.05, None, math.exp(0.05)),  # at most by 2, where nothing is said
    ],
)
def test_an_action_is_weighed_by_how_much_likelier_the_update_finds_it(gap, cap, weight):
    """By hand: with every log-ratio -gap, every term is weighed by exp(-gap), or the cap."""
    config = PPOConfig(
        **SETTINGS | {"minibatches": 1, "importance_cap": cap},
        epochs=1,
        kl_coefficient=0.0,
        value_weight=0.0,
        max_gradient_norm=None,
    )

    def gradient(gap):
        agent = PPO(make_policy(), make_toy(), config)
        agent.engine = FakeEngine(gap)
        return only_gradient(agent)

    (even, _), (found, metrics) = gradient(0.0), gradient(gap)
    for name, expected in even.items():
        torch.testing.assert_close(found[name], expected * weight, atol=1e-6, rtol=1e-3)
    assert metrics["sampler_gap"] == pytest.approx(abs(gap), rel=1e-3)
    assert metrics["importance_clipped"] == float(cap == 1.0)
    assert metrics["importance_ess"] == pytest.approx(1.0)


@pytest.mark.parametrize("minibatches", [1, 2])
@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_an_engine_with_other_weights_is_found_out(kind, minibatches):
    group = {"group_size": 4} if kind is GRPO else {"epochs": 1}
    config = kind.config_type(**SETTINGS | {"minibatches": minibatches}, **group)
    with pytest.raises(GuardError, match="does the engine serve this model with the weights"):
        _learned(kind, config, FakeEngine(gap=0.3))


@pytest.mark.parametrize(
    ("envs", "sampling", "kept", "said"),
    [
        ({"name": "Alphabet-Choose"}, ALL, True, "chosen among candidates"),
        ({"name": "Alphabet-Edit"}, ALL, True, "are edited"),
        ({"name": "Guess", "completion_tokens": 24}, ALL, True, "somebody replies"),
        ({"constraints": {"min_tokens": 2}}, ALL, True, "a constraint changes what is legal"),
        ({}, Sampling(top_k=3), False, "top_k and top_p need an engine that says what they kept"),
        ({}, Sampling(top_p=0.9), False, "--return-sampling-mask"),
    ],
    ids=["choose", "edit", "dialogue", "constraint", "top_k", "top_p"],
)
def test_what_an_engine_cannot_serve_is_refused_in_one_line(envs, sampling, kept, said):
    envs = make_toy(**envs)
    edits = envs.action_kind == "edit"
    policy = TransformerPolicy(make_model(vocabulary=envs.tokenizer.vocab_size), edits=edits)
    engine = FakeEngine(returns_kept=kept)
    with pytest.raises(ValueError, match=said) as refused:
        _written(policy, engine, envs=envs, sampling=sampling)
    assert "\n" not in str(refused.value)
    assert not engine.calls


def _changed(**changes):
    def spoil(texts):
        return [texts[0]._replace(**{n: f(texts[0]) for n, f in changes.items()}), *texts[1:]]

    return spoil


SPOILT = {
    "half a text": (
        lambda texts: [t._replace(ids=t.ids[:1] if len(t.ids) > 1 else t.ids) for t in texts],
        "is not whole",
    ),
    "more than a text": (_changed(ids=lambda t: [2, *t.ids]), "is not whole"),
    "no text": (lambda texts: texts[1:], "wrote 7 texts of 8"),
    "an illegal id": (_changed(ids=lambda t: [1, *t.ids[1:-1], 2]), "the id 1, which is not legal"),
    "too few log-probabilities": (_changed(log_probs=lambda t: t.log_probs[1:]), "for .* ids"),
    "no number": (_changed(log_probs=lambda t: [math.nan] * len(t.ids)), "one of nan"),
    "vLLM's -9999": (_changed(log_probs=lambda t: [-9999.0] * len(t.ids)), "one of -9999"),
    "no kept set": (_changed(kept=lambda _: None), "what top_k and top_p kept"),
    "a kept set without the id": (
        _changed(kept=lambda t: [[i for i in range(11) if i != x] for x in t.ids]),
        "what top_k and top_p kept",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_not_whole_is_refused_in_one_line(policy, what):
    engine = FakeEngine()
    engine.spoil, said = SPOILT[what]
    with pytest.raises(EngineError, match=said) as refused:
        _written(policy, engine, sampling=Sampling(top_k=4))
    assert "\n" not in str(refused.value)


def test_an_engine_that_fails_ends_the_iteration_and_changes_nothing():
    """The same prompts and draws come again, and lead where they would have led."""
    agents = [PPO(make_policy(), make_toy(), PPOConfig(**SETTINGS)) for _ in range(2)]
    for agent in agents:
        agent.engine = FakeEngine()
        agent.step()
    agents[0].engine.spoil = SPOILT["no text"][0]
    with pytest.raises(EngineError):
        agents[0].step()
    assert agents[0].is_whole
    agents[0].engine.spoil = lambda texts: texts
    for agent in agents:
        agent.step()
    for mine, theirs in zip(*(agent.policy.parameters() for agent in agents), strict=True):
        assert torch.equal(mine, theirs)
