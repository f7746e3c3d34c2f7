"""Potential-based shaping: by hand, in batches, and that the best stays the best."""

import functools
import itertools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from tests.textgym.tiles import Tiles
from textgym import TextEnv, TextVectorEnv, wrappers
from textgym.testing import check_vector_env

END, A, B, C = 2, 3, 4, 5
SIZE = f"{__name__}:size"


def size(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


def count_c(prompts, completions, **columns):
    return [float(text.count("c")) for text in completions]


def closeness(prompts, completions, *, reference, **columns):
    """Reads prompt and column, and is not 0 at the beginning."""
    return [
        len(p) + float(c[:1] == r[:1]) - 0.3 * len(c)
        for p, c, r in zip(prompts, completions, reference, strict=True)
    ]


def play(env, actions, example=0):
    env.reset(options={"example_id": example})
    paid = []
    for action in actions:
        _, reward, terminated, truncated, info = env.step(action)
        paid.append(reward)
        if terminated or truncated:
            break
    return paid, info


def test_each_step_pays_what_it_adds_and_the_last_takes_it_back():
    """Two letters, worth 0.1 each, then the end, whose score is a quarter for the b after a."""
    env = wrappers.PotentialShaping(TextEnv(task="Alphabet"), size, gamma=0.5, weight=0.1)
    paid, info = play(env, [B, A, END])
    assert paid == pytest.approx([0.05, 0.1 * (0.5 * 2 - 1), 0.25 - 0.2])
    assert info["score"] == 0.25


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
def test_an_episode_pays_the_beginning_s_potential_less_whatever_was_written(gamma):
    env = TextEnv(task="Alphabet")
    shaped = wrappers.PotentialShaping(TextEnv(task="Alphabet"), closeness, gamma=gamma, weight=2)
    for actions in ([END], [B, C, END], [A] * 9):
        plain, _ = play(env, actions)
        paid, _ = play(shaped, actions)
        discounts = gamma ** np.arange(len(plain))
        assert discounts @ paid == pytest.approx(discounts @ plain - 2 * 1.0)


def test_dense_rewards_are_shaping_by_the_score_itself_but_for_the_beginning():
    """The score of the empty text, which is longer-than-nothing here, is what they differ by."""

    def longing(prompts, completions, **columns):
        return [1.0 + len(text) for text in completions]

    dense, _ = play(TextEnv(task="Alphabet", reward=longing, dense=True), [A, B, END])
    sparse = TextEnv(task="Alphabet", reward=longing)
    shaped, _ = play(wrappers.PotentialShaping(sparse, longing), [A, B, END])
    assert dense == [2.0, 1.0, 0.0]
    assert shaped == [1.0, 1.0, 0.0]


def _best(make, gamma):
    """The best texts' actions by trying all of them, and how much is paid for them."""
    env, returns = make(), {}
    for actions in itertools.product([END, A, B, C], repeat=3):
        paid, _ = play(env, actions)
        returns[actions[: len(paid)]] = float(gamma ** np.arange(len(paid)) @ paid)
    best = max(returns.values())
    return {text for text, value in returns.items() if value > best - 1e-9}


@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_the_best_texts_stay_the_best_and_without_the_end_s_0_they_do_not(gamma):
    make = functools.partial(TextEnv, task="Alphabet", completion_tokens=3)
    best = _best(make, gamma)
    assert (C, C, C) not in best
    for potential in (count_c, closeness):
        shaped = _best(lambda p=potential: wrappers.PotentialShaping(make(), p, gamma, 5), gamma)
        assert best == shaped

    class Kept(wrappers.PotentialShaping):
        """The mistake: the last text keeps its potential."""

        def step(self, action):
            observation, reward, terminated, truncated, info = super().step(action)
            kept = 5 * gamma * self._of(observation) if terminated else 0.0
            return observation, reward + kept, terminated, truncated, info

    assert {(C, C, C)} == _best(lambda: Kept(make(), count_c, gamma, 5), gamma)


def test_a_cut_episode_keeps_its_potential():
    env = gym.wrappers.TimeLimit(TextEnv(task="Alphabet"), 2)
    paid, _ = play(wrappers.PotentialShaping(env, size, gamma=0.5), [A, A])
    assert paid == [0.5, 0.5 * 2 - 1]


def test_a_prompt_of_one_s_own_has_a_potential_too():
    env = wrappers.PotentialShaping(TextEnv(task="Alphabet"), lambda p, c, **k: [float(len(p[0]))])
    env.reset(options={"prompt": "b"})
    assert env.step(A)[1] == 0.0
    assert env.step(END)[1] == -1.0


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_wrapped_batch_is_a_batch_of_wrapped_singles(backend, mode):
    """Over ends, cuts and resets; the potential reads the prompt and a column."""
    settings = {"potential": closeness, "gamma": 0.9, "weight": 0.5}
    envs = TextVectorEnv(
        task="Alphabet", num_envs=3, autoreset_mode=mode, backend=backend, max_episode_steps=4
    )
    check_vector_env(
        wrappers.vector.PotentialShaping(envs, **settings),
        steps=40,
        single=lambda: wrappers.PotentialShaping(
            gym.wrappers.TimeLimit(TextEnv(task="Alphabet"), 4), **settings
        ),
    )


def test_it_is_named_in_json_and_can_be_made_again():
    env = wrappers.PotentialShaping(
        gym.make("TextGym/Alphabet-v0"), {"clip": {"reward": SIZE, "high": 2}}, weight=0.5
    )
    check_env(env.unwrapped)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert play(again, [A, A, A, END]) == play(env, [A, A, A, END])
    assert play(env, [A, A, A, END])[0][:3] == [0.5, 0.5, 0.0]


def reads_ids(completion_ids, **kwargs):
    return [0.0] * len(completion_ids)


@pytest.mark.parametrize(
    ("wrap", "finding"),
    [
        (lambda: wrappers.PotentialShaping(Tiles(), size), "needs a TextEnv or TextVectorEnv"),
        (
            lambda: wrappers.PotentialShaping(TextEnv(task="Bandit"), size, gamma=1.1),
            r"gamma must be in \[0, 1\], got 1.1",
        ),
        (
            lambda: wrappers.PotentialShaping(TextEnv(task="Bandit"), reads_ids),
            "'reads_ids' reads completion_ids and can be no potential",
        ),
        (
            lambda: wrappers.vector.PotentialShaping(TextVectorEnv(task="Bandit"), "vadr"),
            "unknown reward 'vadr'",
        ),
        (lambda: wrappers.PotentialShaping(TextEnv(task="Guess"), size), "is a conversation"),
    ],
)
def test_what_cannot_be_shaped_is_refused_at_once(wrap, finding):
    with pytest.raises(ValueError, match=finding):
        wrap()


def test_a_caller_s_own_prompt_is_scored_whole_and_not_as_it_is_observed():
    """The observation has the end of a long prompt, and the environment's reward all of it."""
    long = "abcabc" * 4
    seen = []

    def reads(prompts, completions, **columns):
        seen.extend(prompts)
        return [0.0] * len(prompts)

    env = wrappers.PotentialShaping(TextEnv(task="Alphabet"), reads)
    env.reset(options={"prompt": long})
    env.step(A)
    envs = wrappers.vector.PotentialShaping(TextVectorEnv(num_envs=2, task="Alphabet"), reads)
    envs.reset(options={"prompt": [long, "ab"]})
    envs.step(np.array([A, A]))
    assert set(seen) == {long, "ab"}
    assert len(long) > env.unwrapped.prompt_tokens
