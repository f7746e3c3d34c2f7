"""How texts are laid out, read and over, on small arrays that can be checked by eye."""

import numpy as np

from textgym.dynamics import states
from textgym.dynamics.append import append
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
        state = append(state, np.array(action), rules)
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


def test_an_outside_limit_closes_a_row_without_finishing_it():
    rules = make_rules(step_limit=1)
    state = run([[3], [3]], [[3]], rules)
    assert state.stop_reason.tolist() == [StopReason.RUNNING]
    assert states.is_truncated(state, rules).tolist() == [True]
    assert state.tokens.tolist() == [[1, 3, 3, 0, 0]]


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


def test_a_row_in_plain_numbers_is_the_state_of_that_row():
    """With everything that a state may hold, and nothing where it holds nothing."""
    rules = make_rules()
    plain = run([[3, 4, EOS]], [[], [3], [3, 4]], rules)
    full = states.State(
        **{name: getattr(plain, name) for name in FIELDS},
        candidates=np.arange(12).reshape(3, 2, 2),
        automaton=np.array([5, 6, 7]),
        authored=np.eye(3, 5, dtype=np.int64),
    )
    for state in (plain, full):
        for number in range(3):
            expected = states.take_rows(state, np.array([number]))
            actual = states.Row.of(expected).state()
            for name in states.FIELDS:
                np.testing.assert_array_equal(getattr(expected, name), getattr(actual, name), name)


def test_a_row_knows_how_much_the_agent_wrote():
    row = states.Row.of(run([[3], [EOS]], [[3]], make_rules()))
    assert (row.completion_length, row.is_finished) == (2, True)
    replied = states.Row(
        np.array([1, 3, 3, EOS, 0]), 2, 4, 2, 0, authored=np.array([0, 0, 1, 0, 0])
    )
    assert (replied.completion_length, replied.is_finished) == (1, False)
