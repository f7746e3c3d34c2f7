"""In the middle of an episode: a copy, a pickle or a snapshot goes on as its original does."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts.test_native_batch import (
    CONSTRAINTS,
    KINDS,
    MODES,
    ROWS,
    Ragged,
    settings_of,
    to_numpy,
)
from textgym import TextEnv, TextVectorEnv
from textgym.testing.rolls import equal

STEPS = 12
BACKENDS = ["numpy", "torch"]


def by_snapshot(env, other):
    """The same episodes in an environment that was made anew and has been elsewhere."""
    other.reset(seed=77)
    other.restore_state(pickle.loads(pickle.dumps(env.save_state())))  # noqa: S301 - made on the line
    return other


WAYS = {
    "deepcopy": lambda env, _: copy.deepcopy(env),
    "pickle": lambda env, _: pickle.loads(pickle.dumps(env)),  # noqa: S301 - made on the line
    "snapshot": by_snapshot,
}


@st.composite
def worlds(draw):
    """Arguments of an environment: tasks with and without replies, and every kind of action."""
    if draw(st.booleans()):  # the world in which steps are taken in place, which is one in many
        return {"task": Ragged(completion_tokens=STEPS)}
    kind = draw(st.sampled_from(KINDS))
    converses = draw(st.booleans())
    if converses:
        kwargs = {"task": "Guess", "action_kind": kind}
        if kind == "choose":
            kwargs |= {"num_choices": 4, "max_actions": 6}
    else:
        kwargs = settings_of(kind, draw(st.sampled_from(CONSTRAINTS)))
    return kwargs | {
        "dense": draw(st.booleans()),
        "emit_mask": draw(st.booleans()),
        "obs_mode": draw(st.sampled_from(["tokens", "dict"])),
        "render_mode": "ansi",
    }


def draws(space, seed, shape=()):
    """Actions of all kinds, among which the usual step is no rarity."""
    generator = np.random.default_rng(seed)
    if isinstance(space, gym.spaces.MultiDiscrete):
        parts = [generator.integers(0, size, (STEPS, *shape)) for size in space.nvec]
        return np.stack(parts, axis=-1)
    plain = generator.integers(0, space.n, (STEPS, *shape))
    return np.where(generator.random((STEPS, *shape)) < 0.9, min(3, space.n - 1), plain)


def same(expected, actual):
    assert len(expected) == len(actual)
    for place, (left, right) in enumerate(zip(expected, actual, strict=True)):
        assert equal(left, right), f"{place}: {right}, not {left}"


many = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("way", WAYS)
@many
@given(
    kwargs=worlds(), seed=st.integers(0, 999), cut=st.integers(0, STEPS - 2), looks=st.booleans()
)
def test_a_text_goes_on_as_it_would_have(way, kwargs, seed, cut, looks):
    env, other = TextEnv(**kwargs), TextEnv(**kwargs)
    env.reset(seed=seed)
    actions = draws(env.action_space, seed)
    roll_one(env, actions[:cut], looks)
    twin = WAYS[way](env, other)
    before = twin.render(), twin.text(), twin.np_random_seed
    expected = roll_one(env, actions[cut:], looks)
    assert before == (twin.render(), twin.text(), twin.np_random_seed)
    same(expected, roll_one(twin, actions[cut:], looks))


def roll_one(env, actions, looks):
    """Steps, and resets where an episode is over; what all calls returned, and the generator."""
    results = []
    for action in actions:
        results.append(env.step(action))
        if looks:
            results += [env.action_masks(), env.text(), env.authored, env.render()]
        if env.save_state().row.stop_reason:
            results += [env.reset(), env.authored]
    return [*results, env.np_random_seed, env.np_random.bit_generator.state]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", WAYS)
@many
@given(
    kwargs=worlds(),
    mode=st.sampled_from(MODES),
    limit=st.none() | st.integers(1, 6),
    seed=st.integers(0, 999),
    cut=st.integers(0, STEPS - 2),
    looks=st.booleans(),
)
def test_a_batch_goes_on_as_it_would_have(way, backend, kwargs, mode, limit, seed, cut, looks):
    kwargs = {"backend": backend, "autoreset_mode": mode, "max_episode_steps": limit, **kwargs}
    envs, others = (TextVectorEnv(num_envs=ROWS, **kwargs) for _ in range(2))
    envs.reset(seed=seed)
    actions = draws(envs.single_action_space, seed, (ROWS,))
    roll_many(envs, actions[:cut], looks)
    twins = WAYS[way](envs, others)
    before = (look(envs, cut), look(twins, cut)) if looks else ([], [])
    same(*before)
    expected = roll_many(envs, actions[cut:], looks) + end_of(envs)
    same(before[0], look(twins, cut) if looks else [])
    same(expected, roll_many(twins, actions[cut:], looks) + end_of(twins))


def roll_many(envs, actions, looks):
    """As ``roll_one``. Who looks at a batch ends a stretch of steps that is written in place."""
    results = []
    for action in actions:
        result = envs.step(action)
        results.append(result)
        if looks:
            results += look(envs, 1)
        ended = to_numpy(result[2]) | to_numpy(result[3])
        if envs.metadata["autoreset_mode"].value == "Disabled" and ended.any():
            results.append(envs.reset(options={"reset_mask": ended}))
    return results


def look(envs, steps):
    """What a batch tells beside what calls return; some of it only after a step."""
    told = [envs.action_masks(), envs.texts(), envs.render(), envs.authored, envs.ended_rows]
    return [*told, envs.np_random_seed, envs.authored_at_end if steps else None]


def end_of(envs):
    states = [generator.bit_generator.state for generator in envs.np_random]
    return [envs.texts(), envs.np_random_seed, states]
