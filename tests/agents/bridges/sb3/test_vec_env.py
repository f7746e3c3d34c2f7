"""The batch under Stable-Baselines3's interface is its own batch of single environments."""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.bridges.sb3.vec_env import TextVecEnv
from tests.agents.toys import make_toy

ROWS = 3


def _both(backend="torch", steps=None, **kwargs):
    """Ours, and Stable-Baselines3's own batch of monitored single environments."""
    batch = gym.make_vec(
        "TextGym/Alphabet-v0",
        num_envs=ROWS,
        backend=backend,
        autoreset_mode="Disabled",
        max_episode_steps=steps,
        **kwargs,
    ).unwrapped

    def single():
        return Monitor(gym.make("TextGym/Alphabet-v0", max_episode_steps=steps, **kwargs))

    return TextVecEnv(batch), DummyVecEnv([single] * ROWS)


@pytest.mark.parametrize("backend", ["torch", "numpy"])
@pytest.mark.parametrize("kwargs", [{}, {"obs_mode": "dict"}, {"emit_mask": True}, {"steps": 2}])
def test_it_equals_a_batch_of_single_environments(backend, kwargs):
    """Observations, rewards, ends and infos over some 20 episodes, seeds and restarts included."""
    ours, theirs = _both(backend, **kwargs)
    draw = np.random.default_rng(0)
    for env in (ours, theirs):
        env.seed(5)
    np.testing.assert_equal(theirs.reset(), ours.reset())
    np.testing.assert_equal(theirs.reset_infos, ours.reset_infos)
    ends = 0
    for _ in range(40):
        actions = draw.integers(2, 11, size=ROWS)  # the end of text, or a letter
        expected, actual = theirs.step(actions), ours.step(actions)
        for info in (*expected[3], *actual[3]):
            if "episode" in info:
                info["episode"].pop("t")
        for theirs_part, ours_part in zip(expected, actual, strict=True):
            np.testing.assert_equal(theirs_part, ours_part)
        ends += int(actual[2].sum())
    assert ends > 20


def test_each_row_has_its_own_mask():
    """What sb3-contrib asks for; what may follow depends on what a row has written."""
    ours, theirs = _both(constraints={"choices": ["abc", "bd", "ca"]})
    for env in (ours, theirs):
        env.seed(0)
        env.reset()
    for actions in ([3, 4, 5], [4, 6, 3], [5, 2, 2]):
        np.testing.assert_equal(theirs.env_method("action_masks"), ours.env_method("action_masks"))
        for env in (ours, theirs):
            env.step(np.array(actions))
    masks = ours.env_method("action_masks", indices=[0, 2])
    assert len(masks) == 2
    assert masks[0].tolist() != masks[1].tolist()


def test_every_row_starts_with_the_prompt_that_its_options_name():
    ours, _ = _both()
    ours.set_options([{"example_id": i} for i in (2, 0, 5)])
    ours.reset()
    assert [info["example_id"] for info in ours.reset_infos] == [2, 0, 5]
    ours.set_options([{"example_id": 1}, {}, {}])
    with pytest.raises(ValueError, match="example_id"):
        ours.reset()


def test_an_environment_that_resets_itself_is_refused():
    envs = gym.make_vec("TextGym/Alphabet-v0", num_envs=2, autoreset_mode="SameStep").unwrapped
    with pytest.raises(ValueError, match='autoreset_mode="Disabled"'):
        TextVecEnv(envs)


def test_attributes_are_set_for_rows_and_what_all_share_is_not():
    env = TextVecEnv(make_toy(rows=3))
    assert env.get_attr("completion_tokens", 1) == [env.envs.completion_tokens]
    assert env.env_is_wrapped(Monitor) == [True, True, True]
    with pytest.raises(AttributeError, match="make the environment with it"):
        env.set_attr("completion_tokens", 3)
    env.set_attr("level", 1)
    env.set_attr("level", [2], indices=[1])
    assert env.get_attr("level") == [1, [2], 1]
