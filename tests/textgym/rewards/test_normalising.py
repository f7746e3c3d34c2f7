"""Scores on a running scale: against numpy, over batches, to a file and back."""

import json

import gymnasium as gym
import numpy as np
import pytest

from textgym.rewards import resolve
from textgym.rewards.normalising import Normalised, RunningMoments
from textgym.testing import check_reward_function


def number(prompts, completions, **columns):
    return [float(text or 0) for text in completions]


def score(reward, values):
    return reward([""] * len(values), [repr(float(value)) for value in values])


@pytest.mark.parametrize("sizes", [[1000], [1] * 1000, [1, 9, 90, 900], [0, 500, 0, 500]])
@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_moments_do_not_depend_on_batches_and_survive_a_great_offset(sizes, offset):
    """The sum of squares minus the squared sum would be off by everything at 1e9."""
    values = np.random.default_rng(0).normal(size=1000) + offset
    moments = RunningMoments()
    for part in np.split(values, np.cumsum(sizes)[:-1]):
        moments.update(part)
    assert moments.count == 1000
    assert moments.mean == pytest.approx(values.mean(), rel=1e-12)
    assert moments.variance == pytest.approx(values.var(), rel=1e-6)


def test_scores_are_counted_first_and_normalised_then():
    """1, then 3: mean 2, standard deviation 1. Then 2 and 6: mean 3, variance 14/4."""
    reward = resolve({"normalise": {"reward": number, "epsilon": 0.0001}})
    assert score(reward, [1]) == [0.0]
    assert score(reward, [3]) == [pytest.approx(1.0, rel=1e-4)]
    assert score(reward, [2, 6]) == pytest.approx([-1 / 3.5**0.5, 3 / 3.5**0.5], rel=1e-4)


def test_a_constant_reward_becomes_0():
    reward = resolve({"normalise": {"reward": number}})
    assert [score(reward, [5.0, 5.0]) for _ in range(3)] == [[0.0, 0.0]] * 3


def test_it_goes_on_from_a_file_and_freezes(tmp_path):
    path = str(tmp_path / "moments.json")
    first = Normalised(reward=resolve(number))
    score(first, [1, 3, 5])
    first.save(path)
    assert json.loads((tmp_path / "moments.json").read_text())["count"] == 3
    second = resolve({"normalise": {"reward": number, "state": path}})
    assert score(second, [7]) == score(first, [7])
    frozen = resolve({"normalise": {"reward": number, "state": path, "freeze": True}})
    assert score(frozen, [3]) == [0.0]
    assert score(frozen, [100]) != [0.0]
    assert score(frozen, [3]) == [0.0]


def test_only_the_frozen_form_keeps_the_contract_of_rewards(tmp_path):
    """The contract is that a text's score is its own."""

    def size(prompts, completions, **columns):
        return [float(len(text)) for text in completions]

    running = Normalised(reward=resolve(size))
    with pytest.raises(AssertionError, match=r"scores .* alone and .* in a batch"):
        check_reward_function(running)
    running.save(tmp_path / "moments.json")
    check_reward_function(
        Normalised(reward=resolve(size), state=tmp_path / "moments.json", freeze=True)
    )


def test_it_freezes_by_itself_after_so_many_scores():
    reward = resolve({"normalise": {"reward": number, "freeze_after": 2}})
    score(reward, [0, 2])
    assert score(reward, [1, 1, 9]) == pytest.approx([0, 0, 8], abs=1e-6)
    assert reward.moments.count == 2


def test_an_environment_keeps_its_memory_over_episodes():
    reward = Normalised(reward=resolve("textgym.tasks.toys:bandit_score"))
    env = gym.make("textgym:TextGym/Bandit-v0", reward=reward)
    for _ in range(3):
        env.reset(seed=0)
        env.step(3)
    assert reward.moments.count == 3


@pytest.mark.parametrize(
    "text", ["", "[]", '{"mean": 0}', '{"count": -1, "mean": 0, "squares": 0}']
)
def test_a_file_that_is_no_state_is_refused(tmp_path, text):
    path = tmp_path / "moments.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="holds no state of a normalised reward"):
        resolve({"normalise": {"reward": number, "state": str(path)}})


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no state of a normalised reward in .*gone"):
        resolve({"normalise": {"reward": number, "state": str(tmp_path / "gone")}})
    with pytest.raises(ValueError, match="in 'normalise': there is nothing to freeze"):
        resolve({"normalise": {"reward": number, "freeze": True}})
