"""``textgym reward train``: from a file to a model, and what is said of it."""

import io
import json
import random
import re
from dataclasses import replace

import pytest
from rich.console import Console

from reward_models.learning.settings import RewardTrainingConfig
from reward_models.models.transformer import load_reward
from reward_models.preferences import read_marks, read_preferences
from textgym.cli.parsing import CommandError
from textgym.cli.reward.train import RewardTrainConfig, train_reward

WORDS = ("the", "film", "was", "a", "story", "with", "music", "that", "I", "saw")
TRAINING = RewardTrainingConfig(max_length=16, learning_rate=2e-2, epochs=3, batch_size=16)


def rows(number, swapped=False):
    """Pairs that one word decides; three a prompt."""
    rng = random.Random(0)  # noqa: S311 - not a secret
    written = []
    for place in range(number):
        good, bad = (
            f" {' '.join(rng.choices(WORDS, k=rng.randint(1, 4)))} {word}"
            for word in ("great", "dull")
        )
        if swapped:
            good, bad = bad, good
        written.append({"prompt": f"Review {place // 3}:", "chosen": good, "rejected": bad})
    return written


def write(path, written):
    path.write_text("".join(json.dumps(row) + "\n" for row in written), encoding="utf-8")
    return str(path)


def console():
    return Console(file=io.StringIO(), width=200)


def printed(to):
    return to.file.getvalue()


def train(data, out, **settings):
    to = console()
    train_reward(
        RewardTrainConfig(
            data=data,
            out=out,
            model="lstm",
            tokenizer="reviews-4096",
            training=TRAINING,
            **settings,
        ),
        to,
    )
    return printed(to)


def test_a_file_becomes_a_reward_and_a_summary(tmp_path):
    """With an interval, and the folder is a reward; a second run does not overwrite it."""
    data = write(tmp_path / "data.jsonl", rows(180))
    said = train(data, tmp_path / "out", held_out=0.3)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert f"{metrics['pairs']} preferences of {data} to learn from" in said
    assert f" of {metrics['evaluation_pairs']} held-out pairs share a text with what is" in said
    assert f"accuracy on held-out pairs: {metrics['evaluation_accuracy']:.3f} (" in said
    assert metrics["evaluation_accuracy"] > 0.9
    assert "WARNING" not in said
    held_out = read_preferences(str(tmp_path / "out" / "held_out.jsonl")).items
    assert len(held_out) == metrics["evaluation_pairs"]
    assert f"--data {tmp_path / 'out' / 'held_out.jsonl'}" in said
    good, bad = load_reward(tmp_path / "out")(["", ""], ["a great film", "a dull film"])
    assert good > bad
    with pytest.raises(CommandError, match="holds a trained reward model"):
        train(data, tmp_path / "out")


def test_ratings_and_rankings_are_learned_from_as_well(tmp_path):
    """The columns say what they are; of ratings the rank correlation is said."""
    pairs = rows(120)
    ratings = [
        {"prompt": row["prompt"], "completion": row[column], "rating": rating}
        for row in pairs
        for column, rating in (("chosen", 4), ("rejected", 1))
    ]
    rankings = [
        {"prompt": row["prompt"], "completions": [row["rejected"], row["chosen"]], "ranks": [2, 1]}
        for row in pairs
    ]
    for name, written in (("ratings", ratings), ("rankings", rankings)):
        data = write(tmp_path / f"{name}.jsonl", written)
        said = train(data, tmp_path / name, held_out=0.3)
        assert f"{name} of {data} to learn from" in said
        assert ("rank correlation" in said) == (name == "ratings")
        assert ("in order (with two ratings the AUC): " in said) == (name == "ratings")
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        assert metrics["evaluation_accuracy"] > 0.9


@pytest.mark.parametrize("steps", ["token", "line"])
def test_marked_texts_become_a_reward_of_every_token_or_line(tmp_path, steps):
    """Every "great" is marked good and every "dull" bad; an environment can pay each step."""
    marked = []
    for row in rows(60):
        text = f"{row['chosen']}\n{row['rejected']}\n"
        spans = [
            [text.index(word), text.index(word) + len(word), mark]
            for word, mark in (("great", "good"), ("dull", "bad"))
        ]
        marked.append({"prompt": row["prompt"], "completion": text, "spans": spans})
    data, to, out = write(tmp_path / "marks.jsonl", marked), console(), tmp_path / "out"
    epochs = 12 if steps == "token" else 1  # what a line is takes long to learn from nothing
    training = replace(TRAINING, epochs=epochs, learning_rate=5e-3, max_length=64)
    config = RewardTrainConfig(
        data=data, out=out, steps=steps, held_out=0.3, tokenizer="reviews-4096", training=training
    )
    train_reward(config, to)
    metrics = json.loads((out / "metrics.json").read_text())
    labelled = re.search(rf"of (\d+) labelled {steps}s", printed(to))[1]
    assert int(labelled) >= 2 * len(read_marks(str(out / "held_out.jsonl")))
    assert f"labelled {steps}s of held-out texts" in printed(to)
    assert f"accuracy: {metrics['evaluation_accuracy']:.3f}" in printed(to)
    reward = load_reward(out)
    good, bad = reward(["", ""], [" a great film\n", " a dull film\n"])
    assert sum(reward.payments([""], [" a great film\n"])[0]) == pytest.approx(good)
    if steps == "token":
        assert metrics["evaluation_accuracy"] > 0.9
        assert good > bad


def test_a_stopped_command_goes_on_when_it_is_given_again(tmp_path, monkeypatch):
    """With a tokenizer of its own as well, whose training must give the same ids again."""

    def run(out):
        training = replace(TRAINING, save_steps=5)
        config = RewardTrainConfig(data=data, out=tmp_path / out, model="lstm", training=training)
        train_reward(config, console())

    def stop(self, args, state, control, **kwargs):
        if state.global_step == 12:
            raise KeyboardInterrupt

    def stop_at_once(self, args, state, control, **kwargs):
        if state.global_step < 10:
            raise AssertionError("it began anew")

    data = write(tmp_path / "data.jsonl", rows(180))
    run("whole")
    with monkeypatch.context() as patched:
        patched.setattr("textgym.cli.training.TrainingBar.on_step_end", stop)
        with pytest.raises(KeyboardInterrupt):
            run("parts")
        patched.setattr("textgym.cli.training.TrainingBar.on_step_end", stop_at_once)
        run("parts")
    for name in ("metrics.json", "training.json", "model.safetensors"):
        whole, parts = (tmp_path / out / name for out in ("whole", "parts"))
        assert whole.read_bytes() == parts.read_bytes()


def test_a_reward_model_learns_more_from_where_it_is(tmp_path):
    """With its own tokenizer and length, and a scale that is set anew."""
    data = write(tmp_path / "data.jsonl", rows(180))
    train(data, tmp_path / "first")
    to = console()
    gentle = RewardTrainingConfig(learning_rate=1e-6, max_length=64)
    train_reward(
        RewardTrainConfig(
            data=data, out=tmp_path / "more", model=str(tmp_path / "first"), training=gentle
        ),
        to,
    )
    assert "which reads 16 tokens" in printed(to)
    texts = ["a great film", "a dull film", "music"]
    first, more = (load_reward(tmp_path / name)([""] * 3, texts) for name in ("first", "more"))
    assert first == pytest.approx(more, abs=0.01)
    assert first != more


def test_it_is_said_how_many_texts_are_cut(tmp_path):
    """Four of five texts here are longer than two words and a beginning."""
    short = {"prompt": "", "chosen": "a", "rejected": "b"}
    long = {"prompt": "", "chosen": "a film " * 20, "rejected": "a story " * 20}
    data = write(tmp_path / "data.jsonl", [short, *[long] * 4])
    said = train(data, tmp_path / "out", held_out=0.0)
    assert "which reads 16 tokens; of 80% of the texts it reads the end alone" in said


def test_nobody_s_texts_are_cut_in_half_unasked(tmp_path):
    """A model that reads 16 tokens refuses them until it is told that it may."""
    data = write(tmp_path / "short.jsonl", rows(30))
    train(data, tmp_path / "small")
    long = {"prompt": "", "chosen": "a film " * 20, "rejected": "a story " * 20}
    given = {"data": write(tmp_path / "long.jsonl", [long] * 4), "model": str(tmp_path / "small"),
             "out": tmp_path / "out", "held_out": 0.0}  # fmt: skip
    with pytest.raises(CommandError, match="reads 16 tokens, and 100% of the texts are longer"):
        train_reward(RewardTrainConfig(**given), console())
    allowed = RewardTrainingConfig(max_length=16, learning_rate=1e-3)
    train_reward(RewardTrainConfig(**given, training=allowed), console())
    assert (tmp_path / "out" / "metrics.json").exists()


def test_columns_swapped_in_the_held_out_part_are_warned_of(tmp_path):
    """Where both parts are swapped, nothing in the data can tell."""
    learned = [{**row, "split": "train"} for row in rows(150)]
    kept = [{**row, "prompt": f"Other {n}", "split": "test"}
            for n, row in enumerate(rows(60, swapped=True))]  # fmt: skip
    said = train(write(tmp_path / "data.jsonl", learned + kept), tmp_path / "out")
    assert "WARNING: worse than a coin" in said
    assert "swapped" in said


def test_without_held_out_pairs_no_accuracy_is_made_up(tmp_path):
    data = write(tmp_path / "data.jsonl", rows(30))
    said = train(data, tmp_path / "out", held_out=0.0)
    assert "accuracy: unknown, since no pair is held out" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "nowhere.txt"}, "nowhere.txt is no preference data; give a file such as .jsonl"),
        ({"model": "nowhere"}, "there is no model nowhere; give the folder of one"),
        ({"tokenizer": "nowhere"}, "unknown tokenizer 'nowhere'"),
        ({"held_out": 1.0}, r"held out is 1.0, but it lies in \[0, 1\)"),
        ({"device": "tpu"}, "--device tpu: there is none here"),
    ],
)
def test_what_cannot_work_is_one_line(tmp_path, settings, message):
    given = {"data": write(tmp_path / "data.jsonl", rows(30)), "model": "lstm",
             "tokenizer": "reviews-4096", "out": tmp_path / "out", **settings}  # fmt: skip
    with pytest.raises(CommandError, match=message) as caught:
        train_reward(RewardTrainConfig(**given), console())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b'{"model_type": "gpt2"', b"\xff\xfe", b"[]"])
def test_a_folder_with_a_damaged_model_is_named(tmp_path, content):
    """What the file of settings lacks was said without its name."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_bytes(content)
    config = RewardTrainConfig(
        data=write(tmp_path / "data.jsonl", rows(9)),
        out=tmp_path / "out",
        model=str(tmp_path / "model"),
    )
    with pytest.raises(CommandError, match=r"model holds no whole model: config.json"):
        train_reward(config, console())


def test_a_folder_without_a_tokenizer_says_where_one_is_looked_for(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "gpt2"}')
    config = RewardTrainConfig(
        data=write(tmp_path / "data.jsonl", rows(9)),
        out=tmp_path / "out",
        model=str(tmp_path / "model"),
    )
    with pytest.raises(CommandError, match=r"holds no tokenizer\.json or"):
        train_reward(config, console())
