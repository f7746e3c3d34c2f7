"""Drafts: how far from the reference, of which tokens, and from whose noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.proposing.drafts import CorruptedDrafter, Drafter, EmptyDrafter, resolve_drafter
from textgym.tasks import get_task
from textgym.tokenizers import CharacterTokenizer, load_tokenizer
from textgym.types import Example

LETTERS = "abcdefgh"
ALLOWANCE = 12


def resolve(drafter, tokenizer=None, allowance=ALLOWANCE, **kwargs):
    return resolve_drafter(
        drafter,
        tokenizer or CharacterTokenizer(LETTERS),
        get_task("Alphabet"),
        4,
        allowance,
        kwargs or None,
    )


def examples(*references):
    return [Example(prompt="a", columns={"reference": text}) for text in references]


def generators(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


@given(
    references=st.lists(st.text(LETTERS, max_size=15), max_size=5),
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_a_row_is_drafted_alone_as_in_a_batch(references, seed, rate):
    """Each row's noise is its own generator's, so row i of many environments is one environment."""
    drafter = resolve("corrupted", rate=rate)
    seeds = [seed + row for row in range(len(references))]
    together = drafter.draft(examples(*references), generators(*seeds))
    alone = [
        drafter.draft(examples(reference), generators(own))[0]
        for reference, own in zip(references, seeds, strict=True)
    ]
    assert alone == together


@given(reference=st.text(max_size=20), seed=st.integers(0, 2**32))
def test_drafts_are_of_ordinary_tokens_and_fit(reference, seed):
    tokenizer = load_tokenizer()
    drafter = resolve("corrupted", tokenizer, rate=0.9)
    (draft,) = drafter.draft(examples(reference), generators(seed))
    assert not {*tokenizer.forbidden_ids, tokenizer.pad_id, tokenizer.eos_id} & set(draft)
    assert len(draft) <= ALLOWANCE


def test_no_changes_leave_the_reference():
    tokenizer = CharacterTokenizer(LETTERS)
    drafts = resolve("corrupted", rate=0).draft(
        examples("abc", "", "abcdefgh" * 2), generators(0, 1, 2)
    )
    assert tokenizer.decode_batch(drafts) == ["abc", "", "abcdefghabcd"]


@pytest.mark.parametrize(
    ("rate", "reference", "wanted"),
    [
        # There is none to swap with: it stays, goes, doubles, or becomes any of the two.
        (1.0, "a", {"": 1 / 4, "aa": 1 / 4, "a": 1 / 4 + 1 / 8, "b": 1 / 8}),
        (0.2, "a", {"": 1 / 20, "aa": 1 / 20, "a": 4 / 5 + 3 / 40, "b": 1 / 40}),
        # By a swap, or by replacing both: 1/4 + (1/4 * 1/2) ** 2.
        (1.0, "ab", {"ba": 17 / 64}),
    ],
)
def test_changes_are_as_frequent_as_they_are_said_to_be(rate, reference, wanted):
    tokenizer = CharacterTokenizer("ab")
    count = 4000
    drafter = CorruptedDrafter(tokenizer, ALLOWANCE, rate=rate)
    drafts = tokenizer.decode_batch(
        drafter.draft(examples(*[reference] * count), generators(*range(count)))
    )
    shares = {text: drafts.count(text) / count for text in wanted}
    assert wanted == pytest.approx(shares, abs=4 * np.sqrt(0.25 / count))


def test_without_a_reference_the_draft_is_empty():
    drafts = resolve("corrupted").draft([Example(prompt="a")], generators(0))
    assert drafts == [[]]


def test_an_empty_draft_draws_nothing():
    (own,) = generators(7)
    assert resolve("empty").draft(examples("abc"), [own]) == [[]]
    assert np.random.default_rng(7).random() == own.random()


def test_a_column_is_a_draft():
    drafter = resolve("column:start", allowance=2)
    rows = [Example(prompt="a", columns={"start": text}) for text in ("cab", "")]
    assert drafter.draft(rows, generators(0, 1)) == [[5, 3], []]


def test_a_missing_column_says_which_there_are():
    with pytest.raises(ValueError, match="no column 'start' for drafts; they have: reference"):
        resolve("column:start").draft(examples("abc"), generators(0))


def test_an_object_is_taken_as_it_is():
    drafter = EmptyDrafter()
    assert isinstance(drafter, Drafter)
    assert drafter is resolve(drafter)


@pytest.mark.parametrize(
    ("drafter", "kwargs", "error", "message"),
    [
        ("corupted", {}, ValueError, r"unknown drafter 'corupted'; known: corrupted, empty, colum"),
        ("corrupted", {"rate": 1.5}, ValueError, r"rate of changes must be from 0 to 1, got 1.5"),
        ("corrupted", {"rate": "high"}, ValueError, r"from 0 to 1, got 'high'"),
        ("empty", {"rate": 0.1}, ValueError, r"drafter 'empty' of Alphabet takes no 'rate'"),
        ("builtins:dict", {}, TypeError, r"drafter 'builtins:dict' is a dict, which has no draft"),
        (object(), {}, TypeError, r"is a object, which has no draft"),
    ],
)
def test_a_wrong_choice_says_what_is_wrong(drafter, kwargs, error, message):
    with pytest.raises(error, match=message) as caught:
        resolve(drafter, **kwargs)
    assert "\n" not in str(caught.value)
