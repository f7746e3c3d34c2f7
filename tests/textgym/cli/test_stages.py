"""Stages are done once, in order, and a failed one is done again."""

import io
import json

import pytest
from rich.console import Console

from textgym.cli.stages import Run, RunError, Stage, run_stages
from textgym.files import FolderInUseError


def _run(out, contents=None, **config):
    code = {"source": config.pop("source", "a")}
    to = Console(file=io.StringIO())
    return Run(out=out, config=config, contents=contents or {}, code=code, console=to)


def test_a_stage_that_failed_is_repeated_and_those_before_it_are_not(tmp_path):
    calls = []

    def first(run):
        calls.append("first")
        return {"pairs": 3}

    def second(run):
        calls.append("second")
        if calls.count("second") == 1:
            raise KeyboardInterrupt
        return {"seen": run.figures["first"]["pairs"]}

    stages = [
        Stage(name="first", title="A", work=first),
        Stage(name="second", title="B", work=second),
    ]
    with pytest.raises(KeyboardInterrupt):
        run_stages(_run(tmp_path), stages)
    run = _run(tmp_path)
    run_stages(run, stages)
    assert calls == ["first", "second", "second"]
    assert run.figures["second"]["seen"] == 3
    assert "A: done before" in run.console.file.getvalue()


def test_only_the_same_settings_go_on(tmp_path):
    def opened(**config):
        run = _run(tmp_path / "r", **config)
        with run.opened():
            return run.console.file.getvalue()

    assert opened(seed=0, ppo={"clip": 0.2}) == opened(seed=0, ppo={"clip": 0.2}) == ""
    with pytest.raises(RunError, match="made with another ppo; choose another --out"):
        opened(seed=0, ppo={"clip": 0.3})
    said = opened(seed=0, ppo={"clip": 0.2}, source="b")
    assert said == "  goes on with other code than its first stages were made by\n"


def test_only_the_same_files_go_on(tmp_path):
    """A name stays while what lies there is edited."""

    def opened(**contents):
        with _run(tmp_path / "r", contents, seed=0).opened():
            return json.loads((tmp_path / "r" / "config.json").read_text())["contents"]

    assert opened(data="1", model="1") == {"data": "1", "model": "1"}
    with pytest.raises(RunError, match="was begun with other contents of data and model: give"):
        opened(data="2", model="2")
    assert opened(data="1", model="1", another="1")["another"] == "1"


def test_of_two_runs_in_one_folder_the_second_is_refused(tmp_path):
    """And a folder that only a lock lies in is as good as an empty one."""
    with (
        _run(tmp_path / "r", seed=0).opened(),
        pytest.raises(FolderInUseError, match="r is being written by another run"),
        _run(tmp_path / "r", seed=0).opened(),
    ):
        pytest.fail("two at once")
    (tmp_path / "r" / "config.json").unlink()
    with _run(tmp_path / "r", seed=1).opened():
        assert (tmp_path / "r" / "config.json").is_file()


def test_what_could_not_be_measured_is_null_at_once_as_after_a_stop(tmp_path):
    """Of texts of one token there is no share of different bigrams."""
    stage = Stage(name="measured", title="A", work=lambda _: {"distinct": float("nan"), "kl": 2.0})
    for _ in range(2):
        run = _run(tmp_path)
        run_stages(run, [stage])
        assert (run.figures["measured"]["distinct"], run.figures["measured"]["kl"]) == (None, 2.0)
    written = json.loads((tmp_path / "stages" / "measured.json").read_text())
    assert written["distinct"] is None
