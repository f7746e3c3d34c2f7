"""Episodes go into a data set of Minari and come back as they were."""

import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest

import textgym
from textgym.wrappers import DictObservation, RecordTrajectories

minari = pytest.importorskip("minari", reason="the extra minari")
pytest.importorskip("h5py", reason="the extra minari")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def record(env, path, episodes=3, *, seeds=True):
    """Plays at random; returns what was seen, ``(steps + 1, ...)`` an episode."""
    env, seen = RecordTrajectories(env, path), []
    env.action_space.seed(1)
    for episode in range(episodes):
        observations, ended = [env.reset(seed=episode if seeds else None)[0]], False
        while not ended:
            observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
            observations.append(observation)
            ended = terminated or truncated
        seen.append(observations)
    return seen


@pytest.mark.parametrize(
    "name", ["Alphabet-v0", "Alphabet-Choose-v0", "Alphabet-Edit-v0", "Guess-v0", "Corridor-v0"]
)
def test_episodes_come_back_as_they_were(name, tmp_path):
    env = gym.make(f"TextGym/{name}")
    seen = record(env, tmp_path / "episodes.jsonl")
    recorded = textgym.read_trajectories(tmp_path / "episodes.jsonl")
    textgym.write_minari(recorded, env, "textgym/toy-v0", author="nobody")
    dataset = minari.load_dataset("textgym/toy-v0")
    assert recorded == textgym.read_minari(dataset) == textgym.read_minari("textgym/toy-v0")
    assert env.spec.id == dataset.recover_environment().spec.id
    for episode, observations, kept in zip(dataset, seen, recorded, strict=True):
        np.testing.assert_array_equal(observations, episode.observations)
        assert np.asarray(kept.actions).tolist() == episode.actions.tolist()
        assert list(kept.rewards) == episode.rewards.tolist()
        assert [False] * (len(kept.actions) - 1) + [True] == episode.terminations.tolist()
        assert not episode.truncations.any()


def test_what_was_cut_off_and_seen_as_a_dictionary_comes_back(tmp_path):
    env = DictObservation(gym.make("TextGym/Alphabet-v0", max_episode_steps=2))
    seen = record(env, tmp_path / "episodes.jsonl", 4)
    recorded = textgym.read_trajectories(tmp_path / "episodes.jsonl")
    dataset = textgym.write_minari(recorded, env, "cut-v0")
    assert recorded == textgym.read_minari(dataset)
    assert [kept.truncated for kept in recorded] == [bool(one.truncations[-1]) for one in dataset]
    assert any(kept.truncated for kept in recorded)
    for episode, observations in zip(dataset, seen, strict=True):
        for key in observations[0]:
            shown = [observation[key] for observation in observations]
            np.testing.assert_array_equal(shown, episode.observations[key])


def test_a_prompt_of_one_s_own_and_unseeded_episodes_are_started_again(tmp_path):
    env = gym.make("TextGym/Bandit-v0")
    record(env, tmp_path / "episodes.jsonl", 5, seeds=False)
    wrapped = RecordTrajectories(env, tmp_path / "episodes.jsonl")
    wrapped.reset(options={"prompt": "ab"})
    wrapped.step(3)
    recorded = textgym.read_trajectories(tmp_path / "episodes.jsonl")
    assert recorded == textgym.read_minari(textgym.write_minari(recorded, env, "own-v0"))


def test_another_environment_is_refused(tmp_path):
    record(gym.make("TextGym/Alphabet-v0"), tmp_path / "episodes.jsonl")
    recorded = textgym.read_trajectories(tmp_path / "episodes.jsonl")
    with pytest.raises(ValueError, match="trajectory 0 was recorded in another environment"):
        textgym.write_minari(recorded, gym.make("TextGym/Bandit-v0"), "other-v0")
    with pytest.raises(ValueError, match="there are no trajectories"):
        textgym.write_minari([], gym.make("TextGym/Bandit-v0"), "other-v0")


def test_a_data_set_of_somebody_else_is_refused():
    from minari.data_collector import EpisodeBuffer

    space = gym.spaces.Discrete(2)
    given = {"observations": [0, 1], "actions": [0], "rewards": [0.0]}
    buffer = EpisodeBuffer(terminations=[True], truncations=[False], infos={}, **given)
    kwargs = {"observation_space": space, "action_space": space}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what it is not told
        theirs = minari.create_dataset_from_buffers("theirs-v0", [buffer], **kwargs)
    with pytest.raises(ValueError, match="episode 0 of theirs-v0 has no 'trajectory'"):
        textgym.read_minari(theirs)


def test_where_minari_is_missing_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "textgym\[minari\]"'):
        textgym.read_minari("some-v0")
