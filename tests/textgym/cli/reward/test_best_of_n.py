"""The command: from scored samples to a curve, and from a policy to samples."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import GPT2Config, GPT2LMHeadModel

from textgym.cli.parsing import CommandError
from textgym.cli.reward.best_of_n import BestOfNConfig, best_of_n_command, read_samples
from textgym.data.tables import SkippedRows
from textgym.rewards import RewardError

HERE = "tests.textgym.cli.reward.test_best_of_n"


def steep_reward(prompts, completions, **columns):
    return [10.0 ** len(text) for text in completions]


def length_reward(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


def wanted_length(prompts, completions, *, wanted, **columns):
    """Best at the length that the row's column asks for."""
    return [-abs(len(text) - goal) for text, goal in zip(completions, wanted, strict=True)]


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


@pytest.fixture
def samples(tmp_path):
    """Lengths 1 to 16 in another order for each prompt, of which 8 or 9 is wanted."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "prompt": f"p{n}",
            "completions": ["x" * int(k) for k in rng.permutation(16) + 1],
            "wanted": 8 + n % 2,
        }
        for n in range(6)
    ]
    return write(tmp_path / "samples.jsonl", rows)


def run(out, **changes):
    output = io.StringIO()
    config = BestOfNConfig(
        **{
            "proxy": f"{HERE}:length_reward",
            "gold": f"{HERE}:wanted_length",
            "out": Path(out),
            "repetitions": 100,
        }
        | changes
    )
    best_of_n_command(config, Console(file=output, width=300))
    return json.loads((Path(out) / "best_of_n.json").read_text()), output.getvalue()


def test_the_longest_of_n_is_first_better_and_then_worse(samples, tmp_path):
    """The mean length of n = 1 is 8.5, of n = 16 it is 16: 8 or 7 too many."""
    result, said = run(tmp_path / "out", data=samples)
    curve = result["curve"]
    assert curve["ns"] == [1, 2, 4, 8, 16]
    assert curve["proxy"][0] == pytest.approx(8.5)
    assert curve["proxy"][-1] == 16
    assert curve["gold"][-1] == pytest.approx(-7.5)
    # Over all n = 1: the mean distance of 1..16 to 8 is 4, and so is that to 9.
    assert curve["gold"][0] == pytest.approx(-4)
    assert result["peak"]["gold"] == max(curve["gold"])
    assert result["peak"]["fall_after_it"] == pytest.approx(max(curve["gold"]) + 7.5)
    assert "gold -4.000 at n = 1" in said
    fit, ends = result["fit"], result["fitted_peak_kl"]
    assert fit["shape"] == "turns"
    assert f"the fitted gold turns: peak at {fit['peak_kl']:.2f} nats, gain" in said
    assert f"interval is {ends['low']:.2f} to " in said
    assert (tmp_path / "out" / "best_of_n.png").read_bytes().startswith(b"\x89PNG")


def test_a_gold_that_is_the_proxy_is_highest_at_the_end(samples, tmp_path):
    result, _ = run(tmp_path, data=samples, gold=f"{HERE}:length_reward")
    assert result["curve"]["gold"] == result["curve"]["proxy"]
    assert result["fit"]["r_squared"] > 0.9
    assert result["peak"]["n"] == 16


def test_a_gold_that_rises_ever_faster_has_no_upper_end_of_its_peak(samples, tmp_path):
    """JSON has no infinity; None says that the curve need not turn."""
    result, _ = run(tmp_path, data=samples, gold=f"{HERE}:steep_reward")
    assert (result["fit"]["shape"], result["fit"]["peak_kl"]) == ("rises", None)
    assert result["fitted_peak_kl"]["high"] is None


def test_two_completions_have_a_curve_without_a_fit(samples, tmp_path):
    result, _ = run(tmp_path, data=samples, count=2)
    assert (result["fit"], result["curve"]["ns"]) == (None, [1, 2])
    assert "four completions" in result["why"]


@pytest.mark.parametrize(
    ("rows", "changes", "reason"),
    [
        ([{"prompt": "p"}], {}, "completions must be a list of texts"),
        ([{"completions": ["a"]}], {}, "jsonl:1 has no prompt"),
        (
            [{"prompt": "p", "completions": ["a"]}, {"prompt": "q", "completions": ["a", "b"]}],
            {},
            "--count 1 uses as many",
        ),
        ([{"prompt": "p", "completions": ["a"]}], {"count": 2}, "has 1 completions"),
        ([{"prompt": "p", "completions": ["a"]}], {"gold": "nothing"}, "unknown reward"),
        ([{"prompt": "p", "completions": ["a"], "prompts": "x"}], {}, "has a column 'prompts'"),
        ([{"prompt": "p", "completions": ["a"]}], {"out": Path(__file__)}, "is a file: name a"),
        ([{"prompt": "p"}], {"policy": "scratch:gpt2"}, "has no tokenizer of its own"),
    ],
)
def test_what_cannot_work_is_one_line(rows, changes, reason, tmp_path):
    with pytest.raises(CommandError, match=reason):
        run(**{"out": tmp_path / "out", "data": write(tmp_path / "s.jsonl", rows), **changes})


@pytest.fixture(scope="session")
def policy(tmp_path_factory):
    """A language model over three letters, of a few hundred weights."""
    folder = tmp_path_factory.mktemp("policy")
    torch.manual_seed(0)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=6, n_positions=16, n_embd=8, n_layer=1, n_head=1)
    ).save_pretrained(folder)
    return folder


def test_a_policy_writes_the_completions_and_they_can_be_scored_again(policy, tmp_path):
    """What it wrote is kept; the same seed writes the same, and another seed another."""
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": p, "wanted": 2} for p in ("a", "cab")])
    settings = {
        "data": prompts,
        "policy": str(policy),
        "tokenizer": "characters:abc",
        "count": 8,
        "prompt_tokens": 6,
        "completion_tokens": 6,
    }
    first, _ = run(tmp_path / "1", **settings)
    again, _ = run(tmp_path / "2", **settings)
    other, _ = run(tmp_path / "3", **settings, seed=1)
    assert first == again
    assert first["curve"] != other["curve"]
    written = read_samples(str(tmp_path / "1" / "samples.jsonl"))
    assert [len(texts) for texts in written.completions] == [8, 8]
    assert {letter for texts in written.completions for text in texts for letter in text} <= set(
        "abc"
    )
    rescored, _ = run(tmp_path / "4", data=str(tmp_path / "1" / "samples.jsonl"))
    assert rescored["curve"] == first["curve"]


def test_bad_rows_of_samples_are_left_out_and_counted(tmp_path):
    path = tmp_path / "samples.jsonl"
    good = json.dumps({"prompt": "a", "completions": ["b", "c"]})
    path.write_text(f'{good}\n{{"prompt": 3}}\n{{"prompt": "a"}}\n{good}\n{{"pro')
    skipped = SkippedRows()
    samples = read_samples(str(path), on_bad=skipped)
    assert (list(samples.prompts), skipped.number) == (["a", "a"], 3)
    assert "samples.jsonl:5 is no JSON" in skipped.notes[0]
    with pytest.raises(ValueError, match=r"samples.jsonl:5 is no JSON"):
        read_samples(str(path))


def test_samples_of_other_columns_are_read(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text('{"question": "q", "answers": ["a", "b"], "gold": "a"}\n')
    columns = {"prompt": "question", "completions": "answers"}
    samples = read_samples(str(path), columns=columns)
    assert (samples.prompts, samples.completions) == (["q"], [["a", "b"]])
    assert samples.columns == {"gold": ["a"]}


def fails(prompts, completions, **columns):
    raise ValueError("the server is down")


def test_what_was_written_outlives_a_reward_that_fails(policy, tmp_path):
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": "a"}])
    settings = {"data": prompts, "policy": str(policy), "tokenizer": "characters:abc", "count": 4}
    sizes = {"prompt_tokens": 6, "completion_tokens": 6}
    with pytest.raises(RewardError, match="the server is down"):
        run(tmp_path / "out", **settings, **sizes, gold=f"{HERE}:fails")
    kept = str(tmp_path / "out" / "samples.jsonl")
    assert [len(texts) for texts in read_samples(kept).completions] == [4]


def test_a_policy_reads_and_writes_by_its_own_tokenizer(policy, tmp_path):
    """The shipped one has other words for the same ids."""
    own = shutil.copytree(policy, tmp_path / "policy")
    (own / "alphabet.json").write_text(json.dumps("abc"))
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": "a", "wanted": 2}])
    sizes = {"prompt_tokens": 6, "completion_tokens": 6}
    run(tmp_path / "out", data=prompts, policy=str(own), count=2, **sizes)
    (texts,) = read_samples(str(tmp_path / "out" / "samples.jsonl")).completions
    assert set("".join(texts)) <= set("abc")
