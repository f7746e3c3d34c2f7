"""The front door: help, bad input, and a run that is killed and goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from reward_models.preferences import PreferenceStore
from tests.commands import run_commands

COMMAND = [sys.executable, "-c", "from textgym.cli.main import main; main()", "quickstart"]
WATCHED = """from tests.products import NoBfloat16
from textgym.cli.main import main
with NoBfloat16():
    main()"""


def _run(*arguments, command=COMMAND, **kwargs):
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "120"},
        **kwargs,
    )


BAD = {
    "device": (("--device", "tpu"), "unknown device 'tpu'; known: auto, cpu, cuda"),
    "full": (("--out", "{full}"), "is no run of this command; choose another --out"),
    "price": (("--kl-coefficient", "0"), "kl_target moves the price .* see textgym quickstart"),
    "seed": (("--out", "{other}", "--seed", "1"), "was made with another .*seed.*another --out"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the command answers to bad input, to an unknown option, and to a call for help."""
    folder = tmp_path_factory.mktemp("said")
    full, other = folder / "full", folder / "other"
    full.mkdir()
    (full / "thesis.txt").write_text("do not overwrite")
    other.mkdir()
    (other / "config.json").write_text('{"seed": 0}')
    bad = [
        ("--smoke", *(word.format(full=full, other=other) for word in words))
        for words, _ in BAD.values()
    ]
    words = [*bad, ("--sed", "1"), ("--help",)]
    results = run_commands(*(("quickstart", *each) for each in words))
    assert (full / "thesis.txt").read_text() == "do not overwrite"
    return dict(zip([*BAD, "unknown", "help"], results, strict=True))


def test_help_says_what_every_option_does(said):
    assert said["help"].returncode == 0
    for option in (
        "--out",
        "--seed",
        "--device",
        "--smoke",
        "--kl-coefficient",
        "--kl-target",
        "--report-on",
    ):
        assert option in said["help"].stdout
    assert "gamed" in said["help"].stdout


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_no_stack_trace(case, said):
    """What is wrong, where, and what to do."""
    assert said[case].returncode == 1
    lines = said[case].stderr.strip().splitlines()
    assert len(lines) == 1
    assert re.search(BAD[case][1], lines[0])


def test_an_unknown_option_is_refused(said):
    assert said["unknown"].returncode == 2
    assert "--seed" in said["unknown"].stdout + said["unknown"].stderr


def _figures(out):
    stages = {path.stem: json.loads(path.read_text()) for path in (out / "stages").iterdir()}
    for figures in stages.values():
        del figures["seconds"]
    return stages


# A precision that is measured may be another in the next run, and so may all its figures.
SMOKE = ("--smoke", "--bf16", "False", "--seed", "3", "--out")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The directory of a run from the first stage to the last, which nobody may change.

    It is in float32, and no stage may multiply in anything else.
    """
    out = tmp_path_factory.mktemp("quickstart") / "straight"
    whole = _run(*SMOKE, out, command=[sys.executable, "-c", WATCHED, "quickstart"])
    assert whole.returncode == 0, whole.stderr
    assert str(out / "report.html") in whole.stdout
    return out


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_an_unkilled_one(tmp_path, straight):
    """SIGKILL in the language model's and in PPO's stage; the figures are those of a whole run."""
    killed = tmp_path / "killed"
    for sign in ("language_model.checkpoints/*/checkpoint-20", "logs/ppo/metrics.csv"):
        process = subprocess.Popen(
            [*COMMAND, *SMOKE, str(killed)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while not list(killed.glob(sign)) and process.poll() is None:
            assert time.monotonic() < deadline, f"{sign} did not appear"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = _run(*SMOKE, killed)
    assert finished.returncode == 0, finished.stderr
    assert "Texts: done before" in finished.stdout
    assert "Tokenizer: done before" in finished.stdout
    assert _figures(straight) == _figures(killed)
    assert (straight / "samples.json").read_text() == (killed / "samples.json").read_text()
    again = _run(*SMOKE, killed)
    assert "Evaluation: done before" in again.stdout


@pytest.mark.slow
def test_a_run_directory_holds_what_was_promised(straight):
    for name in (
        "config.json",
        "texts/language_model.jsonl",
        "texts/report/report.html",
        "tokenizer.model",
        "language_model/model.safetensors",
        "preferences.sqlite",
        "reward_model/model.safetensors",
        "policy/model.safetensors",
        "policy/value_head.safetensors",
        "logs/ppo/metrics.csv",
        "samples.json",
        "report.html",
    ):
        assert (straight / name).is_file(), name
    assert list((straight / "logs" / "ppo").glob("events.out.tfevents.*"))
    assert not list(straight.rglob("*.pkl"))
    with PreferenceStore(straight / "preferences.sqlite") as store:
        written = store.provenance()
        assert len(written) == 2 * len(store.pairs())
    assert {text.policy for text in written} == {"language_model"}
    assert len({text.checkpoint for text in written}) == 1
    assert re.fullmatch(r"[0-9a-f]{32}", written[0].checkpoint)
    page = (straight / "report.html").read_text()
    assert "failed: gold gain" in page  # a smoke run's models are too small to pass
    samples = json.loads((straight / "samples.json").read_text())
    assert len(samples) == 64
    assert {"prompt", "before", "after", "gold_before", "gold_after"} == set(samples[0])
    # The learned reward is named by its folder, as any other reward is by its name.
    import gymnasium as gym

    env = gym.make(
        "textgym:TextGym/Sentiment-v0",
        reward=str(straight / "reward_model"),
        tokenizer=str(straight / "tokenizer.model"),
    )
    env.reset(seed=0)
    *_, terminated, truncated, info = env.step(env.unwrapped.tokenizer.eos_id)
    assert terminated
    assert not truncated
    assert isinstance(info["score"], float)
