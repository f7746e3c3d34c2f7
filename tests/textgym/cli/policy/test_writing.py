"""Texts piece by piece: those of a single batch, written in order, and kept at a stop."""

import io
import json

import pytest
import torch
from rich.console import Console

from agents.maths.distributions import Sampling
from textgym import RewardError
from textgym.cli.parsing import CommandError
from textgym.cli.policy import writing
from textgym.cli.policy.generate import GenerateConfig, generate
from textgym.cli.policy.policies import make_envs, make_policy

SCRATCH = "scratch:gpt2?layers=1&width=16&heads=2"
ALPHABET = {"policy": SCRATCH, "env": "TextGym/Alphabet-v0"}


def _play(rows, total=50, env="TextGym/Alphabet-v0", **arguments):
    """Its texts, and the environment as it is at the end."""
    envs = make_envs(env, arguments, num_envs=rows, device="cpu")
    policy = make_policy(SCRATCH, envs, device="cpu")
    ids = [number % envs.num_examples for number in range(total)]
    generator = torch.Generator().manual_seed(0)
    played = writing.play(envs, policy, ids, sampling=Sampling(), generator=generator)
    return list(played), envs


@pytest.mark.parametrize("rows", [1, 3, 12])
def test_texts_in_pieces_are_those_of_one_batch(rows):
    """And no piece is larger than it has to be, nor smaller than there are rows."""
    ((*expected,),), _ = _play(50)
    pieces, _ = _play(rows)
    assert expected == [text for piece in pieces for text in piece]
    assert {rows <= len(piece) < 8 * rows for piece in pieces} == {True}
    assert len({text.completion for text in expected}) > 10


@pytest.mark.parametrize(
    ("env", "arguments"),
    [
        ("TextGym/Alphabet-Edit-v0", {"drafter_kwargs": {"rate": 0.8}}),
        ("TextGym/Alphabet-Choose-v0", {"proposer": "list"}),
        ("TextGym/Guess-v0", {"completion_tokens": 24}),
        ("TextGym/Guess-Choose-v0", {"completion_tokens": 24, "proposer": "list"}),
    ],
)
def test_completions_are_what_the_environment_says_of_them(env, arguments):
    """Also of what was chosen, and of a conversation, where the other side's turns are left out."""
    if "proposer" in arguments:
        phrases = ["ab", "cde", "f"] if "Alphabet" in env else ["12", "345", "6", "78"]
        arguments = {**arguments, "proposer_kwargs": {"phrases": phrases}}
    (piece,), envs = _play(40, 40, env, **arguments)
    prompts, completions = envs.texts()
    assert (prompts, completions) == (
        [text.prompt for text in piece],
        [text.completion for text in piece],
    )
    if "Guess" in env:
        assert max(completion.count("\n") for completion in completions) > 1


def _written(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_file_holds_what_would_be_printed(tmp_path, capsys):
    console = Console(width=200)
    generate(GenerateConfig(**ALPHABET, count=30, rows=3), console)
    *printed, mean = capsys.readouterr().out.splitlines()
    path = tmp_path / "new" / "texts.jsonl"
    generate(GenerateConfig(**ALPHABET, count=30, rows=3, out=path), console)
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
    ],
)
def test_a_stop_keeps_the_pieces_before_it_and_says_how_many(error, kind, tmp_path, monkeypatch):
    """Everything was lost, as it was written at the end alone."""
    path, calls, collect = tmp_path / "texts.jsonl", [], writing.collect

    def third_stops(*args, **kwargs):
        calls.append(len(kwargs["example_ids"]))
        if len(calls) == 3:
            raise error
        return collect(*args, **kwargs)

    monkeypatch.setattr(writing, "collect", third_stops)
    config = GenerateConfig(**ALPHABET, count=40, rows=2, out=path)
    with pytest.raises(kind, match=rf"16 of 40 texts are in {path}"):
        generate(config, Console(file=io.StringIO()))
    assert calls == [8, 8, 8]
    assert len(_written(path)) == 16
