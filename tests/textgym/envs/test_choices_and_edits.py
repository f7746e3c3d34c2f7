"""What choosing and editing do to a text, against lists that grow and shrink in plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym import TextEnv
from textgym.dynamics import choose_edit as dynamics
from textgym.dynamics import states
from textgym.tokenizers import CharacterTokenizer
from textgym.types import StopReason

PAD, BOS, EOS = 0, 1, 2
A, B, C, D = 3, 4, 5, 6
PROMPT = [BOS, A]
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


def edit(draft, *actions, max_actions=9):
    rules = make_rules(max_actions)
    state = states.lay_out([[A]], rules, [draft])
    for action in actions:
        state = dynamics.edit(state, np.array([action]), rules)
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
    state = edit([A, B], action)
    assert PROMPT + expected == text_of(state)
    assert (state.tokens[0, state.length[0] :] == PAD).all()
    assert state.steps.tolist() == [1]


def test_stopping_is_an_edit_at_any_place():
    for place in range(6):
        state = edit([A], (place, EOS))
        assert state.stop_reason.tolist() == [StopReason.END_OF_TEXT]
        assert [*PROMPT, A] == text_of(state)


def test_the_allowance_of_edits_ends_the_text():
    state = edit([A], (2, B), (2, C), max_actions=2)
    assert state.stop_reason.tolist() == [StopReason.LENGTH]
    assert edit([A], (2, B), (0, EOS), max_actions=2).stop_reason.tolist() == [
        StopReason.END_OF_TEXT
    ]


def test_a_full_text_takes_no_insertion_and_a_draft_that_is_too_long_is_cut():
    full = edit([A, B, C, A, B])
    assert [*PROMPT, A, B, C, A] == text_of(full)
    assert [*PROMPT, A, B, C, A] == text_of(edit([A, B, C, A], (2, BOS)))
    assert [*PROMPT, A, B, C, B] == text_of(edit([A, B, C, A], (5, B)))


def test_a_draft_can_be_emptied_and_written_anew():
    state = edit([A, B], (2, PAD), (2, PAD), (2, PAD), (2, C))
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
        state = dynamics.edit(state, np.array([action] * len(drafts)), rules)
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
    mask = dynamics.legal_edits(state, rules)
    places, ids = mask[:, : rules.width], mask[:, rules.width :]
    for place in range(rules.width):
        for token in range(7):
            action = np.array([[place, token]] * len(drafts))
            permitted = dynamics.permits_edit(state, action, rules)
            shown = places[:, place] & ids[:, token]
            assert (shown | ~permitted | (token == EOS)).all()
    assert ids[:, EOS].all()
    assert places.any(axis=1).all()


def choose(numbers, candidates=PHRASES, prompt=(), max_actions=5):
    rules = make_rules(max_actions)
    state = states.lay_out([list(prompt)], rules)
    state = states.State(
        **{name: getattr(state, name) for name in states.State.__slots__ if name != "candidates"},
        candidates=np.array([candidates]),
    )
    for number in numbers:
        state = dynamics.choose(state, np.array([number]), rules)
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
    state = choose(numbers)
    assert [BOS, *expected] == text_of(state)
    assert state.stop_reason.tolist() == [reason]


def test_a_candidate_with_a_forbidden_id_is_none():
    assert choose([0], candidates=[[B, D], [A, PAD]]).length.tolist() == [1]
    state = choose([], candidates=[[B, D], [A, PAD], [PAD, PAD]])
    assert dynamics.legal_choices(state, make_rules()).tolist() == [[False, True, False]]


def test_the_first_candidate_always_ends_the_text():
    env = TextEnv(task="Alphabet", action_kind="choose", num_choices=4, obs_mode="dict")
    observation, _ = env.reset(options={"example_id": 0})
    candidates = observation["candidates"]
    assert candidates.shape == (4,)
    assert candidates[0] == EOS
    observation, _, terminated, _, info = env.step(0)
    assert terminated
    assert info["stop_reason"] == StopReason.END_OF_TEXT
    assert observation["tokens"].tolist() == [BOS, A, EOS, PAD, PAD, PAD, PAD, PAD]


def test_the_layout_says_where_the_candidates_are():
    env = TextEnv(task="Alphabet", action_kind="choose", num_choices=4)
    observation, _ = env.reset(options={"example_id": 0})
    assert observation[env.layout["tokens"]].tolist() == [BOS, A, *[PAD] * 6]
    assert observation[env.layout["candidates"]][0] == EOS
    assert observation.shape == (8 + 4,)
    assert {"tokens": slice(0, 8)} == TextEnv(task="Alphabet").layout


def test_phrases_of_one_s_own_are_chosen():
    env = TextEnv(
        task="Alphabet",
        action_kind="choose",
        num_choices=3,
        proposer="list",
        proposer_kwargs={"phrases": ["bc", "d"]},
    )
    env.reset(options={"example_id": 0})
    rewards = [env.step(action)[1] for action in (1, 2, 0)]
    assert rewards == [0.0, 0.0, 1.0]
    assert env.text() == ("a", "bcd")


def test_an_edit_starts_from_a_draft_and_shows_what_it_changed():
    env = TextEnv(
        task="Alphabet", action_kind="edit", drafter_kwargs={"rate": 0.0}, render_mode="ansi"
    )
    observation, info = env.reset(options={"example_id": 0})
    assert observation.tolist() == [BOS, A, 4, 5, 6, PAD, PAD, PAD]
    assert info["prompt_length"] == 2
    assert env.text() == ("a", "bcd")
    env.step((3, 7))
    assert env.text() == ("a", "bed")
    assert "\x1b[31;9mc\x1b[0m\x1b[32me\x1b[0m" in env.render()
    assert env.step((0, EOS))[1] == 0.75


def test_a_tokenizer_that_begins_and_ends_alike_cannot_edit():
    class Circular(CharacterTokenizer):
        eos_id, forbidden_ids = 1, (0,)

    with pytest.raises(ValueError, match="begins and ends a text with the same id 1"):
        TextEnv(task="Alphabet", tokenizer=Circular("abcdefgh"), action_kind="edit")
