"""``textgym train sft``: from files to a folder that everything else takes."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from agents.models.documents import chat_documents, completion_documents
from agents.models.loading import load_model
from agents.sft import SFTConfig
from tests.commands import ENVIRONMENT, ROOT
from textgym.cli.main import COMMANDS
from textgym.cli.parsing import CommandError
from textgym.cli.policy.material import Material, read_material
from textgym.cli.policy.sft import SFTTraining, train_sft
from textgym.cli.training import TrainingBar
from textgym.tokenizers import HuggingFaceTokenizer, load_tokenizer, train_tokenizer
from textgym.tokenizers.conversion import as_fast_tokenizer, save_as_fast

TEXTS = [f"the {a} {b} was {c}" for a in "abcdef" for b in ("film", "song") for c in ("ok", "bad")]
SHAPE = SFTConfig(
    layers=1, width=16, heads=2, steps=6, batch_size=4, row_tokens=24, packing=True, bf16=False
)
TEMPLATE = (
    "{% for m in messages %}{{ '<s>' + m['role'] + ': ' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}"
)


def printed(config):
    out = io.StringIO()
    train_sft(config, Console(file=out, width=200))
    return out.getvalue()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A tokenizer, texts, completions and chats."""
    folder = tmp_path_factory.mktemp("sft")
    trained = train_tokenizer(TEXTS, 295, kind="bpe")
    (folder / "tokenizer").mkdir()
    save_as_fast(trained, "bpe", folder / "tokenizer")
    files = {
        "texts": [{"text": text} for text in TEXTS],
        "completions": [{"prompt": text[:6], "completion": text[6:]} for text in TEXTS],
        "bad": [{"prompt": "a", "completion": 3}, {"prompt": "a", "completion": "b"}],
        "odd": [{"body": "a"}],
    }
    for name, rows in files.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def _config(home, data, out, **given):
    settings = {"tokenizer": str(home / "tokenizer"), "training": SHAPE, "held_out": 0.2}
    return SFTTraining(data=(str(home / data),), out=out, **(settings | given))


@pytest.fixture(scope="module")
def model_folder(home):
    from dataclasses import replace

    config = _config(
        home, "texts.jsonl", home / "lm", training=replace(SHAPE, eval_steps=3, save_steps=2)
    )
    return home / "lm", printed(config)


def test_texts_become_a_model_with_a_record_and_samples(model_folder):
    folder, said = model_folder
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert record["figures"]["steps"] == 6
    assert record["figures"]["perplexity"] > 1
    assert any("texts.jsonl" in name for name in record["made from"]["contents"])
    lines = (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["step"] for line in lines} == {3, 6}
    assert "update 3: held-out perplexity" in said
    assert "6 updates, loss" in said
    assert not (folder / "checkpoints").exists()


def test_an_environment_a_policy_and_a_reward_model_take_the_folder(model_folder, tmp_path):
    from agents.ppo import PPOConfig
    from reward_models.learning.settings import RewardTrainingConfig
    from textgym.cli.policy.train import PPOTraining, train_ppo
    from textgym.cli.reward.starts import make_start

    folder, _ = model_folder
    train_ppo(
        PPOTraining(
            env="TextGym/Alphabet-v0",
            policy=str(folder),
            out=tmp_path / "ppo",
            num_envs=4,
            device="cpu",
            ppo=PPOConfig(iterations=1, bf16=False),
        ),
        Console(file=io.StringIO()),
    )
    assert load_model(tmp_path / "ppo" / "policy")[1].vocab_size == 295
    start = make_start(str(folder), RewardTrainingConfig(), None, TEXTS)
    assert start.tokenizer.vocab_size == 295


def test_a_trained_folder_is_learned_on_from_and_its_tokenizer_goes_with_it(
    home, model_folder, tmp_path
):
    folder, _ = model_folder
    config = _config(home, "completions.jsonl", tmp_path / "more", model=str(folder))
    config = SFTTraining(**{**_fields(config), "tokenizer": None})
    printed(config)
    ids = torch.tensor([[1, 5, 6]])
    model, tokenizer = load_model(tmp_path / "more")
    again, _ = load_model(tmp_path / "more")
    assert torch.equal(model(ids).logits, again(ids).logits)
    assert not torch.equal(model(ids).logits, load_model(folder)[0](ids).logits)
    assert tokenizer.encode("the film") == load_tokenizer(home / "tokenizer").encode("the film")


def _fields(config):
    return {name: getattr(config, name) for name in config.__slots__}


def test_what_does_not_fit_into_a_row_is_learned_unless_told_otherwise(home, tmp_path):
    """Of texts of about ten tokens, rows of six hold a beginning each."""
    from dataclasses import replace

    training = replace(SHAPE, row_tokens=6, steps=1)
    documents = []
    for whole in (True, False):
        out = tmp_path / str(whole)
        said = printed(_config(home, "texts.jsonl", out, training=training, whole=whole))
        texts, found = said.split(" texts, ")[0], said.split("to learn from as ")[1].split()[0]
        documents.append((int(texts), int(found)))
    (texts, many), (again, few) = documents
    assert few == texts == again < many


def test_lora_leaves_a_folder_of_adapters_that_is_loaded_with_its_base(
    home, model_folder, tmp_path
):
    from dataclasses import replace

    folder, _ = model_folder
    training = replace(SHAPE, optimizer="adamw", rate=1e-2)
    printed(
        _config(
            home, "texts.jsonl", tmp_path / "lora", model=str(folder), lora=2, training=training
        )
    )
    assert (tmp_path / "lora" / "adapter_model.safetensors").is_file()
    ids = torch.tensor([[1, 5, 6]])
    base, taught = load_model(folder)[0], load_model(tmp_path / "lora")[0]
    assert not torch.equal(base(ids).logits, taught(ids).logits)


def test_a_folder_with_a_model_is_left_alone(home, model_folder):
    with pytest.raises(CommandError, match="holds a model already"):
        printed(_config(home, "texts.jsonl", model_folder[0]))


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        ("bad.jsonl", {}, r"bad.jsonl:1 has no text in the column completion"),
        ("odd.jsonl", {}, r"odd.jsonl:1 has the columns body; needed are text"),
        ("texts.jsonl", {"lora": 2}, "--lora is for pretrained models"),
        ("texts.jsonl", {"tokenizer": "nobody"}, "unknown tokenizer 'nobody'"),
        ("texts.jsonl", {"model": "nobody"}, "no language model in nobody"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(home, tmp_path, data, given, message):
    with pytest.raises((CommandError, FileNotFoundError), match=message):
        printed(_config(home, data, tmp_path / "out", **given))
    assert not (tmp_path / "out").exists()


def test_bad_rows_can_be_left_out_and_are_counted(home):
    material = read_material([str(home / "bad.jsonl")], None, skip_bad=True)
    assert material.completions == [("a", "b")]
    assert material.notes[0].startswith("left out: 1 rows")


def test_a_model_decides_which_settings_are_the_default():
    command = COMMANDS["train sft"]
    words = ("--data", "x", "--out", "y")
    assert command.parse("train sft", words).training.optimizer == "muon"
    assert command.parse("train sft", (*words, "--model", "base")).training.layers == 8
    pretrained = command.parse("train sft", (*words, "--model", "smollm2")).training
    assert (pretrained.optimizer, pretrained.rate, pretrained.epochs) == ("adamw", 2e-5, 1.0)
    adapted = command.parse("train sft", (*words, "--model", "smollm2", "--lora", "8")).training
    assert adapted.rate == 2e-4


def test_of_a_chat_each_answer_is_learned_after_all_that_was_said():
    backend = as_fast_tokenizer(train_tokenizer(TEXTS, 295, kind="bpe"), "bpe")
    backend.chat_template = TEMPLATE
    tokenizer = HuggingFaceTokenizer(backend)
    said = [("user", "a film"), ("assistant", "ok"), ("user", "</s>"), ("assistant", "bad")]
    chat = [{"role": role, "content": content} for role, content in said]
    first, second = chat_documents(tokenizer, [chat], 200)
    learned = [
        [one.ids[place] for place in range(one.start, len(one.ids))] for one in (first, second)
    ]
    assert learned == [[*tokenizer.encode(text), tokenizer.eos_id] for text in ("ok", "bad")]
    # What the template writes is special; what a person spells is not.
    history = "user: a film", "assistant: ok", "user: </s>"
    expected = []
    for turn in history:
        expected += [1, *tokenizer.encode(turn), 2]
    expected += [1, *tokenizer.encode("assistant: ")]
    assert second.ids[: second.start] == expected


def test_completions_are_cut_at_their_ends_and_long_prompts_are_left_out():
    tokenizer = load_tokenizer("characters:ab")
    made = completion_documents(tokenizer, [("ab", "ba"), ("ab", "b" * 9), ("a" * 9, "b")], 6)
    assert [(one.ids, one.start) for one in made] == [
        ([1, 3, 4, 4, 3, 2], 3),
        ([1, 3, 4, 4, 4, 4], 3),
    ]


def test_what_has_one_prompt_is_on_one_side():
    pairs = [(f"prompt {n}", f"answer {k}") for n in range(60) for k in range(2)]
    learned, held_out = Material(completions=pairs).divided(0.3)
    sides = [{prompt for prompt, _ in side.completions} for side in (learned, held_out)]
    assert sides[0] & sides[1] == set()
    assert 5 < len(sides[1]) < 35
    assert len(learned) + len(held_out) == 120


def test_a_stopped_command_goes_on_to_the_same_weights(home, tmp_path, monkeypatch):
    from dataclasses import replace

    from safetensors.torch import load_file

    training = replace(SHAPE, save_steps=2, eval_steps=3)
    printed(_config(home, "texts.jsonl", tmp_path / "straight", training=training))
    step = TrainingBar.on_step_end

    def killed(self, args, state, control, **known):
        if state.global_step == 4:  # behind a look, and before its checkpoint
            raise KeyboardInterrupt
        step(self, args, state, control, **known)

    config = _config(home, "texts.jsonl", tmp_path / "cut", training=training)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingBar, "on_step_end", killed)
        with pytest.raises(KeyboardInterrupt):
            printed(config)
    (last,) = (tmp_path / "cut").glob("checkpoints/*/checkpoint-*")
    assert last.name == "checkpoint-2"
    printed(config)
    first, second = (
        load_file(tmp_path / name / "model.safetensors") for name in ("straight", "cut")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    samples = [(tmp_path / name / "samples.jsonl").read_text() for name in ("straight", "cut")]
    assert samples[0] == samples[1]
    assert samples[0].count("\n") == 2 * 3
    shutil.rmtree(tmp_path / "straight")


def test_a_command_that_is_stopped_while_it_saves_goes_on(home, tmp_path, monkeypatch):
    """What is half written was taken for a finished model."""
    config = _config(home, "texts.jsonl", tmp_path / "cut")
    replaced = Path.replace

    def killed(self, target):
        if Path(target) == config.out / "config.json":
            raise KeyboardInterrupt
        return replaced(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            printed(config)
    assert (config.out / "model.safetensors").is_file()
    assert "6 updates" in printed(config)
    assert load_model(config.out)[1].vocab_size == 295
    assert not (config.out / "staging").exists()


@pytest.mark.slow
def test_two_processes_train_what_one_does_with_as_many_rows(home, tmp_path):
    """Two portions of two rows each are one of four, whoever has which; one process writes."""
    words = "--model tiny --layers 1 --width 16 --heads 2 --steps 6 --row-tokens 24 --eval-steps 3"
    words += " --save-steps 2 --optimizer adamw --rate 1e-2 --bf16 False --device cpu"
    common = ["train", "sft", "--data", str(home / "texts.jsonl"), "--held-out", "0.2"]
    common += ["--tokenizer", str(home / "tokenizer"), *words.split()]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, start, rows in (
        ("one", ["-m", "textgym"], "4"),
        ("two", [*launcher, "-m", "textgym"], "2"),
    ):
        given = [sys.executable, *start, *common, "--batch-size", rows]
        done = subprocess.run(
            [*given, "--out", str(tmp_path / name)],
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
            cwd=ROOT,
            env=os.environ | ENVIRONMENT,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("6 updates, loss") == 1
    one, two = (
        json.loads((tmp_path / name / "training.json").read_text(encoding="utf-8"))["figures"]
        for name in ("one", "two")
    )
    assert two == pytest.approx(one, rel=1e-5)
    samples = [(tmp_path / name / "samples.jsonl").read_text() for name in ("one", "two")]
    assert samples[0].count("\n") == samples[1].count("\n") > 2
    # Not the weights: a key's bias changes no output, so that its gradient, and step, is rounding.
    ids = torch.arange(3, 27)[None]
    with torch.no_grad():
        first, second = (load_model(tmp_path / n)[0](input_ids=ids).logits for n in ("one", "two"))
    torch.testing.assert_close(second, first, atol=1e-3, rtol=0)
