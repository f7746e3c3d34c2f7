"""Rescoring: the scores are those that an environment with the other reward gives."""

from dataclasses import replace

import pytest

from textgym import RewardError, TextEnv
from textgym.recording.rescoring import rescore, rescore_many
from textgym.wrappers import RecordTrajectories, read_trajectories

ACTIONS = [[3, 4, 2], [10, 10, 10, 10, 10, 10], [2], [0, 5, 1, 2]]


def letters(prompts, completions, **columns):
    """Many digits, which depend on prompt and completion."""
    return [
        sum((place + 1) * ord(letter) for place, letter in enumerate(prompt + "/" + text)) / 997
        for prompt, text in zip(prompts, completions, strict=True)
    ]


def against_reference(prompts, completions, *, reference, **columns):
    return [
        len(set(text) & set(wanted)) / 3
        for text, wanted in zip(completions, reference, strict=True)
    ]


def make_scaled(factor):
    return lambda prompts, completions, **columns: [
        factor * score for score in letters(prompts, completions)
    ]


REWARDS = [
    ("textgym.tasks.toys:alphabet_score", None),
    (letters, None),
    (against_reference, None),
    (make_scaled, {"factor": 0.3}),
    ([[letters, 0.7], [against_reference, -2.0]], None),
]


def record(path, reward, reward_kwargs=None):
    env = TextEnv(task="Alphabet", reward=reward, reward_kwargs=reward_kwargs)
    recording = RecordTrajectories(env, path)
    for number, actions in enumerate(ACTIONS):
        recording.reset(options={"example_id": number})
        for action in actions:
            recording.step(action)
    return read_trajectories(path)


@pytest.mark.parametrize(("reward", "kwargs"), REWARDS)
def test_the_same_reward_gives_the_same_scores(tmp_path, reward, kwargs):
    trajectories = record(tmp_path / "x", reward, kwargs)
    assert [trajectory.score for trajectory in trajectories] == rescore(
        trajectories, reward, kwargs
    )


@pytest.mark.parametrize(("reward", "kwargs"), REWARDS)
def test_another_reward_gives_what_its_environment_gives(tmp_path, reward, kwargs):
    """On the same actions, the text being the same."""
    recorded = record(tmp_path / "x", "textgym.tasks.toys:alphabet_score")
    expected = [trajectory.score for trajectory in record(tmp_path / "y", reward, kwargs)]
    assert expected == rescore(recorded, reward, kwargs)


def test_batches_are_no_larger_than_asked_for(tmp_path):
    sizes = []

    def counting(prompts, completions, **columns):
        sizes.append(len(prompts))
        return letters(prompts, completions)

    trajectories = record(tmp_path / "x", letters)
    assert [t.score for t in trajectories] == rescore(trajectories, counting, batch_size=3)
    assert sizes == [3, 1]


def test_several_rewards_are_compared_on_the_same_texts(tmp_path):
    trajectories = record(tmp_path / "x", letters)
    table = {"letters": letters, "toy": "textgym.tasks.toys:alphabet_score"}
    assert rescore_many(trajectories, table) == {
        "letters": [t.score for t in trajectories],
        "toy": [t.score for t in record(tmp_path / "y", table["toy"])],
    }


def test_a_cut_episode_is_scored_as_it_stands(tmp_path):
    whole = record(tmp_path / "x", letters)
    cut = [replace(trajectory, score=None, truncated=True) for trajectory in whole]
    assert [t.score for t in whole] == rescore(cut, letters)


def test_nothing_has_no_scores():
    assert rescore([], letters) == []


def test_a_missing_column_is_the_reward_s_error(tmp_path):
    trajectories = [replace(t, columns={}) for t in record(tmp_path / "x", letters)]
    with pytest.raises(RewardError, match=r"reads the column 'reference', .* columns are: none"):
        rescore(trajectories, against_reference)


def test_trajectories_of_several_tasks_are_refused(tmp_path):
    first, second, *_ = record(tmp_path / "x", letters)
    with pytest.raises(ValueError, match=r"trajectory 1 has the columns \['label'\], but"):
        rescore([first, replace(second, columns={"label": 1})], letters)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="batch_size must be positive, got 0"):
        rescore([], letters, batch_size=0)
