"""Going back, and branching: what comes after a snapshot is what came after it the first time."""

import pickle

import numpy as np
import pytest

from textgym import TextEnv, TextVectorEnv

A, B, C, D = 3, 4, 5, 6
EOS = 2


def roll(env, actions):
    """Steps, and resets where an episode is over; what each call returned."""
    results = []
    for action in actions:
        result = env.step(action)
        results.append(result)
        if result[2]:
            results.append(env.reset())
    return results


@pytest.mark.parametrize("kind", ["append", "choose", "edit"])
def test_a_text_goes_on_from_a_snapshot_as_it_did(kind):
    env = TextEnv(task="Alphabet", action_kind=kind, dense=True, obs_mode="dict")
    env.reset(seed=3)
    env.action_space.seed(1)
    actions = [env.action_space.sample() for _ in range(30)]
    roll(env, actions[:5])
    snapshot = pickle.loads(pickle.dumps(env.save_state()))  # noqa: S301 - made on the line
    expected = roll(env, actions[5:])
    env.reset(seed=99)
    env.restore_state(snapshot)
    np.testing.assert_equal(roll(env, actions[5:]), expected)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("kind", ["append", "choose", "edit"])
def test_a_batch_goes_on_from_a_snapshot_as_it_did(kind, backend):
    envs = TextVectorEnv(task="Alphabet", num_envs=3, action_kind=kind, dense=True, backend=backend)
    envs.reset(seed=3)
    envs.action_space.seed(1)
    actions = [envs.action_space.sample() for _ in range(30)]
    for action in actions[:5]:
        envs.step(action)
    snapshot = envs.save_state()
    expected = [envs.step(action) for action in actions[5:]]
    envs.reset(seed=99)
    envs.restore_state(snapshot)
    for step, action in zip(expected, actions[5:], strict=True):
        actual = envs.step(action)
        for left, right in zip(step[:4], actual[:4], strict=True):
            np.testing.assert_array_equal(np.asarray(left), np.asarray(right))
        np.testing.assert_equal(step[4], actual[4])


def test_a_fork_copies_texts_and_not_what_comes_by_chance():
    envs = TextVectorEnv(task="Alphabet", num_envs=3, autoreset_mode="Disabled")
    envs.reset(seed=0, options={"example_id": np.array([0, 1, 2])})
    envs.step(np.array([B, C, D]))
    observation = envs.fork([1, 1, 0])
    assert envs.texts() == (["b", "b", "a"], ["c", "c", "b"])
    np.testing.assert_array_equal(observation, envs.dynamics_state.tokens)
    _, rewards, terminated, *_ = envs.step(np.array([D, EOS, C]))
    assert terminated.tolist() == [False, True, False]
    assert rewards.tolist() == [0.0, 0.25, 0.0]
    assert envs.texts()[1] == ["cd", "c", "bc"]


@pytest.mark.parametrize("sources", [[0, 1], [0, 1, 3], [-1, 0, 1], [0.0, 1.0, 2.0]])
def test_a_fork_is_of_rows_that_exist(sources):
    envs = TextVectorEnv(task="Alphabet", num_envs=3)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="sources must be"):
        envs.fork(sources)


def test_a_snapshot_of_another_size_is_refused():
    one, two = (TextVectorEnv(task="Alphabet", num_envs=n) for n in (1, 2))
    one.reset(seed=0)
    with pytest.raises(ValueError, match="the snapshot has 1 rows, this environment 2"):
        two.restore_state(one.save_state())


def test_a_group_starts_alike_and_groups_differ():
    """As grouped sampling wants it; drafts too are drawn once a group."""
    envs = TextVectorEnv(task="Alphabet", num_envs=8, action_kind="edit")
    observation, infos = envs.reset(seed=4, options={"group": 4})
    for first in (0, 4):
        assert (observation[first : first + 4] == observation[first]).all()
    assert (observation[0] != observation[4]).any()
    assert [infos["example_id"][0]] * 4 == infos["example_id"][:4].tolist()
    alone = TextEnv(task="Alphabet", action_kind="edit").reset(seed=4)[0]
    np.testing.assert_array_equal(alone, observation[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": 3}, "group must be a positive divisor of 4 rows, got 3"),
        ({"group": 2, "example_id": 1}, "a group starts with an example that is drawn"),
        ({"group": 2, "reset_mask": np.array([True, False, True, True])}, "groups of 2 rows"),
        ({"prompt": ["a", "b"]}, "prompt must be one text or 4, got"),
        ({"prompt": "a", "example_id": 1}, "two ways to start"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    envs = TextVectorEnv(task="Alphabet", num_envs=4)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        envs.reset(options=options)


def test_a_prompt_of_one_s_own_starts_an_episode_and_has_no_columns():
    seen = []

    def watch(prompts, completions, **columns):
        seen.append((list(prompts), columns))
        return [0.0] * len(prompts)

    env = TextEnv(task="Alphabet", reward=watch)
    observation, info = env.reset(options={"prompt": "h"})
    assert observation[:2].tolist() == [1, 10]
    assert info["example_id"] == -1
    env.step(EOS)
    envs = TextVectorEnv(task="Alphabet", num_envs=2, reward=watch)
    envs.reset(options={"prompt": ["h", "g"]})
    envs.step(np.array([EOS, EOS]))
    nothing = {"reference": [None]}
    assert seen == [(["h"], nothing), (["h", "g"], {"reference": [None, None]})]


def test_the_parts_of_a_weighted_reward_are_told():
    def one(prompts, completions, **columns):
        return [1.0] * len(prompts)

    def length(prompts, completions, **columns):
        return [float(len(text)) for text in completions]

    env = TextEnv(task="Alphabet", reward=[[one, 2.0], [length, -0.5], [one, 0.25]])
    env.reset(seed=0)
    env.step(A)
    _, reward, *_, info = env.step(EOS)
    assert reward == 1.75
    assert info["reward_terms"] == {"one": 1.0, "length": 1.0, "one 3": 1.0}


def test_a_text_s_snapshot_of_another_task_is_refused():
    one, two = TextEnv(task="Alphabet"), TextEnv(task="Bandit")
    one.reset(seed=0)
    with pytest.raises(ValueError, match=r"of Alphabet append 2\+6, this environment is Bandit"):
        two.restore_state(one.save_state())


def test_a_forked_edit_shows_what_its_source_changed():
    envs = TextVectorEnv(
        task="Alphabet",
        action_kind="edit",
        num_envs=2,
        drafter_kwargs={"rate": 0.0},
        render_mode="ansi",
        autoreset_mode="SameStep",
    )
    envs.reset(options={"example_id": np.array([0, 1])})
    first = envs.render()
    envs.step(np.array([[3, 7], [2, 0]]))
    changed = envs.render()
    assert "\x1b[31;9mc\x1b[0m\x1b[32me\x1b[0m" in changed[0]
    envs.fork([1, 0])
    assert envs.render() == changed[::-1]
    envs.step(np.array([[0, EOS], [2, 3]]))
    assert "\x1b[31" not in envs.render()[0]
    assert "\x1b[31" not in first[0]
