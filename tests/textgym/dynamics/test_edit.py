"""What editing does to a text, against lists that grow and shrink in plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.dynamics import states
from textgym.dynamics.edit import edit, legal_edits, permits_edit
from textgym.types import StopReason

PAD, BOS, EOS = 0, 1, 2
A, B, C, D = 3, 4, 5, 6
PROMPT = [BOS, A]
ROOM = 4


def make_rules(max_actions=5, step_limit=None):
    """Seven ids, of which D is forbidden; two places for the prompt, four for the completion."""
    return states.Rules(
        prompt_tokens=2,
        completion_tokens=ROOM,
        max_actions=max_actions,
        pad_id=PAD,
        bos_id=BOS,
        eos_id=EOS,
        legal=np.array([False, False, True, True, True, True, False]),
        step_limit=step_limit,
    )


def text_of(state, row=0):
    return state.tokens[row, : state.length[row]].tolist()


def edited(draft, *actions, max_actions=9):
    rules = make_rules(max_actions)
    state = states.lay_out([[A]], rules, [draft])
    for action in actions:
        state = edit(state, np.array([action]), rules)
    return state


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ((2, C), [C, B]),
        ((3, C), [A, C]),
        ((4, C), [A, B, C]),
        ((2, PAD), [B]),
        ((3, PAD), [A]),
        ((2, BOS), [A, A, B]),
        ((3, BOS), [A, B, B]),
        ((5, C), [A, B]),
        ((1, C), [A, B]),
        ((0, PAD), [A, B]),
        ((4, PAD), [A, B]),
        ((4, BOS), [A, B]),
        ((2, D), [A, B]),
        ((0, EOS), [A, B]),
    ],
)
def test_an_edit_replaces_appends_deletes_inserts_or_does_nothing(action, expected):
    """The draft is A B behind the prompt's two places; places count from the prompt's beginning."""
    state = edited([A, B], action)
    assert PROMPT + expected == text_of(state)
    assert (state.tokens[0, state.length[0] :] == PAD).all()
    assert state.steps.tolist() == [1]


def test_stopping_is_an_edit_at_any_place():
    for place in range(6):
        state = edited([A], (place, EOS))
        assert state.stop_reason.tolist() == [StopReason.END_OF_TEXT]
        assert [*PROMPT, A] == text_of(state)


def test_the_allowance_of_edits_ends_the_text():
    state = edited([A], (2, B), (2, C), max_actions=2)
    assert state.stop_reason.tolist() == [StopReason.LENGTH]
    assert edited([A], (2, B), (0, EOS), max_actions=2).stop_reason.tolist() == [
        StopReason.END_OF_TEXT
    ]


def test_a_full_text_takes_no_insertion_and_a_draft_that_is_too_long_is_cut():
    full = edited([A, B, C, A, B])
    assert [*PROMPT, A, B, C, A] == text_of(full)
    assert [*PROMPT, A, B, C, A] == text_of(edited([A, B, C, A], (2, BOS)))
    assert [*PROMPT, A, B, C, B] == text_of(edited([A, B, C, A], (5, B)))


def test_a_draft_can_be_emptied_and_written_anew():
    state = edited([A, B], (2, PAD), (2, PAD), (2, PAD), (2, C))
    assert [*PROMPT, C] == text_of(state)


def edit_list(text, at, token):
    """The same edits on a list that grows and shrinks."""
    inside = 0 <= at < len(text)
    if token == PAD and inside:
        del text[at]
    elif token == BOS and inside and len(text) < ROOM:
        text.insert(at, text[at])
    elif token in (A, B, C) and inside:
        text[at] = token
    elif token in (A, B, C) and at == len(text) < ROOM:
        text.append(token)


@given(
    drafts=st.lists(st.lists(st.integers(A, C), max_size=5), min_size=1, max_size=3),
    actions=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), min_size=1, max_size=7),
    step_limit=st.none() | st.integers(1, 4),
)
def test_edits_of_lists_tell_the_same_story(drafts, actions, step_limit):
    rules = make_rules(step_limit=step_limit)
    state = states.lay_out([[A]] * len(drafts), rules, drafts)
    for action in actions:
        state = edit(state, np.array([action] * len(drafts)), rules)
    for row, draft in enumerate(drafts):
        text, steps, reason = draft[:ROOM], 0, StopReason.RUNNING
        for place, token in actions:
            if reason != StopReason.RUNNING or steps == step_limit:
                break
            steps += 1
            edit_list(text, place - len(PROMPT), token)
            if token == EOS:
                reason = StopReason.END_OF_TEXT
            elif steps == rules.max_actions:
                reason = StopReason.LENGTH
        assert PROMPT + text == text_of(state, row)
        assert [steps, reason] == [state.steps[row], state.stop_reason[row]]


@given(drafts=st.lists(st.lists(st.integers(A, C), max_size=4), min_size=1, max_size=3))
def test_the_mask_of_edits_holds_every_edit_that_has_an_effect(drafts):
    """Places and ids are masked apart, so a mask may hold more pairs, but never fewer."""
    rules = make_rules()
    state = states.lay_out([[A]] * len(drafts), rules, drafts)
    mask = legal_edits(state, rules)
    places, ids = mask[:, : rules.width], mask[:, rules.width :]
    for place in range(rules.width):
        for token in range(7):
            action = np.array([[place, token]] * len(drafts))
            permitted = permits_edit(state, action, rules)
            shown = places[:, place] & ids[:, token]
            assert (shown | ~permitted | (token == EOS)).all()
    assert ids[:, EOS].all()
    assert places.any(axis=1).all()
