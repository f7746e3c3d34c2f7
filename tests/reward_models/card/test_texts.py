"""Cut texts, limits, other batches and speed, on rewards whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from reward_models.card.measures import Sampling
from reward_models.card.pairs import score_pairs
from reward_models.card.texts import (
    BATCH_SIZES,
    Texts,
    change_rows,
    limit_section,
    steadiness_section,
    throughput_rows,
    truncation_rows,
)
from reward_models.preferences import Preference

SAMPLING = Sampling(seed=0, repetitions=100)


def words(prompts, completions):
    return np.array([float(len(text.split())) for text in completions])


@pytest.fixture
def texts():
    """Chosen texts of 8 words, rejected ones of 4, over 20 prompts."""
    pairs = [
        Preference(
            pair_id=str(n), prompt=f"p{n}", chosen=f"{n} b c d e f g h", rejected=f"{n} b c d"
        )
        for n in range(20)
    ]
    return Texts.sample(score_pairs(words, pairs), 100, np.random.default_rng(0))


def test_no_more_texts_are_taken_than_asked_for_and_both_of_a_pair():
    pairs = [
        Preference(pair_id=str(n), prompt=f"p{n}", chosen=f"{n} x", rejected=f"{n}")
        for n in range(50)
    ]
    taken = Texts.sample(score_pairs(words, pairs), 20, np.random.default_rng(1))
    assert len(taken.prompts) == len(set(taken.completions)) == 20
    assert taken.prompts[:10] == taken.prompts[10:]
    assert taken.scores.tolist() == [2.0] * 10 + [1.0] * 10


def test_effects_are_those_worked_by_hand(texts):
    """Words are 8 or 4, so their deviation is 2; said twice adds 8 or 4, so 3 on average."""
    effects = {row["name"]: row for row in change_rows(words, texts, SAMPLING)}
    assert effects["said twice"]["effect"]["value"] == pytest.approx(3)
    assert effects["said twice"]["up"] == 1.0
    assert effects["first half only"]["effect"]["value"] == pytest.approx(-1.5)
    assert effects["words shuffled"]["effect"]["value"] == 0
    # Five words three times, of the shorter texts all four.
    assert effects["last words thrice more"]["effect"]["value"] == pytest.approx(13.5 / 2)


def test_cutting_both_texts_by_a_share_keeps_the_order_of_a_reward_for_length(texts):
    rows = truncation_rows(words, texts, SAMPLING)
    assert [row["share"] for row in rows] == [0.1, 0.25, 0.5, 0.75, 1.0]
    # A tenth of either is one word: all tie, and there is no correlation.
    assert rows[0]["accuracy"]["value"] == 0.5
    assert rows[0]["correlation"]["value"] is None
    assert [row["accuracy"]["value"] for row in rows[1:]] == [1.0] * 4
    assert rows[-1]["correlation"]["value"] == pytest.approx(1)


def test_texts_beyond_a_reward_s_limit_are_counted_with_what_stands_around_them(texts):
    """A letter a token: prompts p0 to p19 and a completion of at least 7 letters."""
    tokenizer = SimpleNamespace(bos_id=1, encode_batch=lambda batch: [list(text) for text in batch])
    model = SimpleNamespace(config=SimpleNamespace(max_tokens=12))
    reward = SimpleNamespace(model=model, tokenizer=tokenizer)
    # "p0" + "0 b c d" is 9 letters, 10 with the first id; "p10" + "10 b c d" is 11, 12 with it.
    assert limit_section(reward, texts) == {"tokens": 12, "longer": 0.5}
    tokenizer.head, tokenizer.tail = (1,), (2,)
    assert limit_section(reward, texts) == {"tokens": 12, "longer": 0.75}
    assert limit_section(words, texts)["tokens"] is None


def test_a_reward_that_is_not_steady_is_seen(texts):
    """Each in another way: by its batch, by its neighbour, by when it is asked."""
    calls = iter(range(10_000))

    def batch(prompts, completions):
        return words(prompts, completions) + 0.01 * len(completions)

    def clock(prompts, completions):
        return words(prompts, completions) + next(calls)

    steady = steadiness_section(words, texts)
    assert (steady["asked_again"], steady["beside_a_long_text"], steady["spread"]) == (0, 0, 2)
    seen = steadiness_section(batch, texts)
    assert [row["size"] for row in seen["batches"]] == list(BATCH_SIZES)
    assert [row["largest_difference"] for row in seen["batches"]] == pytest.approx([0.39, 0.35, 0])
    assert seen["beside_a_long_text"] == pytest.approx(0.01)
    assert steadiness_section(clock, texts)["asked_again"] == 1


def test_speed_is_given_for_each_batch_and_as_a_ratio_to_one(texts):
    rows = throughput_rows(words, texts)
    assert [row["batch"] for row in rows] == list(BATCH_SIZES)
    assert rows[0]["ratio"] == 1
    for row in rows:
        assert row["scores_per_second"] > 0
        assert row["ratio"] == row["scores_per_second"] / rows[0]["scores_per_second"]
