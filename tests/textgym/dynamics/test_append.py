"""Steps taken in place: the same as the pure ones, and nobody who has looked at them can tell."""

import dataclasses

import numpy as np
import pytest

from textgym import TextEnv, TextVectorEnv
from textgym.dynamics import choose_edit as dynamics
from textgym.dynamics.in_place import Growth
from textgym.dynamics.states import FIELDS, Rules, lay_out

PAD, BOS, EOS = 0, 1, 2
A, B, C, D = 3, 4, 5, 6
OPEN = np.zeros(3, dtype=np.bool_)
RULES = Rules(
    prompt_tokens=4,
    completion_tokens=5,
    max_actions=5,
    pad_id=PAD,
    bos_id=BOS,
    eos_id=EOS,
    legal=np.array([False, False, True, True, True, True, True]),
)


def grown(rules=RULES, **kwargs):
    growth = Growth(rules, **{"in_place": True, **kwargs})
    growth.state = lay_out([[A], [], [B, C, D]], rules)
    return growth


def assert_same_states(expected, actual):
    for name in FIELDS:
        left, right = getattr(expected, name), getattr(actual, name)
        assert (left is None) == (right is None), name
        if left is not None:
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype, name


def test_appending_in_place_is_appending():
    growth, pure = grown(), grown().state
    for tokens in np.array([[A, B, C], [D, D, D], [C, B, A], [A, A, B]]):
        pure = dynamics.append(pure, tokens, RULES)
        np.testing.assert_array_equal(pure.tokens, growth.append(tokens, OPEN))
    assert_same_states(pure, growth.state)


@pytest.mark.parametrize("readers", [[], [0], [1, 2], [0, 1, 2]])
def test_a_state_that_was_read_is_never_written_to(readers):
    growth, pure, kept = grown(), grown().state, []
    for number in range(4):
        growth.append(np.array([A, B, C]), OPEN)
        pure = dynamics.append(pure, np.array([A, B, C]), RULES)
        if number in readers:
            kept.append((pure, growth.state))
    for expected, actual in [*kept, (pure, growth.state)]:
        assert_same_states(expected, actual)


@pytest.mark.parametrize(
    "actions",
    [
        np.array([A, EOS, A]),
        np.array([A, PAD, A]),
        np.array([A, BOS, A]),
        np.array([A, -1, A]),
        np.array([A, -7, A]),
        np.array([A, -15, A]),
        np.array([A, 7, A]),
        np.array([A, 10**9, A]),
        np.array([A, A]),
        np.array([[A, A, A]]),
        np.array([A, A, A], dtype=np.float64),
        np.array([A, A, A], dtype=np.int32),
        np.array([True, True, True]),
        [A, A, A],
        A,
    ],
)
def test_what_is_not_plain_growth_is_left_to_others(actions):
    growth = grown()
    before = growth.state
    assert growth.append(actions, OPEN) is None
    assert growth.state is before


def test_the_last_of_an_allowance_is_left_to_others():
    growth = grown()
    for _ in range(4):
        assert growth.append(np.array([A, A, A]), OPEN) is not None
    assert growth.append(np.array([A, A, A]), OPEN) is None
    assert growth.state.steps.tolist() == [4, 4, 4]


def test_the_row_that_went_farthest_decides_how_long_a_stretch_is():
    growth = grown()
    growth.state = dataclasses.replace(growth.state, steps=np.array([0, 3, 1]))
    assert growth.append(np.array([A, A, A]), OPEN) is not None
    assert growth.append(np.array([A, A, A]), OPEN) is None


def test_the_step_that_a_limit_cuts_is_left_to_others():
    growth = grown(dataclasses.replace(RULES, step_limit=2))
    assert growth.append(np.array([A, A, A]), OPEN) is not None
    assert growth.append(np.array([A, A, A]), OPEN) is None


def test_where_a_row_is_closed_nothing_is_done_in_place():
    assert grown().append(np.array([A, A, A]), np.array([False, True, False])) is None


def test_nothing_is_done_in_place_unless_it_was_allowed():
    assert grown(in_place=False).append(np.array([A, A, A]), OPEN) is None
    assert Growth(RULES, in_place=True).append(np.array([A, A, A]), OPEN) is None


def look(envs, _number):
    return envs.dynamics_state


def save_and_go_back(envs, _number):
    envs.restore_state(envs.save_state())


def fork_onto_itself(envs, _number):
    envs.fork(np.arange(envs.num_envs))


def read_texts(envs, _number):
    return envs.texts(), envs.action_masks()


def reset_a_row(envs, number):
    mask = np.arange(envs.num_envs) == number % envs.num_envs
    envs.reset(options={"reset_mask": mask, "example_id": number % 3})


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize(
    "between", [None, look, save_and_go_back, fork_onto_itself, read_texts, reset_a_row]
)
def test_an_environment_that_grows_in_place_is_one_that_does_not(mode, between):
    """With masks in its infos every step is pure; all else that both return is the same."""
    settings = {"task": "Alphabet", "num_envs": 4, "autoreset_mode": mode, "completion_tokens": 6}
    plain, pure = TextVectorEnv(**settings), TextVectorEnv(**settings, emit_mask=True)
    generator = np.random.default_rng(5)
    np.testing.assert_array_equal(plain.reset(seed=1)[0], pure.reset(seed=1)[0])
    kept = []
    for number in range(120):
        # Now and then a text ends or an action is illegal.
        actions = generator.choice([A, B, C, D, EOS, PAD], 4, p=[0.24] * 4 + [0.02] * 2)
        here, there = plain.step(actions), pure.step(actions)
        kept.append((here[0], here[0].copy()))
        for left, right in zip(here[:4], there[:4], strict=True):
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype
        if between is not None and number % 3 == 1:
            between(plain, number)
            between(pure, number)
    assert_same_states(pure.dynamics_state, plain.dynamics_state)
    for returned, as_it_was in kept:
        np.testing.assert_array_equal(returned, as_it_was)


def test_a_usual_step_of_a_batch_does_not_go_the_long_way(monkeypatch):
    envs = TextVectorEnv(task="Alphabet", num_envs=2)
    envs.reset(seed=0)
    monkeypatch.delattr(TextVectorEnv, "_move")
    envs.step(np.array([A, B]))
    with pytest.raises(AttributeError, match="_move"):
        envs.step(np.array([A, EOS]))


def test_a_text_on_its_way_can_be_taken_up_in_another_environment():
    one, other = (TextVectorEnv(task="Alphabet", num_envs=2) for _ in range(2))
    one.reset(seed=0, options={"example_id": np.array([0, 1])})
    other.reset(seed=3)
    one.step(np.array([B, C]))
    snapshot = one.save_state()
    one.step(np.array([C, D]))
    other.restore_state(snapshot)
    other.step(np.array([D, D]))
    assert one.texts()[1] == ["bc", "cd"]
    assert other.texts()[1] == ["bd", "cd"]
    one.restore_state(snapshot)
    assert one.texts()[1] == ["b", "c"]


def test_one_step_in_place_is_a_step_for_those_who_ask_who_wrote_what():
    envs = TextVectorEnv(task="Alphabet", num_envs=2)
    envs.reset(seed=0)
    envs.step(np.array([B, C]))
    assert envs.authored_at_end is None


def test_a_single_text_and_a_batch_raise_for_the_same_actions():
    """A number below 0 must not be looked up from the end."""
    env, envs = TextEnv(task="Alphabet"), TextVectorEnv(task="Alphabet", num_envs=1)
    size = int(env.action_space.n)
    for action in (-1, -size, -2 * size, -2 * size - 1, size, 2 * size):
        env.reset(seed=0)
        envs.reset(seed=0)
        with pytest.raises(ValueError, match=f"action {action} is not in"):
            env.step(action)
        with pytest.raises(ValueError, match=f"row 0: action {action} is not in"):
            envs.step(np.array([action]))
