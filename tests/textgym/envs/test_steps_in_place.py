"""A batch whose texts grow in place: nobody who looks at it can tell."""

import numpy as np
import pytest

from tests.textgym.dynamics.test_append import assert_same_states
from textgym import TextEnv, TextVectorEnv
from textgym.dynamics.append import Growth

A, B, C, D = 3, 4, 5, 6
PAD, EOS = 0, 2


def look(envs, _number):
    return envs.dynamics_state


def save_and_go_back(envs, _number):
    envs.restore_state(envs.save_state())


def fork_onto_itself(envs, _number):
    envs.fork(np.arange(envs.num_envs))


def read_texts(envs, _number):
    return envs.texts(), envs.action_masks()


def reset_a_row(envs, number):
    mask = np.arange(envs.num_envs) == number % envs.num_envs
    envs.reset(options={"reset_mask": mask, "example_id": number % 3})


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize(
    "between", [None, look, save_and_go_back, fork_onto_itself, read_texts, reset_a_row]
)
def test_an_environment_that_grows_in_place_is_one_that_does_not(mode, between):
    """One makes every step by itself; what it and two others return is the same, masks too."""
    settings = {"task": "Alphabet", "num_envs": 4, "autoreset_mode": mode, "completion_tokens": 6}
    plain, masked, pure = (TextVectorEnv(**settings, emit_mask=on) for on in (False, True, True))
    pure._growth = Growth(pure._rules, in_place=False)
    generator = np.random.default_rng(5)
    np.testing.assert_array_equal(plain.reset(seed=1)[0], pure.reset(seed=1)[0])
    assert_equal(masked.reset(seed=1)[1], pure.reset(seed=1)[1])
    kept = []
    for number in range(120):
        # Now and then a text ends or an action is illegal.
        actions = generator.choice([A, B, C, D, EOS, PAD], 4, p=[0.24] * 4 + [0.02] * 2)
        here, shown, there = (envs.step(actions) for envs in (plain, masked, pure))
        kept.append((here[0], here[0].copy()))
        for left, right in zip(here[:4], there[:4], strict=True):
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype
        assert_equal(shown[4], there[4])
        shown[4]["action_mask"][:] = 7  # whoever writes into it has written into nothing else
        if between is not None and number % 3 == 1:
            for envs in (plain, masked, pure):
                between(envs, number)
    assert_same_states(pure.dynamics_state, plain.dynamics_state)
    for returned, as_it_was in kept:
        np.testing.assert_array_equal(returned, as_it_was)


def assert_equal(left, right):
    """Requires the same infos, nested ones and types included."""
    assert left.keys() == right.keys()
    for name, value in left.items():
        if isinstance(value, dict):
            assert_equal(value, right[name])
        elif value.dtype == object:
            for mine, theirs in zip(value, right[name], strict=True):
                np.testing.assert_array_equal(mine, theirs)
        else:
            np.testing.assert_array_equal(value, right[name])
            assert value.dtype == right[name].dtype


@pytest.mark.parametrize("emit_mask", [False, True])
def test_a_usual_step_of_a_batch_does_not_go_the_long_way(emit_mask, monkeypatch):
    """Also where masks are asked for, which are the same in every state."""
    envs = TextVectorEnv(task="Alphabet", num_envs=2, emit_mask=emit_mask)
    envs.reset(seed=0)
    monkeypatch.delattr(TextVectorEnv, "_move")
    envs.step(np.array([A, B]))
    stretch = envs._growth._stretch
    assert envs.action_masks().sum() == 2 * 9  # eight letters and the end of text
    assert envs._growth._stretch is stretch is not None
    with pytest.raises(AttributeError, match="_move"):
        envs.step(np.array([A, EOS]))


def test_a_text_on_its_way_can_be_taken_up_in_another_environment():
    one, other = (TextVectorEnv(task="Alphabet", num_envs=2) for _ in range(2))
    one.reset(seed=0, options={"example_id": np.array([0, 1])})
    other.reset(seed=3)
    one.step(np.array([B, C]))
    snapshot = one.save_state()
    one.step(np.array([C, D]))
    other.restore_state(snapshot)
    other.step(np.array([D, D]))
    assert one.texts()[1] == ["bc", "cd"]
    assert other.texts()[1] == ["bd", "cd"]
    one.restore_state(snapshot)
    assert one.texts()[1] == ["b", "c"]


def test_one_step_in_place_is_a_step_for_those_who_ask_who_wrote_what():
    envs = TextVectorEnv(task="Alphabet", num_envs=2)
    envs.reset(seed=0)
    envs.step(np.array([B, C]))
    assert envs.authored_at_end is None


def test_a_single_text_and_a_batch_raise_for_the_same_actions():
    """A number below 0 must not be looked up from the end."""
    env, envs = TextEnv(task="Alphabet"), TextVectorEnv(task="Alphabet", num_envs=1)
    size = int(env.action_space.n)
    for action in (*range(-3 * size, 0), *range(size, 3 * size)):
        env.reset(seed=0)
        envs.reset(seed=0)
        with pytest.raises(ValueError, match=f"action {action} is not in"):
            env.step(action)
        with pytest.raises(ValueError, match=f"row 0: action {action} is not in"):
            envs.step(np.array([action]))
