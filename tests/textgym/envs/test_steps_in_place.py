"""A batch whose texts grow in place: nobody who looks at it can tell."""

import numpy as np
import pytest

from tests.textgym.dynamics.test_append import assert_same_states
from textgym import TextEnv, TextVectorEnv

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
    """With masks in its infos every step is pure; all else that both return is the same."""
    settings = {"task": "Alphabet", "num_envs": 4, "autoreset_mode": mode, "completion_tokens": 6}
    plain, pure = TextVectorEnv(**settings), TextVectorEnv(**settings, emit_mask=True)
    generator = np.random.default_rng(5)
    np.testing.assert_array_equal(plain.reset(seed=1)[0], pure.reset(seed=1)[0])
    kept = []
    for number in range(120):
        # Now and then a text ends or an action is illegal.
        actions = generator.choice([A, B, C, D, EOS, PAD], 4, p=[0.24] * 4 + [0.02] * 2)
        here, there = plain.step(actions), pure.step(actions)
        kept.append((here[0], here[0].copy()))
        for left, right in zip(here[:4], there[:4], strict=True):
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype
        if between is not None and number % 3 == 1:
            between(plain, number)
            between(pure, number)
    assert_same_states(pure.dynamics_state, plain.dynamics_state)
    for returned, as_it_was in kept:
        np.testing.assert_array_equal(returned, as_it_was)


def test_a_usual_step_of_a_batch_does_not_go_the_long_way(monkeypatch):
    envs = TextVectorEnv(task="Alphabet", num_envs=2)
    envs.reset(seed=0)
    monkeypatch.delattr(TextVectorEnv, "_move")
    envs.step(np.array([A, B]))
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
