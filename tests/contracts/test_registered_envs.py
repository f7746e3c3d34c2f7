"""Every registered id keeps Gymnasium's and Stable-Baselines3's contracts."""

import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

import textgym
from textgym.tasks import is_available
from textgym.testing import check_vector_env

MODES = ["NextStep", "SameStep", "Disabled"]
IDS = [
    pytest.param(
        env_id,
        marks=pytest.mark.skipif(
            not is_available(gym.spec(env_id).kwargs["task"]),
            reason=f"the data of {env_id} is not installed",
        ),
    )
    for env_id in textgym.registered_ids()
]


def test_there_is_an_id_for_every_task_and_kind_of_action():
    suffixes = ("", "-Choose", "-Edit")
    expected = {f"TextGym/{t}{s}-v0" for t in textgym.known_tasks() for s in suffixes}
    assert expected == set(textgym.registered_ids())


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("obs_mode", ["tokens", "dict"])
def test_gymnasium_accepts_it(env_id, obs_mode):
    """The checker draws actions without a mask, steps, and compares two runs from one seed."""
    check_env(gym.make(env_id, obs_mode=obs_mode).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", IDS)
def test_every_render_mode_shows_the_text(env_id, capsys):
    frames = {}
    for mode in ("ansi", "human", "rgb_array"):
        env = gym.make(env_id, render_mode=mode, completion_tokens=3, disable_env_checker=True)
        env.reset(seed=0)
        env.action_space.seed(0)
        _, _, terminated, _, _ = env.step(env.action_space.sample())
        frames[mode] = env.render()
    assert isinstance(frames["ansi"], str)
    assert frames["human"] is None
    assert frames["ansi"] in capsys.readouterr().out
    assert frames["rgb_array"].shape == (360, 640, 3)
    assert np.uint8 == frames["rgb_array"].dtype
    # Something is drawn where there is a text, or a score, to draw.
    shown = "".join(env.unwrapped.text()).strip() or terminated
    background = frames["rgb_array"][0, 0]
    assert (frames["rgb_array"] != background).any() == bool(shown)


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("obs_mode", ["tokens", "dict"])
def test_stable_baselines3_accepts_it(env_id, obs_mode):
    check_env_for_sb3(gym.make(env_id, obs_mode=obs_mode).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", IDS)
def test_the_prefix_imports_the_package(env_id):
    assert gym.make(f"textgym:{env_id}").spec.id == env_id


@pytest.mark.parametrize("env_id", IDS)
def test_a_spec_goes_to_json_and_back(env_id):
    env = gym.make(env_id, completion_tokens=4, max_episode_steps=9, emit_mask=True)
    text = env.spec.to_json()
    json.loads(text)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(text))
    assert env.spec == again.spec
    check_environments_match(env, again, num_steps=20, seed=3, info_comparison="equivalence")


@pytest.mark.parametrize("env_id", IDS)
def test_it_travels_by_pickle(env_id):
    env = gym.make(env_id)
    copy = pickle.loads(pickle.dumps(env))  # noqa: S301 - made on the line
    assert env.reset(seed=1)[1] == copy.reset(seed=1)[1]


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_its_batch_keeps_every_convention(env_id, mode, backend):
    envs = gym.make_vec(
        env_id, num_envs=3, autoreset_mode=mode, backend=backend, completion_tokens=4
    )
    check_vector_env(envs, steps=20)


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("kind", ["sync", "async"])
# From Python 3.12 a fork beside the threads of torch warns; Gymnasium's async batch forks.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_gymnasium_s_own_batches_run_it(env_id, kind):
    envs = gym.make_vec(env_id, num_envs=2, vectorization_mode=kind, completion_tokens=2)
    try:
        envs.reset(seed=0)
        envs.action_space.seed(0)
        for _ in range(4):
            envs.step(envs.action_space.sample())
    finally:
        envs.close()


@pytest.mark.parametrize("mode", MODES)
def test_gymnasium_s_statistics_wrap_the_batch(mode):
    """What a CleanRL script does first; the wrapper counts on what the metadata says."""
    envs = gym.wrappers.vector.RecordEpisodeStatistics(
        gym.make_vec("TextGym/Bandit-v0", num_envs=2, autoreset_mode=mode)
    )
    envs.reset(seed=0)
    infos = envs.step(np.array([3, 4]))[-1]
    statistics = infos["episode"]
    assert statistics["r"].tolist() == [1.0, 0.5]
    assert statistics["l"].tolist() == [1, 1]


def test_infos_become_lists_as_rllib_wants_them():
    """``DictInfoToList`` asserts that every leaf is an array of length N."""
    envs = gym.wrappers.vector.DictInfoToList(
        gym.make_vec("TextGym/Bandit-v0", num_envs=2, emit_mask=True, autoreset_mode="SameStep")
    )
    _, infos = envs.reset(seed=0)
    assert [info["prompt_length"] for info in infos] == [1, 1]
    infos = envs.step(np.array([3, 4]))[-1]
    assert [info["final_info"]["score"] for info in infos] == [1.0, 0.5]
