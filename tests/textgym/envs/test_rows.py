"""What Gymnasium promises of ``call``, ``get_attr`` and ``set_attr``, beside its own batch."""

import copy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from textgym.envs.single import TextEnv
from textgym.envs.vector import TextVectorEnv
from textgym.wrappers.vector import TextObservation

BATCHES = {"reset", "step", "save_state", "restore_state", "close", "score_later", "scores_of"}
OTHERS = {  # which differ by what they are, or whom they are asked of
    "metadata": "a batch says when it resets",
    "spec": "of what a batch is made of",
    "unwrapped": "the batch itself",
    "get_wrapper_attr": "of wrappers around one environment",
    "set_wrapper_attr": "likewise",
    "has_wrapper_attr": "likewise",
    "example_of": "takes a prompt",
}


def both(kind="append", **settings):
    given = {"task": "Alphabet", "action_kind": kind, "render_mode": "ansi", **settings}
    ours = TextVectorEnv(num_envs=3, **given)
    theirs = SyncVectorEnv([lambda: TextEnv(**given)] * 3)
    for envs in (ours, theirs):
        envs.reset(seed=5)
        envs.step(np.full((3, *ours.single_action_space.shape), 4))
    return ours, theirs


@pytest.mark.parametrize("kind", ["append", "choose", "edit"])
def test_each_row_says_what_its_environment_would(kind):
    """Whatever has a name in public; ``pair_masks`` gave each row those of all."""
    ours, theirs = both(kind)
    names = [name for name in dir(theirs.envs[0]) if not name.startswith("_")]
    for name in sorted(set(names) - set(OTHERS) - BATCHES):
        if name == "pair_masks" and kind != "edit":
            continue
        found, expected = ours.call(name), theirs.call(name)
        assert len(found) == 3, name
        if name == "np_random":
            found, expected = ([each.bit_generator.state for each in x] for x in (found, expected))
        if name in ("task", "tokenizer"):
            found, expected = ([type(each) for each in x] for x in (found, expected))
        if isinstance(expected[0], np.ndarray):
            assert np.array_equal(np.stack(found), np.stack(expected)), name
        else:
            assert list(found) == list(expected), name
    for name in BATCHES:
        with pytest.raises(AttributeError, match=f"{name} is the whole batch's"):
            ours.call(name)


@pytest.mark.parametrize("values", [7, "seven", [1, 2, 3], (1, 2, 3), None, np.arange(3)])
def test_what_is_set_is_read_again(values):
    ours, theirs = both()
    for envs in (ours, theirs):
        envs.set_attr("level", values)
    assert str(ours.get_attr("level")) == str(theirs.get_attr("level"))
    again = copy.deepcopy(ours)
    again.set_attr("level", 0)
    assert str(ours.call("level")) == str(theirs.call("level"))


def test_a_function_that_was_set_is_called():
    ours, theirs = both()
    for envs in (ours, theirs):
        envs.set_attr("plus", [lambda x, n=n: x + n for n in range(3)])
    assert ours.call("plus", 4) == theirs.call("plus", 4) == (4, 5, 6)


def test_generators_that_were_set_draw_what_comes_next():
    """As a single environment's, also what was drawn ahead; no seed is known of them."""
    ours, theirs = both()
    ours.reset(seed=1)
    theirs.reset(seed=1)
    for envs in (ours, theirs):
        envs.set_attr("np_random", [np.random.default_rng(n) for n in (3, 9, 27)])
    assert ours.get_attr("np_random_seed") == theirs.get_attr("np_random_seed") == (-1, -1, -1)
    for _ in range(4):
        found, expected = (envs.reset()[1]["example_id"] for envs in (ours, theirs))
        assert found.tolist() == expected.tolist()


def test_modes_of_showing_are_all_rows():
    ours, theirs = both()
    for envs in (ours, theirs):
        envs.set_attr("render_mode", None)
    assert ours.call("render") == theirs.call("render") == (None, None, None)
    with pytest.raises(ValueError, match="all rows have one render_mode"):
        ours.set_attr("render_mode", ["ansi", None, None])


@pytest.mark.parametrize(
    ("name", "values", "error", "message"),
    [
        ("level", [1, 2], ValueError, "level has 2 values, and there are 3 rows"),
        ("completion_tokens", 3, AttributeError, "make the environment with it"),
        ("action_space", None, AttributeError, "make the environment with it"),
        ("text", "a", AttributeError, "make the environment with it"),
        ("step", 3, AttributeError, "make the environment with it"),
        ("np_random", 3, TypeError, "must be a numpy Generator, got int"),
    ],
)
def test_what_cannot_be_set_changes_nothing(name, values, error, message):
    ours, _ = both()
    before = ours.get_attr("np_random_seed")
    with pytest.raises(error, match=message):
        ours.set_attr(name, values)
    assert ours.get_attr("np_random_seed") == before
    with pytest.raises(AttributeError):
        ours.get_attr("level")


def test_wrappers_hand_it_on():
    envs = TextObservation(gym.make_vec("TextGym/Alphabet-v0", num_envs=2))
    envs.set_attr("level", [1, 2])
    assert envs.get_attr("level") == envs.call("level") == (1, 2)
