"""The rules of a text's life, on small arrays that can be checked by eye."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textgym.dynamics import choose_edit as dynamics
from textgym.dynamics import states
from textgym.types import StopReason

PAD, BOS, EOS = 0, 1, 2
FIELDS = ("tokens", "prompt_length", "length", "steps", "stop_reason")


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
        state = dynamics.append(state, np.array(action), rules)
    return state


def test_prompts_are_laid_out_ragged_behind_the_first_id():
    state = states.lay_out([[], [3], [3, 4]], make_rules())
    expected = [[1, 0, 0, 0, 0], [1, 3, 0, 0, 0], [1, 3, 4, 0, 0]]
    assert expected == state.tokens.tolist()
    assert [1, 2, 3] == state.prompt_length.tolist() == state.length.tolist()


def test_a_long_prompt_keeps_the_first_id_and_its_own_last_ids():
    state = states.lay_out([[3, 3, 3, 4, 4]], make_rules())
    assert state.tokens.tolist() == [[1, 4, 4, 0, 0]]


def test_a_prompt_with_room_for_the_first_id_only_is_cut_to_nothing():
    """With no room, ``prompt[-0:]`` would have kept everything."""
    state = states.lay_out([[3, 4]], make_rules(prompt_tokens=1))
    assert state.tokens.tolist() == [[1, 0, 0]]


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
    later = dynamics.append(closed, np.array([4, 4]), rules)
    assert later.tokens[0].tolist() == [1, 3, EOS, 0, 0]
    assert [
        later.length[0],
        later.steps[0],
        later.stop_reason[0],
    ] == [3, 1, StopReason.END_OF_TEXT]


def test_a_full_row_takes_no_further_token():
    rules = make_rules()
    full = run([[3], [4]], [[3, 3]], rules)
    assert dynamics.append(full, np.array([3]), rules).tokens.tolist() == [[1, 3, 3, 3, 4]]


def test_an_outside_limit_closes_a_row_without_finishing_it():
    rules = make_rules(step_limit=1)
    state = run([[3], [3]], [[3]], rules)
    assert state.stop_reason.tolist() == [StopReason.RUNNING]
    assert dynamics.truncated(state, rules).tolist() == [True]
    assert state.tokens.tolist() == [[1, 3, 3, 0, 0]]


def test_nothing_that_was_given_is_written():
    rules = make_rules()
    state = states.lay_out([[3], [4]], rules)
    before = {name: getattr(state, name).copy() for name in FIELDS}
    after = dynamics.append(state, np.array([3, EOS]), rules)
    states.replace_rows(after, np.array([0]), states.lay_out([[4, 4]], rules))
    states.observe(state, "dict")["tokens"][:] = 99
    dynamics.legal_appends(state, rules)[:] = False
    for name, array in before.items():
        assert array.tolist() == getattr(state, name).tolist(), name
    assert rules.legal.tolist() == [False, False, True, True, True, False]


def test_rows_are_taken_and_replaced():
    rules = make_rules()
    state = run([[3, 4, 3]], [[], [3], [4]], rules)
    fresh = states.lay_out([[4, 4]], rules)
    replaced = states.replace_rows(state, np.array([1]), fresh)
    assert replaced.tokens.tolist() == [[1, 3, 0, 0, 0], [1, 4, 4, 0, 0], [1, 4, 3, 0, 0]]
    assert states.take_rows(state, np.array([2])).tokens.tolist() == [[1, 4, 3, 0, 0]]


def test_the_masks_of_a_dict_observation():
    seen = states.observe(run([[3, 3]], [[], [3, 4]], make_rules()), "dict")
    assert seen["attention_mask"].tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]
    assert seen["prompt_mask"].tolist() == [[1, 0, 0, 0, 0], [1, 1, 1, 0, 0]]
    assert {np.dtype(np.int64)} == {array.dtype for array in seen.values()}


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
    tensors = states.State(**{name: torch.tensor(getattr(state, name)) for name in FIELDS})
    for action in actions:
        state = dynamics.append(state, np.array(action), rules)
        tensors = dynamics.append(tensors, torch.tensor(action), torch_rules)
        for name in FIELDS:
            expected, actual = getattr(state, name), getattr(tensors, name).numpy()
            assert expected.dtype == actual.dtype
            np.testing.assert_array_equal(expected, actual, name)
        np.testing.assert_array_equal(
            dynamics.legal_appends(state, rules),
            dynamics.legal_appends(tensors, torch_rules).numpy(),
        )
