"""Objects among an environment's arguments, and what is copied of them."""

import copy
from pathlib import Path

import numpy as np
import pytest

from textgym import TextEnv, TextVectorEnv
from textgym.envs.settings import Handle, Settings, hold, release


def reward(prompts, completions, **columns):
    return [0.0] * len(prompts)


def test_objects_are_held_and_names_are_not():
    """Within lists and dictionaries too, in arguments that may hold objects, and in no others."""
    kwargs = {
        "task": "Alphabet",
        "tokenizer": Path("a"),
        "reward": [[reward, 1.0], ["length", {"clip": reward}]],
        "device": object(),
    }
    held = hold(kwargs)
    assert (held["task"], held["tokenizer"]) == ("Alphabet", Path("a"))
    assert held["device"] is kwargs["device"]
    (first, weight), (name, nested) = held["reward"]
    assert isinstance(first, Handle)
    assert isinstance(nested["clip"], Handle)
    assert (weight, name) == (1.0, "length")
    assert release(held) == kwargs
    assert hold(held)["reward"][0][0] is first


def test_a_copy_of_a_handle_is_the_handle():
    held = hold({"reward": reward})
    assert copy.deepcopy(held)["reward"] is held["reward"]
    assert repr(held["reward"]) == "Handle(function)"
    assert Settings.of({"task": "Alphabet", **held}).reward is reward


def test_infos_show_masks_on_request_and_under_constraints():
    shows = {
        name: Settings(task="Alphabet", **kwargs).shows_mask
        for name, kwargs in {
            "neither": {},
            "request": {"emit_mask": True},
            "constraints": {"constraints": {"min_tokens": 1}},
        }.items()
    }
    assert shows == {"neither": False, "request": True, "constraints": True}


@pytest.mark.parametrize(
    "kwargs",
    [
        {"prompt_tokens": 4, "completion_tokens": 5},
        {"action_kind": "choose", "num_choices": 3, "max_actions": 4},
        {"constraints": {"min_tokens": 2, "forbid": [4]}},
    ],
)
def test_numpy_s_integers_are_integers(kwargs):
    """They were refused here and taken there; what is computed is no integer of Python's."""

    def of_numpy(value):
        if isinstance(value, dict):
            return {key: of_numpy(item) for key, item in value.items()}
        if isinstance(value, list):
            return [of_numpy(item) for item in value]
        return np.int64(value) if isinstance(value, int) else value

    expected, actual = (TextEnv(task="Alphabet", **given) for given in (kwargs, of_numpy(kwargs)))
    assert expected.observation_space == actual.observation_space
    assert expected.action_space == actual.action_space
    assert expected.max_actions == actual.max_actions
    for env in (expected, actual):
        env.reset(seed=0)
    np.testing.assert_array_equal(expected.action_masks(), actual.action_masks())
    envs = TextVectorEnv(task="Alphabet", num_envs=np.int32(2), max_episode_steps=np.uint8(3))
    assert (envs.num_envs, type(envs.num_envs)) == (2, int)


def test_a_size_that_no_array_has_is_refused():
    for name in ("prompt_tokens", "completion_tokens", "num_envs"):
        with pytest.raises(ValueError, match=f"{name} must be at most 2147483647, got 9999"):
            TextVectorEnv(task="Alphabet", **{name: 10**30 - 1})


@pytest.mark.parametrize("size", [True, np.True_, 2.0, "2", np.float64(2), 0, -1, np.int64(0)])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_what_is_no_positive_integer_is_no_size(name, size):
    with pytest.raises(ValueError, match=f"{name} must be a positive integer, got"):
        Settings(task="Alphabet", **{name: size})


@pytest.mark.parametrize("name", ["dense", "emit_mask"])
def test_a_number_is_no_yes_or_no(name):
    with pytest.raises(ValueError, match=f"{name} must be True or False, got 1"):
        Settings(task="Alphabet", **{name: 1})
