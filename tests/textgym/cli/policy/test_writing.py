"""Texts are printed or written into a file piece by piece, and kept at a stop."""

import io
import json

import pytest
from rich.console import Console

from agents.rollouts import texts
from textgym import RewardError
from textgym.cli.parsing import CommandError
from textgym.cli.policy.generate import GenerateConfig, generate

SCRATCH = "scratch:gpt2?layers=1&width=16&heads=2"
ALPHABET = {"policy": SCRATCH, "env": "TextGym/Alphabet-v0"}


def _written(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_file_holds_what_would_be_printed(tmp_path, capsys):
    console = Console(width=200)
    generate(GenerateConfig(**ALPHABET, count=30, num_envs=3), console)
    *printed, mean = capsys.readouterr().out.splitlines()
    path = tmp_path / "new" / "texts.jsonl"
    generate(GenerateConfig(**ALPHABET, count=30, num_envs=3, out=path), console)
    assert capsys.readouterr().out.splitlines() == [
        "15 of 30 texts",
        "30 of 30 texts",
        f"30 texts in {path}",
        mean,
    ]
    assert printed == [
        f"{line['prompt']}|{line['completion']}   ({line['score']:.3f})" for line in _written(path)
    ]
    with pytest.raises(CommandError, match=r"texts\.jsonl is there already: name another file"):
        generate(GenerateConfig(**ALPHABET, out=path))
    with pytest.raises(CommandError, match="cannot be written: "):
        generate(GenerateConfig(**ALPHABET, out=path / "below.jsonl"))


def test_texts_of_ones_own_prompts_have_no_score(tmp_path):
    path = tmp_path / "texts.jsonl"
    words = {"policy": SCRATCH, "tokenizer": "characters:ab", "prompt": ("a", "b"), "count": 2}
    generate(GenerateConfig(**words, out=path), Console(file=io.StringIO()))
    lines = _written(path)
    assert [line["prompt"] for line in lines] == ["a", "a", "b", "b"]
    assert {tuple(line) for line in lines} == {("prompt", "completion")}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RewardError("it failed"), RewardError),
        (ValueError("something is wrong"), CommandError),
        (MemoryError(), CommandError),
    ],
)
def test_a_stop_keeps_the_pieces_before_it_and_says_how_many(error, kind, tmp_path, monkeypatch):
    """Everything was lost, as it was written at the end alone."""
    path, calls, collect = tmp_path / "texts.jsonl", [], texts.collect

    def third_stops(*args, **kwargs):
        calls.append(len(kwargs["example_ids"]))
        if len(calls) == 3:
            raise error
        return collect(*args, **kwargs)

    monkeypatch.setattr(texts, "collect", third_stops)
    config = GenerateConfig(**ALPHABET, count=40, num_envs=2, out=path)
    with pytest.raises(kind, match=rf"16 of 40 texts are in {path}") as caught:
        generate(config, Console(file=io.StringIO()))
    if isinstance(error, MemoryError):
        assert "out of memory: lower --num-envs; 16 of 40 texts" in str(caught.value)
    assert calls == [8, 8, 8]
    assert len(_written(path)) == 16
