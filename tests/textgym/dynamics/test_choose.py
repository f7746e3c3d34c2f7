"""What choosing does to a text, on candidates that can be checked by eye."""

import numpy as np
import pytest

from textgym.dynamics import states
from textgym.dynamics.choose import choose, legal_choices
from textgym.types import StopReason

PAD, BOS, EOS = 0, 1, 2
A, B, C, D = 3, 4, 5, 6
ROOM = 4
PHRASES = [[EOS, PAD], [A, PAD], [B, C], [PAD, PAD], [C, EOS]]


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


def chosen(numbers, candidates=PHRASES, prompt=(), max_actions=5):
    rules = make_rules(max_actions)
    state = states.lay_out([list(prompt)], rules)
    state = states.State(
        **{name: getattr(state, name) for name in states.State.__slots__ if name != "candidates"},
        candidates=np.array([candidates]),
    )
    for number in numbers:
        state = choose(state, np.array([number]), rules)
    return state


@pytest.mark.parametrize(
    ("numbers", "expected", "reason"),
    [
        ([1], [A], StopReason.RUNNING),
        ([2], [B, C], StopReason.RUNNING),
        ([2, 1, 2], [B, C, A, B], StopReason.LENGTH),
        ([1, 0], [A, EOS], StopReason.END_OF_TEXT),
        ([4], [C, EOS], StopReason.END_OF_TEXT),
        ([2, 1, 4], [B, C, A, C], StopReason.LENGTH),
        ([2, 4], [B, C, C, EOS], StopReason.END_OF_TEXT),
        ([3], [], StopReason.RUNNING),
        ([3] * 5, [], StopReason.LENGTH),
        ([0, 1], [EOS], StopReason.END_OF_TEXT),
    ],
)
def test_a_choice_appends_as_much_of_a_candidate_as_fits(numbers, expected, reason):
    """The room is four; the candidate number 3 is none, and choosing it uses allowance."""
    state = chosen(numbers)
    assert [BOS, *expected] == text_of(state)
    assert state.stop_reason.tolist() == [reason]


def test_a_candidate_with_a_forbidden_id_is_none():
    assert chosen([0], candidates=[[B, D], [A, PAD]]).length.tolist() == [1]
    state = chosen([], candidates=[[B, D], [A, PAD], [PAD, PAD]])
    assert legal_choices(state, make_rules()).tolist() == [[False, True, False]]
