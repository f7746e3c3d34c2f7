"""An edit as one number."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from tests.textgym.tiles import Tiles
from textgym import TextEnv, TextVectorEnv, wrappers
from textgym.testing import check_vector_env

ID = "TextGym/Alphabet-Edit-v0"
PLACES, IDS, EOS = 8, 11, 2


def flat(place, token):
    return place * IDS + token


def test_a_number_is_a_place_and_an_id():
    pairs, numbers = (
        TextEnv(task="Alphabet", action_kind="edit"),
        wrappers.FlattenAction(TextEnv(task="Alphabet", action_kind="edit")),
    )
    assert gym.spaces.Discrete(PLACES * IDS) == numbers.action_space
    for env in (pairs, numbers):
        env.reset(seed=3)
    for place, token in [(2, 5), (3, 0), (2, 1), (7, 9), (0, 2)]:
        expected, actual = pairs.step((place, token)), numbers.step(flat(place, token))
        np.testing.assert_array_equal(expected[0], actual[0])
        assert expected[1:] == actual[1:]


def taken(env, number):
    """Whether an edit that must be legal is taken; the environment is left as it was."""
    before = env.unwrapped.save_state()
    try:
        env.step(number)
    except ValueError:
        return False
    env.unwrapped.restore_state(before)
    return True


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    steps=st.integers(0, 6),
    constraints=st.sampled_from([None, {"forbid": ["b", "c"]}]),
)
def test_a_pair_is_legal_if_and_only_if_it_does_not_raise(seed, steps, constraints):
    """Both of its parts being legal is not enough: nothing is deleted behind the text."""
    env = wrappers.FlattenAction(
        TextEnv(
            task="Alphabet",
            action_kind="edit",
            emit_mask=True,
            invalid_action="raise",
            constraints=constraints,
            max_actions=20,
        )
    )
    _, info = env.reset(seed=seed)
    draws = np.random.default_rng(seed)
    for _ in range(steps):
        # Of those that stop the text there are too many.
        going_on = [n for n in np.flatnonzero(env.action_masks()) if n % IDS != EOS]
        *_, info = env.step(draws.choice(going_on))
    expected = [taken(env, number) for number in range(PLACES * IDS)]
    assert expected == env.action_masks().tolist()
    assert expected == info["action_mask"].tolist()
    np.testing.assert_array_equal(env.action_masks(), env.unwrapped.pair_masks().reshape(-1))


def test_pairs_of_other_environments_are_legal_if_both_of_their_parts_are():
    env = wrappers.FlattenAction(Tiles())
    _, info = env.reset(seed=0)
    empty = env.unwrapped.board == 0
    expected = [bool(empty[place]) and value > 0 for place in range(3) for value in range(4)]
    assert expected == env.action_masks().tolist() == info["action_mask"].astype(bool).tolist()


def test_only_edits_are_pairs():
    env, envs = TextEnv(task="Alphabet"), TextVectorEnv(task="Alphabet", num_envs=2)
    for one in (env, envs):
        one.reset(seed=0)
        with pytest.raises(ValueError, match="only an edit is a pair"):
            one.pair_masks()


@pytest.mark.parametrize("number", [-1, PLACES * IDS])
def test_a_number_outside_the_space_is_refused(number):
    env = wrappers.FlattenAction(TextEnv(task="Alphabet", action_kind="edit"))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"action {number} is not in 0\.\.87"):
        env.step(number)
    envs = wrappers.vector.FlattenAction(
        TextVectorEnv(task="Alphabet", action_kind="edit", num_envs=2)
    )
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="row 1: action"):
        envs.step(np.array([0, number]))


# The checker would rather see the environment itself; here the wrapper is what is checked.
@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version:UserWarning")
def test_the_checkers_accept_it_and_a_spec_rebuilds_it():
    env = wrappers.FlattenAction(gym.make(ID))
    check_env(wrappers.FlattenAction(gym.make(ID).unwrapped), skip_render_check=True)
    check_env_for_sb3(wrappers.FlattenAction(gym.make(ID).unwrapped), skip_render_check=True)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert env.action_space == again.action_space


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_batch_is_a_batch_of_its_singles(mode, backend):
    def single():
        return wrappers.FlattenAction(TextEnv(task="Alphabet", action_kind="edit", emit_mask=True))

    envs = TextVectorEnv(
        task="Alphabet",
        action_kind="edit",
        emit_mask=True,
        num_envs=3,
        autoreset_mode=mode,
        backend=backend,
    )
    check_vector_env(wrappers.vector.FlattenAction(envs), steps=30, single=single)


def test_actions_of_one_part_are_not_flattened():
    with pytest.raises(ValueError, match="two parts, not Discrete"):
        wrappers.FlattenAction(TextEnv(task="Alphabet"))
