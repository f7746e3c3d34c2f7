"""Reward terms: what they measure, when they pay, and that nothing else changes."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from tests.textgym.tiles import Tiles
from textgym import TextEnv, TextVectorEnv, wrappers
from textgym.testing import check_vector_env
from textgym.wrappers.terms import measure_length, measure_repetition

MODES = ["NextStep", "SameStep", "Disabled"]
TERMS = [
    ("LengthTerm", {"weight": -0.1}),
    ("LengthTerm", {"weight": 0.3, "target": 3, "name": "distance"}),
    ("RepetitionTerm", {"weight": -0.7, "n": 1}),
]
END, A, B, C = 2, 3, 4, 5


def write(env, actions, prompt=0):
    """Writes a text; returns the rewards and the last info."""
    env.reset(options={"example_id": prompt})
    rewards, info = [], {}
    for action in actions:
        _, reward, *_, info = env.step(action)
        rewards.append(reward)
    return rewards, info


@pytest.mark.parametrize(
    ("expected", "length", "target"), [(4, 4, None), (0, 4, 4), (3, 1, 4), (3, 7, 4)]
)
def test_a_length_or_its_distance_to_a_target(expected, length, target):
    assert expected == measure_length(length, target)


@pytest.mark.parametrize(
    ("expected", "ids", "n"),
    [
        (0.0, [], 1),
        (0.0, [7], 2),
        (0.0, [7, 8, 9], 1),
        (0.5, [7, 8, 7, 8], 1),
        # The pairs are 78 87 78 87, two of which were there before.
        (0.5, [7, 8, 7, 8, 7], 2),
        (0.75, [7, 7, 7, 7], 1),
        (0.0, [7, 7, 8, 7], 2),
    ],
)
def test_the_share_of_runs_that_were_there_before(expected, ids, n):
    assert expected == measure_repetition([ids], n)


@given(ids=st.lists(st.integers(0, 3), max_size=12), n=st.integers(1, 4))
def test_repeating_a_text_never_makes_it_less_repetitive(ids, n):
    once, twice = measure_repetition([ids], n), measure_repetition([ids + ids], n)
    assert 0 <= once <= twice < 1


def test_length_is_paid_at_the_end_and_reported_beside_the_score():
    """ "b" then end: a quarter for the letter that follows "a", and two tokens."""
    rewards, info = write(wrappers.LengthTerm(TextEnv(task="Alphabet"), -0.125), [B, END])
    assert rewards == [0.0, 0.25 - 2 * 0.125]
    assert info["reward_terms"] == {"score": 0.25, "length": 2.0}
    assert info["score"] == 0.25


def test_a_target_is_missed_on_either_side():
    env = wrappers.LengthTerm(TextEnv(task="Alphabet"), -1.0, target=3)
    ends = [write(env, [*[A] * letters, END]) for letters in (0, 2, 4)]
    assert [info["reward_terms"]["length"] for _, info in ends] == [2.0, 0.0, 2.0]
    assert [rewards[-1] for rewards, _ in ends] == [-2.0, 0.0, -2.0]


def test_repetition_is_that_of_the_completion_alone():
    """The prompt "a" is no part of it, and nor is the padding."""
    env = wrappers.RepetitionTerm(TextEnv(task="Alphabet"), -1.0, n=1)
    assert write(env, [A, END])[1]["reward_terms"] == {"score": 0.0, "repetition": 0.0}
    # Four letters, three of which were there before, and the end of text.
    assert write(env, [C, C, C, C, END])[1]["reward_terms"]["repetition"] == 0.6


def test_terms_add_up():
    """Each is reported by its name, and the last step pays the sum, each by its weight.

    Three letters are the right length, which is a quarter of the score.
    """
    env = TextEnv(task="Alphabet")
    env = wrappers.LengthTerm(env, -0.5)
    env = wrappers.RepetitionTerm(env, 2.0, n=1)
    env = wrappers.LengthTerm(env, 0.25, target=5, name="near_five")
    rewards, info = write(env, [A, A, A, END])
    assert info["reward_terms"] == {
        "score": 0.25,
        "length": 4.0,
        "repetition": 0.5,
        "near_five": 1.0,
    }
    assert rewards == [0.0, 0.0, 0.0, -0.5]


def test_terms_that_the_environment_reports_stay():
    """A reward of several parts has no need of "score", for the parts are its score."""

    class Parted(gym.Wrapper):
        def step(self, action):
            *rest, info = super().step(action)
            return (*rest, {**info, "reward_terms": {"tone": 0.5}})

    _, info = write(wrappers.LengthTerm(Parted(TextEnv(task="Alphabet")), 1.0), [END])
    assert info["reward_terms"] == {"tone": 0.5, "length": 1.0}


def test_two_terms_of_one_name_are_an_error():
    """One would hide the other."""
    env = wrappers.LengthTerm(wrappers.LengthTerm(TextEnv(task="Alphabet"), 1.0), 1.0)
    with pytest.raises(ValueError, match="a reward term 'length' already; give this one another"):
        write(env, [END])
    envs = TextVectorEnv(task="Alphabet", num_envs=1)
    envs = wrappers.vector.LengthTerm(wrappers.vector.LengthTerm(envs, 1.0), 1.0)
    envs.reset()
    with pytest.raises(ValueError, match="a reward term 'length' already; give this one another"):
        envs.step(np.array([END]))


def test_a_cut_episode_is_paid_no_term():
    """As it is paid no score: its text is not finished, and the agent's value goes on."""
    env = gym.wrappers.TimeLimit(TextEnv(task="Alphabet"), 2)
    rewards, info = write(wrappers.LengthTerm(env, 1.0), [A, A])
    assert rewards == [0.0, 0.0]
    assert "reward_terms" not in info


def test_a_dense_reward_is_added_to():
    """What the steps pay is the score, wherever it was paid."""
    env = wrappers.LengthTerm(TextEnv(task="Alphabet", dense=True), 1.0)
    rewards, info = write(env, [B, C, END])
    assert rewards == [0.25, 0.25, 3.0]
    assert info["reward_terms"] == {"score": 0.5, "length": 3.0}


@pytest.mark.filterwarnings(
    "ignore:.*(is different from the unwrapped version|alternative render modes)"
)
@pytest.mark.parametrize(("name", "kwargs"), TERMS)
def test_the_checkers_accept_it(name, kwargs):
    env = getattr(wrappers, name)(TextEnv(task="Bandit"), **kwargs)
    check_env(env)
    check_env_for_sb3(env)


@pytest.mark.parametrize(("name", "kwargs"), TERMS)
def test_a_spec_goes_to_json_and_rebuilds_the_wrapper(name, kwargs):
    env = getattr(wrappers, name)(gym.make("TextGym/Bandit-v0"), **kwargs)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert env.spec == again.spec
    check_environments_match(env, again, num_steps=20, seed=3, info_comparison="equivalence")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize(("name", "kwargs"), TERMS)
def test_a_wrapped_batch_is_a_batch_of_wrapped_singles(name, kwargs, backend, mode):
    envs = TextVectorEnv(
        task="Alphabet",
        num_envs=3,
        autoreset_mode=mode,
        backend=backend,
        emit_mask=True,
        max_episode_steps=4,
    )
    check_vector_env(
        getattr(wrappers.vector, name)(envs, **kwargs),
        steps=25,
        single=lambda: getattr(wrappers, name)(
            gym.wrappers.TimeLimit(TextEnv(task="Alphabet", emit_mask=True), 4), **kwargs
        ),
    )


@pytest.mark.parametrize("mode", MODES)
def test_terms_of_a_batch_add_up_too(mode):
    envs = TextVectorEnv(task="Alphabet", num_envs=3, autoreset_mode=mode)
    envs = wrappers.vector.RepetitionTerm(wrappers.vector.LengthTerm(envs, -0.5), -1.0, n=1)
    check_vector_env(
        envs,
        steps=25,
        single=lambda: wrappers.RepetitionTerm(
            wrappers.LengthTerm(TextEnv(task="Alphabet"), -0.5), -1.0, n=1
        ),
    )


def test_a_finished_row_is_paid_once():
    """With autoreset disabled it stays terminated while the others go on."""
    envs = TextVectorEnv(task="Alphabet", num_envs=2, autoreset_mode="Disabled")
    envs = wrappers.vector.LengthTerm(envs, 1.0)
    envs.reset(seed=0)
    paid = [envs.step(np.array([END, A]))[1].tolist() for _ in range(3)]
    assert paid == [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_tensors_of_rewards_keep_their_type():
    envs = TextVectorEnv(task="Alphabet", num_envs=2, backend="torch")
    envs = wrappers.vector.LengthTerm(envs, 0.1)
    envs.reset(seed=0)
    rewards = envs.step(torch.tensor([END, A]))[1]
    torch.testing.assert_close(torch.tensor([0.1, 0.0]), rewards)


def test_what_the_environment_returned_is_left_alone():
    """A wrapper below may keep it."""
    kept = []

    class Keeping(gym.Wrapper):
        def step(self, action):
            kept.append(super().step(action))
            return kept[-1]

    write(wrappers.LengthTerm(Keeping(TextEnv(task="Alphabet")), 1.0), [END])
    whose = {"example_id", "prompt_length"}
    assert kept[0][-1].keys() == whose | {"stop_reason", "score", "completion_length"}


@pytest.mark.parametrize(
    ("wrap", "finding"),
    [
        (lambda: wrappers.LengthTerm(Tiles(), 1.0), "LengthTerm needs a TextEnv or TextVectorEnv"),
        (
            lambda: wrappers.RepetitionTerm(wrappers.TextObservation(TextEnv(task="Bandit")), 1.0),
            "RepetitionTerm reads tokens, and the observations of .* hold none",
        ),
        (lambda: wrappers.RepetitionTerm(TextEnv(task="Bandit"), 1.0, n=0), "n must be positive"),
        (
            lambda: wrappers.vector.RepetitionTerm(TextVectorEnv(task="Bandit"), 1.0, n=0),
            "n must be positive",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(wrap, finding):
    with pytest.raises(ValueError, match=finding):
        wrap()


def test_tokens_are_found_below_masks_and_dictionaries():
    env = TextEnv(task="Alphabet")
    env = wrappers.ActionMaskObservation(wrappers.DictObservation(env), "tianshou")
    _, info = write(wrappers.RepetitionTerm(env, 1.0, n=1), [A, A, A, END])
    assert info["reward_terms"] == {"score": 0.25, "repetition": 0.5}
