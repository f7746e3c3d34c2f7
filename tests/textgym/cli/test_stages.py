"""Stages are done once, in order, and a failed one is done again."""

import io

import pytest
from rich.console import Console

from textgym.cli.stages import Run, RunError, Stage, run_stages


def _run(out, **config):
    return Run(out=out, config=config, console=Console(file=io.StringIO()))


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
    _run(tmp_path / "r", seed=0, ppo={"clip": 0.2}).open()
    _run(tmp_path / "r", seed=0, ppo={"clip": 0.2}).open()
    with pytest.raises(RunError, match="made with another ppo; choose another --out"):
        _run(tmp_path / "r", seed=0, ppo={"clip": 0.3}).open()
