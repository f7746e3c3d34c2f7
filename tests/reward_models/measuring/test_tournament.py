"""Policies of known worth are put in order by annotators who do not know them."""

import numpy as np
import pytest

from reward_models.measuring.tournament import hold_tournament
from reward_models.preferences import Answer, Pair, SimulatedAnnotator
from textgym.statistics.sequential import decide

WORTH = {"good": 1.0, "middling": 0.5, "bad": 0.0}
NAMES = list(WORTH)


def worth(prompts, completions, **columns):
    """A hidden score that is written in the text."""
    return [float(text.split()[0]) for text in completions]


def pairs_of(number, seed=0):
    """Every two policies on each prompt, sides drawn; the text is its policy's worth and words."""
    rng = np.random.default_rng(seed)
    pairs = []
    for prompt in range(number):
        for one, other in (("good", "middling"), ("good", "bad"), ("middling", "bad")):
            a, b = (one, other) if rng.random() < 0.5 else (other, one)
            texts = [f"{WORTH[n]} {'x' * int(rng.integers(1, 9))}" for n in (a, b)]
            pair_id = f"{prompt}/{one}/{other}"
            pairs.append(
                Pair(
                    pair_id=pair_id,
                    prompt=str(prompt),
                    a=texts[0],
                    b=texts[1],
                    policy_a=a,
                    policy_b=b,
                )
            )
    return pairs


def test_policies_of_known_worth_are_ranked_and_settled():
    pairs = pairs_of(60)
    answers = SimulatedAnnotator(score=worth, slope=3.0, flip=0.05).answer(pairs)
    found = hold_tournament(pairs, answers, np.random.default_rng(0), repetitions=300)
    assert found.ratings.players == NAMES
    assert found.ratings.ranks == [(1, 1), (2, 2), (3, 3)]
    against = {(m.first, m.second): m for m in found.matchups}
    widest = against["good", "bad"]
    share = 0.95 / (1 + np.exp(-3)) + 0.05 / (1 + np.exp(3))
    assert widest.rates.raw.low < share < widest.rates.raw.high
    assert widest.verdict.said == "more"
    assert (widest.answers, widest.ties) == (60, 0)
    assert widest.needed < 60
    # Three are settled together, so each with a confidence of 1 - .05 / 3.
    won = [float(answer.answer == "a") for answer in answers if answer.pair_id.endswith("good/bad")]
    firsts = [pair.policy_a == "good" for pair in pairs if pair.pair_id.endswith("good/bad")]
    outcomes = [w if first else 1 - w for w, first in zip(won, firsts, strict=True)]
    assert widest.verdict == decide(outcomes, confidence=1 - 0.05 / 3)
    assert found.left_out == {}


def test_who_wins_by_length_alone_does_not_at_equal_length():
    """Two policies of one worth, one of which writes more, and an annotator who likes that."""
    rng = np.random.default_rng(1)
    pairs = []
    for prompt in range(300):
        texts = {
            "long": "1 " + "x" * int(rng.integers(4, 30)),
            "short": "1 " + "x" * int(rng.integers(1, 20)),
        }
        a, b = ("long", "short") if rng.random() < 0.5 else ("short", "long")
        pairs.append(
            Pair(
                pair_id=str(prompt),
                prompt=str(prompt),
                a=texts[a],
                b=texts[b],
                policy_a=a,
                policy_b=b,
            )
        )
    answers = SimulatedAnnotator(score=worth, flip=0.0, longer=6.0).answer(pairs)
    (matchup,) = hold_tournament(pairs, answers, rng, repetitions=300).matchups
    assert (matchup.first, matchup.second) == ("long", "short")
    assert matchup.rates.raw.low > 0.55
    assert matchup.rates.equal.low < 0.5 < matchup.rates.equal.high


def test_what_says_nothing_is_left_out_and_counted():
    pair = pairs_of(1)[0]
    others = [
        Pair(pair_id="own", prompt="p", a="1", b="2", policy_a="good", policy_b="good"),
        Pair(pair_id="unknown", prompt="p", a="1", b="2"),
    ]
    answers = [
        Answer(pair_id=pair.pair_id, annotator="x", answer="both_bad"),
        Answer(pair_id=pair.pair_id, annotator="y", answer="skip"),
        Answer(pair_id="own", annotator="x", answer="a"),
        Answer(pair_id="unknown", annotator="x", answer="a"),
    ]
    found = hold_tournament([pair, *others], answers, np.random.default_rng(0))
    assert found.left_out == {
        "skips": 1,
        "to texts of one writer": 1,
        "to texts of unknown writers": 1,
    }
    (matchup,) = found.matchups
    assert (matchup.answers, matchup.ties, matchup.needed, matchup.rates) == (1, 1, None, None)
    assert matchup.verdict.said == "open"
    assert "two prompts or more" in found.why
    with pytest.raises(ValueError, match="no answer compares two policies"):
        hold_tournament(others, answers[2:], np.random.default_rng(0))
