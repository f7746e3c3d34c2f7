"""DPO: how pairs are laid out, what an update does to them, and resuming bit for bit."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from agents.dpo import DPO, DPOConfig
from agents.models.policy import TransformerPolicy
from agents.rollouts.pairs import encode_pairs
from tests.agents.learners import only_gradient
from tests.agents.toys import make_model, make_toy
from textgym.pretrained.adapters import AdapterConfig, add_adapters

CONFIG = DPOConfig(iterations=10, episodes=8, minibatches=2, epochs=2, learning_rate=1e-3, beta=0.3)
PAIRS = [
    ("a", "bcd", "bc"),
    ("b", "cde", "hhhhhhhhh"),
    ("c", "def", ""),
    ("d", "efg", "g"),
    ("e", "fgh", "fghf"),
    ("f", "gha", "ahg"),
]


def _dpo(config=CONFIG, pairs=PAIRS, envs=None, **model):
    return DPO(
        TransformerPolicy(make_model(**model)), envs or make_toy(rows=8), config, pairs=pairs
    )


def _refer_to(dpo, log_probs):
    """Has the reference give whole texts these log-probabilities, ``(N,)``, by their rows."""

    def given(rollout):
        figures = torch.zeros_like(rollout.log_probs)
        figures[:, 0] = log_probs
        return figures

    dpo.reference_log_probs = given


def _figures(metrics):
    return {name: value for name, value in metrics.items() if not name.startswith("seconds")}


def test_pairs_are_laid_out_as_the_environment_does():
    """Written by hand: pad 0, bos 1, eos 2, a = 3; a prompt keeps its end, a text its beginning.

    Of the four pairs the third differs only behind the sixth token, and goes.
    """
    envs = make_toy()  # two tokens of prompt, the first of them bos; six of completion
    given = [
        ("abc", "d", "bcdefg"),
        ("", "", "abcdefgh"),
        ("a", "bcdefga", "bcdefgh"),
        ("a", "bcdefg", "bcdefh"),
    ]
    rollout, dropped = encode_pairs(envs, given, torch.device("cpu"))
    assert dropped == 1
    assert rollout.example_ids.tolist() == [0, 0, 1, 1, 3, 3]
    assert rollout.tokens.tolist() == [
        [1, 5, 6, 2, 0, 0, 0, 0],
        [1, 5, 4, 5, 6, 7, 8, 9],
        [1, 2, 0, 0, 0, 0, 0, 0],
        [1, 3, 4, 5, 6, 7, 8, 0],
        [1, 3, 4, 5, 6, 7, 8, 9],
        [1, 3, 4, 5, 6, 7, 8, 10],
    ]
    assert rollout.prompt_lengths.tolist() == [2, 2, 1, 1, 2, 2]
    assert rollout.mask.sum(dim=1).tolist() == [2, 6, 1, 6, 6, 6]
    assert rollout.completions()[:3] == [[6, 2], [4, 5, 6, 7, 8, 9], [2]]
    assert rollout.actions[0, :2].tolist() == [6, 2]
    assert rollout.places[0, :2].tolist() == [1, 2]


def test_given_texts_are_read_as_collected_ones_are():
    """The same texts, written by the policy and given as pairs, have the same log-probabilities."""
    online = _dpo(pairs=None)
    written = online.collect()
    texts = online.envs.tokenizer.decode_batch(written.completions())
    prompts = online.envs.tokenizer.decode_batch(
        [[row[1]] for row in written.tokens.tolist()]  # one letter behind bos
    )
    pairs = [(prompt, text, "h" * 6) for prompt, text in zip(prompts, texts, strict=True)]
    given, dropped = encode_pairs(online.envs, pairs, torch.device("cpu"))
    assert dropped == 0
    read = online.evaluate(online.policy, given).log_probs.sum(dim=1)[::2]
    torch.testing.assert_close(read, written.log_probs.sum(dim=1), atol=1e-4, rtol=1e-4)


def test_at_the_reference_the_loss_is_log_two_and_then_it_falls():
    dpo = _dpo(dataclasses.replace(CONFIG, minibatches=1, epochs=1, episodes=12))
    history = [dpo.step()[0] for _ in range(10)]
    assert history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert history[0]["margin"] == pytest.approx(0.0, abs=1e-5)
    assert history[0]["accuracy"] == 0.5  # which side rounding is on differs by processor
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert history[-1]["accuracy"] == 1
    assert history[-1]["margin"] > 0.1
    apart = [step["chosen_log_prob"] - step["rejected_log_prob"] for step in history]
    assert apart[-1] > apart[0]
    assert {step["pairs"] for step in history} == {6.0}


def test_a_tie_teaches_neither_text_and_a_soft_label_as_much_as_its_two_orders():
    """A pair of probability 3/4 has the gradient of three answers one way and one the other."""
    config = dataclasses.replace(
        CONFIG, minibatches=1, epochs=1, sft_weight=0.7, max_gradient_norm=None
    )
    turned = [(prompt, worse, better) for prompt, better, worse in PAIRS]
    soft = DPO(
        TransformerPolicy(make_model()),
        make_toy(rows=8),
        dataclasses.replace(config, episodes=12),
        pairs=PAIRS,
        probabilities=[0.75] * len(PAIRS),
    )
    answers = _dpo(dataclasses.replace(config, episodes=48), PAIRS * 3 + turned)
    one, other = (only_gradient(dpo)[0] for dpo in (soft, answers))
    assert one
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    metrics = DPO(
        TransformerPolicy(make_model()), make_toy(rows=8), CONFIG, pairs=PAIRS,
        probabilities=[0.5] * len(PAIRS),
    ).step()[0]  # fmt: skip
    assert metrics["accuracy"] == 0.5
    for wrong, message in [
        ([0.5], "1 probabilities for 6 pairs"),
        ([0.4] * 6, r"not in \[0.5, 1\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            DPO(
                TransformerPolicy(make_model()),
                make_toy(),
                CONFIG,
                pairs=PAIRS,
                probabilities=wrong,
            )


@pytest.mark.parametrize(("minibatches", "updates"), [(4, 4), (7, 5)])
def test_a_pass_has_as_many_updates_as_were_asked_for(minibatches, updates):
    """Of five pairs four minibatches are one of two pairs and three of one; seven are too many."""
    dpo = _dpo(dataclasses.replace(CONFIG, minibatches=minibatches, epochs=1, episodes=10))
    assert dpo.step()[0]["updates"] == updates


@pytest.mark.parametrize("settings", [{}, {"loss": "ipo"}, {"sft_weight": 0.7}])
def test_the_gradient_is_that_of_the_whole_minibatch_however_it_is_cut(settings):
    """Against one pass over all texts with the loss written out, in parts of a pair and of all.

    The likelihood of the chosen texts is taken per action, and so long ones count no more.
    """
    config = dataclasses.replace(CONFIG, **settings)
    plain = {"epochs": 1, "minibatches": 1, "episodes": 12, "max_gradient_norm": None}
    pairs = [(p, b, a) if p in "bdf" else (p, a, b) for p, a, b in PAIRS]
    whole = _dpo(dataclasses.replace(config, **plain), pairs)
    cut = _dpo(dataclasses.replace(config, **plain, micro_batch_tokens=1), pairs)
    gradients = []
    for dpo in (cut, whole):
        _refer_to(dpo, torch.linspace(-9.0, -5.0, 12))
        gradients.append(only_gradient(dpo)[0])
    policy, rollout = TransformerPolicy(make_model()), whole.pairs
    log_probs = policy.evaluate(rollout).log_probs.sum(dim=1)
    raised = log_probs - torch.linspace(-9.0, -5.0, 12)
    margins = raised[::2] - raised[1::2]
    if config.loss == "ipo":
        loss = ((margins - 1 / 0.6) ** 2).mean()
    else:
        loss = torch.log1p(torch.exp(-0.3 * margins)).mean()
    lengths = [len(ids) for ids in rollout.completions()[::2]]
    assert len(set(lengths)) > 2
    each = [log_prob / count for log_prob, count in zip(log_probs[::2], lengths, strict=True)]
    loss = loss - config.sft_weight * sum(each) / 6
    loss.backward()
    for name, parameter in policy.named_parameters():
        if not name.startswith("value_head"):
            one, two = (gradient[name] for gradient in gradients)
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(two, parameter.grad, atol=1e-5, rtol=1e-4)


def test_the_reference_reads_given_pairs_once_a_run():
    """All of them at once, and what it says of each goes with it however they are ordered."""
    dpo, read = _dpo(dataclasses.replace(CONFIG, learning_rate=1e-2)), []
    ask = dpo.reference_log_probs
    dpo.reference_log_probs = lambda rollout: read.append(len(rollout)) or ask(rollout)
    for _ in range(4):
        numbers = dpo.next_examples(4)
        now = dpo._given_reference(dpo.pairs, numbers)
        texts = dpo._given(dpo.pairs, numbers)[0]
        torch.testing.assert_close(now, ask(texts).sum(dim=1))
        dpo.step()
    assert read == [12]


def test_pairs_that_a_run_does_not_come_back_to_are_read_when_they_come():
    dpo, read = _dpo(dataclasses.replace(CONFIG, iterations=1)), []
    ask = dpo.reference_log_probs
    dpo.reference_log_probs = lambda rollout: read.append(len(rollout)) or ask(rollout)
    dpo.step()
    assert read == [8]


def test_another_reference_is_asked_again(tmp_path):
    """A checkpoint brings its own, also to a learner that has asked another one."""
    first = _dpo(dataclasses.replace(CONFIG, learning_rate=1e-2))
    first.step()
    first.save(tmp_path / "checkpoint")
    other = _dpo(dataclasses.replace(CONFIG, learning_rate=1e-2), seed=9)
    other.step()
    other.restore(tmp_path / "checkpoint")
    np.testing.assert_equal(_figures(other.step()[0]), _figures(first.step()[0]))


@pytest.mark.parametrize(
    ("config", "pairs"),
    [
        (CONFIG, PAIRS),
        (CONFIG, None),
        (dataclasses.replace(CONFIG, group_size=4), None),
        (dataclasses.replace(CONFIG, bf16=True, top_k=5, label_smoothing=0.1), None),
    ],
    ids=["offline", "online", "groups", "bf16"],
)
def test_five_and_five_iterations_are_ten(config, pairs, tmp_path):
    """Resume is exact: weights, moments, sampler and the order of the pairs, to the last bit."""
    straight, first = _dpo(config, pairs), _dpo(config, pairs)
    expected = [_figures(straight.step()[0]) for _ in range(10)]
    for _ in range(5):
        first.step()
    first.save(tmp_path / "checkpoint")
    resumed = _dpo(config, pairs, seed=9).restore(tmp_path / "checkpoint")
    actual = [_figures(resumed.step()[0]) for _ in range(5)]
    np.testing.assert_equal(actual, expected[5:])
    for name, value in straight.policy.state_dict().items():
        assert torch.equal(value, resumed.policy.state_dict()[name]), name
    assert resumed.num_timesteps == straight.num_timesteps


def test_a_checkpoint_of_other_pairs_is_refused(tmp_path):
    _dpo().save(tmp_path / "checkpoint")
    for other in (PAIRS[:5], None):
        with pytest.raises(ValueError, match="made with other pairs"):
            _dpo(pairs=other).restore(tmp_path / "checkpoint")


def test_every_pair_is_used_once_before_any_is_used_again():
    dpo = _dpo()
    taken = [dpo.step()[1].example_ids[::2].tolist() for _ in range(3)]
    assert sorted(number for each in taken for number in each) == sorted([*range(6)] * 2)


def test_online_the_better_of_two_texts_of_a_prompt_is_the_chosen_one():
    """Worked from scores and prompts; pairs of one score are not learned from, but counted."""
    dpo = _dpo(dataclasses.replace(CONFIG, episodes=64), pairs=None)
    rollout, pairs, metrics = dpo._ranked(dpo.next_examples(32))
    chosen, rejected = pairs[:, 0].numpy(), pairs[:, 1].numpy()
    assert (rollout.scores[chosen] > rollout.scores[rejected]).all()
    assert (chosen // 2 == rejected // 2).all()
    assert (rollout.example_ids[chosen] == rollout.example_ids[rejected]).all()
    by_group = rollout.scores.reshape(-1, 2)
    differ = (by_group[:, 0] != by_group[:, 1]).sum()
    assert 0 < len(pairs) == differ < 32
    assert metrics["groups_without_contrast"] == pytest.approx(1 - differ / 32)


def test_every_two_texts_of_a_group_are_compared_unless_they_score_alike(monkeypatch):
    """Scores 3 1 2 1 of one prompt and 0 0 5 0 of another: five pairs and three, by hand."""
    dpo = _dpo(dataclasses.replace(CONFIG, group_size=4), pairs=None)
    written = dpo.collect([0, 0, 0, 0, 1, 1, 1, 1], group=4)
    scores = torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0, 0.0, 5.0, 0.0])
    rewards = torch.zeros_like(written.rewards)
    rewards[:, 0] = scores
    written = dataclasses.replace(written, rewards=rewards)
    monkeypatch.setattr(dpo, "collect", lambda *_, **__: written)
    pairs = dpo._ranked([0, 1])[1].tolist()
    assert sorted(pairs) == [[0, 1], [0, 2], [0, 3], [2, 1], [2, 3], [6, 4], [6, 5], [6, 7]]
    cut = written.truncated.clone()
    cut[2] = True
    written = dataclasses.replace(written, truncated=cut)
    pairs = dpo._ranked([0, 1])[1].tolist()
    assert sorted(pairs) == [[0, 1], [0, 3], [6, 4], [6, 5], [6, 7]]


def test_the_pairs_of_a_group_give_the_gradient_that_they_give_apart(monkeypatch):
    """Texts read once for all of their pairs, or each pair laid out as a group of its own."""
    plain = {"epochs": 1, "minibatches": 1, "max_gradient_norm": None}
    config = dataclasses.replace(CONFIG, **plain, group_size=4, micro_batch_tokens=1)
    together = _dpo(config, pairs=None)
    written = together.collect([0, 0, 0, 0, 1, 1, 1, 1], group=4)
    pairs = torch.tensor([[0, 1], [0, 3], [2, 1], [2, 3], [6, 4], [6, 7]])
    reference = torch.linspace(-9.0, -5.0, 8)
    _refer_to(together, reference)
    monkeypatch.setattr(together, "_ranked", lambda _: (written, pairs, {}))
    apart, rows = _dpo(dataclasses.replace(CONFIG, **plain, episodes=12)), pairs.flatten()
    _refer_to(apart, reference[rows])
    laid_out = written.take(rows), torch.arange(12).reshape(6, 2), {}
    monkeypatch.setattr(apart, "_given", lambda *_: laid_out)
    monkeypatch.setattr(apart, "_given_reference", lambda *_: reference[rows])
    (one, measured), (two, expected) = only_gradient(together), only_gradient(apart)
    assert expected["pairs"] == measured["pairs"] == 6
    for name in ("loss", "accuracy", "margin", "chosen_log_prob", "rejected_log_prob"):
        assert expected[name] == pytest.approx(measured[name], abs=1e-5)
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, atol=1e-5, rtol=1e-4)


def nothing(prompts, completions, **columns):
    """A reward of 0 for all."""
    return [0.0] * len(completions)


def test_where_no_two_texts_differ_in_score_nothing_is_learned():
    dpo = _dpo(pairs=None, envs=make_toy(reward=nothing))
    before = {name: value.clone() for name, value in dpo.policy.state_dict().items()}
    metrics, _ = dpo.step()
    assert (metrics["pairs"], metrics["updates"]) == (0, 0)
    assert math.isnan(metrics["loss"])
    for name, value in before.items():
        assert torch.equal(value, dpo.policy.state_dict()[name]), name


def test_pairs_that_are_told_apart_for_good_stop_no_run():
    """At so high a price the sigmoid of a margin is 0 in float32 after a step or two."""
    config = dataclasses.replace(CONFIG, beta=300.0, learning_rate=3e-2)
    dpo = _dpo(config, pairs=PAIRS[:2], envs=make_toy(rows=4))
    history = [dpo.step()[0] for _ in range(5)]
    assert history[-1]["gradient_norm"] == 0.0
    assert history[-1]["accuracy"] == 1.0


def test_with_adapters_the_reference_is_the_base():
    model = make_model("llama")
    add_adapters(model, AdapterConfig(rank=2), base="base")
    dpo = DPO(
        TransformerPolicy(model),
        make_toy(rows=8),
        dataclasses.replace(CONFIG, minibatches=1, epochs=1, learning_rate=1e-2),
        pairs=PAIRS,
    )
    assert dpo.reference is None
    history = [dpo.step()[0] for _ in range(8)]
    assert history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert history[-1]["loss"] < history[0]["loss"]


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(ValueError, match="no whole groups of 2"):
        _dpo(dataclasses.replace(CONFIG, episodes=9))
    with pytest.raises(ValueError, match="no whole groups of 3"):
        _dpo(dataclasses.replace(CONFIG, group_size=3), pairs=None)
    with pytest.raises(ValueError, match="none of 1 pairs is left"):
        _dpo(pairs=[("a", "bcd", "bcd")])
    with pytest.raises(ValueError, match="none of 0 pairs is left"):
        _dpo(pairs=[])
    with pytest.raises(ValueError, match="without a constraint"):
        _dpo(envs=make_toy(rows=8, constraints={"choices": ["abc", "bd"]}))


@pytest.mark.parametrize(
    "setting",
    [
        {"beta": 0.0},
        {"group_size": 1},
        {"label_smoothing": 0.5},
        {"sft_weight": -1.0},
        {"loss": "hinge"},
        {"loss": "ipo", "label_smoothing": 0.1},
    ],
)
def test_an_impossible_setting_is_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        DPOConfig(**setting)
