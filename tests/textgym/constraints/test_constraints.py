"""What is written under the masks satisfies the constraint; what satisfies it can be written."""

import functools
import itertools
import re
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.constraints import compile_constraints
from textgym.tokenizers import CharacterTokenizer, load_tokenizer

ROWS = 6
REVIEWS = "reviews-4096"
SEEDS = st.integers(0, 2**32 - 1)

needs_outlines = pytest.mark.skipif(
    find_spec("outlines_core") is None, reason="regex constraints need outlines-core"
)


@functools.cache
def compiled(tokenizer, allowance, **spec):
    """The tokenizer, and the constraint on completions of at most ``allowance`` tokens."""
    loaded = load_tokenizer(tokenizer)
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in spec.items()}
    return loaded, compile_constraints(lists, loaded, legal_ids(loaded), allowance)


def legal_ids(tokenizer):
    legal = np.ones(tokenizer.vocab_size, dtype=np.bool_)
    legal[[tokenizer.pad_id, *tokenizer.forbidden_ids]] = False
    return legal


def rollout(tokenizer, constraint, allowance, seed):
    """Writes random legal completions; returns their ids and whether they ended themselves."""
    rng = np.random.default_rng(seed)
    automaton, written = constraint.start(ROWS), np.zeros(ROWS, dtype=np.int64)
    completions, ended = [[] for _ in range(ROWS)], np.zeros(ROWS, dtype=np.bool_)
    for _ in range(allowance):
        mask = constraint.mask(automaton, written)
        assert mask.any(axis=1).all()
        tried = rng.integers(0, tokenizer.vocab_size, ROWS)
        assert mask[range(ROWS), tried].tolist() == (
            constraint.allows(automaton, written, tried).tolist()
        )
        # The end of text is one of many; without a push it would be rare.
        noise = rng.random(mask.shape)
        noise[:, tokenizer.eos_id] += rng.random() < 0.3
        token = np.where(mask, noise, -1.0).argmax(axis=1)
        moved = constraint.advance(automaton, token)
        for row in np.flatnonzero(~ended):
            completions[row].append(int(token[row]))
        automaton = np.where(ended, automaton, moved)
        written = written + ~ended
        ended = ended | (token == tokenizer.eos_id)
    return completions, ended


def everything(tokenizer, constraint, allowance):
    """Every completion that the masks permit, as ids without the end of text."""
    whole, open_ = set(), [((), constraint.start(1))]
    while open_:
        ids, automaton = open_.pop()
        if len(ids) == allowance:
            whole.add(ids)
            continue
        for token in np.flatnonzero(constraint.mask(automaton, np.array([len(ids)]))[0]).tolist():
            if token == tokenizer.eos_id:
                whole.add(ids)
            else:
                open_.append(((*ids, token), constraint.advance(automaton, np.array([token]))))
    return whole


@needs_outlines
@pytest.mark.parametrize(
    "regex",
    [
        "(ab)*",
        "(?s).*",
        r"( [a-z]+){1,5}[.!?]",
        "yes|no|été|映画",
        r"-?[0-9]{1,3}(\.[0-9]{2})?",
        "[^a]{1,4}",
        "(?i:the) ▁?[é-ü]+",
    ],
)
@given(seed=SEEDS)
def test_completions_match_the_regex(regex, seed):
    """However they are tokenized, also by the bytes of a character, and also at the allowance."""
    tokenizer, constraint = compiled(REVIEWS, 9, regex=regex)
    for ids in rollout(tokenizer, constraint, 9, seed)[0]:
        assert re.fullmatch(regex, tokenizer.decode(ids)), ids


@needs_outlines
@pytest.mark.parametrize("minimum", [0, 3])
@pytest.mark.parametrize(
    "regex", ["(ab)*", "(ab)+|b*", "a?b?a?", "(a|b)*abb", "[ab]", "", "a{2}|b{4}", "a*(ba*ba*)*"]
)
def test_all_that_matches_can_be_written(regex, minimum):
    """outlines-core's own index of (ab)* permits no text but the empty one here."""
    tokenizer = load_tokenizer("characters:abc")
    wanted = {
        tuple(tokenizer.encode(text))
        for length in range(minimum, 6)
        for text in map("".join, itertools.product("abc", repeat=length))
        if re.fullmatch(regex, text)
    }
    if not wanted:
        with pytest.raises(ValueError, match="nothing satisfies them all"):
            compiled("characters:abc", 5, regex=regex, min_tokens=minimum)
        return
    _, constraint = compiled("characters:abc", 5, regex=regex, min_tokens=minimum)
    assert wanted == everything(tokenizer, constraint, 5)


@needs_outlines
@pytest.mark.parametrize(
    ("regex", "text"), [("(?s).*", "ab\n"), ("[^a]b", "éb"), ("(映|a)+", "映a")]
)
def test_a_text_is_whole_only_where_the_regex_ends(regex, text):
    """The mark at the end of a match is a character, and so a match of [^a] and of a dot."""
    tokenizer, constraint = compiled(REVIEWS, 12, regex=regex)
    automaton = constraint.start(1)
    for place, token in enumerate(tokenizer.encode(text)):
        ends = constraint.mask(automaton, np.array([place]))[0, tokenizer.eos_id]
        before = tokenizer.decode(tokenizer.encode(text)[:place])
        assert bool(re.fullmatch(regex, before)) == ends
        automaton = constraint.advance(automaton, np.array([token]))
    assert constraint.mask(automaton, np.array([place + 1]))[0, tokenizer.eos_id]


@pytest.mark.parametrize(
    "choices",
    [("yes", "no"), ("", "a", "ab", "abc"), (" the best", " the worst", "映画", "été", "▁")],
)
@given(seed=SEEDS)
def test_completions_are_choices(choices, seed):
    tokenizer, constraint = compiled(REVIEWS, 9, choices=choices)
    for ids in rollout(tokenizer, constraint, 9, seed)[0]:
        assert tokenizer.decode(ids) in choices


def test_a_choice_may_be_tokenized_in_every_way():
    """A prefix tree of tokens would permit one; texts are what is chosen, and tokens write them."""
    tokenizer, constraint = compiled(REVIEWS, 5, choices=(" the",))
    texts = {token: tokenizer.decode([token]) for token in range(tokenizer.vocab_size)}

    def ways(text):
        if not text:
            return {()}
        return {
            (token, *rest)
            for token, piece in texts.items()
            if piece and text.startswith(piece)
            for rest in ways(text[len(piece) :])
        }

    assert ways(" the") == everything(tokenizer, constraint, 5)


def test_a_character_without_a_token_is_written_by_its_bytes():
    tokenizer, constraint = compiled(REVIEWS, 6, choices=("映",))
    ids = tuple(tokenizer.encode("映"))
    assert len(ids) == 3
    assert {ids} == everything(tokenizer, constraint, 6)


def test_the_allowance_leaves_room_to_finish():
    """A choice is begun only if it can be finished: 'b' is one token, 'aaaa' needs all four."""
    tokenizer, constraint = compiled("characters:ab", 4, choices=("b", "aaaa"))
    whole = {tuple(tokenizer.encode(text)) for text in ("b", "aaaa")}
    assert whole == everything(tokenizer, constraint, 4)
    late = constraint.mask(constraint.start(1), np.array([1]))[0]
    assert [*tokenizer.encode("b")] == np.flatnonzero(late).tolist()


@given(minimum=st.integers(0, 5), seed=SEEDS)
def test_the_end_of_text_is_legal_from_min_tokens_on(minimum, seed):
    tokenizer, constraint = compiled("characters:ab", 5, min_tokens=minimum)
    written = np.arange(6)
    ends = constraint.mask(constraint.start(6), written)[:, tokenizer.eos_id]
    assert [count >= minimum for count in range(6)] == ends.tolist()
    for ids, ended in zip(*rollout(tokenizer, constraint, 5, seed), strict=True):
        assert len(ids) - ended >= minimum


def test_min_tokens_rules_out_short_choices():
    tokenizer, constraint = compiled("characters:ab", 6, choices=("abab",), min_tokens=3)
    assert {tuple(tokenizer.encode("abab"))} == everything(tokenizer, constraint, 6)


def test_constraints_hold_together():
    tokenizer, constraint = compiled(
        "characters:abcd", 3, allow=("a", "b", 5), forbid=("b",), min_tokens=2
    )
    texts = ["aa", "ac", "ca", "cc", *map("".join, itertools.product("ac", repeat=3))]
    assert {tuple(tokenizer.encode(text)) for text in texts} == everything(tokenizer, constraint, 3)


def test_without_the_end_of_text_completions_are_full():
    tokenizer, constraint = compiled("characters:ab", 3, forbid=(2,))
    assert {3} == {len(ids) for ids in everything(tokenizer, constraint, 3)}


def test_no_constraint_leaves_the_tokenizers_own():
    tokenizer, constraint = compiled("characters:ab", 3)
    mask = constraint.mask(constraint.start(2), np.array([0, 2]))
    assert [legal_ids(tokenizer).tolist()] * 2 == mask.tolist()


def test_a_full_completion_may_only_end():
    tokenizer, constraint = compiled("characters:ab", 2, min_tokens=2)
    mask = constraint.mask(constraint.start(1), np.array([2]))[0]
    assert [tokenizer.eos_id] == np.flatnonzero(mask).tolist()


def test_illegal_tokens_and_the_end_leave_the_state():
    """So an environment may advance all rows at once, whatever their actions were."""
    tokenizer, constraint = compiled("characters:abc", 4, choices=("ab", "a"), forbid=("c",))
    start = constraint.start(5)
    moved = constraint.advance(start, np.array([tokenizer.pad_id, 5, 4, tokenizer.eos_id, 99]))
    assert start.tolist() == moved.tolist()
    after = constraint.advance(constraint.start(1), np.array(tokenizer.encode("a")))
    assert after.tolist() == constraint.advance(after, np.array([tokenizer.eos_id])).tolist()


def test_an_id_that_does_not_exist_is_not_allowed():
    _, constraint = compiled("characters:ab", 4)
    allowed = constraint.allows(constraint.start(3), np.zeros(3, int), np.array([-1, 5, 4]))
    assert allowed.tolist() == [False, False, True]


def test_a_mask_is_the_callers_own():
    _, constraint = compiled("characters:ab", 4)
    start, nothing = constraint.start(1), np.zeros(1, dtype=np.int64)
    before = constraint.mask(start, nothing).tolist()
    constraint.mask(start, nothing)[:] = False
    assert before == constraint.mask(start, nothing).tolist()


def test_more_masks_than_there_was_room_for():
    """The table of masks grows while rows of it are being asked for."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokenizer = CharacterTokenizer(letters)
    pairs = [letter + after for letter, after in itertools.pairwise(letters)]
    constraint = compile_constraints({"choices": pairs}, tokenizer, legal_ids(tokenizer), 2)
    first = np.array(tokenizer.encode(letters[:-1]))
    after = constraint.advance(constraint.start(len(first)), first)
    mask = constraint.mask(after, np.ones(len(first), dtype=np.int64))
    assert (first + 1).tolist() == mask.argmax(axis=1).tolist()
    assert mask.sum(axis=1).tolist() == [1] * len(first)
