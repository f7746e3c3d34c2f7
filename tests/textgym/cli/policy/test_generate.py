"""``textgym generate``: whose texts are printed, with which scores, and how it refuses."""

import io
import shutil
import sys

import pytest
import torch
from rich.console import Console
from transformers import GPT2Config, GPT2LMHeadModel

from agents.models.loading import load_model
from agents.models.policy import TransformerPolicy
from agents.rollouts import texts
from textgym.cli.main import COMMANDS
from textgym.cli.parsing import CommandError
from textgym.cli.policy.generate import GenerateConfig, _all_prompts, generate
from textgym.tasks.toys import alphabet_score
from textgym.tokenizers import CharacterTokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A policy with its tokenizer."""
    tokenizer = CharacterTokenizer("abcdefgh")
    model, _ = load_model("scratch:gpt2?layers=1&width=16&heads=2", tokenizer)
    path = tmp_path_factory.mktemp("policy")
    TransformerPolicy(model).save_pretrained(path, tokenizer)
    return str(path)


def _lines(capsys, **settings):
    generate(GenerateConfig(**settings), Console(force_terminal=False, width=200))
    return capsys.readouterr().out.splitlines()


def test_each_prompt_is_gone_on_from_as_often_as_asked(folder, capsys):
    settings = {"policy": folder, "prompt": ("ab", "c"), "count": 2, "completion_tokens": 5}
    said = _lines(capsys, **settings)
    assert [line.partition("|")[0] for line in said] == ["ab", "ab", "c", "c"]
    assert all(len(line.partition("|")[2]) <= 5 for line in said)
    assert said == _lines(capsys, **settings)
    assert said != _lines(capsys, **settings, seed=1)


def test_almost_without_temperature_the_likeliest_letters_are_written(folder, capsys):
    policy, tokenizer = TransformerPolicy.from_pretrained(folder), CharacterTokenizer("abcdefgh")
    ids = [1, *tokenizer.encode("ab")]
    for _ in range(4):
        logits = policy.model(input_ids=torch.tensor([ids])).logits[0, -1]
        logits[:2] = -float("inf")  # padding and the beginning of text
        ids.append(int(logits.argmax()))
        if ids[-1] == tokenizer.eos_id:
            break
    said = _lines(capsys, policy=folder, prompt=("ab",), completion_tokens=4, temperature=1e-4)
    assert said == [f"ab|{tokenizer.decode(ids[3:])}"]


def test_an_environment_gives_prompts_and_scores(folder, capsys):
    said = _lines(capsys, policy=folder, env="TextGym/Alphabet-v0", count=9)
    assert [line[0] for line in said[:9]] == [*"abcdefgh", "a"]
    scores = []
    for line in said[:9]:
        prompt, _, rest = line.partition("|")
        completion, _, score = rest.partition("   (")
        following = ("abcdefgh" * 2)["abcdefgh".index(prompt) + 1 :][:3]
        (expected,) = alphabet_score([prompt], [completion], reference=[following])
        assert float(score.rstrip(")")) == pytest.approx(expected, abs=1e-3)
        scores.append(expected)
    assert said[9] == f"mean score {sum(scores) / 9:.3f}"


def test_the_command_takes_several_prompts():
    words = ["--policy", "a", "--prompt", "one text", "--prompt", "another"]
    assert COMMANDS["generate"].parse("generate", words).prompt == ("one text", "another")


def test_prompts_come_from_a_file_or_standard_input(folder, capsys, tmp_path, monkeypatch):
    """A line each; empty ones are none."""
    (tmp_path / "prompts.txt").write_text("ab\n\nc\n")
    given = {"policy": folder, "completion_tokens": 3}
    expected = _lines(capsys, **given, prompt=("h", "ab", "c"))
    found = _lines(capsys, **given, prompt=("h",), prompts=str(tmp_path / "prompts.txt"))
    assert expected == found
    monkeypatch.setattr(sys, "stdin", io.StringIO("h\nab\nc\n"))
    assert expected == _lines(capsys, **given, prompts="-")


def test_only_the_end_of_a_line_ends_a_prompt(tmp_path):
    """A form feed and a line separator are part of a text; a byte order mark is not."""
    path = tmp_path / "prompts.txt"
    path.write_bytes("a\u2028b\r\nc\x0cd\re\n".encode("utf-8-sig"))
    config = GenerateConfig(policy="", prompts=str(path))
    assert _all_prompts(config) == ["a\u2028b", "c\x0cd", "e"]


def test_without_a_number_there_are_as_many_tokens_as_the_model_reads(tmp_path, capsys):
    """Of a model that reads twelve and never ends a text; standard input is read once."""
    tokenizer = CharacterTokenizer("abcdefgh")
    size = tokenizer.vocab_size
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=size, n_positions=12, n_layer=1, n_embd=16, n_head=2)
    )
    torch.nn.init.zeros_(model.lm_head.weight)
    model.transformer.ln_f.bias.data.fill_(1.0)
    model.lm_head.weight.data[tokenizer.eos_id] = -100.0
    TransformerPolicy(model).save_pretrained(tmp_path, tokenizer)
    given = {"policy": str(tmp_path), "prompt": ("abc", "a")}
    assert [len(line.partition("|")[2]) for line in _lines(capsys, **given)] == [8, 8]
    message = "has 4 tokens of the 12 that .* reads: give --completion-tokens 8 or fewer"
    with pytest.raises(CommandError, match=message):
        generate(GenerateConfig(**given, completion_tokens=9))
    with pytest.raises(CommandError, match=r"has 12 tokens of the 12 .* give shorter ones"):
        generate(GenerateConfig(policy=str(tmp_path), prompt=("a" * 11,)))


def test_a_run_s_folder_says_where_its_policy_is(folder, tmp_path):
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-3"
    shutil.copytree(folder, checkpoint / "policy")
    message = f"run is a run, and its policy is in {checkpoint / 'policy'}: give that"
    with pytest.raises(CommandError, match=message):
        generate(GenerateConfig(policy=str(tmp_path / "run"), prompt=("a",)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give either --prompt TEXT, --prompts FILE or --env ID"),
        ({"prompt": ("a",), "env": "TextGym/Alphabet-v0"}, "give either"),
        ({"prompt": ("a",), "device": "cup"}, "--device cup: there is none here that torch can"),
        ({"prompts": "no/such.txt"}, "--prompts no/such.txt cannot be read as text"),
        ({"prompt": ("a",), "temperature": 0.0}, "temperature"),
        ({"prompt": ("z",)}, "is not in the alphabet"),
        ({"prompt": ("a",), "policy": "no/such"}, "no language model in no/such"),
        ({"prompt": ("a",), "policy": "scratch:gpt2?layers=1"}, "give --tokenizer"),
        ({"env": "TextGym/Alphabit-v0"}, r"\(did you mean TextGym/Alphabet-v0\?\)"),
        ({"env": "Alphabet"}, r"\(did you mean TextGym/Alphabet-v0\?\)"),
        pytest.param(
            {"env": "CartPole-v1"},
            "CartPole-v1 is no environment of texts",
            # Gymnasium 1.1 closes its batches when they are collected, also those half made.
            marks=pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
        ),
        ({"env": "TextGym/Alphabet-v0", "env_kwargs": '{"num_envs": 2}'}, "has 'num_envs', which"),
    ],
)
def test_bad_input_is_one_line(settings, message, folder):
    with pytest.raises(CommandError, match=message) as caught:
        generate(GenerateConfig(**{"policy": folder, **settings}))
    assert "\n" not in str(caught.value)


def test_dtype_and_attention_can_be_named(folder, capsys, monkeypatch):
    made, collect = [], texts.collect

    def noted(envs, policy, **settings):
        made.append((policy.dtype, policy.model.config._attn_implementation))
        return collect(envs, policy, **settings)

    monkeypatch.setattr(texts, "collect", noted)
    given = {"policy": folder, "prompt": ("ab",), "completion_tokens": 3}
    _lines(capsys, **given)
    _lines(capsys, **given, dtype="bfloat16", attention="sdpa")
    assert made == [(torch.float32, "eager"), (torch.bfloat16, "sdpa")]
