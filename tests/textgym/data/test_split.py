"""Which pool a text belongs to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.data.reviews import POOLS
from textgym.data.split import assign, position


@given(st.text())
def test_a_text_has_one_place_and_one_pool(text):
    assert 0 <= position(text) < 1
    assert assign(text, POOLS) == assign("".join(text), POOLS)
    assert assign(text, POOLS) in POOLS


def test_the_place_of_a_text_never_moves():
    """From ``b2sum -l 64``: another value would silently move every text to another pool."""
    assert position("The film") == 0.07204929952478256


@given(st.sets(st.text(), max_size=30), st.sets(st.text(), max_size=30))
def test_no_other_text_decides_where_a_text_goes(first, second):
    """Adding or removing texts moves none, so a pool never leaks into another between versions."""
    alone = {text: assign(text, POOLS) for text in first}
    together = {text: assign(text, POOLS) for text in sorted(first | second)}
    assert alone == {text: together[text] for text in first}


def test_the_shares_are_kept():
    counts = dict.fromkeys(POOLS, 0)
    for number in range(20_000):
        counts[assign(f"text {number}", POOLS)] += 1
    for name, share in POOLS.items():
        assert abs(counts[name] / 20_000 - share) < 0.01


def test_the_last_share_takes_what_rounding_leaves():
    thirds = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3 - 1e-12}
    assert {"a", "b", "c"} == {assign(str(number), thirds) for number in range(100)}


@pytest.mark.parametrize("shares", [{"a": 0.5}, {"a": 1.5, "b": -0.5}, {}])
def test_shares_that_are_no_shares_are_refused(shares):
    with pytest.raises(ValueError, match="add up to 1"):
        assign("text", shares)
