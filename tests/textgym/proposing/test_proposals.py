"""Candidates: counted by hand, the same for numpy and torch, never a special id."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textgym.proposing.proposals import BigramProposer, ListProposer, Proposer, resolve_proposer
from textgym.tasks import get_task
from textgym.tokenizers import CharacterTokenizer, load_tokenizer
from textgym.types import Example

LETTERS = "abcd"
A, B, C, D = 3, 4, 5, 6
PAD, BOS, EOS = 0, 1, 2


class Phrased:
    """A task with phrases of its own."""

    name = "Phrased"
    phrases = (" yes", " no")


def texts(*pairs):
    return [Example(prompt=prompt, columns={"reference": text}) for prompt, text in pairs]


def after(proposer, *rows):
    """The first tokens of what is proposed after the rows."""
    width = max(map(len, rows)) + 2
    tokens = np.full((len(rows), width), PAD)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = row
    return proposer.propose(tokens, np.array([len(row) for row in rows]))[:, :, 0].tolist()


def test_the_likeliest_next_tokens_come_first():
    """Then the most frequent of all, and of equally frequent ones the smaller id."""
    examples = texts(("a", "b"), ("", "dbab"), ("ac", ""))
    proposer = BigramProposer(3, CharacterTokenizer(LETTERS), examples)
    # Frequencies: a 3, b 3, c 1, d 1. Pairs: beginning-a 2, beginning-d, ab 2, ac, db, ba.
    assert after(proposer, [BOS], [BOS, A], [BOS, B, C], [BOS, D], [BOS, B]) == [
        [A, D, B],
        [B, C, A],
        [A, B, C],
        [B, A, C],
        [A, B, C],
    ]


def test_the_prompt_runs_into_its_reference():
    proposer = BigramProposer(1, CharacterTokenizer(LETTERS), texts(("a", "c"), ("b", "bb")))
    assert after(proposer, [BOS, A]) == [[C]]


def test_examples_without_a_reference_count_by_their_prompts():
    proposer = BigramProposer(2, CharacterTokenizer(LETTERS), [Example(prompt="dc")])
    assert after(proposer, [BOS, D]) == [[C, D]]


def test_where_there_are_too_few_tokens_there_is_no_candidate():
    """The end of text and the forbidden ids do not fill up; padding alone is no candidate."""
    proposer = BigramProposer(6, CharacterTokenizer(LETTERS), texts(("a", "b")))
    assert after(proposer, [BOS, A], [BOS, A, EOS]) == [
        [B, A, C, D, PAD, PAD],
        [A, B, C, D, PAD, PAD],
    ]


def test_no_examples_propose_the_first_ids():
    proposer = BigramProposer(2, CharacterTokenizer(LETTERS), [])
    assert after(proposer, [BOS]) == [[A, B]]


@given(
    rows=st.lists(st.text(LETTERS, max_size=6), max_size=8),
    count=st.integers(1, 5),
    last=st.sampled_from([BOS, EOS, A, B, C, D]),
)
def test_candidates_are_ordered_by_count_then_frequency_then_id(rows, count, last):
    """Against the rule as the documentation states it, in plain Python."""
    tokenizer = CharacterTokenizer(LETTERS)
    sequences = [[BOS, *tokenizer.encode(row)] for row in rows]
    followers = [
        second
        for sequence in sequences
        for first, second in itertools.pairwise(sequence)
        if first == last
    ]
    flat = [token for sequence in sequences for token in sequence]
    order = sorted((A, B, C, D), key=lambda token: (-flat.count(token), token))
    seen = sorted(set(followers), key=lambda token: (-followers.count(token), token))
    # At most `count` of the most frequent are looked at, which is enough to fill up with.
    wanted = [*seen, *(token for token in order[:count] if token not in seen)][:count]
    proposer = BigramProposer(count, tokenizer, [Example(prompt=row) for row in rows])
    assert [wanted + [PAD] * (count - len(wanted))] == after(proposer, [BOS, last])


@pytest.mark.parametrize("name", ["ngram", "list"])
def test_numpy_and_torch_get_the_same(name):
    tokenizer = load_tokenizer()
    examples = texts(("the film", " was good"), ("a film", " about dogs"))
    proposer = resolve_proposer(name, 4, tokenizer, Phrased(), examples)
    rows = tokenizer.encode_batch(["the film", "a"])
    tokens = np.array([row + [0] * (8 - len(row)) for row in rows])
    length = np.array([len(row) for row in rows])
    numpy = proposer.propose(tokens, length)
    torch_ = proposer.propose(torch.from_numpy(tokens), torch.from_numpy(length))
    assert isinstance(torch_, torch.Tensor)
    assert torch_.dtype == torch.int64
    assert numpy.dtype == np.int64
    assert numpy.shape == (2, proposer.num_candidates, proposer.num_tokens)
    assert numpy.tolist() == torch_.tolist()


@pytest.mark.parametrize("name", ["ngram", "list"])
@pytest.mark.parametrize("convert", [np.array, torch.tensor])
def test_what_is_proposed_is_the_callers_own(name, convert):
    proposer = resolve_proposer(name, 2, load_tokenizer(), Phrased(), [])
    tokens, length = convert([[1, 5], [1, 0]]), convert([2, 1])
    before = proposer.propose(tokens, length).tolist()
    proposer.propose(tokens, length)[:] = -1
    assert before == proposer.propose(tokens, length).tolist()


def test_phrases_are_candidates_of_several_tokens():
    tokenizer = CharacterTokenizer(LETTERS)
    proposer = resolve_proposer("list", 3, tokenizer, Phrased(), [], {"phrases": ["abc", "d"]})
    assert (proposer.num_candidates, proposer.num_tokens) == (3, 3)
    assert proposer.propose(np.array([[BOS, A]]), np.array([1])).tolist() == [
        [[A, B, C], [D, PAD, PAD], [PAD, PAD, PAD]]
    ]


def test_phrases_come_from_the_task_unless_they_are_given():
    tokenizer = load_tokenizer()
    proposer = resolve_proposer("list", 2, tokenizer, Phrased(), [])
    proposed = proposer.propose(np.array([[1]]), np.array([1]))[0]
    assert tokenizer.decode_batch(proposed) == [" yes", " no"]


def test_a_factory_is_called_with_its_arguments():
    phrases = {"phrases": ["ab"]}
    tokenizer = CharacterTokenizer(LETTERS)
    proposer = resolve_proposer(
        "textgym.proposing.proposals:ListProposer", 2, tokenizer, Phrased(), [], phrases
    )
    assert isinstance(proposer, ListProposer)
    assert (proposer.num_candidates, proposer.num_tokens) == (2, 2)


def test_an_object_is_taken_as_it_is():
    proposer = ListProposer(2, CharacterTokenizer(LETTERS), ["ab"])
    assert isinstance(proposer, Proposer)
    resolved = resolve_proposer(proposer, 9, CharacterTokenizer(LETTERS), Phrased(), [])
    assert proposer is resolved


@pytest.mark.parametrize(
    ("proposer", "count", "kwargs", "error", "message"),
    [
        ("bigram", 2, None, ValueError, r"unknown proposer 'bigram'; known: ngram, list; or give"),
        ("ngram", 0, None, ValueError, r"num_candidates must be a positive integer, got 0"),
        ("ngram", True, None, ValueError, r"num_candidates must be a positive integer, got True"),
        ("ngram", 2, {"rate": 1}, ValueError, r"proposer 'ngram' takes no 'rate'"),
        ("list", 2, {"phrases": []}, ValueError, r"phrases must be texts that are not empty"),
        ("list", 2, {"phrases": ["a", ""]}, ValueError, r"not empty, got \['a', ''\]"),
        ("list", 2, {"phrases": "ab"}, ValueError, r"phrases must be a list of texts, got 'ab'"),
        ("list", 1, {"phrases": ["a", "b"]}, ValueError, r"2 phrases for 1 candidates; give num_"),
        ("list", 2, None, ValueError, r"Bandit has no phrases of its own; give proposer_kwargs"),
        (
            "textgym.proposing.proposals:Nothing",
            2,
            None,
            ValueError,
            r"'textgym.proposing.proposals' has no 'Nothing'",
        ),
        (
            "no_such_package:X",
            2,
            None,
            ModuleNotFoundError,
            r"there is no module 'no_such_package'",
        ),
        (
            "textgym.proposing.proposals:__all__",
            2,
            None,
            ValueError,
            r"is a list, which cannot be called",
        ),
        (object(), 2, None, TypeError, r"is a object, which lacks num_candidates"),
    ],
)
def test_a_wrong_choice_says_what_is_wrong(proposer, count, kwargs, error, message):
    with pytest.raises(error, match=message) as caught:
        resolve_proposer(
            proposer, count, CharacterTokenizer(LETTERS), get_task("Bandit"), [], kwargs
        )
    assert "\n" not in str(caught.value)
