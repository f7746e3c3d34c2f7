"""Texts of a file, and recorded episodes, under rewards."""

import io
import json
from dataclasses import replace

import gymnasium as gym
import pytest
from rich.console import Console

from textgym.cli.parsing import CommandError
from textgym.cli.reward.score import (
    RescoreConfig,
    ScoreConfig,
    rescore_trajectories,
    score_texts,
)
from textgym.rewards import RewardError
from textgym.wrappers import RecordTrajectories


def said(run, config):
    output = io.StringIO()
    run(config, Console(file=output, width=40))
    return output.getvalue().splitlines()


def test_each_text_has_a_line_with_a_score_a_reward(tmp_path):
    """Length is hundreds of words; a text without words repeats nothing."""
    data = tmp_path / "texts.txt"
    data.write_text("one two three\n\nfour\u2028five :100:\n")
    lines = said(score_texts, ScoreConfig(data=str(data), rewards=("length", "repetition")))
    assert lines[0].split() == ["length", "repetition", "text"]
    assert [line.split(maxsplit=2) for line in lines[1:2]] == [
        ["0.0300", "0.0000", "one two three"]
    ]
    assert "\n".join(lines[2:4]).split() == ["0.0300", "0.0000", "four", "five", ":100:"]
    assert "length: mean 0.0300, standard deviation 0.0000, from 0.0300 to 0.0300" in lines


def test_bad_rows_are_left_out_and_counted(tmp_path):
    data = tmp_path / "texts.jsonl"
    data.write_text('{"text": "one"}\n{"text": 7}\n{"text": "two words"}\n{"te')
    config = ScoreConfig(data=str(data), rewards=("length",))
    with pytest.raises(CommandError, match=r"texts.jsonl:4 is no JSON"):
        score_texts(config)
    lines = said(score_texts, replace(config, skip_bad_rows=True))
    assert lines[0].startswith("left out: 2 rows that cannot be read; the first: ")
    assert "length: mean 0.0150" in "\n".join(lines)


def test_columns_of_a_strangers_file_are_named(tmp_path):
    """What the reward reads, and where the text is, also inside of another column."""
    data = tmp_path / "rows.jsonl"
    data.write_text(
        '{"out": {"text": "a b"}, "gold": "a b"}\n{"out": {"text": "a"}, "gold": "b"}\n'
    )
    columns = "completion=out.text,reference=gold"
    config = ScoreConfig(data=str(data), rewards=("squad_exact_match",), columns=columns)
    assert "squad_exact_match: mean 0.5000" in "\n".join(said(score_texts, config))
    with pytest.raises(CommandError, match=r"no column 'golden' .did you mean gold"):
        score_texts(replace(config, columns="completion=out.text,reference=golden"))
    with pytest.raises(CommandError, match="written ours=theirs"):
        score_texts(replace(config, columns="completion"))


def test_rows_are_written_with_their_scores_and_columns_reach_the_reward(tmp_path):
    rows = [
        {"answer": "a b", "reference": "a b", "n": 1},
        {"answer": "a", "reference": "b", "n": 2},
    ]
    data, out = tmp_path / "rows.jsonl", tmp_path / "new" / "out.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    clipped = '{"clip": {"reward": "length", "high": 0.01}}'
    config = ScoreConfig(data=str(data), rewards=("squad_exact_match", clipped), out=out)
    lines = said(score_texts, config)
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert written == [
        {**rows[0], "scores": {"squad_exact_match": 1.0, clipped: 0.01}},
        {**rows[1], "scores": {"squad_exact_match": 0.0, clipped: 0.01}},
    ]
    assert lines[0] == f"2 texts in {out}"
    with pytest.raises(CommandError, match="is there already"):
        score_texts(config)


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ({"words": "a"}, {}, "none of the columns completion, text, .*; it has words: name the"),
        ({"text": "a"}, {"text_column": "txt"}, "no column 'txt'; it has text"),
        ({"text": 3}, {}, r"rows.jsonl:1: text must be a text, got 3"),
        ({"text": "a", "prompt": 3}, {}, r"rows.jsonl:1: prompt must be a text, got 3"),
        ({"text": "a"}, {"rewards": ("rouge",)}, "reward rouge reads the column 'reference', and"),
        ({"text": "a"}, {"rewards": ("lenght",)}, "unknown reward 'lenght'.*mean length"),
        ({"text": "a"}, {"rewards": ()}, "name at least one, and each once"),
        ({"text": "a"}, {"rewards": ("length", "length")}, "name at least one, and each once"),
    ],
)
def test_what_cannot_be_scored_is_said_before_anything_is(tmp_path, row, settings, message):
    data, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    data.write_text(json.dumps(row))
    config = ScoreConfig(**{"data": str(data), "rewards": ("length",), "out": out, **settings})
    with pytest.raises(CommandError, match=message):
        score_texts(config)
    assert not out.exists()


def test_a_reward_that_fails_leaves_what_was_scored_before(tmp_path, monkeypatch):
    (tmp_path / "fails_late.py").write_text(
        "def fails_late(prompts, completions, **columns):\n"
        "    return [1 / (300 - int(text)) for text in completions]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data, out = tmp_path / "texts.txt", tmp_path / "out.jsonl"
    data.write_text("\n".join(map(str, range(400))))
    config = ScoreConfig(data=str(data), rewards=("fails_late:fails_late",), out=out)
    with pytest.raises(RewardError, match=r"division by zero.*; 256 of 400 texts are in"):
        score_texts(config)
    assert len(out.read_text().splitlines()) == 256


def test_recorded_episodes_are_scored_again(tmp_path):
    """Alphabet pays a third of each right letter; the same reward gives the same scores."""
    path, out = tmp_path / "episodes.jsonl", tmp_path / "out.jsonl"
    env = RecordTrajectories(gym.make("TextGym/Alphabet-v0"), path)
    env.reset(seed=0)
    for seed in range(6):
        env.reset(seed=seed, options={"example_id": 0})
        for letter in "bcd"[: seed % 4]:
            env.step(env.unwrapped.tokenizer.encode(letter)[0])
        env.step(env.unwrapped.tokenizer.eos_id)
    env.close()
    rewards = ("textgym.tasks.toys:alphabet_score", "distinct")
    lines = said(rescore_trajectories, RescoreConfig(data=path, rewards=rewards, out=out))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["completion"] for row in rows] == ["", "b", "bc", "bcd", "", "b"]
    assert [row["score"] for row in rows] == [row["scores"][rewards[0]] for row in rows]
    assert any(line.endswith("with the 6 recorded scores 1.000") for line in lines)
    other = RescoreConfig(data=path, rewards=('{"rouge": {"column": "a_column"}}',))
    with pytest.raises(CommandError, match="reads the column 'a_column', and"):
        rescore_trajectories(other)
    path.write_text("")
    with pytest.raises(CommandError, match="holds no episode"):
        rescore_trajectories(RescoreConfig(data=path, rewards=rewards))
