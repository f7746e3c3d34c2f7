"""Abilities of simulated annotators are found, and weighing by them beats counting heads."""

import numpy as np
import pytest

from reward_models.measuring.ability import (
    Votes,
    ability_shares,
    find_abilities,
    fit_abilities,
    truth_probabilities,
)
from reward_models.preferences import Preference, majority, vote_shares

ITEMS = 1200


def simulated(seed, accuracies, items=ITEMS, leanings=None, ties=0.0, missing=0.0):
    """Votes on pairs with a known truth; a leaning looks at nothing and takes the left one."""
    rng = np.random.default_rng(seed)
    people = len(accuracies)
    truth = np.where(rng.random(items) < ties, 2, rng.integers(0, 2, items))  # by texts
    swapped = rng.random((people, items)) < 0.5
    right = rng.random((people, items)) < np.array(accuracies)[:, None]
    wrong = (truth + rng.integers(1, 3 if ties else 2, (people, items))) % (3 if ties else 2)
    said = np.where(right, truth, wrong)
    by_side = np.where((said < 2) & swapped, 1 - said, said)
    leaning = rng.random((people, items)) < np.array(leanings or [0] * people)[:, None]
    by_side = np.where(leaning, 0, by_side)
    kept = rng.random((people, items)) >= missing
    annotator, item = np.nonzero(kept)
    votes = Votes(item=item, annotator=annotator, said=by_side[kept], swapped=swapped[kept])
    return truth, votes


def preferences_of(votes, names):
    """The same votes as a store gives them, and what stood on the left."""
    answers, left = [], {}
    rows = zip(votes.item, votes.annotator, votes.said, votes.swapped, strict=True)
    for item, who, said, swapped in sorted(rows):
        shown = ("second", "first") if swapped else ("first", "second")
        pair_id, name = str(item), names[who]
        left[pair_id, name] = shown[0]
        chosen = "first" if said == 2 else shown[said]
        answers.append(
            Preference(
                pair_id=pair_id,
                prompt="",
                chosen=chosen,
                rejected="second" if chosen == "first" else "first",
                annotator=name,
                probability=0.5 if said == 2 else 1.0,
            )
        )
    return answers, left


def right_share(labels, truth):
    """How often labels name the better text; a pair without a label is a coin's throw."""
    says = {label.pair_id: label.chosen for label in labels}
    names = ("first", "second")
    got = [says[str(i)] == names[t] if str(i) in says else 0.5 for i, t in enumerate(truth)]
    return float(np.mean(got))


def test_given_the_tables_the_truth_follows_by_bayes():
    """Two votes for the first text, on different sides, and one against it by a coin."""
    good, coin = [[0.8, 0.2], [0.4, 0.6]], [[0.5, 0.5], [0.5, 0.5]]
    votes = Votes(
        item=np.array([0, 0, 0]),
        annotator=np.array([0, 0, 1]),
        said=np.array([0, 1, 1]),
        swapped=np.array([False, True, False]),
    )
    found = truth_probabilities(votes, np.array([good, coin]), np.array([0.5, 0.5]))
    first, second = 0.8 * 0.6 * 0.5, 0.4 * 0.2 * 0.5
    assert found[0] == pytest.approx([first / (first + second), second / (first + second)])


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_accuracies_of_simulated_annotators_are_found(missing):
    accuracies = [0.95, 0.85, 0.7, 0.55, 0.2]
    _, votes = simulated(0, accuracies, missing=missing)
    tables = fit_abilities(votes).tables
    found = tables[:, [0, 1], [0, 1]].mean(axis=1)
    assert found == pytest.approx(accuracies, abs=0.05)


def test_a_leaning_to_a_side_is_told_from_carelessness():
    """Who takes the left in half of the cases is right about the right side when it is named."""
    _, votes = simulated(1, [0.9, 0.9, 0.9], leanings=[0.5, 0, 0])
    leaning, *others = find_abilities(*preferences_of(votes, ["x", "y", "z"]))
    assert (leaning.annotator, leaning.answers) == ("x", ITEMS)
    assert leaning.left == pytest.approx(0.75, abs=0.03)
    assert leaning.accuracy == pytest.approx(0.5 + 0.5 * 0.4, abs=0.03)
    assert [person.left for person in others] == pytest.approx([0.5, 0.5], abs=0.03)


def test_ties_are_found_where_somebody_says_them():
    truth, votes = simulated(2, [0.9, 0.8, 0.8, 0.7], ties=0.3)
    found = fit_abilities(votes).truth
    assert found.shape == (ITEMS, 3)
    assert np.mean(found.argmax(axis=1) == truth) > 0.9
    assert found[:, 2].mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_weighing_beats_counting_with_one_careless_annotator_in_four(seed):
    """Three are right with .8 and one throws a coin; an even split of heads decides nothing."""
    truth, votes = simulated(seed, [0.8, 0.8, 0.8, 0.5])
    answers, left = preferences_of(votes, ["w", "x", "y", "z"])
    weighed = ability_shares(answers, left)
    assert right_share(weighed, truth) > right_share(majority(answers), truth) + 0.01

    def log_loss(labels):
        share = np.array(
            [p.probability if p.chosen == "first" else 1 - p.probability for p in labels]
        )
        return -np.log(np.clip(np.where(truth == 0, share, 1 - share), 0.01, 1)).mean()

    assert log_loss(weighed) < log_loss(vote_shares(answers)) - 0.02


def test_soft_labels_are_as_sure_as_they_are_right():
    truth, votes = simulated(3, [0.85, 0.75, 0.65], items=6000)
    labels = ability_shares(*preferences_of(votes, ["x", "y", "z"]))
    sure = np.array([label.probability for label in labels])
    right = np.array([label.chosen == "first" for label in labels]) == (truth == 0)
    for low, high in ((0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        inside = (sure >= low) & (sure < high)
        assert right[inside].mean() == pytest.approx(sure[inside].mean(), abs=0.03)


def test_alike_annotators_count_as_heads_do():
    """The order of a pair's answers and who gave the first one do not matter."""
    _, votes = simulated(4, [0.8, 0.8, 0.8], items=300)
    answers, left = preferences_of(votes, ["x", "y", "z"])
    ours = {p.pair_id: p.chosen for p in ability_shares(answers[::-1], left)}
    assert ours == {p.pair_id: p.chosen for p in ability_shares(answers, left)}
    same = [p.chosen == ours[p.pair_id] for p in majority(answers)]
    assert np.mean(same) > 0.97


def test_nothing_is_made_of_nothing():
    assert ability_shares([], {}) == []
    assert find_abilities([], {}) == []
    empty = np.array([], np.intp)
    with pytest.raises(ValueError, match="no answer to weigh"):
        fit_abilities(Votes(item=empty, annotator=empty, said=empty, swapped=empty.astype(bool)))
