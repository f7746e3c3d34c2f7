"""Rows and batches: what is grouped, what is cut, and that nothing of it reaches a score."""

import pytest
import torch

from reward_models.reading.batching import batches, right_padded, score_rows
from reward_models.reading.caching import CachedReward
from reward_models.reading.scoring import encode_rows, join_texts


class Letters:
    """A tokenizer of single characters with [CLS]- and [SEP]-like ids around a text."""

    pad_id, bos_id = 0, 1
    head, tail = (1,), (2,)

    def encode_batch(self, texts):
        return [[ord(letter) for letter in text] for text in texts]


def test_batches_hold_rows_of_like_length():
    """By hand: 9 and 8 waste 1 pad; 3 beside them would waste 6 more."""
    assert list(batches([3, 9, 2, 8], batch_size=8, spare_pads=6)) == [[1, 3], [0, 2]]
    assert list(batches([3, 9, 2, 8], batch_size=8, spare_pads=7)) == [[1, 3, 0], [2]]
    assert list(batches([3, 9, 2, 8], batch_size=1)) == [[1], [3], [0], [2]]
    assert list(batches([], batch_size=4)) == []


def test_every_row_is_in_one_batch_and_no_batch_is_too_large():
    lengths = [(seed * 37) % 50 + 1 for seed in range(101)]
    groups = list(batches(lengths, batch_size=7, spare_pads=20))
    assert list(range(101)) == sorted(row for group in groups for row in group)
    assert max(len(group) for group in groups) <= 7
    wasted = [sum(lengths[group[0]] - lengths[row] for row in group) for group in groups]
    assert max(wasted) <= 20


def test_equal_rows_are_run_once():
    seen = []

    def forward(rows):
        seen.append(rows)
        return torch.tensor([float(sum(row)) for row in rows])

    scores = score_rows([[5, 1], [7], [5, 1], [7]], forward, batch_size=8)
    assert scores.tolist() == [6.0, 7.0, 6.0, 7.0]
    assert seen == [[(5, 1), (7,)]]


def test_special_ids_stand_around_what_is_left_of_a_long_text():
    """The end is kept, and a row is never longer than it may be, except for special ids."""
    assert encode_rows(Letters(), ["abcd"], 4) == [[1, 99, 100, 2]]
    assert encode_rows(Letters(), ["a", ""], 4) == [[1, 97, 2], [1, 2]]
    assert encode_rows(Letters(), ["abcd"], 2) == [[1, 2]]


def test_padding_moves_to_the_right():
    ids, mask = right_padded(
        torch.tensor([[0, 0, 5], [0, 6, 7], [1, 2, 3]]),
        torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 1]]),
    )
    assert ids.tolist() == [[5, 0, 0], [6, 7, 0], [1, 2, 3]]
    assert mask.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


@pytest.mark.parametrize("row", [None, 3, b"bytes"])
def test_what_is_no_text_is_named(row):
    """None + str would raise Python's own message, which does not say which text."""
    with pytest.raises(TypeError, match=r"completion 1 is .*; a reward reads texts"):
        join_texts(["a", "b"], ["c", row])
    with pytest.raises(TypeError, match="prompt 0 is"):
        join_texts([row, "b"], ["c", "d"])


class Counting:
    """Scores a text by its length, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, prompts, completions, **columns):
        self.asked.append(list(zip(prompts, completions, strict=True)))
        return [float(len(p + c)) for p, c in zip(prompts, completions, strict=True)]


def test_a_cache_asks_once_and_forgets_the_oldest():
    reward = Counting()
    cached = CachedReward(reward, size=2)
    assert cached(["a", "a", "a"], ["b", "bb", "b"]) == [2.0, 3.0, 2.0]
    assert cached(["a"], ["bb"]) == [3.0]
    assert reward.asked == [[("a", "b"), ("a", "bb")]]
    assert cached.hits == 2
    assert cached([""], ["c"]) == [1.0]  # ("a", "b") was used longest ago
    assert cached(["a", "a"], ["b", "bb"]) == [2.0, 3.0]
    assert reward.asked[-1] == [("a", "b")]


def test_a_cache_tells_a_prompt_from_a_completion():
    reward = Counting()
    cached = CachedReward(reward, size=9)
    cached(["ab", "a"], ["c", "bc"])
    assert len(reward.asked[0]) == 2
    with pytest.raises(ValueError, match="remembers nothing"):
        CachedReward(reward, size=0)


def test_a_batch_larger_than_the_cache_is_scored_whole():
    cached = CachedReward(Counting(), size=1)
    assert cached([""] * 3, ["a", "bb", "ccc"]) == [1.0, 2.0, 3.0]
    assert cached([""], ["a"]) == [1.0]


def test_a_cache_keeps_apart_what_columns_decide():
    """They were neither given to the reward nor compared."""
    asked = []

    def reward(prompts, completions, **columns):
        asked.append(columns)
        texts = zip(completions, columns["label"], strict=True)
        return [float(text in accepted) for text, accepted in texts]

    cached = CachedReward(reward, size=9)
    assert cached([""] * 3, ["a"] * 3, label=[["a"], ["b"], ["a"]]) == [1.0, 0.0, 1.0]
    assert asked == [{"label": [["a"], ["b"]]}]
    assert cached([""] * 2, ["a"] * 2, label=[["b"], ["c", "a"]]) == [0.0, 1.0]
    assert asked[1] == {"label": [["c", "a"]]}
    assert cached([""], ["a"], label=[["a"]], other=[1]) == [1.0]
    assert asked[2] == {"label": [["a"]], "other": [1]}
    assert cached.hits == 2
    unwritable = [lambda: None]
    assert cached([""], ["a"], label=[["a"]], other=unwritable) == [1.0]
    assert cached([""], ["a"], label=[["a"]], other=unwritable) == [1.0]
    assert len(asked) == 5
