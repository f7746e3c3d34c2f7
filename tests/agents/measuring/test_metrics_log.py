"""Metrics survive a kill, and a resumed run does not write a step twice."""

import pytest

from agents.measuring.metrics_log import MetricsLog, read_metrics


def _write(folder, steps, **kwargs):
    with MetricsLog(folder, **kwargs) as log:
        for step in steps:
            log.write({"iteration": float(step), "reward": step / 3})


def test_what_is_written_is_read_back(tmp_path):
    _write(tmp_path, [1, 2])
    assert read_metrics(tmp_path / "metrics.csv") == [
        {"iteration": 1.0, "reward": 1 / 3},
        {"iteration": 2.0, "reward": 2 / 3},
    ]
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_a_resumed_run_drops_what_it_will_do_again(tmp_path):
    """The checkpoint was of step 2, the log had reached 4."""
    _write(tmp_path, [1, 2, 3, 4])
    _write(tmp_path, [3], resume_after=2)
    assert [row["iteration"] for row in read_metrics(tmp_path / "metrics.csv")] == [1, 2, 3]


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path):
    _write(tmp_path, [1])
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("2.0,")
    assert [row["iteration"] for row in read_metrics(tmp_path / "metrics.csv")] == [1]
    _write(tmp_path, [2], resume_after=1)
    assert [row["iteration"] for row in read_metrics(tmp_path / "metrics.csv")] == [1, 2]


def test_other_names_than_the_first_rows_are_refused(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write({"iteration": 1.0, "reward": 0.0})
        with pytest.raises(ValueError, match="gold"):
            log.write({"iteration": 2.0, "gold": 0.0})
