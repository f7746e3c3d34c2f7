"""Examples over three splits, none of them twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.data.prose import key_of
from textgym.tasks.splits import SHARES, check_split, spread
from textgym.tasks.toys import Bandit
from textgym.types import Example


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Close  the Gate!", "close the gate"),
        ("close-the… gate", "close the gate"),
        ("Straße 6", "strasse 6"),
        ("?!", "?!"),
        ("", ""),
    ],
)
def test_a_key_is_what_case_and_punctuation_leave(text, key):
    assert key_of(text) == key


@given(st.sets(st.text(max_size=4), max_size=30), st.sets(st.text(max_size=4), max_size=30))
def test_no_other_example_decides_where_one_goes(some, others):
    def homes(texts):
        splits = spread([Example(prompt=text) for text in sorted(texts)], key=lambda e: e.prompt)
        return {example.prompt: split for split in splits for example in splits[split]}

    assert homes(some) == {
        text: split for text, split in homes(some | others).items() if text in some
    }


def test_of_those_with_one_key_the_first_is_kept():
    splits = spread([Example(prompt=text) for text in ("A goat!", "a goat", "A GOAT", "b")])
    assert sorted(example.prompt for examples in splits.values() for example in examples) == [
        "A goat!",
        "b",
    ]


def test_the_splits_have_their_shares_and_are_shuffled():
    splits = spread([Example(prompt=f"goat {number}") for number in range(5000)])
    assert list(splits) == list(SHARES)
    for split, share in SHARES.items():
        assert abs(len(splits[split]) / 5000 - share) < 0.02
    numbers = [int(example.prompt.split()[1]) for example in splits["train"][:200]]
    assert numbers != sorted(numbers)
    assert 2000 < sum(numbers) / 200 < 3000


def test_an_unknown_split_lists_the_known_ones():
    check_split(Bandit(), "train")
    with pytest.raises(ValueError, match="unknown split 'dev' of Bandit; known: train"):
        check_split(Bandit(), "dev")
