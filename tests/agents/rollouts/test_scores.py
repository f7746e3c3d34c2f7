"""Scores that are asked for late are the scores, and pay what those asked at once would have."""

import threading

import pytest
import torch

from agents.config import Scoring
from agents.grpo import GRPO
from agents.maths.distributions import Sampling
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO
from agents.rollouts import scores
from agents.rollouts.collect import Manner, play
from tests.agents.learners import make_policy
from tests.agents.rollouts.fake_engines import same
from tests.agents.toys import make_model, make_toy
from textgym.rewards import RewardError

ARRAYS = (
    *("tokens", "lengths", "actions", "log_probs", "values", "rewards", "mask", "truncated"),
    *("scores", "terms", "stop_reasons", "example_ids"),
)
SHORT, LONG = 0.1, 0.7
CALLS, THREADS = [], set()


def weighty(prompts, completions, **_):
    """Numbers that float32 rounds, of prompt and completion."""
    CALLS.append(list(completions))
    THREADS.add(threading.get_ident())
    return [SHORT * len(text) + LONG * len(set(text)) for text in completions]


def by_ids(prompts, completions, completion_ids, **_):
    """Reads what the agent wrote."""
    return [sum(ids) / 7 for ids in completion_ids]


@pytest.fixture(autouse=True)
def _forget():
    CALLS.clear()
    THREADS.clear()


def _played(envs, scoring=None, *, texts=8, at_once=False, policy=None):
    policy = make_policy(vocabulary=envs.tokenizer.vocab_size) if policy is None else policy
    rollout = play(
        envs,
        policy,
        sampling=Sampling(),
        generator=torch.Generator().manual_seed(0),
        example_ids=[number % 8 for number in range(texts)],
        manner=Manner(scoring=scoring or Scoring()),
    )
    return rollout.cut(*rollout.longest())


WORLDS = {
    "one reward": {"reward": weighty},
    "a weighted sum": {"reward": [[weighty, 1.0], ["length", -0.5]]},
    "ids": {"reward": by_ids},
    "an outside limit": {"reward": weighty, "max_episode_steps": 2},
    "chosen": {"name": "Alphabet-Choose", "reward": weighty},
    "a conversation": {"name": "Guess", "completion_tokens": 24},
    "dense": {"reward": weighty, "dense": True},
    "with a history": {"reward": {"normalise": {"reward": "length"}}},
}


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("world", WORLDS)
def test_what_is_paid_is_what_each_step_would_have_paid(world, workers, monkeypatch):
    """Against an environment that scores the texts of each step in that step."""
    late = _played(make_toy(**WORLDS[world]), Scoring(workers=workers), texts=20)
    monkeypatch.setattr(
        "textgym.envs.vector.TextVectorEnv.can_score_later", property(lambda _: False)
    )
    same(_played(make_toy(**WORLDS[world]), texts=20), late, ARRAYS)


def test_a_reward_is_asked_about_as_many_texts_as_there_are_rows():
    """Where each step asked about those that ended in it."""
    _played(make_toy(reward=weighty), texts=20)
    *calls, last = map(len, CALLS)
    assert sum(calls) + last == 20
    assert all(8 <= count < 16 for count in calls)
    assert len(THREADS) == 1
    envs = make_toy(reward=weighty)
    envs.reset()
    CALLS.clear()
    while not envs.ended_rows.all():
        envs.step(torch.full((8,), envs.tokenizer.eos_id))
    assert [len(call) for call in CALLS] == [8]  # the environment by itself is as it was


def test_workers_share_a_call_and_are_not_the_writer():
    _played(make_toy(reward=weighty), Scoring(workers=3), texts=16)
    assert sum(map(len, CALLS)) == 16
    assert max(map(len, CALLS)) <= 5
    assert threading.get_ident() not in THREADS


def test_what_is_dense_or_has_a_history_is_asked_as_before():
    _played(make_toy(reward=weighty, dense=True))
    assert len(CALLS) > 2
    envs = make_toy(reward={"normalise": {"reward": "length"}})
    assert not envs.can_score_later
    assert make_toy(reward="length").can_score_later


@pytest.mark.parametrize("workers", [0, 2])
def test_texts_are_written_while_workers_are_asked(workers):
    """A call waits until the environment is stepped again, which only a worker's can."""
    went_on, asked_once, waited = threading.Event(), threading.Event(), []

    def slow(prompts, completions, **_):
        asked_once.set()
        waited.append(went_on.wait(20.0 if workers else 0.0))
        return [0.0] * len(completions)

    envs = make_toy(reward=slow)
    step = envs.step

    def stepped(actions):
        if asked_once.is_set():
            went_on.set()
        return step(actions)

    envs.step = stepped
    _played(envs, Scoring(workers=workers), texts=24)
    assert waited[0] is bool(workers)


def _fails(times):
    """A reward that fails so many times, and then gives scores."""
    left = [times]

    def reward(prompts, completions, **_):
        if left[0] > 0:
            left[0] -= 1
            error = ConnectionError("the judge is away")
            error.row = 0
            raise error
        return [float(len(text)) for text in completions]

    return reward


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failed_call_is_made_again_as_often_as_is_asked(workers, monkeypatch):
    waits = []
    monkeypatch.setattr(scores.time, "sleep", waits.append)
    expected = _played(make_toy(reward=_fails(0)))
    got = _played(make_toy(reward=_fails(2)), Scoring(workers=workers, retries=2))
    same(expected, got, ARRAYS)
    assert sorted(waits) in ([1.0, 2.0], [1.0, 1.0])
    with pytest.raises(RewardError, match="the judge is away"):
        _played(make_toy(reward=_fails(99)), Scoring(workers=workers, retries=2))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [PPO, GRPO])
def test_a_failure_ends_the_iteration_and_the_same_texts_come_again(kind, workers):
    """And the environment scores by itself again for whoever uses it then."""
    group = {"group_size": 4} if kind is GRPO else {}
    config = kind.config_type(
        episodes=16, minibatches=2, micro_batch_tokens=40, reward_workers=workers, **group
    )
    fails = {"now": False}

    def reward(prompts, completions, **_):
        if fails["now"]:
            raise ConnectionError("the judge is away")
        return weighty(prompts, completions)

    agents = [kind(TransformerPolicy(make_model()), make_toy(reward=reward), config) for _ in "ab"]
    for agent in agents:
        agent.step()
    fails["now"] = True
    with pytest.raises(RewardError, match="the judge is away"):
        agents[0].step()
    fails["now"] = False
    assert agents[0].is_whole
    for agent in agents:
        agent.step()
    for mine, theirs in zip(*(agent.policy.parameters() for agent in agents), strict=True):
        assert torch.equal(mine, theirs)
    envs = agents[0].envs
    envs.reset()
    _, rewards, *_ = envs.step(torch.full((8,), envs.tokenizer.eos_id))
    assert rewards.shape == (8,)
    assert envs.reward_seconds > 0
