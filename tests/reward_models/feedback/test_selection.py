"""Which pair next: by the rule, with a share by chance that is always there and always marked."""

import numpy as np
import pytest

from reward_models.feedback.selection import CONTROL, SelectionConfig, arrange, lead_of
from reward_models.preferences import Pair

PAIRS = [
    Pair(
        pair_id=f"pair {n:03}",
        prompt="p",
        a="a" * (n + 1),
        b="b",
        policy_a="one" if n < 80 else "two",
        policy_b="base",
    )
    for n in range(100)
]


def number(item):
    return int(item.subject.split()[1])


def test_a_lead_is_the_difference_of_scores_of_each_member():
    def length(prompts, completions, **_):
        return [float(len(text)) for text in completions]

    class Ensemble:
        def scaled(self, prompts, completions, **_):
            scores = np.array(length(prompts, completions))
            return np.stack([scores, -2 * scores])

    assert lead_of(length, PAIRS[:3]).tolist() == [[0.0, 1.0, 2.0]]
    assert lead_of(Ensemble(), PAIRS[:3]).tolist() == [[0.0, 1.0, 2.0], [0.0, -2.0, -4.0]]


@pytest.mark.parametrize("rule", ["random", "disagreement", "even", "balanced"])
def test_every_rule_has_its_share_by_chance_marked_and_spread(rule):
    lead = np.stack([np.arange(100.0), np.zeros(100)])
    items = arrange(PAIRS, SelectionConfig(rule=rule, control=0.2), lead)
    assert sorted(map(number, items)) == list(range(100))
    assert [float(rank) for rank in range(100)] == [item.rank for item in items]
    control = [place for place, item in enumerate(items) if item.chosen_by == CONTROL]
    assert len(control) == 20
    assert min(control) < 25
    assert max(control) > 50
    assert all(item.score is None for item in items if item.chosen_by == CONTROL)
    # By chance: 20 of 100 numbers whose mean is 49.5, with a standard error of 5.8.
    assert 25 < np.mean([number(items[place]) for place in control]) < 75


def test_the_rules_order_the_rest():
    lead = np.stack([np.arange(100.0) - 30, np.zeros(100)])
    chosen = {}
    for rule in ("disagreement", "even"):
        items = arrange(PAIRS, SelectionConfig(rule=rule), lead)
        chosen[rule] = [item for item in items if item.chosen_by == rule]
    differences = [abs(number(item) - 30) for item in chosen["disagreement"]]
    assert differences == sorted(differences, reverse=True)
    assert [abs(number(i) - 30) / 2 for i in chosen["disagreement"]] == [
        item.score for item in chosen["disagreement"]
    ]
    distances = [abs(number(item) - 30) for item in chosen["even"]]
    assert distances == sorted(distances)
    assert {number(item): item.score for item in chosen["even"]}[40] == pytest.approx(
        1 / (1 + np.exp(-5.0))
    )


def test_balanced_takes_writers_in_turn_while_there_are_any():
    """80 pairs of one and base, 20 of two and base: the first ones are half and half."""
    items = arrange(PAIRS, SelectionConfig(rule="balanced", control=0.01))
    first = [item for item in items if item.chosen_by == "balanced"][:30]
    assert sum(number(item) >= 80 for item in first) == 15


def test_order_is_the_seed_s_and_not_that_of_the_pairs():
    config = SelectionConfig(seed=4)
    assert arrange(PAIRS, config) == arrange(PAIRS[::-1], config)
    assert arrange(PAIRS, config) != arrange(PAIRS, SelectionConfig(seed=5))


def test_pairs_with_a_known_answer_are_in_no_order():
    items = arrange(PAIRS, SelectionConfig(), expected={"pair 007": "a", "elsewhere": "b"})
    known = [item for item in items if item.expected]
    assert [(i.subject, i.expected, i.chosen_by) for i in known] == [("pair 007", "a", "known")]
    assert len(items) == 100
    assert 0 <= known[0].rank < 1


def test_what_a_rule_needs_and_settings_that_are_none_are_said():
    with pytest.raises(ValueError, match="needs a reward"):
        arrange(PAIRS, SelectionConfig(rule="even"))
    with pytest.raises(ValueError, match="an ensemble of two"):
        arrange(PAIRS, SelectionConfig(rule="disagreement"), np.zeros((1, 100)))
    with pytest.raises(ValueError, match="leads of shape"):
        arrange(PAIRS, SelectionConfig(rule="even"), np.zeros((1, 99)))
    for wrong in ({"rule": "best"}, {"control": 0}, {"control": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SelectionConfig(**wrong)
