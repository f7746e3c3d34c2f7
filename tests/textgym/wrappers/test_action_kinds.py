"""The wrappers on every kind of action: chosen and edited texts are viewed as growing ones are."""

import numpy as np
import pytest

from textgym import TextEnv, TextVectorEnv, wrappers
from textgym.recording.trajectories import read_trajectories
from textgym.testing import check_vector_env

MODES = ["NextStep", "SameStep", "Disabled"]
KINDS = ["choose", "edit"]
WRAPPED = [
    ("DictObservation", {}),
    ("TextObservation", {}),
    ("ActionMaskObservation", {"preset": "rllib"}),
    ("LengthTerm", {"weight": -0.1, "target": 2}),
    ("RepetitionTerm", {"weight": -0.7, "n": 1}),
]


def settings(kind, **kwargs):
    return {"task": "Alphabet", "action_kind": kind, "emit_mask": True, **kwargs}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "kwargs"), WRAPPED)
def test_a_wrapped_batch_is_a_batch_of_wrapped_singles(name, kwargs, kind, backend, mode):
    envs = TextVectorEnv(num_envs=3, autoreset_mode=mode, backend=backend, **settings(kind))
    check_vector_env(
        getattr(wrappers.vector, name)(envs, **kwargs),
        steps=20,
        single=lambda: getattr(wrappers, name)(TextEnv(**settings(kind)), **kwargs),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_dictionary_is_the_environment_s_own(kind):
    views = wrappers.DictObservation(TextEnv(**settings(kind)))
    own = TextEnv(**settings(kind, obs_mode="dict"))
    assert own.observation_space == views.observation_space
    for seed in range(5):
        np.testing.assert_equal(own.reset(seed=seed), views.reset(seed=seed))
        own.action_space.seed(seed)
        over = False
        while not over:
            action = own.action_space.sample()
            expected = own.step(action)
            np.testing.assert_equal(expected, views.step(action))
            over = expected[2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_and_the_actions_repeat_an_episode(tmp_path, kind):
    """Proposals and drafts are drawn again as they were."""
    env = wrappers.RecordTrajectories(TextEnv(**settings(kind)), tmp_path / "x")
    env.action_space.seed(0)
    for seed in range(5):
        env.reset(seed=seed)
        while not env.step(env.action_space.sample())[2]:
            pass
    recorded = read_trajectories(tmp_path / "x")
    again = wrappers.RecordTrajectories(TextEnv(**settings(kind)), tmp_path / "y")
    for trajectory in recorded:
        again.reset(seed=trajectory.seed)
        for action in trajectory.actions:
            again.step(np.array(action))
    assert recorded == read_trajectories(tmp_path / "y")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_recorded_is_what_was_scored(tmp_path, kind):
    env = TextEnv(**settings(kind))
    recording = wrappers.RecordTrajectories(env, tmp_path / "x")
    recording.action_space.seed(1)
    texts = []
    for seed in range(8):
        recording.reset(seed=seed)
        while not recording.step(recording.action_space.sample())[2]:
            pass
        texts.append(env.text())
    recorded = read_trajectories(tmp_path / "x")
    assert texts == [(trajectory.prompt, trajectory.completion) for trajectory in recorded]


def test_a_prompt_of_one_s_own_is_recorded(tmp_path):
    """It has no number, and numbers from the end would give another's prompt and columns."""
    env = wrappers.RecordTrajectories(TextEnv(task="Alphabet"), tmp_path / "x")
    env.reset(options={"prompt": "c"})
    env.step(2)
    envs = TextVectorEnv(task="Alphabet", num_envs=2, autoreset_mode="Disabled")
    envs = wrappers.vector.RecordTrajectories(envs, tmp_path / "x")
    envs.reset(options={"prompt": ["d", "e"]})
    envs.step(np.array([2, 2]))
    recorded = read_trajectories(tmp_path / "x")
    assert [(t.prompt, t.example_id) for t in recorded] == [("c", -1), ("d", -1), ("e", -1)]
    assert all(trajectory.columns == {"reference": None} for trajectory in recorded)


def test_the_parts_of_a_weighted_reward_stay_beside_a_term():
    reward = [["textgym.tasks.toys:alphabet_score", 2.0]]
    env = TextEnv(task="Alphabet", reward=reward)
    env.reset(seed=0)
    parts = env.step(2)[-1]["reward_terms"]
    term = wrappers.LengthTerm(TextEnv(task="Alphabet", reward=reward), 0.5)
    term.reset(seed=0)
    assert {**parts, "length": 1.0} == term.step(2)[-1]["reward_terms"]
    batch = TextVectorEnv(task="Alphabet", reward=reward, num_envs=2, autoreset_mode="SameStep")
    check_vector_env(
        wrappers.vector.LengthTerm(batch, 0.5),
        steps=20,
        single=lambda: wrappers.LengthTerm(TextEnv(task="Alphabet", reward=reward), 0.5),
    )


@pytest.mark.parametrize("kind", ["append", "choose"])
def test_masks_reach_gymnasium_s_own_sampler(kind):
    """The mask in the observation draws legal actions alone, and an illegal one would raise."""
    env = wrappers.ActionMaskObservation(TextEnv(**settings(kind, invalid_action="raise")))
    env.action_space.seed(0)
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            mask = observation["action_mask"].astype(np.int8)
            observation, _, over, _, _ = env.step(env.action_space.sample(mask))
