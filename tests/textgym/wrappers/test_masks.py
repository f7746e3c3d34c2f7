"""Masks beside observations: keys, types and places, for one environment and for many."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from tests.textgym.tiles import Tiles, TilesBatch
from textgym import TextEnv, TextVectorEnv, wrappers
from textgym.testing import check_vector_env

MODES = ["NextStep", "SameStep", "Disabled"]
PRESETS = [
    ("torchrl", "observation", "action_mask", np.bool_),
    ("pettingzoo", "observation", "action_mask", np.int8),
    ("rllib", "observations", "action_mask", np.float32),
    ("tianshou", "obs", "mask", np.bool_),
]


# Wrapping is the point, and Gymnasium's checker would rather see a bare environment from an id.
@pytest.mark.filterwarnings(
    "ignore:.*(is different from the unwrapped version|alternative render modes)"
)
@pytest.mark.parametrize(("preset", "observation_key", "mask_key", "dtype"), PRESETS)
def test_each_library_finds_the_mask_where_it_looks(preset, observation_key, mask_key, dtype):
    env = wrappers.ActionMaskObservation(Tiles(), preset)
    check_env(env)
    check_env_for_sb3(env)
    observation, _ = env.reset(seed=0)
    taken = int(np.flatnonzero(observation[observation_key])[0])
    assert observation.keys() == {observation_key, mask_key}
    assert observation[mask_key].dtype == dtype
    # Three places, then four numbers of which 0 never is legal.
    places = [float(place != taken) for place in range(3)]
    assert [*places, 0.0, 1.0, 1.0, 1.0] == observation[mask_key].tolist()
    space = env.observation_space[mask_key]
    assert space == gym.spaces.Box(0, 1, (7,), dtype)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("preset", "observation_key", "mask_key", "dtype"), PRESETS)
def test_a_batch_has_the_masks_of_its_rows(mode, preset, observation_key, mask_key, dtype):
    envs = wrappers.vector.ActionMaskObservation(TilesBatch(mode=mode), preset)
    check_vector_env(envs, steps=25)
    observation, _ = envs.reset(seed=0)
    assert observation[mask_key].dtype == dtype
    np.testing.assert_array_equal(envs.action_masks(), observation[mask_key])
    np.testing.assert_array_equal(
        observation[observation_key] == 0, observation[mask_key][:, :3].astype(bool)
    )


def test_masks_of_parts_are_a_batch_of_the_singles_too():
    check_vector_env(
        wrappers.vector.ActionMaskObservation(TilesBatch(mode="SameStep"), "rllib"),
        single=lambda: wrappers.ActionMaskObservation(Tiles(), "rllib"),
    )


@pytest.mark.parametrize(("preset", "observation_key", "mask_key", "dtype"), PRESETS)
def test_gymnasium_s_batches_keep_the_type_of_a_mask(preset, observation_key, mask_key, dtype):
    """They allocate by the space: of MultiBinary they made int8, whose ``~`` is -1 and -2."""

    def one():
        return wrappers.ActionMaskObservation(TextEnv(task="Alphabet"), preset)

    masks = SyncVectorEnv([one, one]).reset(seed=0)[0][mask_key]
    assert masks.dtype == dtype == one().reset(seed=0)[0][mask_key].dtype
    np.testing.assert_array_equal([np.arange(11) >= 2] * 2, masks)


def test_gymnasium_draws_by_the_mask_of_the_pettingzoo_preset():
    env = wrappers.ActionMaskObservation(TextEnv(task="Alphabet"), "pettingzoo")
    env.action_space.seed(0)
    mask = env.reset(seed=0)[0]["action_mask"]
    assert set(range(2, 11)) == {int(env.action_space.sample(mask)) for _ in range(200)}


GYMNASIUM_S = [
    lambda envs: gym.wrappers.vector.DtypeObservation(envs, np.float32),
    gym.wrappers.vector.RecordEpisodeStatistics,
    lambda envs: gym.wrappers.vector.NormalizeReward(gym.wrappers.vector.ClipReward(envs, 0, 1)),
]


@pytest.mark.parametrize("wrap", GYMNASIUM_S)
@pytest.mark.parametrize("kind", ["sync", "vector_entry_point"])
def test_masks_are_found_below_gymnasium_s_wrappers_of_batches(kind, wrap):
    """Which hand no method on: the order that RLlib needs, the dtype first, was refused."""
    made = gym.make_vec("TextGym/Alphabet-v0", num_envs=2, vectorization_mode=kind)
    envs = wrappers.vector.ActionMaskObservation(wrap(made), "rllib")
    observation, _ = envs.reset(seed=0)
    legal = np.arange(11) >= 2
    np.testing.assert_array_equal([legal] * 2, observation["action_mask"])
    np.testing.assert_array_equal([legal] * 2, envs.step(np.array([3, 4]))[0]["action_mask"])


def test_pairs_are_found_below_gymnasium_s_wrappers_of_batches():
    made = gym.make_vec("TextGym/Alphabet-Edit-v0", num_envs=2)
    flat = wrappers.vector.FlattenAction(gym.wrappers.vector.RecordEpisodeStatistics(made))
    envs = wrappers.vector.ActionMaskObservation(gym.wrappers.vector.ClipReward(flat, 0, 1))
    observation, _ = envs.reset(seed=0)
    pairs = made.unwrapped.pair_masks().reshape(2, -1)
    np.testing.assert_array_equal(pairs, observation["action_mask"])


def test_gymnasium_s_batches_need_no_masks_of_their_own():
    """Those of their single environments are asked for."""
    envs = wrappers.vector.ActionMaskObservation(SyncVectorEnv([Tiles, Tiles]), "tianshou")
    observation, _ = envs.reset(seed=0)
    np.testing.assert_array_equal(observation["obs"] == 0, observation["mask"][:, :3])


def make_torch_batch():
    return TextVectorEnv(
        task="Alphabet", num_envs=3, autoreset_mode="SameStep", backend="torch", emit_mask=True
    )


@pytest.mark.parametrize("preset", ["torchrl", "rllib"])
def test_masks_stay_on_the_device(preset):
    envs = wrappers.vector.ActionMaskObservation(make_torch_batch(), preset)
    mask = envs.reset(seed=0)[0]["action_mask"]
    final = envs.step(torch.tensor([2, 3, 3]))[-1]["final_obs"]["action_mask"]
    legal = torch.arange(11) >= 2
    expected = {"torchrl": legal, "rllib": legal.float()}[preset]
    torch.testing.assert_close(expected, mask[0])
    # Of the final observations, those of the rows that ended mean something.
    torch.testing.assert_close(expected, final[0])


def test_masks_that_were_shown_are_not_written_to():
    """An environment may keep one mask and change it in every step."""

    class OneMask(Tiles):
        kept = np.ones(7, dtype=bool)

        def action_masks(self):
            return self.kept

    env = wrappers.ActionMaskObservation(OneMask())
    observation, _ = env.reset(seed=0)
    OneMask.kept[:] = False
    assert observation["action_mask"].all()


def test_final_masks_must_be_there():
    """After a reset in the same step, action_masks() speaks of the next episode."""
    envs = TextVectorEnv(task="Alphabet", num_envs=2, autoreset_mode="SameStep")
    with pytest.raises(ValueError, match="make the environment with emit_mask=True"):
        wrappers.vector.ActionMaskObservation(envs).reset()


class Steering(gym.Env):
    observation_space = gym.spaces.Discrete(2)
    action_space = gym.spaces.Box(-1, 1, (2,))

    def action_masks(self):
        return np.ones(2, dtype=bool)


@pytest.mark.parametrize(
    ("wrap", "finding"),
    [
        (
            lambda: wrappers.ActionMaskObservation(Tiles(), "sb3"),
            "unknown preset 'sb3'; known: torchrl",
        ),
        (lambda: wrappers.ActionMaskObservation(gym.make("CartPole-v1")), r"no action_masks\(\)"),
        (
            lambda: wrappers.vector.ActionMaskObservation(gym.make_vec("CartPole-v1")),
            r"no action_masks\(\)",
        ),
        (lambda: wrappers.ActionMaskObservation(Steering()), "only Discrete and MultiDiscrete"),
    ],
)
def test_what_has_no_masks_is_refused_at_once(wrap, finding):
    with pytest.raises(ValueError, match=finding):
        wrap()


def test_a_mask_of_another_length_is_an_error():
    class Short(Tiles):
        def action_masks(self):
            return np.ones(4, dtype=bool)

    with pytest.raises(ValueError, match=r"action_masks\(\) has 4 places, but the actions need 7"):
        wrappers.ActionMaskObservation(Short()).reset()
