"""A kind of action with its proposer and its constraint."""

import numpy as np
import pytest

from textgym.constraints import compile_constraints
from textgym.dynamics.moves import ACTION_KINDS, Moves
from textgym.dynamics.states import Rules, lay_out
from textgym.tokenizers import CharacterTokenizer, legal_ids

PAD, BOS, EOS = 0, 1, 2
A, B, C = 3, 4, 5
TOKENIZER = CharacterTokenizer("abc")
RULES = Rules(
    prompt_tokens=2,
    completion_tokens=3,
    max_actions=3,
    pad_id=PAD,
    bos_id=BOS,
    eos_id=EOS,
    legal=legal_ids(TOKENIZER),
)


class Follower:
    """Proposes the last token of each text, and the phrase "ab"."""

    num_candidates, num_tokens = 2, 2

    def propose(self, tokens, length):
        last = tokens[np.arange(len(tokens)), length - 1]
        return np.stack([[[token, PAD], [A, B]] for token in last])


def constraint(**spec):
    return compile_constraints(spec, TOKENIZER, RULES.legal, RULES.completion_tokens)


@pytest.mark.parametrize("kind", sorted(ACTION_KINDS))
def test_what_is_permitted_is_what_changes_a_text_or_ends_it(kind):
    moves = Moves(kind, RULES, Follower() if kind == "choose" else None)
    state = moves.begin(lay_out([[C]], RULES, [[B]]))
    actions = {
        "append": range(6),
        "choose": range(3),
        "edit": [(place, token) for place in range(5) for token in range(6)],
    }
    for action in actions[kind]:
        after = moves(state, np.array([action]))
        changes = (state.tokens != after.tokens).any() or after.stop_reason.any()
        same = kind == "edit" and action == (2, B)  # replaces a token by itself
        assert moves.permits(state, np.array([action])).tolist() == [changes or same], action


def test_the_end_of_text_is_proposed_first_and_what_is_proposed_follows_the_text():
    moves = Moves("choose", RULES, Follower())
    assert not moves.plain
    state = moves.begin(lay_out([[C], []], RULES))
    assert state.candidates[0].tolist() == [[EOS, PAD], [C, PAD], [A, B]]
    state = moves(state, np.array([2, 0]))
    assert state.candidates[:, 1].tolist() == [[B, PAD], [EOS, PAD]]


def test_a_constraint_follows_the_text_and_where_nothing_fits_the_end_does():
    moves = Moves("append", RULES, constraint=constraint(choices=["ab"]))
    state = moves.begin(lay_out([[C], []], RULES))
    for legal, action in (([A], A), ([B], B), ([EOS], EOS)):
        assert [np.flatnonzero(row).tolist() for row in moves.legal(state)] == [legal] * 2
        for token in range(6):
            assert moves.permits(state, np.full(2, token)).all() == (token in legal)
        state = moves(state, np.full(2, action))
    assert state.stop_reason.all()


def test_a_phrase_is_allowed_if_all_of_it_is():
    for text, expected in (("abc", [False, False, True]), ("ac", [True, False, False])):
        moves = Moves("choose", RULES, Follower(), constraint(choices=[text]))
        assert moves.legal(moves.begin(lay_out([[C]], RULES))).tolist() == [expected]


def test_without_either_nothing_but_the_kind_is_needed():
    moves = Moves("append", RULES)
    assert moves.plain
    state = lay_out([[C]], RULES)
    assert moves.begin(state) is state
