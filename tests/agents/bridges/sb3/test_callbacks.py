"""Stable-Baselines3's own callbacks and logger, as they are, around a learner of ours."""

import csv
import json
import re

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    ProgressBarCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor

from agents.bridges.sb3.callbacks import drive
from agents.bridges.sb3.vec_env import TextVecEnv
from tests.agents.learners import toy_learner
from tests.agents.toys import make_toy

FOREVER = 10**9


class Recorder(BaseCallback):
    """Writes down how it was called; stops after some iterations."""

    def __init__(self, stop_after=FOREVER):
        super().__init__()
        self.stop_after, self.calls, self.seen = stop_after, [], []

    def _on_training_start(self):
        self.calls.append("training_start")

    def _on_rollout_start(self):
        self.calls.append("rollout_start")

    def _on_step(self):
        self.calls.append("step")
        self.seen.append((self.num_timesteps, dict(self.locals)))
        return self.n_calls < self.stop_after

    def _on_rollout_end(self):
        self.calls.append("rollout_end")

    def _on_training_end(self):
        self.calls.append("training_end")


def _single():
    return Monitor(gym.make("TextGym/Alphabet-v0"))


def test_hooks_come_in_order_and_tokens_are_counted():
    learner, recorder = toy_learner(), Recorder(stop_after=2)
    drive(learner, FOREVER, recorder)
    once = ["rollout_start", "step", "rollout_end"]
    assert ["training_start", *once, *once, "training_end"] == recorder.calls
    written = [int(seen["rollout"].mask.sum()) for _, seen in recorder.seen]
    assert [written[0], sum(written)] == [tokens for tokens, _ in recorder.seen]
    assert sum(written) == learner.num_timesteps


def test_it_goes_on_to_the_given_number_of_tokens_and_no_further():
    """Eight rows of at most eight tokens: the last iteration adds at most 64."""
    learner = toy_learner()
    for total in (100, 200):
        drive(learner, total)
        assert total <= learner.num_timesteps < total + 64
    before = learner.iteration
    drive(learner, 200)
    assert before == learner.iteration


def test_a_callback_finds_the_episodes_of_the_iteration_in_its_locals():
    learner, recorder = toy_learner(), Recorder(stop_after=1)
    drive(learner, FOREVER, [recorder])
    seen = recorder.seen[0][1]
    rollout = seen["rollout"]
    assert seen["dones"].tolist() == [True] * 8
    assert seen["rewards"] == pytest.approx(rollout.scores)
    lengths = [len(ids) for ids in rollout.completions()]
    assert lengths == [info["episode"]["l"] for info in seen["infos"]]
    assert [info["episode"]["r"] for info in seen["infos"]] == pytest.approx(rollout.scores)
    assert rollout.stop_reasons.tolist() == [info["stop_reason"] for info in seen["infos"]]
    assert recorder.model.ep_info_buffer[-1] == seen["infos"][-1]["episode"]
    assert learner.policy is recorder.model.policy  # the rest is the learner's


def test_a_function_is_a_callback_too():
    calls = []
    drive(toy_learner(), FOREVER, lambda locals_, _: calls.append(locals_["iteration"]))
    assert calls == [1]  # it returned nothing, which is false: stop, as Stable-Baselines3 does


def test_a_list_holds_whatever_is_a_callback():
    """Functions, lists and nothing: each is called, and any one of them stops."""
    calls, recorder = [], Recorder(stop_after=2)
    drive(toy_learner(), FOREVER, [lambda *_: calls.append(1) or True, None, [recorder]])
    assert calls == [1, 1]
    assert recorder.calls.count("step") == 2
    with pytest.raises(TypeError, match="a callback is an instance"):
        drive(toy_learner(), FOREVER, [[Recorder]])


def test_checkpoints_are_folders_from_which_training_goes_on_bit_for_bit(tmp_path):
    """Saved after two of four iterations; the two after it are the same again."""
    learner, recorder = toy_learner(), Recorder(stop_after=4)
    drive(learner, FOREVER, [CheckpointCallback(2, str(tmp_path), "text"), recorder])
    tokens = [tokens for tokens, _ in recorder.seen]
    names = {f"text_{tokens[1]}_steps", f"text_{tokens[3]}_steps"}
    assert names == {path.name for path in tmp_path.iterdir()}
    again = toy_learner()
    again.restore(tmp_path / f"text_{tokens[1]}_steps")
    expected = [_figures(seen["metrics"]) for _, seen in recorder.seen[2:]]
    assert expected == [_figures(again.step()[0]) for _ in "34"]


def _figures(metrics):
    """All that is measured but time."""
    return {name: value for name, value in metrics.items() if not name.startswith("seconds")}


@pytest.mark.parametrize("native", [False, True])
def test_evaluation_scores_the_policy_and_keeps_the_best(tmp_path, native):
    """Greedy texts, one at a time or eight at once; both need one policy to look the same."""
    eval_env = TextVecEnv(make_toy(rows=8)) if native else _single()
    evaluation = EvalCallback(
        eval_env,
        n_eval_episodes=8,
        eval_freq=2,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    learner, recorder = toy_learner(learning_rate=1e-3), Recorder(stop_after=4)
    eval_env.seed(0) if native else eval_env.reset(seed=0)
    logger = configure(str(tmp_path), ["csv"])
    drive(learner, FOREVER, [evaluation, recorder], logger)
    logger.close()
    written = np.load(tmp_path / "evaluations.npz")
    assert [recorder.seen[i][0] for i in (1, 3)] == written["timesteps"].tolist()
    assert written["results"].shape == (2, 8)
    means = written["results"].mean(axis=1)
    assert evaluation.best_mean_reward == pytest.approx(means.max())
    with (tmp_path / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["eval/mean_reward"]) for row in rows] == [False, True, False, True]
    assert means == pytest.approx([float(row["eval/mean_reward"]) for row in rows[1::2]])
    assert all(float(row["rollout/ep_rew_mean"]) >= 0 for row in rows)
    best = toy_learner(learning_rate=1e-3)
    best.restore(tmp_path / "best_model")
    assert best.iteration == (2 if means[0] >= means[1] else 4)


def test_training_stops_at_a_reward():
    """The first evaluation is after three iterations, and any text reaches 0."""
    stop = StopTrainingOnRewardThreshold(0.0)
    evaluation = EvalCallback(_single(), stop, n_eval_episodes=2, eval_freq=3, verbose=0)
    learner = toy_learner()
    drive(learner, FOREVER, evaluation)
    assert learner.iteration == 3


def test_training_stops_without_progress():
    """Nothing is learned, so the first evaluation stays the best; more than two are too many."""
    stop = StopTrainingOnNoModelImprovement(max_no_improvement_evals=2)
    env = TextVecEnv(make_toy("Bandit", rows=2))
    evaluation = EvalCallback(
        env, callback_after_eval=stop, n_eval_episodes=2, eval_freq=1, verbose=0
    )
    learner = toy_learner(task="Bandit", learning_rate=1e-12)
    drive(learner, FOREVER, evaluation)
    assert learner.iteration == 4


def test_training_stops_after_so_many_episodes():
    """Three a row, eight rows, one episode a row and iteration."""
    learner = toy_learner()
    drive(learner, FOREVER, StopTrainingOnMaxEpisodes(3))
    assert learner.iteration == 3


def _every_hundred(tokens):
    """Which iterations are the first to be a hundred tokens after the one before."""
    taken = []
    for count in tokens:
        if count - (taken[-1] if taken else 0) >= 100:
            taken.append(count)
    assert 1 < len(taken) < len(tokens)
    return taken


def test_events_come_every_so_many_tokens():
    counted, stop = Recorder(), Recorder(stop_after=9)
    drive(toy_learner(), FOREVER, CallbackList([EveryNTimesteps(100, counted), stop]))
    expected = _every_hundred([tokens for tokens, _ in stop.seen])
    assert expected == [tokens for tokens, _ in counted.seen]
    assert "metrics" in counted.seen[0][1]


def test_rows_are_written_every_so_many_iterations_and_at_the_end(tmp_path):
    logger = configure(str(tmp_path), ["json"])
    drive(toy_learner(), FOREVER, Recorder(stop_after=5), logger, log_interval=2)
    logger.close()
    lines = (tmp_path / "progress.json").read_text().splitlines()
    assert [json.loads(line)["time/iterations"] for line in lines] == [2, 4, 5]


def test_a_callback_may_write_the_log_itself(tmp_path):
    logger = configure(str(tmp_path), ["json"])
    every, stop = LogEveryNTimesteps(100), Recorder(stop_after=9)
    drive(toy_learner(), FOREVER, [every, stop], logger, log_interval=None)
    logger.close()
    lines = [json.loads(line) for line in (tmp_path / "progress.json").read_text().splitlines()]
    tokens = [tokens for tokens, _ in stop.seen]
    expected = _every_hundred(tokens)
    assert expected == [line["time/total_timesteps"] for line in lines]
    assert all("rollout/ep_rew_mean" in line for line in lines)
    with pytest.raises(ValueError, match="log_interval"):
        drive(toy_learner(), 1, log_interval=0)


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_their_progress_bar_counts_tokens(capfd):
    bar, recorder = ProgressBarCallback(), Recorder(stop_after=2)
    learner = toy_learner()
    learner.step()
    before = learner.num_timesteps
    drive(learner, before + 1000, CallbackList([bar, recorder]))
    assert bar.pbar.total == 1000
    assert learner.num_timesteps - before == bar.pbar.n


def test_our_progress_bar_is_drawn_where_there_is_a_terminal(capfd, monkeypatch):
    drive(toy_learner(), 100, progress_bar=True)
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "160")
    drive(toy_learner(), 100, progress_bar=True)
    assert re.search(r"\d+/100 tokens.*tokens/s  reward 0\.\d+  KL", capfd.readouterr().err)


def test_a_learner_that_does_not_count_is_told_so():
    learner = toy_learner()
    step = learner.step

    def uncounted():
        result = step()
        learner.num_timesteps = 0
        return result

    learner.step = uncounted
    with pytest.raises(RuntimeError, match="left num_timesteps at 0"):
        drive(learner, 100)


def test_callbacks_change_nothing_about_what_is_learned(tmp_path):
    plain, watched = toy_learner(), toy_learner()
    drive(plain, 100)
    evaluation = EvalCallback(_single(), n_eval_episodes=2, eval_freq=1, verbose=0)
    drive(watched, 100, [evaluation, CheckpointCallback(1, str(tmp_path))])
    for name, value in plain.policy.state_dict().items():
        assert torch.equal(value, watched.policy.state_dict()[name]), name
