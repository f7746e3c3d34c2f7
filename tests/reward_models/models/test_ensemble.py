"""Ensembles: worked by hand, on one scale, and free of three errors of published code."""

import json

import numpy as np
import pytest

from reward_models.models.ensemble import (
    EnsembleConfig,
    EnsembleReward,
    aggregate,
    load_ensemble,
)
from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.reading.loading import load_reward
from reward_models.reading.scoring import PreferenceReward
from textgym.rewards import resolve
from textgym.testing import check_reward_function

THIRDS = np.full(3, 1 / 3)
SCORES = np.array([[1.0, -2.0], [3.0, 0.0], [5.0, 2.0]])


def member(scale, shift, word):
    """Likes a word, in units of its own."""

    def reward(prompts, completions, **columns):
        return [shift + scale * text.split().count(word) for text in completions]

    return reward


@pytest.fixture
def texts(sentence):
    return [sentence(seed, words=3 + seed % 9) for seed in range(20)]


@pytest.fixture
def learned(tokenizer):
    config = LSTMScorerConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=8, hidden_size=8, output="score"
    )
    return [PreferenceReward(LSTMScorer.from_seed(config, seed), tokenizer) for seed in range(3)]


def test_mean_worst_and_mean_less_variance_by_hand():
    """Scores 1, 3, 5: mean 3, variance 8/3 with ddof 0 (it would be 4 with ddof 1)."""
    np.testing.assert_allclose([3.0, 0.0], aggregate(SCORES, THIRDS, "mean"))
    np.testing.assert_allclose([1.0, -2.0], aggregate(SCORES, THIRDS, "min"))
    expected = [3.0 - 0.5 * 8 / 3, -0.5 * 8 / 3]
    np.testing.assert_allclose(expected, aggregate(SCORES, THIRDS, "uwo", 0.5))
    np.testing.assert_allclose([3.0, 0.0], aggregate(SCORES, THIRDS, "uwo", 0.0))


def test_a_weight_of_zero_leaves_a_member_out():
    """Of the worst too. By hand: members 3 and 5 with shares 3/4, 1/4; variance 3/16 * 4."""
    weights = np.array([0.0, 0.75, 0.25])
    np.testing.assert_allclose([3.5, 0.5], aggregate(SCORES, weights, "mean"))
    np.testing.assert_allclose([3.0, 0.0], aggregate(SCORES, weights, "min"))
    np.testing.assert_allclose([2.75, -0.25], aggregate(SCORES, weights, "uwo", 1.0))


def test_members_are_put_on_one_scale(texts):
    """A member that counts in thousands does not drown the other."""
    ensemble = EnsembleReward.fit(
        [member(1.0, 0.0, "great"), member(-1000.0, 7.0, "awful")],
        [""] * 20,
        texts,
        EnsembleConfig(how="mean"),
    )
    scaled = ensemble.scaled([""] * 20, texts)
    np.testing.assert_allclose([0, 0], scaled.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose([1, 1], scaled.std(axis=1), atol=1e-12)
    great, awful = (np.array([text.split().count(w) for text in texts]) for w in ("great", "awful"))
    expected = ((great - great.mean()) / great.std() - (awful - awful.mean()) / awful.std()) / 2
    np.testing.assert_allclose(expected, ensemble([""] * 20, texts), atol=1e-9)


def test_constants_are_those_of_the_reference_texts(texts):
    """Later texts do not move the scale, so a score depends on its own text alone."""
    ensemble = EnsembleReward.fit([member(2.0, 1.0, "great")], [""] * 20, texts)
    assert ensemble([""], ["great great"]) == [
        pytest.approx(ensemble([""] * 3, ["great great", "a", "b"])[0])
    ]


def test_the_worst_member_decides_where_they_disagree(texts):
    members = [member(1.0, 0.0, "great"), member(1.0, 0.0, "lovely")]
    worst = EnsembleReward.fit(members, [""] * 20, texts, EnsembleConfig(how="min"))
    alike = EnsembleReward.fit(members[:1], [""] * 20, texts, EnsembleConfig(how="min"))
    gamed = "great " * 50
    assert worst([""], [gamed])[0] < 0 < alike([""], [gamed])[0]
    assert worst.variance([""], [gamed])[0] > 10 * worst.variance([""], ["great lovely"])[0]


def test_columns_reach_the_members(texts):
    def labelled(prompts, completions, label, **columns):
        return [float(value) for value in label]

    ensemble = EnsembleReward.fit(
        [labelled], [""] * 20, texts, EnsembleConfig(how="mean"), label=list(range(20))
    )
    (one, two) = ensemble(["", ""], ["a", "b"], label=[3, 4])
    assert two - one == pytest.approx(1 / np.std(range(20)))


def test_it_is_saved_as_a_folder_of_folders(learned, texts, tmp_path):
    config = EnsembleConfig(how="uwo", penalty=0.5, weights=(1.0, 0.0, 2.0))
    ensemble = EnsembleReward.fit(learned, [""] * 20, texts, config)
    ensemble.save(tmp_path / "ensemble")
    loaded = load_reward(tmp_path / "ensemble", batch_size=3)
    assert loaded.config == config
    assert ensemble([""] * 20, texts) == pytest.approx(loaded([""] * 20, texts), abs=1e-5)
    by_name = resolve(str(tmp_path / "ensemble"))
    assert ensemble([""] * 20, texts) == pytest.approx(by_name([""] * 20, texts), abs=1e-5)


def test_an_ensemble_can_be_a_member(learned, texts, tmp_path):
    inner = EnsembleReward.fit(learned[:2], [""] * 20, texts)
    outer = EnsembleReward.fit([inner, learned[2]], [""] * 20, texts)
    outer.save(tmp_path / "outer")
    assert outer([""] * 20, texts) == pytest.approx(
        load_reward(tmp_path / "outer")([""] * 20, texts), abs=1e-5
    )


def test_it_keeps_the_contract(learned, texts):
    check_reward_function(EnsembleReward.fit(learned, [""] * 20, texts))


def test_a_damaged_member_is_named(learned, texts, tmp_path):
    EnsembleReward.fit(learned, [""] * 20, texts).save(tmp_path)
    weights = tmp_path / "member-1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="member-1 holds no whole reward model") as caught:
        load_reward(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "textgym-ensemble"}))
    with pytest.raises(ValueError, match="holds no whole reward model"):
        load_reward(tmp_path)


def test_a_member_that_cannot_be_saved_is_refused_before_anything_is_written(texts, tmp_path):
    ensemble = EnsembleReward.fit([member(1.0, 0.0, "great")], [""] * 20, texts)
    with pytest.raises(ValueError, match=r"member 0, a function, has no method save"):
        ensemble.save(tmp_path / "ensemble")
    assert not (tmp_path / "ensemble").exists()


def test_impossible_ensembles_are_refused(texts):
    one = member(1.0, 0.0, "great")
    with pytest.raises(ValueError, match="member 1 gives all 20 reference texts the score 3"):
        EnsembleReward.fit([one, member(0.0, 3.0, "a")], [""] * 20, texts)
    with pytest.raises(ValueError, match="member 0 gives all 20 reference texts"):
        EnsembleReward.fit([member(1e-13, 0.1, "great")], [""] * 20, texts)  # rounding alone
    with pytest.raises(ValueError, match="no reference texts"):
        EnsembleReward.fit([one], [], [])
    with pytest.raises(ValueError, match="at least one member"):
        EnsembleReward.fit([], [""] * 20, texts)
    with pytest.raises(ValueError, match="member 0 gave 1 scores for 20"):
        EnsembleReward.fit([lambda prompts, texts: [1.0]], [""] * 20, texts)
    for config, message in [
        (EnsembleConfig(how="median"), "choose one of mean, min, uwo"),
        (EnsembleConfig(weights=(1.0, 1.0)), "1 members came with 2 weights"),
        (EnsembleConfig(weights=(0.0,)), "one at least is more than 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            EnsembleReward([one], config, [0.0], [1.0])
    for settings in ({"penalty": -1.0}, {"weights": (-1.0,)}):
        with pytest.raises(ValueError, match=r"must be at least 0 and finite, got -1\.0"):
            EnsembleConfig(**settings)
    with pytest.raises(ValueError, match="1 members came with 2 means"):
        EnsembleReward([one], EnsembleConfig(), [0.0, 1.0], [1.0])
    with pytest.raises(ValueError, match="member 0 has the standard deviation 0"):
        EnsembleReward([one], EnsembleConfig(), [0.0], [0.0])
    with pytest.raises(ValueError, match="not finite"):
        EnsembleReward([one], EnsembleConfig(), [0.0], [float("nan")])


@pytest.mark.parametrize("name", ["../elsewhere", "/elsewhere", "..", "a/b", ""])
def test_a_member_outside_of_the_folder_is_refused(name, tmp_path):
    settings = {"how": "mean", "weights": None, "penalty": 0.1}
    stored = {"model_type": "textgym-ensemble", "settings": settings, "members": [name]}
    (tmp_path / "config.json").write_text(json.dumps({**stored, "means": [0.0], "stds": [1.0]}))
    with pytest.raises(ValueError, match="which is no folder in the ensemble's own"):
        load_ensemble(tmp_path)
