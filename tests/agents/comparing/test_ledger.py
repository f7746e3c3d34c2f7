"""What is shown first of a study's texts: the order, and the unit in which rewards are apart."""

import pytest

from agents.comparing.ledger import disagreement_table, hacked, quality_table
from tests.agents.comparing.parts import cell, small, straight, write_texts

PPO = {"ppo": {"agent": "ppo"}}


def by(a, b, gold):
    return {"a": float(a), "b": float(b), "gold": float(gold)}


@pytest.fixture
def study():
    return small(rewards={"a": "length", "b": "length"}, agents=PPO, seeds=2)


def written(tmp_path, study, ends, seed=0):
    """A cell whose start has mean 1 and deviation 1 by a and gold, ten times both by b.

    ``ends`` are the last texts and their scores, one for each prompt, as many as are even.
    """
    rows = [
        ("start", f"p{k}", f"start {k}", by(*((0, 0, 0) if k % 2 else (2, 20, 2))))
        for k in range(len(ends))
    ]
    rows += [("end", f"p{k}", text, scores) for k, (text, scores) in enumerate(ends)]
    write_texts(tmp_path / str(seed), rows)
    return cell(tmp_path / str(seed), "a", seed, [(0, 0.0, {"gold": 0.0})], study=study)


def test_suspects_are_the_widest_gaps_and_the_widest_comes_first(tmp_path, study):
    """Gaps of 0 to 9 deviations in a mixed order: eight are shown, and a text once, at its widest.

    The gold's unit here is that of a; the gap is of standardised scores, whatever the unit.
    """
    gaps = [3, 0, 7, 9, 1, 5, 8, 2, 6, 4]
    first = written(tmp_path, study, [(f"text {gap}", by(1 + gap, 0, 1)) for gap in gaps])
    again = written(tmp_path, study, [("text 9", by(3, 0, 1)), ("text 9", by(2, 0, 1))], seed=1)
    found = hacked(study, [again, first])
    assert [row["gap"] for row in found] == [9, 8, 7, 6, 5, 4, 3, 2]
    assert [row["completion"] for row in found] == [f"text {gap}" for gap in range(9, 1, -1)]


def test_gaps_are_standardised(tmp_path, study):
    """By b, in units ten times as large: 30 is 2 deviations above, as 3 is by the gold."""
    made = written(tmp_path, study, [("one", by(0, 30, 3)), ("two", by(0, 30, 0))])
    of_b = cell(made.folder, "b", 0, [(0, 0.0, {"gold": 0.0})], study=study)
    two, one = hacked(study, [of_b])
    assert (one["completion"], one["proxy"], one["gold"], one["gap"]) == ("one", 2, 2, 0)
    assert (two["completion"], two["proxy"], two["gold"], two["gap"]) == ("two", 2, -1, 3)


def test_rewards_disagree_in_deviations_and_not_in_their_own_units(tmp_path, study):
    """3 and 30 are the same opinion; 7 and 10 are six deviations and none."""
    made = written(tmp_path, study, [("alike", by(3, 30, 1)), ("apart", by(7, 10, 1))])
    table = disagreement_table(study, [made])
    rows = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    assert [row["completion"] for row in rows] == ["apart", "start 1", "start 0", "alike"]
    assert [row["apart"] for row in rows] == ["1.50", "1.50", "0.00", "0.00"]
    assert (rows[0]["by a"], rows[0]["by b"]) == ("+6.00", "+0.00")


def test_the_browser_has_the_prompts_that_are_furthest_apart_and_their_most_disputed_texts(
    tmp_path, study
):
    """Ten prompts, whose last texts are 0 to 9 deviations apart; seven texts of each but one."""
    gaps = [3, 0, 7, 9, 1, 5, 8, 2, 6, 4]
    cells = []
    for number in range(6):
        ends = [(f"text {number} {gap}", by(1 + gap + number / 10, 10, 1)) for gap in gaps]
        cells.append(written(tmp_path / str(number), study, ends))
    rows = disagreement_table(study, cells).rows
    prompts = [row[0] for row in rows[::6]]
    widest = sorted(range(10), key=lambda k: -gaps[k])[:8]
    assert prompts == [f"p{k}" for k in widest]
    assert len(rows) == 8 * 6
    assert [row[3] for row in rows[:6]] == [f"text {number} 9" for number in range(5, -1, -1)]


def test_what_failed_is_no_text_quality(tmp_path, study):
    """A cell that left the KL that it was allowed did not come to its end."""
    cells = straight(tmp_path, study, {"a": [1.0, 1.0]})
    points = [(0, 0.0, {"gold": 0.0}), (90, 99.0, {"gold": 9.0})]
    cells.append(cell(tmp_path, "a", 2, points, study=study, status="failed"))
    row = next(row for row in quality_table(study, cells).rows if row[0] == "a")
    assert row[2] == "9"
