"""How many modules one plain step of a batch goes through: what somebody reads to understand it."""

import sys

import numpy as np
import pytest

import textgym
from textgym import TextVectorEnv

ROOT = textgym.__name__ + "."


def modules_of(act):
    """The modules of this package whose code runs in a call."""
    seen = set()

    def note(frame, event, _argument):
        if event == "call":
            seen.add(frame.f_globals.get("__name__", ""))

    previous = sys.getprofile()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(previous)
    return {name.removeprefix(ROOT) for name in seen if name.startswith(ROOT)}


def steady(**settings):
    """A batch in the middle of its texts, and a step in which none of them ends."""
    envs = TextVectorEnv(task="Alphabet", num_envs=4, completion_tokens=8, **settings)
    envs.reset(seed=0)
    actions = np.array([3, 4, 5, 6])
    for _ in range(3):
        envs.step(actions)
    return lambda: envs.step(actions)


def test_the_usual_step_takes_place_in_three_modules():
    assert modules_of(steady()) == {"envs.vector", "envs.episodes", "dynamics.append"}


@pytest.mark.parametrize(
    "settings", [{"obs_mode": "dict"}, {"autoreset_mode": "Disabled", "obs_mode": "dict"}]
)
def test_a_plain_step_that_copies_its_state_crosses_seven_modules_at_most(settings):
    assert modules_of(steady(**settings)) == {
        "envs.vector",
        "envs.episodes",
        "envs.batch_moves",
        "envs.backends",
        "dynamics.moves",
        "dynamics.append",
        "dynamics.states",
    }
