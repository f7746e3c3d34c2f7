"""``textgym reward curve``: what is trained, what is measured, and the tables of it."""

import dataclasses
import io
import json
import math
import random

import numpy as np
import pytest
from rich.console import Console

from reward_models.learning.settings import RewardTrainingConfig
from reward_models.preferences import pairs_of_labels
from textgym.cli.parsing import CommandError
from textgym.cli.reward.curve import RewardCurveConfig, _origin, reward_curve
from textgym.cli.reward.curve_tables import Trained, accuracy_table, confidence_table
from textgym.data import reviews
from textgym.data.reviews import Review

WORDS = ("the", "film", "was", "a", "story", "with", "music", "that", "I", "saw")
TRAINING = RewardTrainingConfig(max_length=16, learning_rate=2e-2, epochs=3, batch_size=16)


def text(rng, word, place=None):
    """A few words about a film, of which one says what it was worth: at the end, or at a place."""
    words = rng.choices(WORDS, k=rng.randint(3, 6))
    words.insert(len(words) if place is None else place, word)
    return " ".join(words)


def write(path, number, place=None):
    """Pairs that one word decides; three a prompt."""
    rng = random.Random(0)  # noqa: S311 - not a secret
    rows = [
        {
            "prompt": f"Review {row // 3}: ",
            "chosen": text(rng, "great", place),
            "rejected": text(rng, "dull", place),
        }
        for row in range(number)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def curve(data, out, **settings):
    to = Console(file=io.StringIO(), width=200)
    asked = {"models": ("words",), "sizes": (12, 60), "noise": (0.0, 0.5), "seeds": 2} | settings
    reward_curve(RewardCurveConfig(data=data, out=out, **asked), to)
    return to.file.getvalue().splitlines()


def accuracies(lines):
    """Of the first table, whose heading is the line with the seconds."""
    start = next(row for row, line in enumerate(lines) if "seconds" in line) + 2
    rows = lines[start : lines.index("")]
    return [float(line.split("|")[4].split()[0]) for line in rows]


def test_a_curve_falls_with_noise_and_goes_on_where_it_was(tmp_path):
    """Half of the answers turned round leave nothing to learn; a cut line is done again."""
    data = write(tmp_path / "data.jsonl", 150)
    lines = curve(data, tmp_path / "out")
    found = accuracies(lines)
    assert len(found) == 4
    assert min(found[0], found[2]) > 0.9
    assert found[3] < 0.9
    tables = (2 + 4) + 1 + (2 + 2 * 4)
    assert "held-out pairs share a text with what is learned from" in lines[0]
    assert len(lines) == 1 + 8 + tables
    kept = tmp_path / "out" / "results.jsonl"
    results = kept.read_text()
    assert len(results.splitlines()) == 8
    kept.write_text(results[:-30])
    again = curve(data, tmp_path / "out")
    assert len(again) == 1 + 1 + tables
    assert lines[-10:] == again[-10:]


def test_a_curve_needs_enough_pairs(tmp_path):
    data = write(tmp_path / "data.jsonl", 30)
    with pytest.raises(CommandError, match="too few for a size of 60"):
        curve(data, tmp_path / "out")


def test_models_are_given_the_last_words_alone(tmp_path):
    """The word that decides is the first: cut off, it is no help to any of them."""
    data = write(tmp_path / "data.jsonl", 300, place=0)
    asked = {"sizes": (200,), "noise": (0.0,), "seeds": 1, "tokenizer": "reviews-4096"}
    asked |= {"models": ("words", "lstm"), "training": TRAINING}
    whole = accuracies(curve(data, tmp_path / "out", **asked))
    cut = accuracies(curve(data, tmp_path / "out", last_words=3, **asked))
    assert min(whole) > 0.9
    assert max(cut) < 0.7


@pytest.fixture
def few_reviews(monkeypatch):
    """Sixty reviews to learn from and forty to measure on."""
    rng = random.Random(0)  # noqa: S311 - not a secret

    def pool(number):
        return tuple(
            Review(text=text(rng, ("dull", "great")[row % 2]) + f" {row}", label=row % 2)
            for row in range(number)
        )

    pools = {"language_model": pool(60), "judge": pool(40)}
    monkeypatch.setattr(reviews, "load_reviews", pools.__getitem__)


@pytest.mark.usefixtures("few_reviews")
def test_reviews_are_paired_again_where_one_pass_is_too_short(tmp_path):
    asked = {"noise": (0.0,), "seeds": 1}
    with pytest.raises(CommandError, match="has 30 pairs to learn from"):
        curve("reviews", tmp_path / "out", sizes=(31,), **asked)
    curve("reviews", tmp_path / "out", sizes=(30, 31, 90), passes=3, **asked)
    with pytest.raises(CommandError, match="has 90 pairs to learn from"):
        curve("reviews", tmp_path / "out", sizes=(91,), passes=3, **asked)


def test_only_reviews_are_paired_again(tmp_path):
    with pytest.raises(CommandError, match="only reviews can be paired anew"):
        curve(write(tmp_path / "data.jsonl", 90), tmp_path / "out", passes=2)


def test_a_later_pass_leaves_the_first_as_it_was():
    """So that a curve beyond the first pass is a longer one, and not another one."""
    texts, labels = list("abcdefghijkl"), [1, 0] * 6
    once = pairs_of_labels(texts, labels, seed=3)
    thrice = pairs_of_labels(texts, labels, seed=3, passes=3)
    assert thrice[:6] == once
    assert len(thrice) == 18
    for start in (0, 6, 12):
        one = thrice[start : start + 6]
        assert {pair.chosen for pair in one} == set(texts[::2])
        assert {pair.rejected for pair in one} == set(texts[1::2])
    assert thrice[6:12] != once


def test_curves_are_drawn_on_request(tmp_path):
    """One chart against pairs and one against noise; of one point, one chart."""
    data = write(tmp_path / "data.jsonl", 150)
    both = tmp_path / "both.svg"
    curve(data, tmp_path / "out", picture=both)
    one = tmp_path / "one.png"
    curve(data, tmp_path / "out", picture=one, sizes=(60,), noise=(0.0,))
    assert both.read_text().count('id="axes_') == 2
    assert one.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "reason"), [("curve.pdf", r"ends in .png or .svg"), ("no/curve.png", "no folder")]
)
def test_a_picture_that_cannot_be_written_is_refused_before_any_work(tmp_path, name, reason):
    with pytest.raises(CommandError, match=reason):
        curve("nowhere.jsonl", tmp_path / "out", picture=tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"sizes": ()}, "one size"),
        ({"models": ()}, "at least one of the models"),
    ],
)
def test_an_empty_list_is_one_line(tmp_path, settings, reason):
    with pytest.raises(CommandError, match=reason):
        curve("nowhere.jsonl", tmp_path / "out", **settings)


def test_a_bag_of_words_is_not_trained_again_for_another_network_s_settings(tmp_path):
    data = write(tmp_path / "data.jsonl", 150)
    curve(data, tmp_path / "out")
    again = curve(data, tmp_path / "out", training=TRAINING)
    assert again[1].startswith("| model")


REASONS = {
    "data": "by its contents",
    "columns": "by the contents that they make of the data",
    "skip_bad_rows": "by the contents that it leaves",
    "out": "where to write",
    "picture": "where to draw",
    "models": "stands beside it in a result",
    "sizes": "stands beside it in a result",
    "noise": "stands beside it in a result",
    "seeds": "stands beside it in a result, with the training's seed",
    "training.seed": "stands beside it in a result",
}
OTHER = {
    "passes": 2,
    "last_words": 3,
    "test_pairs": 7,
    "held_out": 0.3,
    "votes": "each",
    "tokenizer": "reviews-4096",
    "pooling": "last",
    "ties": "threshold",
    "rating_loss": "squared",
    "bf16": True,
    "device": "meta",
    "label_noise": 0.2,
    "max_length": 8,
    "warmup": 0.1,
    "lora": 2,
    "patience": 2,
}


def test_each_setting_makes_another_result_or_has_a_reason_not_to(tmp_path):
    """Another tokenizer or way to count votes once gave back the old figures."""
    looks = RewardTrainingConfig(eval_steps=9)
    config = RewardCurveConfig(data="a.jsonl", out=tmp_path, training=looks)
    changed = {
        field.name: dataclasses.replace(config, **{field.name: OTHER[field.name]})
        for field in dataclasses.fields(config)
        if field.name not in REASONS and field.name != "training"
    }
    for field in dataclasses.fields(config.training):
        if f"training.{field.name}" not in REASONS:
            was = getattr(config.training, field.name)
            value = OTHER[field.name] if field.name in OTHER else was + 1
            training = dataclasses.replace(config.training, **{field.name: value})
            changed[f"training.{field.name}"] = dataclasses.replace(config, training=training)
    origin = _origin(config, "lstm", [], [])
    for name, other in changed.items():
        assert _origin(other, "lstm", [], []) != origin, name
    assert _origin(dataclasses.replace(config, seeds=9, out="o"), "lstm", [], []) == origin


def test_what_lies_at_a_path_decides_and_not_its_name(tmp_path):
    """A model that was trained anew, or a file that was edited, once gave back the old figures."""
    config = RewardCurveConfig(data="a.jsonl", out=tmp_path, tokenizer=str(tmp_path / "t.model"))
    folder = tmp_path / "lm"
    folder.mkdir()
    origins = []
    for weights, vocabulary in (("a", "a"), ("b", "a"), ("a", "b")):
        (folder / "model.safetensors").write_text(weights)
        (tmp_path / "t.model").write_text(vocabulary)
        origins.append(_origin(config, str(folder), [], []))
    pairs = pairs_of_labels(["a", "b"], [0, 1], seed=0)
    origins += [_origin(config, str(folder), *both) for both in ((pairs, []), ([], pairs))]
    assert len(set(origins)) == len(origins)


def test_an_edited_file_is_learned_from_anew(tmp_path):
    data = write(tmp_path / "data.jsonl", 150)
    asked = {"sizes": (60,), "noise": (0.0,), "seeds": 1}
    assert "seed 0:" in curve(data, tmp_path / "out", **asked)[1]
    assert "seed 0:" not in curve(data, tmp_path / "out", **asked)[1]
    write(tmp_path / "data.jsonl", 150, place=0)
    assert "seed 0:" in curve(data, tmp_path / "out", **asked)[1]


def trained(leads):
    return Trained(
        model="runs/lm",
        size=1000,
        noise=0.1,
        leads=np.array(leads, dtype=np.float64),
        labels=[0.75, 0.85],
        seconds=[10.0, 20.0],
    )


def test_the_tables_agree_with_a_hand():
    """Two seeds that err on different pairs: their mean errs on neither, and is surer of itself."""
    leads = [[3.0, 3.0, 3.0, -1.0], [-1.0, 3.0, 3.0, 3.0]]
    (row,) = accuracy_table([trained(leads)], list("abcd"))[2:]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["lm", "1,000", "0.1"]
    assert cells[3].startswith("0.750 (")
    assert cells[4:] == ["", "0.750, 0.750", "0.800", "15"]
    both = [trained(leads), dataclasses.replace(trained([[1.0] * 4] * 2), model="runs/other")]
    head, _, _, row = accuracy_table(both, list("abcd"))
    assert "| over lm |" in head
    assert row.split("|")[5].strip().startswith("0.250 (")

    alone, both = confidence_table([trained(leads)], list("abcd"))[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (alone, both)]
    assert [row[3] for row in cells] == ["one seed's", "mean of 2"]
    assert [row[4].split()[0] for row in cells] == ["0.750", "1.000"]
    wrong, sure, unsure = (math.log1p(math.exp(-lead)) for lead in (-1.0, 3.0, 1.0))
    one, both = (wrong + 3 * sure) / 4, (2 * unsure + 2 * sure) / 4
    assert [row[6] for row in cells] == [f"{one:.3f}", f"{both:.3f}"]
    assert cells[1][7].startswith(f"{both - one:+.3f} (")
    squares = [1 - 1 / (1 + math.exp(-lead)) for lead in (-1.0, 3.0, 1.0)]
    wrong, sure, unsure = (square**2 for square in squares)
    assert cells[0][8] == f"{(wrong + 3 * sure) / 4:.3f}"
    assert cells[1][8] == f"{(2 * unsure + 2 * sure) / 4:.3f}"
    # Four pairs, a bin each: |accuracy - confidence|, where confidence is sigmoid(|lead|).
    high, low = 1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-1))
    alone, mean = (3 * (1 - high) + low) / 4, (2 * (1 - high) + 2 * (1 - low)) / 4
    assert [row[5] for row in cells] == [f"{alone:.3f}", f"{mean:.3f}"]
    assert [cells[0][place] for place in (7, 9, 11)] == [""] * 3
    assert [row[10] for row in cells] == ["0.0000"] * 2  # no bin has two pairs
    assert cells[1][12:] == ["none", "", ""]


def test_a_temperature_mends_what_is_too_sure():
    """Leads three times the log-odds that answers were drawn by."""
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 1.5, (2, 4000))
    answers = np.where(rng.random(odds.shape) < 1 / (1 + np.exp(-odds)), 1, -1)
    leads = 3 * odds * answers
    alone = confidence_table([trained(leads)], [str(row) for row in range(4000)])[2]
    cells = [cell.strip() for cell in alone.strip("|").split("|")]
    assert float(cells[12]) == pytest.approx(3, abs=0.15)
    assert float(cells[5]) > 0.1
    assert float(cells[13]) < 0.03
    assert float(cells[14]) < float(cells[6])
