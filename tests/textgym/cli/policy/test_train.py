"""``textgym train``: what it leaves behind, how it goes on, and how it refuses."""

import dataclasses
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from agents.grpo import GRPOConfig
from agents.models.policy import TransformerPolicy
from agents.ppo import PPOConfig
from agents.rloo import RLOOConfig
from agents.training import updates
from agents.training.guards import GuardError
from tests.agents.rollouts.fake_engines import fake_vllm
from tests.agents.toys import make_model
from tests.settings import variants
from textgym import RewardError
from textgym.cli.main import COMMANDS
from textgym.cli.parsing import CommandError
from textgym.cli.policy import running
from textgym.cli.policy.dpo import DPOTraining
from textgym.cli.policy.train import (
    GRPOTraining,
    PPOTraining,
    ReinforceTraining,
    RLOOTraining,
    train_grpo,
    train_ppo,
    train_reinforce,
    train_rloo,
)

ROOT = Path(__file__).parents[4]
SMALL = "scratch:gpt2?layers=1&width=16&heads=2"
PPO = PPOConfig(iterations=4, minibatches=2)


def _config(out, kind=PPOTraining, **settings):
    given = {"env": "TextGym/Alphabet-v0", "policy": SMALL, "num_envs": 8, "save_every": 2}
    if kind is PPOTraining:
        given["ppo"] = PPO
    return kind(out=out, **(given | settings))


def _run(train, config, capsys):
    train(config, Console(force_terminal=False, width=200))
    return capsys.readouterr().out


def test_ppo_leaves_a_policy_checkpoints_and_logs(tmp_path, capsys):
    said = _run(train_ppo, _config(tmp_path), capsys)
    assert "4 iterations" in said
    assert "collect" in said
    assert TransformerPolicy.from_pretrained(tmp_path / "policy").vocab_size == 11
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"checkpoint-2", "checkpoint-4"}
    assert list((tmp_path / "logs").rglob("progress.csv"))
    assert json.loads((tmp_path / "config.json").read_text())["ppo"]["iterations"] == 4


@pytest.mark.parametrize("total", [None, 150])
def test_the_same_command_goes_on_from_the_last_checkpoint(total, tmp_path, capsys):
    """Stopped after one iteration: the same weights, and as many tokens, as without a stop.

    The number of tokens is the whole run's, that of ``learn`` one call's.
    """
    straight = _config(tmp_path / "straight", total_timesteps=total)
    stopped = _config(tmp_path / "stopped", total_timesteps=total)
    expected = _run(train_ppo, straight, capsys)
    _run(train_ppo, dataclasses.replace(stopped, total_timesteps=1), capsys)
    said = _run(train_ppo, stopped, capsys)
    assert "goes on after iteration 1" in said
    assert re.search(r"[\d,]+ tokens", expected)[0] == re.search(r"[\d,]+ tokens", said)[0]
    weights, again = (
        TransformerPolicy.from_pretrained(config.out / "policy").state_dict()
        for config in (straight, stopped)
    )
    assert all((value == again[name]).all() for name, value in weights.items())
    assert "nothing to do" in _run(train_ppo, stopped, capsys)


CALLS = []


def fails_once(prompts, completions, **columns):
    """A reward that raises once, in the third iteration."""
    CALLS.append(len(completions))
    if len(CALLS) == 3:
        raise RuntimeError("the scorer ran away")
    return [0.1 * len(text) for text in completions]


def test_a_reward_that_fails_loses_nothing(tmp_path, capsys):
    CALLS.clear()
    reward = json.dumps({"reward": "tests.textgym.cli.policy.test_train:fails_once"})
    config = _config(tmp_path, env_kwargs=reward, save_every=100)
    with pytest.raises(
        RewardError, match=r"the scorer ran away.*; iteration \d is kept in .*, and"
    ):
        train_ppo(config)
    assert "goes on after iteration" in _run(train_ppo, config, capsys)
    assert (tmp_path / "policy").is_dir()


def test_an_engine_that_fails_loses_nothing(tmp_path, capsys):
    """The server answers 500 when it is sent the weights for the third time."""
    with fake_vllm(TransformerPolicy(make_model())) as server:
        ppo = dataclasses.replace(PPO, engine=server.url)
        config = _config(tmp_path, ppo=ppo, save_every=100)
        sent = []

        def answer(path, *_):
            if path != "/collective_rpc":
                return None
            sent.append(path)
            return (500, {"error": "out of\nmemory"}) if len(sent) == 3 else None

        server.answer = answer
        with pytest.raises(
            CommandError, match=r"Status 500 .*; iteration 2 is kept in .*, and"
        ) as failed:
            train_ppo(config)
        assert "\n" not in str(failed.value)
        assert "goes on after iteration 2" in _run(train_ppo, config, capsys)
    assert (tmp_path / "policy").is_dir()
    with pytest.raises(CommandError, match=r"cannot be reached .* Start it with"):
        train_ppo(_config(tmp_path / "other", ppo=ppo))


@pytest.mark.parametrize(
    ("kind", "train", "settings"),
    [
        (GRPOTraining, train_grpo, {"grpo": GRPOConfig(iterations=2, group_size=4)}),
        (RLOOTraining, train_rloo, {"rloo": RLOOConfig(iterations=2)}),
        (ReinforceTraining, train_reinforce, {"total_timesteps": 20}),
        (PPOTraining, train_ppo, {"critic": True, "total_timesteps": 20}),
        (PPOTraining, train_ppo, {"env": "TextGym/Alphabet-Edit-v0", "total_timesteps": 20}),
    ],
    ids=["grpo", "rloo", "reinforce", "critic", "edits"],
)
def test_the_others_train_as_well(kind, train, settings, tmp_path, capsys):
    assert "tokens" in _run(train, _config(tmp_path, kind, **settings), capsys)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"env": "TextGym/Alphabit-v0"}, "Alphabit"),
        ({"env_kwargs": "{split"}, "--env-kwargs is no JSON"),
        ({"env_kwargs": "[]"}, "must be a JSON object"),
        ({"policy": "no/such/folder"}, "no language model in no/such/folder"),
        ({"policy": f"{SMALL}&positions=4"}, "4"),
        ({"device": "tpu"}, "device"),
        ({"num_envs": 1}, "fewer than its 2 minibatches"),
    ],
    ids=["id", "json", "object", "policy", "positions", "device", "rows"],
)
def test_bad_input_is_one_line(settings, message, tmp_path):
    with pytest.raises(CommandError, match=message) as caught:
        train_ppo(_config(tmp_path, **settings))
    assert "\n" not in str(caught.value)


def test_a_preset_is_a_learner_s_settings(tmp_path, capsys):
    settings = {"preset": "trl", "ppo": PPOConfig(), "num_envs": 2, "total_timesteps": 1}
    said = _run(train_ppo, _config(tmp_path, **settings), capsys)
    assert "512 texts an iteration" in said
    assert "1 iterations" in said


@pytest.mark.parametrize("words", [("--preset", "trl"), ("--preset=trl",)])
def test_the_command_s_own_settings_change_the_preset_s(words):
    """trl's penalty of 1 and temperature of .7 stay, its learning rate of 3e-6 goes."""
    command = ["--env", "TextGym/Alphabet-v0", "--out", "runs/a", "--ppo.learning-rate", "0.5"]
    config = COMMANDS["train ppo"].parse("train ppo", [*command, *words])
    assert config.preset == "trl"
    assert config.ppo.learning_rate == 0.5
    assert (config.ppo.missing_end_penalty, config.ppo.temperature) == (1.0, 0.7)
    plain = COMMANDS["train ppo"].parse("train ppo", command)
    assert (plain.ppo.missing_end_penalty, plain.ppo.temperature) == (0.0, 1.0)
    assert plain.ppo.learning_rate == 0.5


def test_an_unknown_preset_is_one_line():
    with pytest.raises(CommandError, match="--preset foo: there is no such one; known: lm-human"):
        COMMANDS["train ppo"].parse("train ppo", ["--preset", "foo"])


def test_help_shows_whole_commands(capsys):
    with pytest.raises(SystemExit):
        COMMANDS["train dpo"].parse("train dpo", ["--help"])
    said = capsys.readouterr().out
    assert "textgym train dpo --env TextGym/Alphabet-v0" in said
    assert "--dpo.beta FLOAT" in said


def test_a_kill_while_the_policy_is_written_leaves_the_last_whole_one(
    tmp_path, capsys, monkeypatch
):
    _run(train_ppo, _config(tmp_path, total_timesteps=1), capsys)
    before = (tmp_path / "policy" / "model.safetensors").read_bytes()

    def killed(policy, folder, tokenizer, **_):
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "_save", lambda *_: None)
        patch.setattr(TransformerPolicy, "save_pretrained", killed)
        with pytest.raises(KeyboardInterrupt):
            train_ppo(_config(tmp_path))
    assert (tmp_path / "policy" / "model.safetensors").read_bytes() == before


def test_other_settings_do_not_go_on_from_a_checkpoint(tmp_path, capsys):
    _run(train_ppo, _config(tmp_path, total_timesteps=1), capsys)
    other = _config(tmp_path, ppo=dataclasses.replace(PPO, temperature=0.3))
    with pytest.raises(CommandError, match=r"made with temperature 1\.0, not 0\.3 \(what is drawn"):
        train_ppo(other)
    with pytest.raises(CommandError, match="was made with --num-envs 8, not 16"):
        train_ppo(_config(tmp_path, num_envs=16))


def test_the_last_line_shows_what_the_policy_writes(tmp_path, capsys):
    """With the environment's arguments, without which another reward would score."""
    given = '{"reward": "reward_models.metrics:length", "completion_tokens": 4}'
    said = _run(train_ppo, _config(tmp_path, env_kwargs=given, total_timesteps=1), capsys)
    words = shlex.split(said.splitlines()[-1])
    assert words[:2] == ["textgym", "generate"]
    config = COMMANDS["generate"].parse("generate", words[2:])
    assert config.env_kwargs == given


@pytest.mark.parametrize("stop", [KeyboardInterrupt, GuardError])
def test_a_stop_within_an_update_goes_on_as_if_nothing_had_been(
    stop, tmp_path, capsys, monkeypatch
):
    """Weights that are half-way through an update are no checkpoint."""
    _run(train_ppo, _config(tmp_path / "straight"), capsys)
    steps, descend = [], updates.descend

    def stops(*args, **kwargs):
        steps.append(1)
        if len(steps) == 11:  # of 4 an iteration: in the third
            raise stop("now")
        return descend(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(updates, "descend", stops)
        with pytest.raises((KeyboardInterrupt, CommandError), match=r"now|iteration 2 is kept"):
            train_ppo(_config(tmp_path / "stopped"))
    assert "goes on after iteration 2" in _run(train_ppo, _config(tmp_path / "stopped"), capsys)
    straight, stopped = (
        TransformerPolicy.from_pretrained(tmp_path / name / "policy").state_dict()
        for name in ("straight", "stopped")
    )
    assert all((value == stopped[name]).all() for name, value in straight.items())


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--grpo.shard"]], ids=["whole", "cut"])
def test_two_launched_processes_train_one_policy(more, tmp_path, capsys):
    """Twice four rows learn what eight do; one checkpoint, one log, one summary are left."""
    grpo = GRPOConfig(iterations=2, group_size=4)
    alone = _config(tmp_path / "alone", GRPOTraining, grpo=grpo)
    _run(train_grpo, alone, capsys)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += ["--num_processes", "2", "--main_process_port", str(port), "-m", "textgym"]
    train = ["train", "grpo", "--env", alone.env, "--policy", SMALL, "--num-envs", "4"]
    train += ["--out", str(tmp_path / "two"), "--grpo.iterations", "2", "--grpo.group-size", "4"]
    train += more
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["HF_HOME"] = str(tmp_path)  # where accelerate would look for settings of its own
    done = subprocess.run(
        launch + train, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 iterations") == 1
    assert [path.name for path in (tmp_path / "two" / "checkpoints").iterdir()] == ["checkpoint-2"]
    (log,) = (tmp_path / "two" / "logs").rglob("progress.csv")
    assert len(log.read_text().splitlines()) == 3
    one, two = (
        TransformerPolicy.from_pretrained(tmp_path / name / "policy").state_dict()
        for name in ("alone", "two")
    )
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], atol=1e-6, rtol=0)


def test_attention_is_kept_and_must_stay_as_it_was(tmp_path, capsys):
    config = _config(tmp_path, attention="sdpa", total_timesteps=1)
    _run(train_ppo, config, capsys)
    for folder in (tmp_path / "policy", *(tmp_path / "checkpoints").glob("*/policy")):
        policy = TransformerPolicy.from_pretrained(folder)
        assert policy.model.config._attn_implementation == "sdpa"
    with pytest.raises(CommandError, match="was made with --attention sdpa, not eager"):
        train_ppo(dataclasses.replace(config, attention="eager"))
    with pytest.raises(CommandError, match="attention 'owner/code' cannot be computed here"):
        train_ppo(_config(tmp_path / "other", attention="owner/code"))


def test_weights_that_would_not_learn_are_refused(tmp_path):
    with pytest.raises(CommandError, match="is bfloat16, in which a step of Adam is rounded away"):
        train_ppo(_config(tmp_path, dtype="bfloat16"))


def test_what_may_change_where_a_run_goes_on_is_said_in_a_line_each(tmp_path, capsys):
    """A rate could not be lowered, nor a schedule lengthened, without beginning anew."""
    assert "from here on" not in _run(train_ppo, _config(tmp_path), capsys)
    longer = dataclasses.replace(PPO, iterations=6, learning_rate=1e-5, clip=0.1)
    said = _run(train_ppo, _config(tmp_path, ppo=longer), capsys).splitlines()
    for line in (
        "iterations is 6 from here on, and was 4",
        "learning_rate is 1e-05 from here on, and was None",
        "clip is 0.1 from here on, and was 0.2",
    ):
        assert line in said
    assert any("of 2 iterations" in line for line in said)
    assert json.loads((tmp_path / "config.json").read_text())["ppo"]["iterations"] == 6
    assert "from here on" not in _run(train_ppo, _config(tmp_path, ppo=longer), capsys)


@pytest.mark.parametrize(
    "kind", [PPOTraining, GRPOTraining, RLOOTraining, ReinforceTraining, DPOTraining]
)
def test_each_setting_must_stay_or_is_known_to_be_free(kind, tmp_path):
    """A run must not go on in another environment because somebody forgot to compare it."""
    config = kind(env="TextGym/Alphabet-v0", out=tmp_path)
    (tmp_path / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    running.write_json(tmp_path / "config.json", running._as_json(config))
    running._require_same(config)
    own = {
        f.name
        for f in dataclasses.fields(kind)
        if dataclasses.is_dataclass(getattr(config, f.name))
    }
    free = {"out", "total_timesteps", "save_every", "device", "preset", "data", "held_out"}
    others = variants(config, out=tmp_path, columns=("a=b",), **dict.fromkeys(own))
    for name, other in others.items():
        if name in own | free:
            continue
        with pytest.raises(ValueError, match=rf"made with --{name.replace('_', '-')} "):
            running._require_same(other)
    for name in free - {"out"} & set(others):
        running._require_same(others[name])


def _write_task(path, prompts):
    path.write_text("".join(json.dumps({"prompt": p, "reference": "b"}) + "\n" for p in prompts))
    return json.dumps({"task": str(path), "reward": "reward_models.metrics:length"})


def test_a_run_whose_data_changed_is_told_so(tmp_path, capsys):
    """The same command, on a file that was edited: its checkpoints are of other prompts."""
    kwargs = _write_task(tmp_path / "task.jsonl", ["ab", "bc", "ca", "aa", "bb", "cc", "ac", "cb"])
    config = _config(tmp_path / "run", env="TextGym/Alphabet-v0", env_kwargs=kwargs)
    _run(train_ppo, dataclasses.replace(config, total_timesteps=1), capsys)
    _write_task(tmp_path / "task.jsonl", ["ab", "bc", "ca", "aa", "bb", "cc", "ac", "ba"])
    with pytest.raises(CommandError) as refused:
        train_ppo(config, Console(quiet=True))
    assert str(refused.value) == (
        f"{tmp_path / 'run'} was begun with other contents of {tmp_path / 'task.jsonl'} and the "
        "prompts of TextGym/Alphabet-v0: give what it was begun with, or another --out"
    )


def test_a_run_that_goes_on_with_other_code_says_so(tmp_path, capsys):
    config = _config(tmp_path)
    _run(train_ppo, dataclasses.replace(config, total_timesteps=1), capsys)
    record = json.loads((tmp_path / "config.json").read_text())
    record["made_from"]["code"]["source"] = "another"
    (tmp_path / "config.json").write_text(json.dumps(record))
    said = _run(train_ppo, config, capsys)
    assert "goes on with other code (source) than it was begun with\n" in said
