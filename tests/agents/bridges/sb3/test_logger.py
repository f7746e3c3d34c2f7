"""Stable-Baselines3's logger writes what learners of ours say, and leaves our own log alone."""

import csv
import json

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.summary.writer import event_file_writer

from agents.bridges.sb3.callbacks import drive
from agents.bridges.sb3.logger import logger_names, open_logger
from agents.measuring.metrics_log import MetricsLog, read_metrics
from tests.agents.learners import toy_learner


class _Recorder(BaseCallback):
    """Keeps three iterations' tokens and locals, then stops."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def _on_step(self):
        self.seen.append((self.num_timesteps, dict(self.locals)))
        return self.n_calls < 3


def test_the_logger_gets_our_metrics_under_their_names(tmp_path):
    """The three files agree with each other and with what the learner said."""
    recorder = _Recorder()
    logger = open_logger(tmp_path)
    drive(toy_learner(), 10**9, recorder, logger)
    logger.close()
    said = [seen["metrics"] for _, seen in recorder.seen]
    with (tmp_path / "sb3_1" / "progress.csv").open() as file:
        table = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    lines = [
        json.loads(line) for line in (tmp_path / "sb3_1" / "progress.json").read_text().splitlines()
    ]
    assert table == [pytest.approx(line) for line in lines]
    board = EventAccumulator(logger.dir).Reload()
    for name, ours in {
        "rollout/ep_rew_mean": "reward",
        "rollout/ep_len_mean": "length",
        "train/approx_kl": "approximate_kl",
        "train/policy_gradient_loss": "policy_loss",
        "train/value_loss": "value_loss",
        "train/kl": "kl",
    }.items():
        values = [metrics[ours] for metrics in said]
        assert values == pytest.approx([row[name] for row in table])
        points = board.Scalars(name)
        assert values == pytest.approx([point.value for point in points])
        assert [tokens for tokens, _ in recorder.seen] == [point.step for point in points]
    assert [-metrics["entropy"] for metrics in said] == [r["train/entropy_loss"] for r in table]
    assert [row["time/iterations"] for row in table] == [1, 2, 3]
    assert [tokens for tokens, _ in recorder.seen] == [r["time/total_timesteps"] for r in table]
    assert all(row["time/fps"] > 0 for row in table)


def test_names_that_nobody_knows_are_kept():
    metrics = {"clip_fraction": 0.5, "rollout/distinct": 0.25, "reward": 1.0, "seconds_update": 2.0}
    assert logger_names(metrics) == {
        "train/clip_fraction": 0.5,
        "time/seconds_update": 2.0,
        "rollout/distinct": 0.25,
        "rollout/ep_rew_mean": 1.0,
    }


@pytest.mark.parametrize("ours_first", [True, False])
def test_both_logs_of_a_run_survive_each_other_and_a_resume(tmp_path, ours_first, monkeypatch):
    """Three iterations of forty tokens; the last is done again. All points stay in TensorBoard."""
    # Files of one second are read in the order of this number's letters, where 10 comes before 9.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))

    def write(iterations, resume_after):
        if ours_first:
            log, logger = MetricsLog(tmp_path, resume_after=resume_after), open_logger(tmp_path)
        else:
            logger, log = open_logger(tmp_path), MetricsLog(tmp_path, resume_after=resume_after)
        with log:
            for i in iterations:
                log.write({"iteration": float(i), "reward": i / 8})
                logger.record("rollout/ep_rew_mean", i / 8)
                logger.dump(40 * i)
        logger.close()

    write([1, 2, 3], 0)
    write([3, 4], 2)
    assert [row["reward"] for row in read_metrics(tmp_path / "metrics.csv")] == [
        i / 8 for i in (1, 2, 3, 4)
    ]
    board = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    points = {
        run: [(point.step, point.value) for point in board.Scalars(run, name)]
        for run, name in [
            (".", "reward"),
            ("sb3_1", "rollout/ep_rew_mean"),
            ("sb3_2", "rollout/ep_rew_mean"),
        ]
    }
    assert points["."] == [(i, i / 8) for i in (1, 2, 3, 4)]
    assert points["sb3_1"] == [(40 * i, i / 8) for i in (1, 2, 3)]
    assert points["sb3_2"] == [(40 * i, i / 8) for i in (3, 4)]
    for number, rows in ((1, 3), (2, 2)):
        assert len((tmp_path / f"sb3_{number}" / "progress.json").read_text().splitlines()) == rows


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="xml"):
        open_logger(tmp_path, ["xml"])
