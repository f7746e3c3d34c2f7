"""The native batch against Gymnasium's batch of single environments, bit for bit."""

import functools
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import textgym
from textgym import Example, TextEnv, TextVectorEnv
from textgym.tasks import is_available

ROWS = 4
MODES = ["NextStep", "SameStep", "Disabled"]
KINDS = ["append", "choose", "edit"]
INTEGERS = [np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
CONSTRAINTS = [None, {"forbid": ["b"]}, {"min_tokens": 3}, {"choices": ["abcd", "ad", "ddd"]}]


@dataclass(frozen=True)
class Ragged:
    """Prompts of many lengths, some too long for their room."""

    name: str = "Ragged"
    prompt_tokens: int = 4
    completion_tokens: int = 5
    tokenizer: str = "characters:abcd"
    reward: str = "textgym.tasks.toys:bandit_score"
    splits: tuple = ("train",)

    def examples(self, split):
        prompts = ["", "a", "bc", "dab", "abcdabcd", "dd"]
        return [
            Example(prompt=prompt, columns={"weight": 0.1 * row + 0.3, "reference": "dcba"[:row]})
            for row, prompt in enumerate(prompts)
        ]


def irregular(prompts, completions, *, weight, **columns):
    """Scores with many digits, which depend on prompt, completion and column."""
    return [
        number
        * sum((place + 1) * ord(letter) for place, letter in enumerate(prompt + "/" + text))
        / 997
        for prompt, text, number in zip(prompts, completions, weight, strict=True)
    ]


AVAILABLE = [
    env_id for env_id in textgym.registered_ids() if is_available(gym.spec(env_id).kwargs["task"])
]


def count_a(prompts, completions, **columns):
    """A second part of the reward."""
    return [float(text.count("a")) for text in completions]


def settings_of(kind, constraints):
    """Both kinds of reward, and a proposer with phrases of several tokens."""
    kwargs = {"task": Ragged(), "action_kind": kind, "reward": [[irregular, 1.0], [count_a, 0.3]]}
    if constraints is not None and (kind != "edit" or set(constraints) <= {"forbid"}):
        kwargs["constraints"] = constraints
    if kind == "choose":
        kwargs |= {"num_choices": 5, "proposer": "list", "max_actions": 4}
        kwargs["proposer_kwargs"] = {"phrases": ["a", "bcd", "d"]}
    return kwargs


def same(expected, actual, where="the result"):
    """Values, dtypes, shapes and keys, down to the last leaf."""
    if isinstance(expected, dict):
        assert expected.keys() == actual.keys(), where
        for key, value in expected.items():
            same(value, actual[key], f"{where}[{key!r}]")
        return
    assert type(expected) is type(actual), where
    if expected is None:
        return
    assert expected.dtype == actual.dtype, where
    assert expected.shape == actual.shape, where
    if expected.dtype == object:
        for row, (left, right) in enumerate(zip(expected, actual, strict=True)):
            same(left, right, f"{where}[{row}]")
    else:
        np.testing.assert_array_equal(expected, actual, where)


def actions_of(seed, count, space):
    """Anything, illegal actions included, and the end of text often enough."""
    generator = np.random.default_rng(seed)
    ends = generator.random((count, ROWS)) < 0.15
    if isinstance(space, gym.spaces.MultiDiscrete):
        places, ids = (generator.integers(0, size, (count, ROWS)) for size in space.nvec)
        return np.stack([places, np.where(ends, 2, ids)], axis=2)
    anything = generator.integers(0, space.n, (count, ROWS))
    return np.where(ends, 0 if space.n < 7 else 2, anything)


def make_pair(mode, limit, **kwargs):
    def single():
        env = TextEnv(**kwargs)
        return env if limit is None else gym.wrappers.TimeLimit(env, limit)

    sync = SyncVectorEnv([single] * ROWS, autoreset_mode=mode)
    native = TextVectorEnv(num_envs=ROWS, autoreset_mode=mode, max_episode_steps=limit, **kwargs)
    return sync, native


def roll(sync, native, actions, seed):
    for name, left, right in zip(
        ("observation", "infos"), sync.reset(seed=seed), native.reset(seed=seed), strict=True
    ):
        same(left, right, f"reset {name}")
    names = ("observation", "rewards", "terminated", "truncated", "infos")
    for step, action in enumerate(actions):
        expected, actual = sync.step(action), native.step(action)
        for name, left, right in zip(names, expected, actual, strict=True):
            same(left, right, f"step {step} {name}")
        ended = expected[2] | expected[3]
        if native.autoreset_mode is AutoresetMode.DISABLED and ended.any():
            # Gymnasium's takes the mask out of the options, so each gets its own.
            pair = (batch.reset(options={"reset_mask": ended}) for batch in (sync, native))
            for left, right in zip(*pair, strict=True):
                same(left, right, f"step {step} partial reset")


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mode=st.sampled_from(MODES),
    limit=st.none() | st.integers(1, 6),
    obs_mode=st.sampled_from(["tokens", "dict"]),
    kind=st.sampled_from(KINDS),
    constraints=st.sampled_from(CONSTRAINTS),
    dense=st.booleans(),
    emit_mask=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_native_is_a_batch_of_single_environments(
    mode, limit, obs_mode, kind, constraints, dense, emit_mask, seed
):
    kwargs = settings_of(kind, constraints)
    sync, native = make_pair(
        mode, limit, obs_mode=obs_mode, dense=dense, emit_mask=emit_mask, **kwargs
    )
    assert sync.observation_space == native.observation_space
    assert sync.action_space == native.action_space
    roll(sync, native, actions_of(seed, 16, native.single_action_space), seed)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("env_id", AVAILABLE)
def test_every_registered_batch_is_a_batch_of_its_singles(env_id, mode):
    kwargs = {"completion_tokens": 4, "emit_mask": True}
    sync = gym.make_vec(
        env_id,
        num_envs=ROWS,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        max_episode_steps=3,
        **kwargs,
    )
    native = gym.make_vec(env_id, num_envs=ROWS, autoreset_mode=mode, max_episode_steps=3, **kwargs)
    roll(sync, native, actions_of(11, 12, native.single_action_space), seed=5)


@pytest.mark.parametrize("mode", MODES)
def test_many_rows_of_many_episodes_are_their_singles(mode):
    """More examples than are drawn at once, and more texts finished at once than lists are for."""
    rows, steps = 12, 200
    task = Ragged(completion_tokens=2, tokenizer="reviews-4096")
    kwargs = {"task": task, "reward": irregular}
    sync = SyncVectorEnv([lambda: TextEnv(**kwargs)] * rows, autoreset_mode=mode)
    native = TextVectorEnv(num_envs=rows, autoreset_mode=mode, **kwargs)
    actions = np.random.default_rng(2).integers(0, native.single_action_space.n, (steps, rows))
    roll(sync, native, actions, seed=7)
    roll(sync, native, actions[:20], seed=None)


@pytest.mark.parametrize("seed", [[3, None, 1, 3], [0, 1, 2, 3]])
def test_listed_seeds_mean_the_same(seed):
    sync, native = make_pair("NextStep", None, task="Alphabet")
    for batch in (sync, native):
        batch.reset(seed=8)
    roll(sync, native, actions_of(1, 10, native.single_action_space), seed)


@functools.cache
def singles_and_batch(kind, backend):
    """Three single environments and a batch of them."""
    kwargs = {"task": "Alphabet", "action_kind": kind, "autoreset_mode": "Disabled"}
    batch = TextVectorEnv(num_envs=3, backend=backend, **kwargs)
    kwargs.pop("autoreset_mode")
    return [TextEnv(**kwargs) for _ in range(3)], batch


def outcome(act):
    """What a call returns, or why it refuses, without the row that a batch adds to the reason."""
    try:
        return act()
    except ValueError as error:
        return str(error).split(": ")[-1]


@st.composite
def actions_anywhere(draw, sizes):
    """An action whose parts may be three times as far out as their space, of any integer dtype."""
    dtype = draw(st.sampled_from(INTEGERS))
    limits = np.iinfo(dtype)
    parts = [
        draw(st.integers(max(-3 * size, limits.min), min(3 * size - 1, limits.max)))
        for size in sizes
    ]
    return np.array(parts if len(parts) > 1 else parts[0], dtype=dtype)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(data=st.data(), row=st.integers(0, 2), before=st.integers(0, 2), seed=st.integers(0, 99))
def test_a_batch_refuses_what_its_singles_refuse_and_nothing_changes(
    kind, backend, data, row, before, seed
):
    """An action outside the space was looked up from the end of a table, and written."""
    singles, batch = singles_and_batch(kind, backend)
    space = batch.single_action_space
    sizes = [int(space.n)] if isinstance(space, gym.spaces.Discrete) else space.nvec.tolist()
    batch.reset(seed=seed)
    for number, env in enumerate(singles):
        env.reset(seed=seed + number)
    # Something legal that ends no text: a letter, a candidate, a replaced token.
    plain = {"append": 3, "choose": 1, "edit": [2, 3]}[kind]
    for _ in range(before):
        batch.step(np.array([plain] * 3))
        for env in singles:
            env.step(plain)
    action = data.draw(actions_anywhere(sizes))
    actions = np.array([plain] * 3, dtype=action.dtype)
    actions[row] = action
    expected = outcome(lambda: singles[row].step(action))
    actual = outcome(lambda: batch.step(actions))
    if isinstance(expected, str):
        assert expected == actual
    else:
        assert not isinstance(actual, str), actual
        for env in np.delete(np.array(singles), row):
            env.step(plain)
    assert tuple(zip(*(env.text() for env in singles), strict=True)) == tuple(
        map(tuple, batch.texts())
    )
    states = [env.save_state().row for env in singles]
    for name in ("tokens", "length", "steps", "stop_reason"):
        rows = to_numpy(getattr(batch.dynamics_state, name))
        np.testing.assert_array_equal([getattr(state, name) for state in states], rows)


def to_numpy(value):
    if isinstance(value, dict):
        return {key: to_numpy(item) for key, item in value.items()}
    return value.cpu().numpy() if hasattr(value, "cpu") else value


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mode=st.sampled_from(MODES),
    limit=st.none() | st.integers(1, 6),
    obs_mode=st.sampled_from(["tokens", "dict"]),
    kind=st.sampled_from(KINDS),
    constraints=st.sampled_from(CONSTRAINTS),
    dense=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_numpy_and_torch_agree(mode, limit, obs_mode, kind, constraints, dense, seed):
    """All but the rewards' precision, and the rows of ``final_obs`` that did not end."""
    kwargs = settings_of(kind, constraints)
    check_backends("cpu", mode, limit, obs_mode, seed, dense=dense, **kwargs)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_numpy_and_a_gpu_agree(mode, kind):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    check_backends("cuda", mode, 4, "dict", seed=1, **settings_of(kind, None))


def check_backends(device, mode, limit, obs_mode, seed, **kwargs):
    numpy_envs, torch_envs = (
        TextVectorEnv(
            num_envs=ROWS,
            autoreset_mode=mode,
            max_episode_steps=limit,
            obs_mode=obs_mode,
            emit_mask=True,
            **kwargs,
            **extra,
        )
        for extra in ({}, {"backend": "torch", "device": device})
    )
    for left, right in zip(numpy_envs.reset(seed=seed), torch_envs.reset(seed=seed), strict=True):
        same(left, to_numpy(right))
    for action in actions_of(seed, 16, numpy_envs.single_action_space):
        expected, actual = numpy_envs.step(action), torch_envs.step(action)
        infos, torch_infos = expected[4], to_numpy(actual[4])
        for row in np.flatnonzero(infos.get("_final_obs", np.zeros(ROWS, bool))):
            batch = torch_infos["final_obs"]
            left = (
                {key: value[row] for key, value in batch.items()}
                if obs_mode == "dict"
                else (batch[row])
            )
            same(infos["final_obs"][row], left)
        same(expected[0], to_numpy(actual[0]))
        np.testing.assert_array_equal(expected[1].astype(np.float32), to_numpy(actual[1]))
        same(expected[2], to_numpy(actual[2]))
        same(expected[3], to_numpy(actual[3]))
        same(
            {key: value for key, value in infos.items() if key != "final_obs"},
            {key: value for key, value in torch_infos.items() if key != "final_obs"},
        )
        np.testing.assert_array_equal(
            numpy_envs.action_masks(), to_numpy(torch_envs.action_masks())
        )
        assert numpy_envs.texts() == torch_envs.texts()
