"""Pair accuracy and calibration, against numbers from outside."""

import numpy as np
import pytest

from reward_models.measuring.pairs import chance_warnings, drawn_with, evaluate_reward
from reward_models.preferences import Preference
from textgym.statistics.linked import grouped


def preference(chosen, rejected):
    return Preference(pair_id=f"{chosen}/{rejected}", prompt="", chosen=chosen, rejected=rejected)


def as_number(prompts, completions, **columns):
    """A reward that is written in the text."""
    return [float(text) for text in completions]


def test_accuracy_counts_a_tie_as_half():
    """Three right, one wrong, one tie out of five; 'chosen >= rejected' would say four."""
    pairs = [("1", "0"), ("5", "2"), ("3", "-3"), ("0", "1"), ("2", "2")]
    report = evaluate_reward(as_number, [preference(*pair) for pair in pairs])
    assert (report.pairs, report.ties, report.accuracy) == (5, 1, 0.7)
    assert report.low < 0.7 < report.high


def test_the_brier_score_of_even_scores_is_that_of_a_coin():
    """(1 - .5)^2; and a certain right answer costs nothing."""
    assert evaluate_reward(as_number, [preference("1", "1")]).brier == 0.25
    assert evaluate_reward(as_number, [preference("900", "0")]).brier == 0.0


def test_no_comparison_is_an_error():
    """A mean over nothing is NaN, and NaN passes every threshold that is written the wrong way."""
    with pytest.raises(ValueError, match="at least one"):
        evaluate_reward(as_number, [])


def _judged(right, longer):
    """Pairs of which some are ordered rightly, and in some the chosen text is the longer one."""
    pairs = [
        Preference(
            pair_id="", prompt=str(n), chosen="aa" if long else "a", rejected="b" * (2 - long)
        )
        for n, long in enumerate(longer)
    ]
    clusters = [pair.prompt for pair in pairs]
    return chance_warnings(np.array(right, float), pairs, clusters, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("right", "longer", "said"),
    [
        ([1] * 90 + [0] * 10, [1, 0] * 50, []),
        ([1] * 52 + [0] * 48, [1, 0] * 50, ["no better than a coin, as", "no better than taking"]),
        ([1] * 20 + [0] * 80, [1, 0] * 50, ["worse than a coin", "no better than taking the lo"]),
        (
            [1] * 80 + [0] * 20,
            [1] * 80 + [0] * 20,
            ["taking the longer text, which is right in 0.8"],
        ),
        (
            [1] * 80 + [0] * 20,
            [0] * 80 + [1] * 20,
            ["taking the shorter text, which is right in 0.8"],
        ),
        ([1] * 100, [1] * 80 + [0] * 20, []),
    ],
)
def test_what_a_coin_or_a_ruler_could_do_is_said(right, longer, said):
    """Wilson's interval of 52 of 100 is .423 to .615; of 90, .825 to .945."""
    given = _judged(right, longer)
    assert len(given) == len(said)
    assert all(part in line for part, line in zip(said, given, strict=True))


def test_pairs_that_all_hang_together_have_no_interval_to_warn_by():
    pairs = [Preference(pair_id="", prompt="", chosen="a", rejected="b")] * 3
    assert chance_warnings(np.zeros(3), pairs, ["x"] * 3, np.random.default_rng(0)) == []


def test_pairs_are_drawn_with_their_prompt_or_with_their_two_texts():
    """Whichever was chosen; what hangs together by a third pair must stay together."""
    texts = [("", "a", "b"), ("", "c", "d"), ("", "e", "c"), ("p", "a", "c"), ("", "b", "f")]
    pairs = [Preference(pair_id="", prompt=p, chosen=c, rejected=r) for p, c, r in texts]
    turned = [Preference(pair_id="", prompt=p, chosen=r, rejected=c) for p, c, r in texts]
    assert drawn_with(pairs) == drawn_with(turned)
    assert drawn_with(pairs)[3] == "p"
    one, two, three, four, five = grouped(drawn_with(pairs))
    assert one == five
    assert two == three
    assert len({one, two, four}) == 3


@pytest.mark.slow
def test_three_answers_to_a_pair_are_no_three_trials():
    """Taken for trials, noisy answers held the truth in 92 % of the worlds, the quickstart's."""
    rng = np.random.default_rng(0)
    pairs, answers, wrong = 60, 3, 0.15
    truth = 0.7 * (1 - wrong) + 0.3 * wrong
    worlds, held = 500, 0
    for _ in range(worlds):
        order = rng.random(pairs) < 0.7  # whether the scores have the pair as it truly is
        said = [
            Preference(pair_id="", prompt=f"p{n}", chosen=c, rejected=r)
            for n in range(pairs)
            for slip in rng.random(answers) < wrong
            for c, r in [("1", "0") if order[n] != slip else ("0", "1")]
        ]
        report = evaluate_reward(as_number, said)
        held += report.low <= truth <= report.high
    assert held / worlds == pytest.approx(0.95, abs=0.02)
