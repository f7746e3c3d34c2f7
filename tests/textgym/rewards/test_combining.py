"""Rewards made of others: by hand, and named in JSON."""

import json
import math
import pickle
from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest

import textgym
from textgym.rewards import RewardError, resolve

TEXTS = ["", "a", "aa", "aaaa"]
LENGTH = f"{__name__}:count"


def count(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


def make_constant(value=1.0):
    return lambda prompts, completions, **columns: [value] * len(completions)


def score(reward, texts=TEXTS):
    return resolve(reward)(["p"] * len(texts), texts)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"clip": {"reward": count, "low": 1, "high": 2}}, [1, 1, 2, 2]),
        ({"clip": {"reward": count, "high": 1}}, [0, 1, 1, 1]),
        ({"clip": {"reward": count, "low": 2}}, [2, 2, 2, 4]),
        ({"affine": {"reward": count, "scale": -2, "shift": 1}}, [1, -1, -3, -7]),
        ({"affine": {"reward": count}}, [0, 1, 2, 4]),
        ({"threshold": {"reward": count, "at": 2}}, [0, 0, 1, 1]),
        ({"threshold": {"reward": count, "at": 1.5, "above": 3, "below": -1}}, [-1, -1, 3, 3]),
        ({"max": {"rewards": [count, make_constant(1.5)]}}, [1.5, 1.5, 2, 4]),
        ({"min": {"rewards": [count, make_constant(1.5)]}}, [0, 1, 1.5, 1.5]),
        ({"difference": {"rewards": [count, make_constant(3)]}}, [-3, -2, -1, 1]),
        ({"product": {"rewards": [count, count, make_constant(0.5)]}}, [0, 0.5, 2, 8]),
        ([[{"clip": {"reward": count, "high": 1}}, 2.0], [count, -1]], [0, 1, 0, -2]),
        (
            {"clip": {"reward": [[count, 2], [make_constant(), 1]], "high": 4}},
            [1, 3, 4, 4],
        ),
        (
            {"max": {"rewards": [{"affine": {"reward": count, "scale": -1}}, [[count, 0.5]]]}},
            [0, 0.5, 1, 2],
        ),
    ],
)
def test_what_a_combination_gives(spec, expected):
    assert expected == score(spec)


def test_a_dictionary_names_a_factory_and_its_arguments():
    spec = {f"{__name__}:make_constant": {"value": 4}}
    assert score([[spec, 0.5], [{f"{__name__}:make_constant": {}}, 1]]) == [3.0] * 4


def test_a_combination_says_what_it_is_made_of():
    reward = resolve(
        {"clip": {"reward": [[count, 2.0], [{"affine": {"reward": count}}, 1]], "high": 1}}
    )
    assert reward.name == "clipped(count + affine(count))"
    total, terms = reward.terms(["", ""], ["", "aa"])
    assert total == [0.0, 1.0]
    assert terms == {"count": [0.0, 2.0], "count 2": [0.0, 2.0]}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "has one key, the name, got 0"),
        ({"clip": {}, "max": {}}, r"has one key, the name, got 2: \['clip', 'max'\]"),
        ({"clip": count}, r"what follows 'clip' is a dictionary of arguments, got <function"),
        ({"clip": {"low": 1}}, "'clip' needs 'reward'; it takes reward, low, high"),
        ({"clip": {"reward": count}}, "in 'clip': give low, high or both"),
        ({"clip": {"reward": count, "low": 2, "high": 1}}, "in 'clip': low is 2.0, which is above"),
        ({"clip": {"reward": count, "hi": 2}}, "'clip' does not take 'hi'; it takes reward, low"),
        (
            {"clip": {"reward": count, "low": "x"}},
            "in 'clip': low must be a finite number, got 'x'",
        ),
        ({"affine": {"reward": count, "scale": math.nan}}, "in 'affine': scale must be a finite"),
        ({"threshold": {"reward": count}}, "'threshold' needs 'at'"),
        ({"max": {"rewards": []}}, r"rewards of 'max' must be a list of at least one, got \[\]"),
        ({"max": {"rewards": count}}, "rewards of 'max' must be a list"),
        ({"difference": {"rewards": [count]}}, "in 'difference': a difference is of two rewards"),
        ({"clip": {"reward": "vadr", "low": 0}}, "in reward of 'clip': unknown reward 'vadr'"),
        (
            {"max": {"rewards": [count, {"clip": {"reward": [["lenth", 1]], "low": 0}}]}},
            "in reward 2 of 2 of 'max': in reward of 'clip': unknown reward 'lenth'; known:",
        ),
        ({"vadr": {}}, "unknown reward 'vadr'"),
        ({LENGTH: {"low": 1}}, rf"reward '{LENGTH}' cannot be made: .*it takes prompts, compl"),
    ],
)
def test_an_error_names_the_culprit(spec, message):
    with pytest.raises(ValueError, match=message):
        resolve(spec)


def test_reward_kwargs_do_not_go_with_a_dictionary():
    with pytest.raises(ValueError, match="with one reward, not with a dict of them"):
        resolve({"clip": {"reward": count, "low": 0}}, {"a": 1})


def test_a_failing_part_is_named_and_so_is_an_overflow():
    def broken(prompts, completions, **columns):
        return [0.0, math.nan, 0.0, 0.0]

    with pytest.raises(RewardError, match=r"reward 'broken' returned nan.*row 1 of 4"):
        score({"max": {"rewards": [count, {"clip": {"reward": broken, "low": 0}}]}})
    with pytest.raises(RewardError, match=r"combination 'affine\(count\)' is inf; row 2 of 4"):
        score({"affine": {"reward": count, "scale": 1e308}})
    with pytest.raises(RewardError, match=r"'count \+ count' is inf; row 2 of 4"):
        score([[count, 1e308], [count, 1e307]])


def test_no_text_gets_no_score():
    assert score({"max": {"rewards": [count, {"clip": {"reward": count, "low": 0}}]}}, []) == []


def test_a_resolved_combination_is_resolved_already_and_pickles():
    spec = {"min": {"rewards": [LENGTH, {"threshold": {"reward": LENGTH, "at": 2, "above": 3}}]}}
    reward = resolve(json.loads(json.dumps(spec)))
    assert reward is resolve(reward)
    there = pickle.loads(pickle.dumps(reward))  # noqa: S301 - it was pickled just now
    assert there([""] * 4, TEXTS) == score(spec) == [0.0, 0.0, 2.0, 3.0]


SPEC = {
    "max": {
        "rewards": [[["textgym.tasks.toys:bandit_score", 2.0]], "textgym.tasks.toys:bandit_score"]
    }
}


def _play(env):
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(3)
    while not terminated:
        _, reward, terminated, _, info = env.step(env.unwrapped.tokenizer.eos_id)
    return reward, info


def test_a_specified_reward_pays_in_single_and_vector_environments():
    """On both backends the same, and the bottom's scores are among the infos."""
    plain, _ = _play(gym.make("textgym:TextGym/Bandit-v0"))
    assert plain > 0
    reward, info = _play(gym.make("textgym:TextGym/Bandit-v0", reward=SPEC))
    assert reward == 2 * plain == info["score"]
    assert info["reward_terms"] == {
        "textgym.tasks.toys:bandit_score": plain,
        "textgym.tasks.toys:bandit_score 2": plain,
    }
    for backend in ("numpy", "torch"):
        envs = gym.make_vec("textgym:TextGym/Bandit-v0", num_envs=2, reward=SPEC, backend=backend)
        envs.reset(seed=0)
        action = [3, 3] if backend == "numpy" else pytest.importorskip("torch").tensor([3, 3])
        _, rewards, *_ = envs.step(action)
        assert [float(value) for value in rewards] == [2 * plain] * 2


def test_a_specified_reward_stays_in_the_environment_s_spec():
    env = gym.make("textgym:TextGym/Bandit-v0", reward=SPEC)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert _play(again)[0] == _play(env)[0]
    held = gym.make("textgym:TextGym/Bandit-v0", reward={"clip": {"reward": count, "high": 0}})
    assert _play(held)[0] == 0.0


def test_recorded_texts_are_scored_by_a_specified_reward(tmp_path):
    from textgym.wrappers import RecordTrajectories

    env = RecordTrajectories(gym.make("textgym:TextGym/Bandit-v0"), tmp_path / "x.jsonl")
    reward, _ = _play(env)
    env.close()
    recorded = textgym.read_trajectories(tmp_path / "x.jsonl")
    assert textgym.rescore(recorded, {"affine": {"reward": SPEC, "shift": 1}}) == [2 * reward + 1]


@pytest.mark.slow
def test_spawned_workers_make_a_specified_reward_themselves():
    """Stable-Baselines3's processes get the arguments, not this process's memory."""
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv

    envs = make_vec_env(
        "textgym:TextGym/Bandit-v0",
        n_envs=2,
        seed=0,
        env_kwargs={"reward": SPEC},
        vec_env_cls=SubprocVecEnv,
        vec_env_kwargs={"start_method": "spawn"},
    )
    try:
        envs.reset()
        _, rewards, dones, _ = envs.step([3, 3])
        plain, _ = _play(gym.make("textgym:TextGym/Bandit-v0"))
        assert dones.all()
        assert rewards.tolist() == [2 * plain] * 2
    finally:
        envs.close()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ([[count, 2.0], [make_constant(), -1]], (2.0, -1.0)),
        ([[[[count, 3.0], [count, 0.5]], 2.0], [make_constant(), 1.0]], (6.0, 1.0, 1.0)),
        ([[count, 2.0], [{"clip": {"reward": count, "high": 1}}, 1.0]], None),
        ([[[[{"affine": {"reward": count, "scale": 2}}, 1.0]], 1.0]], None),
    ],
)
def test_what_the_terms_of_a_sum_count(spec, expected):
    """With them, the terms make the score; where one is changed before it is added, none do."""
    reward = resolve(spec)
    assert reward.weights == expected
    total, terms = reward.terms(["p"] * 4, TEXTS)
    if expected is not None:
        by_hand = [
            sum(w * x for w, x in zip(expected, row, strict=True))
            for row in zip(*terms.values(), strict=True)
        ]
        assert by_hand == total


def test_an_environment_says_what_its_terms_count():
    def made(reward):
        return gym.make("TextGym/Alphabet-v0", reward=reward).unwrapped.reward_weights

    assert made([[count, 2.0], [make_constant(), -1]]) == (2.0, -1.0)
    assert made(count) is None
    assert made({"clip": {"reward": [[count, 2.0]], "high": 1}}) is None


NUMBERS = {
    "affine": {"scale": 2.0, "shift": 1.0},
    "clip": {"low": 0.0, "high": 1.0},
    "threshold": {"at": 0.5, "above": 1.0, "below": 0.0},
    "normalise": {"epsilon": 1e-8},
    "none_as": {"value": 0.0},
}
"""Every setting of a combination that is a number, with one that fits."""
NO_NUMBERS = ["2", b"2", None, [1.0], math.nan, -math.inf, True, {"a": 1}]


@pytest.mark.parametrize("bad", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    ("name", "setting"), [(name, key) for name, settings in NUMBERS.items() for key in settings]
)
def test_what_is_no_number_is_refused_when_the_reward_is_made(name, setting, bad):
    """It was passed on, and the first finished text raised a TypeError, without the spec's path."""
    arguments = {"reward": count, **NUMBERS[name], setting: bad}
    if bad is None and name == "clip":
        resolve({name: arguments})  # no bound on that side
        return
    with pytest.raises(ValueError, match=f"in '{name}': {setting} must be a finite number, got"):
        resolve({name: arguments})


@pytest.mark.parametrize(
    ("settings", "finding"),
    [
        ({"epsilon": -1.0}, "epsilon must be positive, got -1.0"),
        ({"epsilon": 0}, "epsilon must be positive, got 0.0"),
        ({"freeze_after": "soon"}, "freeze_after must be a positive integer or None, got 'soon'"),
        ({"freeze_after": 0}, "freeze_after must be a positive integer or None, got 0"),
        ({"freeze_after": 2.5}, "freeze_after must be a positive integer or None, got 2.5"),
        ({"freeze": "yes"}, "freeze must be True or False, got 'yes'"),
        ({"state": 5}, "state must be the path of a file, got 5"),
    ],
)
def test_a_setting_of_a_normalised_reward_that_is_none_is_refused(settings, finding):
    with pytest.raises(ValueError, match=f"in 'normalise': {finding}"):
        resolve({"normalise": {"reward": count, **settings}})


def test_numbers_of_any_kind_are_numbers():
    numbers = {"scale": np.float32(2), "shift": Fraction(1, 2)}
    assert resolve({"affine": {"reward": count, **numbers}})([""], ["abc"]) == [6.5]
    assert resolve([[count, np.int64(2)]])([""], ["abc"]) == [6.0]
