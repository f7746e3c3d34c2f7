"""What the tables of LEARNERS.md are made with: the arithmetic by hand, each script once, tiny."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from agents.models.loading import load_model, save_model
from examples.experiments import compare_learners, five_grams, smollm2_sentiment, toys
from reward_models.models.gold import GoldJudge
from textgym.data.reviews import load_reviews
from textgym.pretrained.smollm2 import smollm2_is_available
from textgym.tokenizers import load_tokenizer


def _run(monkeypatch, script, *arguments):
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rewards_are_read_between_the_iterations_where_a_level_of_kl_is_crossed():
    """Means of three: KL 0, 1, 2, 3, 5, 7, 9, and a reward of a tenth of it."""
    kl = [0, 0, 0, 3, 3, 3, 9, 9, 9]
    lines = [{"kl": nats, "reward": nats / 10} for nats in kl]
    assert compare_learners.rewards_at_levels(lines).tolist() == pytest.approx([0.1, 0.2, 0.4])
    early = compare_learners.rewards_at_levels(lines[:6])  # which ends at 3
    assert early.tolist() == pytest.approx([0.1, 0.2, float("nan")], nan_ok=True)


def test_the_interval_is_student_s_over_seeds():
    """Of 1, 2, 3: deviation 1, and 4.303 of Student's t with 2 degrees of freedom."""
    assert compare_learners.interval([1, 2, 3], "{:.2f}") == "2.00 ± 2.48"  # 4.303 / sqrt(3)
    assert compare_learners.interval([1, float("nan"), 3], "{:.2f}") == "2 of 3 got there"


@pytest.mark.slow
def test_the_learners_are_compared_at_equal_budgets_and_no_run_is_made_twice(tmp_path, monkeypatch):
    start, out = tmp_path / "start", tmp_path / "out"
    tokenizer = load_tokenizer("reviews-4096")
    model, _ = load_model("scratch:gpt2?layers=1&width=8&heads=2&positions=64", tokenizer)
    save_model(model, start / "language_model")
    tokenizer.save(start / "tokenizer.model")
    reviews = load_reviews("judge")[:100]
    GoldJudge.fit([r.text for r in reviews], [r.label for r in reviews]).save(start / "judge")
    tiny = ["--start", start, "--out", out, "--seeds", 0, "--iterations", 4]
    tiny += ["--texts", 8, "--tokens", 3, "--test-prompts", 8]
    _run(monkeypatch, compare_learners, *tiny)
    results = [line for line in _lines(out / "runs.jsonl") if "result" in line]
    assert [line["learner"] for line in results] == ["ppo", "grpo", "rloo"]
    # Random weights seldom end a text before its third token.
    assert all(80 < line["result"]["tokens"] <= 4 * 8 * 3 for line in results)
    assert len((out / "table.md").read_text().splitlines()) == 2 + 3
    assert (out / "reward_against_kl.png").read_bytes()[1:4] == b"PNG"
    before = (out / "runs.jsonl").read_bytes()
    monkeypatch.setattr(compare_learners, "train", None)
    _run(monkeypatch, compare_learners, *tiny)
    assert before == (out / "runs.jsonl").read_bytes()


@pytest.mark.slow
def test_every_algorithm_plays_the_toys(tmp_path, monkeypatch, capsys):
    """Two iterations reach nothing; the optimum and chance are those of the toy's docstring.

    Of 128 letters that are about as likely as each other, one is the best.
    """
    out = tmp_path / "toys.jsonl"
    tiny = ["--toys", "Bandit", "--seeds", 0, "--iterations", 2, "--texts", 64]
    _run(monkeypatch, toys, "--out", out, *tiny)
    lines = {line["player"]: line for line in _lines(out)}
    learners = ["PPO", "GRPO", "RLOO", "REINFORCE++", "REINFORCE++ by tokens", "DPO"]
    assert list(lines) == [*learners, "best of n", "likeliest texts", "random play"]
    assert {(line["optimum"], line["uniform"]) for line in lines.values()} == {(1.0, 0.35)}
    assert all(lines[learner]["reward"] < 0.8 for learner in learners)
    assert (lines["best of n"]["reward"], lines["best of n"]["reached"]) == (1.0, True)
    assert lines["random play"]["reward"] == pytest.approx(0.35, abs=0.15)
    assert not lines["random play"]["reached"]
    page = capsys.readouterr().out
    assert "Bandit: optimum 1, chance 0.35" in page
    assert "| best of n | 1.000, 1 of 1 |" in page
    # Runs of other settings stay in the file and out of the table.
    _run(monkeypatch, toys, "--out", out, *tiny[:-1], 32, "--players", "random play")
    assert len(_lines(out)) == len(lines) + 1
    page = capsys.readouterr().out
    assert "| random play | 0." in page
    assert "| best of n |  |" in page


def test_runs_of_other_settings_are_not_put_into_one_table(tmp_path, monkeypatch):
    start = tmp_path / "start"
    (start / "language_model").mkdir(parents=True)
    monkeypatch.setattr(
        sys, "argv", ["compare", "--start", str(start), "--out", str(tmp_path), "--texts", "8"]
    )
    given = compare_learners.options()
    compare_learners.require_same(given)
    compare_learners.require_same(given)
    given.texts = 16
    with pytest.raises(SystemExit, match="has runs with --texts 8, not 16: give another --out"):
        compare_learners.require_same(given)


@pytest.mark.slow
@pytest.mark.skipif(
    not (smollm2_is_available() and importlib.util.find_spec("peft")),
    reason="SmolLM2's packages or peft are not installed",
)
def test_smollm2_is_measured_before_and_after(tmp_path, monkeypatch, capsys):
    """One iteration, of adapters that change nothing at first and of all weights.

    Of fewer or shorter texts, all may be worth the same, and then there is nothing to learn.
    """
    out = tmp_path / "smollm2.jsonl"
    tiny = ["--seeds", 1, "--iterations", 1, "--texts", 16, "--tokens", 8, "--test-prompts", 16]
    _run(monkeypatch, smollm2_sentiment, "--out", out, *tiny, "--judge-texts", 100)
    lines = _lines(out)
    assert [line["weights"] for line in lines] == ["adapters", "adapters", "all", "all"]
    for step, last in (lines[:2], lines[2:]):
        result = last["result"]
        assert step["gradient_norm"] > 0
        assert result["before"]["kl"] == pytest.approx(0, abs=1e-6)
        assert result["after"]["kl"] != 0
        assert len(result["before"]["gold"]) == len(result["after"]["gold"]) == 16
        assert result["tokens"] <= 16 * 8
    rates = [line["learning_rate"] for line in lines if "result" in line]
    assert rates == [*smollm2_sentiment.LEARNING_RATES.values()]
    assert len(capsys.readouterr().out.splitlines()) == 2 * 2 + 2 + 2


def test_n_grams_are_a_distribution_after_whatever_was_said():
    """The probabilities of all ids sum to one, also after what was never seen."""
    rng = np.random.default_rng(0)
    documents = [[0, *rng.integers(1, 6, rng.integers(1, 12)).tolist()] for _ in range(60)]
    documents += [[3, 4, 3, 1], [5, 5]]  # which begin in the middle of a text
    grams = five_grams.KneserNey(documents, vocabulary=8, bos=0)
    contexts = [[0], [3], [7], [0, 1], [0, 7], [0, 1, 2, 3, 4], [1, 2, 6, 4, 5, 1]]
    contexts += [one[:cut] for one in documents[:20] for cut in range(1, len(one))]
    for context in contexts:
        found = np.exp(grams.log_probs([[*context, each] for each in range(8)]))
        assert found.reshape(8, len(context))[:, -1].sum() == pytest.approx(1)


def test_n_grams_by_hand():
    """Of 1 2 and 1 1 after the beginning, 0: worked out from Chen and Goodman's formulas.

    1 comes after two ids, 2 after one: thirds and a whole are taken off, and 4/3 go to equal
    shares. 0 1 is there twice, 1 1 and 1 2 once: halves are taken off.
    """
    grams = five_grams.KneserNey([[0, 1, 2], [0, 1, 1]], vocabulary=3, bos=0, order=2)
    found = np.exp(grams.log_probs([[0, 1, 2], [0, 1, 1], [0, 1, 0]])).reshape(3, 2)
    assert found[:, 0] == pytest.approx([94 / 108] * 3)
    assert found[:, 1] == pytest.approx([47 / 108, 53 / 108, 8 / 108])


@pytest.mark.slow
def test_a_model_is_put_beside_n_grams_of_the_same_tokens(tmp_path, monkeypatch, capsys):
    """Random weights make all ids about equally likely; n-grams of the texts themselves do not."""
    tokenizer = load_tokenizer("reviews-4096")
    model, _ = load_model("scratch:gpt2?layers=1&width=8&heads=2&positions=64", tokenizer)
    save_model(model, tmp_path / "model", tokenizer)
    texts = tmp_path / "texts.txt"
    texts.write_text("the film was an old song of rain and nobody saw it again\n" * 3)
    files = ["--data", texts, "--validation", texts]
    _run(monkeypatch, five_grams, "--model", tmp_path / "model", *files, "--row-tokens", 8)
    tokens, of_model, of_grams = capsys.readouterr().out.splitlines()
    learned, predicted = (int(each.split()[0]) for each in tokens.split(", "))
    assert learned == predicted > 12
    assert 3500 < float(of_model.rpartition(" ")[2]) < 5000
    assert float(of_grams.split()[3].rstrip(",")) < 100
