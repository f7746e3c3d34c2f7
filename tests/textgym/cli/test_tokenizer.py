"""``textgym tokenizer``: trained, measured and used by the words that a person types."""

import io
import json

import gymnasium as gym
import pytest
from rich.console import Console

from textgym.cli.parsing import CommandError
from textgym.cli.tokenizer.command import (
    EvaluateConfig,
    TrainConfig,
    evaluate_tokenizers,
    train_a_tokenizer,
)
from textgym.cli.tokenizer.texts import drawn_texts
from textgym.tokenizers import load_tokenizer

WORDS = ["the film was", "a song of", "nobody saw", "an old house", "rain fell on"]


def printed(run, config):
    out = io.StringIO()
    run(config, Console(file=out, width=200))
    return out.getvalue()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Four hundred texts in two languages."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    rows = [
        {"text": f"{WORDS[n % 5]} {n} {WORDS[n // 5 % 5]}", "language": "en" if n % 2 else "de"}
        for n in range(400)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A folder, and what was printed."""
    out = tmp_path_factory.mktemp("runs") / "tokenizer"
    config = TrainConfig(corpus=(corpus,), out=out, vocabulary=320, kind="bpe", held_out=0.2)
    return out, printed(train_a_tokenizer, config)


def test_a_tokenizer_is_trained_measured_and_recorded(trained):
    out, said = trained
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert record["figures"]["round_trip_share"] == 1
    assert record["figures"]["unknown"] == 0
    assert record["texts"] + record["figures"]["texts"] == 400
    assert 40 < record["figures"]["texts"] < 120
    assert "that it has not learned from" in said
    assert load_tokenizer(out).vocab_size == 320


def test_an_environment_takes_the_folder(trained):
    out, _ = trained
    env = gym.make("textgym:TextGym/Sentiment-v0", tokenizer=str(out), reward="length")
    env.reset(seed=0)
    assert env.action_space.n == 320
    assert not env.unwrapped.action_masks()[:2].any()  # padding, and the beginning of text


def test_the_same_words_give_the_same_files(corpus, trained, tmp_path):
    out, _ = trained
    again = TrainConfig(
        corpus=(corpus,), out=tmp_path / "again", vocabulary=320, kind="bpe", held_out=0.2
    )
    printed(train_a_tokenizer, again)
    assert (out / "tokenizer.json").read_bytes() == (again.out / "tokenizer.json").read_bytes()


def test_what_the_texts_do_not_give_is_one_line_that_says_what_they_give(corpus, tmp_path):
    config = TrainConfig(corpus=(corpus,), out=tmp_path / "t", vocabulary=9999)
    with pytest.raises(CommandError, match=r"--vocabulary 9999: .* they give \d+ at most"):
        printed(train_a_tokenizer, config)
    assert not config.out.exists()


def test_a_folder_with_something_in_it_is_left_alone(corpus, trained):
    out, _ = trained
    with pytest.raises(CommandError, match="holds something already"):
        printed(train_a_tokenizer, TrainConfig(corpus=(corpus,), out=out))


def test_tokenizers_are_measured_side_by_side_and_by_language(corpus, trained):
    out, _ = trained
    config = EvaluateConfig(tokenizers=(str(out), "reviews-4096"), corpus=(corpus,), by="language")
    rows = printed(evaluate_tokenizers, config).strip().splitlines()
    assert rows[0].split("  ")[0] == "tokenizer"
    names = [row.split("  ")[0] for row in rows[1:]]
    assert names == [
        f"{name}{group}" for name in config.tokenizers for group in ("", ", de", ", en")
    ]
    assert all(row.endswith("100.00%") for row in rows[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"by": "tongue"}, "no such column; known: language"),
        ({"tokenizers": ("nobody",)}, "unknown tokenizer 'nobody'"),
        ({"column": "words"}, "no text was found"),
    ],
)
def test_wrong_words_are_one_line(corpus, change, message):
    given = {"tokenizers": ("reviews-4096",), "corpus": (corpus,)} | change
    with pytest.raises(CommandError, match=message):
        printed(evaluate_tokenizers, EvaluateConfig(**given))


def test_a_choice_of_texts_is_random_repeats_itself_and_keeps_their_order(corpus):
    quiet = Console(file=io.StringIO())
    first, again, other = (
        [record.place for record in drawn_texts((corpus,), "text", 50, seed, quiet)]
        for seed in (0, 0, 1)
    )
    assert first == again != other
    assert len(set(first)) == 50
    numbers = [int(place.split()[1]) for place in first]
    assert numbers == sorted(numbers)
    assert max(numbers) > 300  # it is no beginning
    assert sum(number <= 200 for number in numbers) > 10  # and no end
