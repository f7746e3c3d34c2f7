"""The loop of ``learn``, without and with Stable-Baselines3."""

import subprocess
import sys
from pathlib import Path

import pytest
from stable_baselines3.common.callbacks import BaseCallback

from agents.training.loop import Functions, only_functions, run
from tests.agents.learners import toy_learner

ROOT = Path(__file__).parents[3]
LEARNS = """
import sys
from tests.agents.learners import toy_learner

seen = []
learner = toy_learner()
learner.learn(50, [lambda known, _: seen.append(known["metrics"]["reward"]) or True])
learner.learn(50)
assert learner.iteration > len(seen) > 0
heavy = {"stable_baselines3", "pandas", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_learn_imports_nothing_of_stable_baselines3_without_callbacks_of_its_own():
    """It pulls pandas and matplotlib."""
    done = subprocess.run(
        [sys.executable, "-c", LEARNS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class Asked(BaseCallback):
    """Keeps what it is told after each iteration."""

    def __init__(self):
        super().__init__()
        self.told = []

    def _on_step(self):
        self.told.append(set(self.locals))
        return True


def test_a_function_is_told_the_same_beside_a_callback_and_alone():
    alone, beside, asked = [], [], Asked()
    toy_learner().learn(100, lambda known, _: alone.append(set(known)) or True)
    toy_learner().learn(100, [lambda known, _: beside.append(set(known)) or True, asked])
    assert alone == beside == asked.told
    assert {"self", "metrics", "rollout", "iteration", "infos", "dones", "rewards"} <= alone[0]


def test_every_function_is_called_and_any_one_stops():
    calls = []
    functions = [lambda *_: calls.append("first"), lambda *_: calls.append("second") or True]
    learner = toy_learner()
    run(learner, 10**9, Functions(functions))
    assert calls == ["first", "second"]
    assert learner.iteration == 1


def test_what_is_a_function_and_what_is_not():
    assert only_functions(None) == []
    assert only_functions([print, None, [len, []]]) == [print, len]
    for other in (Asked(), Asked, "eval", [print, [Asked()]], dict):
        assert only_functions(other) is None


def test_a_step_that_counts_nothing_is_refused():
    class Idle:
        num_timesteps = 5

        def step(self):
            return {}, None

    with pytest.raises(RuntimeError, match=r"Idle.step\(\) left num_timesteps at 5"):
        run(Idle(), 10, Functions())
