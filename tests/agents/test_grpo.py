"""Which texts GRPO learns from: groups with contrast alone, and what it makes of long ones."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from agents.forward.lean_gpt2 import LeanGPT2
from agents.grpo import GRPO, GRPOConfig
from agents.maths.advantages import group_advantages
from agents.models.policy import TransformerPolicy
from agents.rollouts.rollout import Rollout
from tests.agents.learners import only_gradient
from tests.agents.toys import make_model, make_toy
from textgym.rewards import RewardError
from textgym.types import StopReason

CONFIG = GRPOConfig(group_size=2, kl_coefficient=0.0, draws=5, max_gradient_norm=None)
HERE = "tests.agents.test_grpo"


def after_vowels(prompts, completions, **columns):
    """Pays for length after the prompts a and e, two of eight, and 1 after others."""
    return [
        float(len(text)) if prompt in "ae" else 1.0
        for prompt, text in zip(prompts, completions, strict=True)
    ]


def nothing(prompts, completions, **columns):
    """A reward of 0 for all."""
    return [0.0] * len(completions)


def length(prompts, completions, **columns):
    """The number of letters."""
    return [float(len(text)) for text in completions]


def _make(config=CONFIG, reward=f"{HERE}:after_vowels", rows=8, **kwargs):
    return GRPO(TransformerPolicy(make_model()), make_toy(rows=rows, reward=reward), config)


def _figures(metrics):
    return {name: value for name, value in metrics.items() if not name.startswith("seconds")}


def _groups(rollout):
    """Prompts and scores of pairs of texts."""
    return rollout.example_ids.reshape(-1, 2), rollout.scores.reshape(-1, 2)


def test_further_prompts_are_drawn_until_the_batch_is_full_of_contrast():
    """Four groups are wanted, of which each draw of all eight prompts has two at most."""
    agent = _make(dataclasses.replace(CONFIG, draws=20))
    texts = []
    learn_from = agent._with_contrast
    agent._with_contrast = lambda written: texts.append(learn_from(written)) or texts[-1]
    metrics, rollout = agent.step()
    prompts, scores = _groups(rollout)
    assert sorted(prompts[:8, 0].tolist()) == list(range(8))  # before any comes again
    assert (prompts[:, 0] == prompts[:, 1]).all()
    assert len(rollout) == 8 * metrics["draws"]
    differ = scores[:, 0] != scores[:, 1]
    assert differ[:-4].sum() < 4 <= differ.sum()  # the last draw filled it
    assert metrics["texts_learned"] == 8 == len(texts[0])
    assert metrics["groups_without_contrast"] == pytest.approx(1 - differ.mean())
    learned, apart = _groups(texts[0])
    np.testing.assert_array_equal(learned, prompts[differ][:4])
    np.testing.assert_array_equal(apart, scores[differ][:4])
    assert agent.num_timesteps == int(rollout.mask.sum())
    assert agent.collected is rollout


def test_a_first_draw_that_is_full_of_contrast_is_the_only_one():
    count = itertools.count()

    def never_alike(prompts, completions, **columns):
        return [float(next(count)) for _ in completions]

    metrics, rollout = _make(reward=never_alike).step()
    assert (metrics["draws"], metrics["texts_learned"], len(rollout)) == (1, 8, 8)


def test_what_is_learned_is_what_the_groups_with_contrast_teach():
    """The gradient of those texts alone, written out."""
    agent = _make(dataclasses.replace(CONFIG, draws=3))
    twin = TransformerPolicy(make_model())
    gradient, metrics = only_gradient(agent)
    written = agent.collected
    apart = group_advantages(torch.from_numpy(written.scores).float(), 2, scale=True)
    new = twin.evaluate(written, torch.arange(len(written)))
    rows = [row for row in range(len(written)) if apart[row]][: len(_groups(written)[0])]
    assert 0 < len(rows) == metrics["texts_learned"] <= 8 < len(written)
    loss = -sum(apart[row] * new.log_probs[row].sum() / written.mask[row].sum() for row in rows)
    (loss / len(rows)).backward()
    for name, parameter in twin.model.named_parameters():
        other = gradient[f"model.{name}"]
        torch.testing.assert_close(parameter.grad, other, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kl_coefficient", [0.0, 0.04])
def test_where_no_group_has_contrast_nothing_is_learned(bf16, kl_coefficient):
    config = dataclasses.replace(
        CONFIG, bf16=bf16, kl_coefficient=kl_coefficient, minibatches=2, epochs=2
    )
    agent = _make(config, reward=f"{HERE}:nothing")
    before = [p.clone() for p in agent.policy.parameters()]
    metrics, rollout = agent.step()
    assert metrics["draws"] == 5
    assert len(rollout) == 40
    assert (metrics["texts_learned"], metrics["updates"], metrics["gradient_norm"]) == (0, 0, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, agent.policy.parameters(), strict=True))
    usual = _make(config, reward=f"{HERE}:length").step()[0]
    assert usual["updates"] == 4
    assert usual.keys() == metrics.keys()  # a log has one header


def test_five_draws_and_resuming_are_the_same_to_the_last_bit(tmp_path):
    config = dataclasses.replace(CONFIG, iterations=4, epochs=2, minibatches=2)
    straight, first = _make(config), _make(config)
    expected = [_figures(straight.step()[0]) for _ in range(4)]
    assert len({each["draws"] for each in expected}) > 1
    for _ in range(2):
        first.step()
    first.save(tmp_path / "checkpoint")
    resumed = GRPO.load(tmp_path / "checkpoint", _make(config).envs)
    assert [_figures(resumed.step()[0]) for _ in range(2)] == expected[2:]
    for mine, other in zip(straight.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_reward_that_fails_in_a_later_draw_leaves_nothing_behind():
    agent, twin = _make(), _make()
    expected = _figures(twin.step()[0])
    assert expected["draws"] > 1
    collect, draws = agent.collect, []

    def fails_later(*args, **kwargs):
        draws.append(0)
        if len(draws) > 1:
            raise RewardError("no score today")
        return collect(*args, **kwargs)

    agent.collect = fails_later
    with pytest.raises(RewardError):
        agent.step()
    agent.collect = collect
    assert agent.is_whole
    assert _figures(agent.step()[0]) == expected


def test_a_run_makes_its_iterations_however_many_texts_they_take():
    agent = _make(dataclasses.replace(CONFIG, iterations=3), reward=f"{HERE}:nothing")
    agent.learn()
    assert agent.iteration == 3
    assert agent.num_timesteps > 3 * 8 * agent.envs.max_actions


def test_what_a_texts_length_costs_is_part_of_its_score():
    """It alone tells texts apart here, and what a text is said to have been paid is without it."""
    config = dataclasses.replace(CONFIG, draws=1, overlong_buffer=4, scale_by_spread=False)
    agent = _make(config, reward=f"{HERE}:nothing", rows=32)
    metrics, rollout = agent.step()
    costs = [-max(0, each - 2) / 4 for each in rollout.mask.sum(dim=1).tolist()]
    assert min(costs) == -1 < max(costs)
    torch.testing.assert_close(agent._scores(rollout), torch.tensor(costs))
    pairs = np.array(costs).reshape(-1, 2)
    assert metrics["groups_without_contrast"] == np.mean(pairs[:, 0] == pairs[:, 1])
    assert metrics["reward"] == 0
    assert metrics["gradient_norm"] > 0


@pytest.mark.parametrize("weigh", ["texts", "tokens", "constant"])
def test_a_text_that_did_not_end_is_compared_with_but_not_learned_from(weigh):
    """The gradient is that of the ended texts, whose baseline are all of their group."""
    config = dataclasses.replace(
        CONFIG, draws=1, overlong="filter", weigh=weigh, scale_by_spread=False, group_size=4
    )
    agent = _make(config, reward=f"{HERE}:length", rows=32)
    twin = TransformerPolicy(make_model())
    gradient, _ = only_gradient(agent)
    written = agent.collected
    ended = written.stop_reasons == StopReason.END_OF_TEXT
    assert 0 < ended.sum() < 32
    groups = written.scores.reshape(-1, 4)
    apart = (groups - groups.mean(axis=1, keepdims=True)).flatten()
    log_probs, terms, actions = twin.evaluate(written).log_probs, [], 0
    for row in np.flatnonzero(ended):
        count = int(written.mask[row].sum())
        actions += count
        each = apart[row] * log_probs[row].sum()
        terms.append(each / count if weigh == "texts" else each)
    by = {"texts": len(terms), "tokens": actions, "constant": 32 * 6}
    (-sum(terms) / by[weigh]).backward()
    for name, parameter in twin.model.named_parameters():
        other = gradient[f"model.{name}"]
        torch.testing.assert_close(parameter.grad, other, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("weigh", ["texts", "tokens", "constant"])
def test_where_no_text_ended_nothing_is_learned(weigh):
    config = dataclasses.replace(CONFIG, draws=1, overlong="filter", weigh=weigh)
    agent = _make(config, reward=f"{HERE}:length")
    collect = agent.collect

    def cut_off(*args, **kwargs):
        rollout = collect(*args, **kwargs)
        return dataclasses.replace(
            rollout, stop_reasons=np.full_like(rollout.stop_reasons, StopReason.LENGTH)
        )

    agent.collect = cut_off
    metrics, _ = agent.step()
    assert (metrics["gradient_norm"], metrics["policy_loss"]) == (0, 0)


PARTS = [[f"{HERE}:length", 0.1], [[[f"{HERE}:letters_a", 4.0]], -0.5]]


def letters_a(prompts, completions, **columns):
    """The number of letters a, in hundreds."""
    return [100.0 * text.count("a") for text in completions]


def test_a_rollout_has_what_the_parts_of_a_reward_said():
    """Each text's, wherever it was written; of those that were cut off, nothing."""
    envs = make_toy(rows=4, reward=PARTS, max_episode_steps=4)
    config = dataclasses.replace(CONFIG, draws=1, episodes=16, parts="apart")
    rollout = GRPO(TransformerPolicy(make_model()), envs, config).collect()
    texts = envs.tokenizer.decode_batch(rollout.completions())
    cut_off = rollout.truncated.numpy()
    assert 0 < cut_off.sum() < 16
    expected = np.array([[len(text), 100.0 * text.count("a")] for text in texts])
    np.testing.assert_array_equal(rollout.terms[~cut_off], expected[~cut_off])
    assert np.isnan(rollout.terms[cut_off]).all()
    by_weight = expected @ [0.1, -2.0]
    np.testing.assert_allclose(rollout.scores[~cut_off], by_weight[~cut_off])


@pytest.mark.parametrize("buffer", [None, 4])
def test_parts_that_are_compared_apart_by_plain_loops(buffer):
    """Equations 4 to 7 of GDPO: apart in the group, added with weights, scaled over the batch."""
    config = dataclasses.replace(
        CONFIG, draws=1, group_size=4, parts="apart", overlong_buffer=buffer
    )
    agent = _make(config, reward=PARTS, rows=32)
    rollout = agent.collect([n // 4 for n in range(32)], group=4)
    columns = {0.1: rollout.terms[:, 0], -2.0: rollout.terms[:, 1]}
    if buffer is not None:
        lengths = rollout.mask.sum(dim=1).tolist()
        columns[1.0] = np.array([-max(0, length - 2) / 4 for length in lengths])
    expected = np.zeros(32)
    for weight, scores in columns.items():
        for group in range(0, 32, 4):
            own = scores[group : group + 4]
            if own.std():
                expected[group : group + 4] += weight * (own - own.mean()) / own.std()
    expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(agent._advantages(rollout), expected, atol=1e-4)
    together = GRPO(agent.policy, agent.envs, dataclasses.replace(config, parts="sum"))
    assert np.abs(together._advantages(rollout).numpy() - expected).max() > 0.1
    metrics, rollout = agent.step()
    apart = agent._scores(rollout).reshape(8, 4, -1)
    equal = [bool((group == group[0]).all()) for group in apart]
    assert metrics["groups_without_contrast"] == np.mean(equal)


def test_a_reward_that_is_no_weighted_sum_cannot_be_taken_apart():
    config = dataclasses.replace(CONFIG, parts="apart")
    for reward in (f"{HERE}:length", {"clip": {"reward": PARTS, "high": 1}}):
        with pytest.raises(ValueError, match="no weighted sum of rewards"):
            _make(config, reward=reward)


CHOOSES = {"proposer": "list", "proposer_kwargs": {"phrases": ["a", "ba", "ab"]}}


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("Alphabet", {}),
        ("Alphabet", {"constraints": {"choices": ["abc", "bd", "cdefgh"]}}),
        ("Alphabet-Choose", CHOOSES),
        ("Alphabet-Edit", {}),
    ],
    ids=["plain", "constrained", "choices", "edits"],
)
def test_joined_rollouts_are_read_as_each_by_itself(task, settings):
    """Also where one is narrower, and in another order by ``take``."""
    config = dataclasses.replace(CONFIG, draws=1)
    policy = TransformerPolicy(make_model(), edits="Edit" in task)
    agent = GRPO(policy, make_toy(task, **settings), config)
    wide = agent.collect()
    short = wide.take(wide.mask.sum(dim=1).argsort()[:3])
    narrow = short.cut(*short.longest())
    assert narrow.mask.shape[1] < wide.mask.shape[1]
    one, two = (policy.evaluate(each).log_probs.sum(dim=1) for each in (narrow, wide))
    for first, second, log_probs in (
        (narrow, wide, torch.cat([one, two])),
        (wide, narrow, torch.cat([two, one])),
    ):
        joined = Rollout.join([first, second])
        assert joined.env_seconds == 2 * wide.env_seconds
        order = torch.arange(11).flip(0)
        taken = joined.take(order)
        torch.testing.assert_close(policy.evaluate(taken).log_probs.sum(dim=1), log_probs[order])
        assert taken.completions() == (first.completions() + second.completions())[::-1]
        scores = np.concatenate([first.scores, second.scores])[::-1]
        np.testing.assert_array_equal(taken.scores, scores)


@pytest.mark.parametrize(
    "setting",
    [
        {"draws": 0},
        {"overlong_buffer": 0},
        {"overlong": "drop"},
        {"ratio": "sentence"},
        {"surrogate": "cispo", "dual_clip": 3.0},
    ],
)
def test_an_impossible_setting_is_refused(setting):
    with pytest.raises(ValueError, match=[*setting][-1]):
        GRPOConfig(**setting)


@pytest.mark.parametrize("group", [2, 4])
def test_a_group_s_prompt_is_read_once(group, monkeypatch):
    """Of eight rows that begin together; ``micro_batch_tokens`` is kept by reading, too."""
    read, seen = LeanGPT2.read, []

    def noting(trunk, tokens, *given):
        seen.append(tokens.shape)
        return read(trunk, tokens, *given)

    monkeypatch.setattr(LeanGPT2, "read", noting)
    config = GRPOConfig(episodes=8, group_size=group, micro_batch_tokens=4)
    agent = GRPO(TransformerPolicy(make_model()), make_toy(rows=8), config)
    _, rollout = agent.step()
    width = int(rollout.prompt_lengths.max())
    assert sum(rows for rows, _ in seen) == 8 // group
    assert all(rows * columns <= max(4, width) for rows, columns in seen)


def test_without_a_price_there_is_a_reference_only_where_it_is_given():
    """Every policy was 0 nats from none."""
    policy = TransformerPolicy(make_model())
    grpo = GRPO(policy, make_toy(rows=8, reward=length), CONFIG)
    rollout = grpo.collect(group=2)
    with pytest.raises(ValueError, match="has no reference, as it pays no KL: give it reference="):
        grpo.reference_log_probs(rollout)
    given = GRPO(policy, make_toy(rows=8, reward=length), CONFIG, reference=policy.frozen_copy())
    given.step()
    moved = given.evaluate(policy, rollout).log_probs - given.reference_log_probs(rollout)
    assert float(moved.abs().max()) > 0
