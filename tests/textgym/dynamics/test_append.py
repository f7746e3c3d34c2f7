"""Appending: its rules on arrays that can be checked by eye, and its three ways held together."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textgym.dynamics import states
from textgym.dynamics.append import Growth, append, append_to_row, legal_appends
from textgym.dynamics.states import FIELDS, Row, Rules, lay_out, take_rows
from textgym.types import StopReason

PAD, BOS, EOS = 0, 1, 2
ARRAYS = ("tokens", "prompt_length", "length", "steps", "stop_reason")
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


def make_rules(prompt_tokens=3, completion_tokens=2, step_limit=None):
    """Six ids: pad, bos, eos, and three that mean something, of which 5 is forbidden."""
    legal = np.array([False, False, True, True, True, False])
    return states.Rules(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        max_actions=completion_tokens,
        pad_id=PAD,
        bos_id=BOS,
        eos_id=EOS,
        legal=legal,
        step_limit=step_limit,
    )


def run(actions, prompts, rules):
    state = states.lay_out(prompts, rules)
    for action in actions:
        state = append(state, np.array(action), rules)
    return state


def test_a_completion_begins_right_behind_a_ragged_prompt():
    state = run([[3, 4]], [[], [3, 4]], make_rules())
    assert state.tokens.tolist() == [[1, 3, 0, 0, 0], [1, 3, 4, 4, 0]]


def test_the_allowance_does_not_depend_on_the_length_of_the_prompt():
    state = run([[3, 3], [3, 3]], [[], [3, 4]], make_rules())
    assert state.stop_reason.tolist() == [StopReason.LENGTH] * 2
    assert state.length.tolist() == [3, 5]


def test_the_end_of_text_is_written_and_counted():
    state = run([[EOS]], [[3]], make_rules())
    assert state.tokens.tolist() == [[1, 3, EOS, 0, 0]]
    assert state.length.tolist() == [3]
    assert state.stop_reason.tolist() == [StopReason.END_OF_TEXT]


def test_the_end_of_text_at_the_last_step_is_the_reason():
    state = run([[3], [EOS]], [[3]], make_rules())
    assert state.stop_reason.tolist() == [StopReason.END_OF_TEXT]


@pytest.mark.parametrize("action", [PAD, BOS, 5])
def test_an_illegal_action_writes_nothing_and_uses_allowance(action):
    state = run([[action]], [[3]], make_rules())
    assert state.tokens.tolist() == [[1, 3, 0, 0, 0]]
    assert state.steps.tolist() == [1]
    assert run([[action]] * 2, [[3]], make_rules()).stop_reason.tolist() == [StopReason.LENGTH]


def test_a_closed_row_stays_as_it_is():
    """Batches are stepped as a whole, so the rows that are done get actions too."""
    rules = make_rules()
    closed = run([[EOS, 3]], [[3], [3]], rules)
    later = append(closed, np.array([4, 4]), rules)
    assert later.tokens[0].tolist() == [1, 3, EOS, 0, 0]
    assert [
        later.length[0],
        later.steps[0],
        later.stop_reason[0],
    ] == [3, 1, StopReason.END_OF_TEXT]


def test_a_full_row_takes_no_further_token():
    rules = make_rules()
    full = run([[3], [4]], [[3, 3]], rules)
    assert append(full, np.array([3]), rules).tokens.tolist() == [[1, 3, 3, 3, 4]]


def test_nothing_that_was_given_is_written():
    rules = make_rules()
    state = states.lay_out([[3], [4]], rules)
    before = {name: getattr(state, name).copy() for name in ARRAYS}
    after = append(state, np.array([3, EOS]), rules)
    states.replace_rows(after, np.array([0]), states.lay_out([[4, 4]], rules))
    states.observe(state, "dict")["tokens"][:] = 99
    legal_appends(state, rules)[:] = False
    for name, array in before.items():
        assert array.tolist() == getattr(state, name).tolist(), name
    assert rules.legal.tolist() == [False, False, True, True, True, False]


@given(
    prompts=st.lists(st.lists(st.integers(3, 5), max_size=4), min_size=1, max_size=4),
    actions=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    step_limit=st.none() | st.integers(1, 4),
)
def test_a_token_by_token_list_tells_the_same_story(prompts, actions, step_limit):
    """The arrays against lists that grow: one row at a time, in plain Python."""
    rules = make_rules(completion_tokens=3, step_limit=step_limit)
    state = run([[action] * len(prompts) for action in actions], prompts, rules)
    for row, prompt in enumerate(prompts):
        text, used, reason = [BOS, *prompt][:1] + prompt[-2:], 0, StopReason.RUNNING
        for action in actions:
            if reason != StopReason.RUNNING or used == step_limit:
                break
            used += 1
            if action in (EOS, 3, 4):
                text = [*text, action]
            if action == EOS:
                reason = StopReason.END_OF_TEXT
            elif used == 3:
                reason = StopReason.LENGTH
        assert text + [PAD] * (6 - len(text)) == state.tokens[row].tolist()
        assert [used, reason] == [state.steps[row], state.stop_reason[row]]


@given(
    actions=st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=6),
    step_limit=st.none() | st.integers(1, 3),
)
def test_numpy_and_torch_agree(actions, step_limit):
    rules = make_rules(step_limit=step_limit)
    state = states.lay_out([[], [3], [3, 4]], rules)
    torch_rules = states.Rules(
        **{name: getattr(rules, name) for name in rules.__slots__ if name != "legal"},
        legal=torch.tensor(rules.legal),
    )
    tensors = states.State(**{name: torch.tensor(getattr(state, name)) for name in ARRAYS})
    for action in actions:
        state = append(state, np.array(action), rules)
        tensors = append(tensors, torch.tensor(action), torch_rules)
        for name in ARRAYS:
            expected, actual = getattr(state, name), getattr(tensors, name).numpy()
            assert expected.dtype == actual.dtype
            np.testing.assert_array_equal(expected, actual, name)
        np.testing.assert_array_equal(
            legal_appends(state, rules),
            legal_appends(tensors, torch_rules).numpy(),
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


@given(
    prompts=st.lists(st.lists(st.integers(A, C), max_size=5), min_size=1, max_size=4),
    data=st.data(),
)
def test_the_three_ways_to_append_are_one(prompts, data):
    """Arrays, one row after the other, and in place, over texts that end at different times.

    What is left to the arrays, and when somebody looks at the state that is written in place, is
    part of it: a row may be closed, an action illegal or the end, and the allowance used up.
    """
    rules = dataclasses.replace(RULES, legal=RULES.legal & (np.arange(7) != D))
    ids = st.sampled_from([A, B, C, A, B, C, A, B, C, D, EOS, PAD, BOS])
    state = lay_out(prompts, rules)
    steps = data.draw(st.lists(st.integers(0, 3), min_size=len(prompts), max_size=len(prompts)))
    state = dataclasses.replace(state, steps=np.array(steps))
    rows = [Row.of(take_rows(state, np.array([row]))) for row in range(len(prompts))]
    growth = Growth(rules, in_place=True)
    growth.state = state
    for _ in range(rules.max_actions + 1):
        tokens = np.array([data.draw(ids) for _ in prompts])
        closed, last = state.stop_reason != StopReason.RUNNING, int(state.steps.max()) + 1
        state = append(state, tokens, rules)
        rows = [
            row
            if row.is_finished
            else append_to_row(row, int(token), rules, legal=bool(rules.legal[token]))
            for row, token in zip(rows, tokens, strict=True)
        ]
        in_place = growth.append(tokens, closed)
        grows = not closed.any() and np.isin(tokens, [A, B, C]).all() and last < rules.max_actions
        assert (in_place is not None) == grows
        if in_place is None:
            growth.state = append(growth.state, tokens, rules)
        else:
            np.testing.assert_array_equal(state.tokens, in_place)
        if data.draw(st.booleans()):
            assert_same_states(state, growth.state)
        for number, row in enumerate(rows):
            assert_same_states(take_rows(state, np.array([number])), row.state())
    assert_same_states(state, growth.state)


def test_appending_in_place_is_appending():
    growth, pure = grown(), grown().state
    for tokens in np.array([[A, B, C], [D, D, D], [C, B, A], [A, A, B]]):
        pure = append(pure, tokens, RULES)
        np.testing.assert_array_equal(pure.tokens, growth.append(tokens, OPEN))
    assert_same_states(pure, growth.state)


@pytest.mark.parametrize("readers", [[], [0], [1, 2], [0, 1, 2]])
def test_a_state_that_was_read_is_never_written_to(readers):
    growth, pure, kept = grown(), grown().state, []
    for number in range(4):
        growth.append(np.array([A, B, C]), OPEN)
        pure = append(pure, np.array([A, B, C]), RULES)
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


def test_an_action_outside_the_space_is_left_to_others():
    """Numbers of [-2V, -V-1] were looked up from the end of a table, and written into the text."""
    growth = grown()
    before = growth.state
    for action in [*range(-70, 0), *range(7, 70), *(-(2**63), 2**63 - 1)]:
        assert growth.append(np.array([A, action, A]), OPEN) is None
        assert growth.state is before
    assert growth.append(np.array([A, D, A]), OPEN) is not None


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
