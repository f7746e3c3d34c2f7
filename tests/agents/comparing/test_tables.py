"""Tables of cells that are made by hand, so that every figure in them can be worked out."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from agents.comparing.forecasts import forecast_table, predictor_table
from agents.comparing.ledger import (
    canary_table,
    cost_table,
    disagreement_table,
    failures,
    hacked,
    pairs_to_label,
    quality_table,
    search_table,
    warning_table,
)
from agents.comparing.matrix import (
    Vote,
    components_table,
    cross_matrix,
    opinions,
    people_pairs,
    style_tables,
)
from agents.comparing.page import make_report, table_text, tables
from agents.comparing.standing import (
    best,
    figure,
    improvement_table,
    leaderboard,
    overall,
    profile_curve,
    spread_curve,
)
from agents.comparing.turning import overoptimisation_table
from tests.agents.comparing.parts import cell, small, straight, write_texts
from textgym.statistics.seeds import smallest_difference

PPO = {"ppo": {"agent": "ppo"}}


def row_of(table, *names):
    (row,) = [row for row in table.rows if tuple(row[: len(names)]) == names]
    return dict(zip(table.header, row, strict=True))


def test_the_leaderboard_takes_gains_at_equal_nats_and_tokens(tmp_path):
    """At 1 nat a line over the root of KL has made a third of the way, at 8 not yet all."""
    study = small(seeds=3, agents=PPO)
    cells = straight(tmp_path, study, {"vowels": [3.0, 3.0, 3.0], "gold": [6.0, 6.3, 5.7]})
    (table,) = leaderboard(study, cells)
    row = row_of(table, "vowels")
    assert row["gold gain at equal tokens"] == "+3.000 (+3.000 to +3.000)"
    assert row["at 1 nats"] == "+1.000 (+1.000 to +1.000)"
    assert row["at 4 nats"] == "+2.000 (+2.000 to +2.000)"
    eight = 3 * math.sqrt(8) / 3
    assert row["at 8 nats"] == f"{eight:+.3f} ({eight:+.3f} to {eight:+.3f})"
    assert [row[0] for row in table.rows][:2] == ["gold", "vowels"]
    assert row_of(table, "gold")["rank"] == "1 to 3"  # the constant and the length were not run
    assert "differ by" in table.caption


def test_a_gain_is_above_the_start_wherever_that_begins(tmp_path):
    """From 5 to 8 over 9 nats: two of the way's three at 4 nats."""
    study = small(seeds=1, agents=PPO)
    points = [(0, 0.0, {"gold": 5.0}), (200, 9.0, {"gold": 8.0})]
    (table,) = leaderboard(study, [cell(tmp_path, "vowels", 0, points, study=study)])
    row = row_of(table, "vowels")
    assert (row["gold gain at equal tokens"], row["at 4 nats"]) == ("+3.000", "+2.000")


def test_the_smallest_difference_is_of_paired_seeds_and_of_the_fewest(tmp_path):
    """Differences of two rewards deviate by the root of 5/3, by 1 and by 0: the middle is 1."""
    study = small(seeds=4, agents=PPO)
    gains = {"vowels": [1.0, 2.0, 3.0, 4.0], "constant": [0.0] * 4, "length": [0.0] * 3}
    (table,) = leaderboard(study, straight(tmp_path, study, gains))
    assert f"differ by {smallest_difference(1.0, 3):.3g} to" in table.caption


def test_cells_that_are_missing_are_said_and_failed_draws_know_nothing(tmp_path):
    study = small(seeds=2, agents=PPO)
    names = ("hard accuracy", "gamma", "calibration error", "best-of-n gain", "spread")
    known = {**dict.fromkeys(names), "accuracy": 0.5}
    cells = [best_of_n(tmp_path, study, "vowels", 0, predictors=known)]
    cells.append(
        best_of_n(tmp_path, study, "vowels", 1, status="failed", predictors={"accuracy": 1.0})
    )
    assert f"1 of 16 cells failed, and {16 - 2} have not been run" in failures(study, cells).caption
    assert row_of(predictor_table(study, cells), "vowels")["accuracy"] == "0.500"


def test_what_was_not_reached_and_what_failed_is_said(tmp_path):
    study = small(seeds=3, agents=PPO)
    cells = straight(tmp_path, study, {"vowels": [3.0, 3.0]})
    points = [(0, 0.0, {"gold": 0.0}), (90, 0.5, {"gold": 9.0})]
    cells.append(cell(tmp_path, "vowels", 2, points, study=study, status="failed"))
    (table,) = leaderboard(study, cells)
    row = row_of(table, "vowels")
    assert row["seeds"] == "2 of 3"
    assert row["gold gain at equal tokens"] == "+3.000"  # two seeds have no interval
    assert row["at 1 nats"] == "reached by 2 of 3"
    assert "no intervals" in table.caption
    (failed,) = failures(study, cells).rows
    assert failed == ("vowels", "ppo", 2, "guard", "it broke")


def test_rewards_that_seeds_do_not_tell_apart_are_called_so(tmp_path):
    rewards = {"a": "length", "b": "length", "c": "length"}
    study = small(seeds=4, agents=PPO, rewards=rewards)
    alike = {"a": [1.0, 2.0, 0.5, 1.5], "b": [1.4, 1.2, 0.9, 1.1], "c": [1.1, 1.9, 0.2, 1.9]}
    said = best(study, straight(tmp_path, study, alike), "ppo")
    assert said == "with ppo the rewards are not distinguishable"
    apart = {"a": [9.0, 9.1, 9.0, 8.9], "b": [1.0, 1.1, 1.0, 0.9], "c": [0.0, 0.1, 0.2, 0.0]}
    assert best(study, straight(tmp_path, study, apart), "ppo") == "with ppo a is the best"


def test_best_of_n_counts_up_to_the_budget(tmp_path):
    study = small(seeds=1, tokens=100)
    points = [(25, 0.0, {"gold": 0.0}), (100, 0.6, {"gold": 2.0}), (200, 1.2, {"gold": 5.0})]
    done = [cell(tmp_path, "vowels", 0, points, study=study, agent="best-of-n")]
    (table,) = leaderboard(study, done)
    assert row_of(table, "vowels")["gold gain at equal tokens"] == "+2.000"


def test_overall_draws_seeds_inside_agents(tmp_path):
    study = small(seeds=3, agents={"a": {"agent": "ppo"}, "b": {"agent": "ppo"}})
    cells = straight(tmp_path, study, {"vowels": [1.0] * 3}, agent="a")
    cells += straight(tmp_path, study, {"vowels": [5.0] * 3}, agent="b")
    row = row_of(overall(study, cells), "vowels")
    assert row["gold gain at equal tokens"] == "+3.000 (+3.000 to +3.000)"
    assert row["seeds"] == "6 of 6"


def test_the_cross_matrix_is_in_deviations_of_the_start(tmp_path):
    study = small(agents=PPO)
    names = ["vowels", "constant", "length", "gold"]
    points = [
        (0, 0.0, dict.fromkeys(names, 0.0)),
        (200, 4.0, {"vowels": 6.0, "constant": 0.0, "length": 2.0, "gold": -2.0}),
    ]
    table = cross_matrix(study, [cell(tmp_path, "vowels", 0, points, study=study)], "ppo")
    row = row_of(table, "vowels")
    assert (row["by vowels"], row["by length"], row["by gold"]) == ("+3.00", "+1.00", "-1.00")
    assert row["herding"] == "+3.00"  # 3 less the mean of 0, 1 and -1


def test_each_column_of_the_matrix_has_its_own_unit_and_all_seeds(tmp_path):
    """By length 8 over a deviation of 2 and 8 over one of 4; by vowels 3 over 1 in both."""
    study = small(agents=PPO, seeds=2)
    points = [
        (0, 0.0, {"vowels": 1.0, "length": 2.0, "gold": 0.0}),
        (200, 4.0, {"vowels": 4.0, "length": 10.0, "gold": 1.0}),
    ]
    cells = [cell(tmp_path, "vowels", seed, points, study=study) for seed in range(2)]
    for made, deviation in zip(cells, (2.0, 4.0), strict=True):
        start, end = (each["scores"] for each in made.snapshots)
        start["vowels"]["deviation"], end["vowels"]["deviation"] = 1.0, 9.0
        start["length"]["deviation"], end["length"]["deviation"] = deviation, 9.0
    row = row_of(cross_matrix(study, cells, "ppo"), "vowels")
    assert (row["by vowels"], row["by length"]) == ("+3.00", "+3.00")
    assert row["by gold"] == "+0.50"


def test_runs_are_paired_by_their_seed(tmp_path):
    """Seed 1 of a is missing: what is left are the same differences of 1, of seeds 0, 2 and 3."""
    study = small(seeds=4, agents=PPO, rewards={"a": "length", "b": "length"})
    cells = straight(tmp_path, study, {"a": [1.0, 5.0, 21.0, 32.0], "b": [0.0, 10.0, 20.0, 31.0]})
    cells = [e for e in cells if (e.reward, e.seed) != ("a", 1)]
    assert best(study, cells, "ppo") == "with ppo a is the best"


def test_gains_are_of_one_agent_each(tmp_path):
    """The one's order is accuracy's, the other's the opposite one."""
    agents = {name: {"agent": "ppo"} for name in ("up", "down")}
    study = small(agents=agents, rewards=dict.fromkeys("abcd", "length"))
    names = ("hard accuracy", "gamma", "calibration error", "best-of-n gain", "spread")
    cells = []
    for place, name in enumerate([*"abcd", "constant", "length"]):
        cells += straight(tmp_path, study, {name: [float(place)]}, agent="up")
        cells += straight(tmp_path, study, {name: [-float(place)]}, agent="down")
        known = {**dict.fromkeys(names, None), "accuracy": 0.5 + place / 20}
        cells.append(best_of_n(tmp_path, study, name, 0, predictors=known))
    row = row_of(forecast_table(study, cells), "accuracy")
    assert row["up"].startswith("+1.00 (")
    assert row["down"].startswith("-1.00 (")
    assert row_of(predictor_table(study, cells), "b")["gold gain, down"] == "-1.000"


def test_a_page_s_curves_are_means_of_seeds_in_the_start_s_deviations(tmp_path):
    """Deviations are 2; two seeds have a mean, and the third gives it a band."""
    study = small(seeds=3, agents=PPO)
    cells = []
    for seed, gain in enumerate((2.0, 4.0, 6.0)):
        points = [
            (0, 0.0, {"vowels": 1.0, "gold": 5.0}),
            (100, 4.0, {"vowels": 1.0 + 3 * gain, "gold": 5.0 + gain}),
            (200, 9.0, {"vowels": 0.0, "gold": 0.0}),
        ]
        # The first was stopped before its last measurement, which has no mean then.
        cells.append(cell(tmp_path, "vowels", seed, points[: 3 if seed else 2], study=study))
        for end in cells[-1].snapshots[1:]:
            end["scores"]["vowels"]["deviation"] = end["scores"]["gold"]["deviation"] = 9.0
    two = {curve.title: curve for curve in make_report(study, cells[:2]).curves}
    three = {curve.title: curve for curve in make_report(study, cells).curves}
    assert two["vowels, ppo"].lines == {
        "vowels": [(0.0, 0.0), (2.0, pytest.approx(4.5))],
        "gold": [(0.0, 0.0), (2.0, pytest.approx(1.5))],
    }
    assert two["The gold by all: ppo"].lines["vowels"] == [(0.0, 0.0), (2.0, pytest.approx(3.0))]
    assert two["vowels, ppo"].bands == {"vowels": [], "gold": []}
    (_, (d, low, high)) = three["vowels, ppo"].bands["gold"]
    # Student's factor for two degrees of freedom, on the error of 1, 2 and 3.
    reach = 4.303 / math.sqrt(3)
    assert (d, low, high) == (
        2.0,
        pytest.approx(2 - reach, abs=0.3),
        pytest.approx(2 + reach, abs=0.3),
    )
    assert three["vowels, ppo"].caption == "The gold is highest at 4 nats."


def test_predictors_are_ranked_against_the_outcome(tmp_path):
    """Of six rewards accuracy has the outcome's order, and the spread the opposite one."""
    rewards = dict.fromkeys("abcd", "length")
    study = small(agents=PPO, rewards=rewards)
    cells = []
    for place, name in enumerate([*"abcd", "constant", "length"]):
        cells += straight(tmp_path, study, {name: [float(place)]})
        known = dict.fromkeys(("hard accuracy", "gamma", "calibration error"), None)
        known |= {"accuracy": 0.5 + place / 20, "best-of-n gain": 1.0, "spread": 1 - place / 10}
        points = [(0, 0.0, {"gold": 0.0})]
        more = {"agent": "best-of-n", "predictors": known}
        cells.append(cell(tmp_path, name, 0, points, study=study, **more))
    # The gold knows best, and is no reward that one would forecast.
    cells += straight(tmp_path, study, {"gold": [-9.0]})
    points, known = [(0, 0.0, {"gold": 0.0})], {**known, "accuracy": 1.0, "spread": 0.0}
    more = {"agent": "best-of-n", "predictors": known}
    cells.append(cell(tmp_path, "gold", 0, points, study=study, **more))
    table = forecast_table(study, cells)
    assert row_of(table, "accuracy")["ppo"].startswith("+1.00 (+0.")
    assert row_of(table, "spread")["ppo"].startswith("-1.00 (-1.00 to -0.")
    assert row_of(table, "gamma")["ppo"] == "none from 0 rewards"
    assert row_of(table, "best-of-n gain")["ppo"] == "none from 6 rewards"


def test_a_gold_that_turns_is_told_to_stop_at_its_peak(tmp_path):
    study = small(agents=PPO)
    golds = [0.0, 1.0, 2.0, 1.5, 0.2]
    points = [(50 * k, float(k**2), {"gold": gold}) for k, gold in enumerate(golds)]
    row = row_of(
        overoptimisation_table(study, [cell(tmp_path, "vowels", 0, points, study=study)]), "vowels"
    )
    assert (row["gold's peak"], row["peak's KL, nats"], row["drop"]) == (
        *("+2.000", "4.00", "+1.800"),
    )
    assert row["advice"] == "stop at 4 nats"
    assert float(row["beta"]) > 0
    rising = straight(tmp_path, study, {"vowels": [3.0], "length": [-1.0]})
    table = overoptimisation_table(study, rising)
    assert row_of(table, "vowels")["advice"] == "go on"
    assert row_of(table, "length")["advice"] == "do not optimise it"


def test_advice_is_of_the_middle_of_seeds_and_of_what_can_be_gained(tmp_path):
    """One seed of five turns, which leaves the middle as it is; and a peak at nothing is none."""
    study = small(seeds=5, agents=PPO)

    def advice(*ends, at=4.0):
        cells = [
            cell(
                tmp_path,
                "vowels",
                seed,
                [(0, 0.0, {"gold": 0.0}), (9, at, {"gold": 1.0}), (18, 9.0, {"gold": end})],
                study=study,
            )
            for seed, end in enumerate(ends)
        ]
        return row_of(overoptimisation_table(study, cells), "vowels")["advice"]

    assert advice(2.0, 2.0, -9.0, 2.0, 2.0) == "go on"
    assert advice(0.5, 0.5, 2.0, 0.5, 0.5) == "stop at 4 nats"
    assert advice(0.5, 0.5, 0.5, 0.5, 0.5, at=0.001) == "do not optimise it"


def test_nothing_has_no_minus_before_it():
    assert figure(np.array([-1e-9])) == "+0.000"
    assert figure(np.array([-1e-9] * 3)) == "+0.000 (+0.000 to +0.000)"
    assert figure(np.array([-0.001])) == "-0.001"


def test_three_seeds_have_student_s_interval():
    """Of 1, 2 and 3: 2.48 to either side, up to what resampling adds; a seed counts once."""
    value, low, _, high = figure(np.array([1.0, 2.0, 3.0])).replace("(", "").split()
    assert float(value) == 2.0
    reach = 4.303 / math.sqrt(3)
    assert float(low) == pytest.approx(2 - reach, abs=0.2)
    assert float(high.rstrip(")")) == pytest.approx(2 + reach, abs=0.2)


def test_an_interval_ends_where_the_truth_cannot_be():
    """Three win rates whose plain interval would be from .82 to 1.11."""
    rates = np.array([0.9, 1.0, 1.0])
    said = figure(rates, "{:.2f}", (0.0, 1.0))
    assert said.startswith("0.97 (0.8")
    assert said.endswith(" to 1.00)")


def test_canaries_and_what_to_show_to_people(tmp_path):
    study = small(agents=PPO)
    rows = []
    for stage, texts in (
        ("start", ["one two three four", "two", "three words here"]),
        ("end", ["good good good good", "", "good good good good"]),
    ):
        for number, text in enumerate(texts):
            scores = {"vowels": float(len(text)), "gold": float(number)}
            rows.append({"stage": stage, "prompt": "p", "completion": text, "scores": scores})
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    cells = straight(tmp_path, study, {"vowels": [1.0]})
    row = row_of(warning_table(study, cells), "vowels")
    assert row["empty"] == "0.33 (0.00)"
    assert row["repeats itself"] == "0.67 (0.00)"
    assert row["one text"] == "0.67 (0.33)"
    first, *_ = hacked(study, cells)
    assert first["completion"] == "good good good good"
    assert first["gap"] == pytest.approx(first["proxy"] - first["gold"])


def test_a_table_is_text_with_columns(tmp_path):
    study = small(seeds=1, agents=PPO)
    (table,) = leaderboard(study, straight(tmp_path, study, {"vowels": [3.0]}))
    lines = table_text(table).splitlines()
    assert lines[0] == "Leaderboard: ppo"
    place = lines[1].index("rank")
    assert lines[3][:6] == "vowels"
    assert lines[3][place - 1] == " "
    assert lines[3][place] != " "


def test_a_run_is_more_likely_to_gain_more(tmp_path):
    """Of 1, 2, 3 over 0, 2, 9: counted by hand, 4.5 of 9 pairs, and 9 of 9 over the constant."""
    study = small(seeds=3, agents=PPO)
    gains = {"vowels": [1.0, 2.0, 3.0], "length": [0.0, 2.0, 9.0], "constant": [0.0, 0.0, 0.0]}
    cells = straight(tmp_path, study, gains)
    row = row_of(improvement_table(study, cells), "vowels")
    assert row["over length"].startswith("0.50 (0.1")
    assert row["over constant"].startswith("1.00 (0.5")
    assert (row["over vowels"], row["over gold"]) == ("", "none")
    lines = profile_curve(study, cells).lines
    assert "gold" not in lines
    assert profile_curve(study, cells).bands.keys() == {"length"}  # whose middle is the highest
    cells += straight(tmp_path, study, {"gold": [9.0, 9.0, 9.0]})
    assert profile_curve(study, cells).bands.keys() == {"length", "gold"}
    level, share = lines["vowels"][0]
    assert (level, share) == (0.0, 1.0)
    shares = sorted({s for _, s in lines["vowels"]})
    assert shares == pytest.approx([0, 1 / 3, 2 / 3, 1])


def best_of_n(tmp_path, study, name, seed, **more):
    points = [(0, 0.0, {"gold": 0.0})]
    return cell(tmp_path, name, seed, points, study=study, agent="best-of-n", **more)


def test_spreads_of_prompts_are_shown_by_their_deciles(tmp_path):
    study = small(seeds=2)
    cells = [
        best_of_n(tmp_path, study, "vowels", 0, **{"within prompts": [0.5, 0.1]}),
        best_of_n(tmp_path, study, "vowels", 1, **{"within prompts": [0.3]}),
    ]
    points = dict(spread_curve(study, cells).lines["vowels"])
    assert (points[0.0], points[0.5], points[1.0]) == (0.1, 0.3, 0.5)


def test_style_is_held_against_content(tmp_path):
    """Means of the three places above the diagonal, on it, and below it; middles of two seeds."""
    study = small(seeds=2)
    one = [[0.9, 0.3, 0.0], [1.0, 0.9, 0.6], [1.0, 1.0, 0.9]]
    other = [[0.7, 0.3, 0.0], [1.0, 0.7, 0.6], [1.0, 0.4, 0.7]]
    cells = [
        best_of_n(tmp_path, study, "vowels", k, styles=each) for k, each in enumerate((one, other))
    ]
    cells.append(best_of_n(tmp_path, study, "constant", 0, styles=None))
    matrix, corners = style_tables(study, cells)
    assert len(matrix.rows) == 3
    assert matrix.rows[0] == ("vowels", "plain", "0.80", "0.30", "0.00")
    assert matrix.rows[2] == ("vowels", "listed", "1.00", "0.70", "0.80")
    assert corners.rows == [("vowels", "0.30", "0.80", "0.90")]


def test_parts_of_a_reward_are_shown_before_and_after(tmp_path):
    study = small(agents=PPO)
    made = cell(
        tmp_path, "vowels", 0, [(0, 0.0, {"gold": 0.0}), (9, 1.0, {"gold": 1.0})], study=study
    )
    parts = [{"mean": 1.0, "deviation": 2.0}, {"mean": 4.0, "deviation": 9.0}]
    for snapshot, part in zip(made.result["snapshots"], parts, strict=True):
        snapshot["components"] = {"length": part}
    (row,) = components_table(study, [made]).rows
    assert row == ("vowels", "ppo", "length", "1.000", "4.000", "+1.50")


def test_a_canary_is_among_what_is_suspected_and_is_labelled_beside_the_start(tmp_path):
    """In deviations of the start (1 and 1 here): 9 by the reward and 0 by the gold."""
    study = small()
    write_texts(
        tmp_path,
        [
            ("start", "p", "one", {"vowels": 0.0, "gold": 0.0}),
            ("start", "q", "two", {"vowels": 2.0, "gold": 2.0}),
            ("end", "p", "one", {"vowels": 0.0, "gold": 0.0}),
            ("end", "q", "two", {"vowels": 2.0, "gold": 2.0}),
            (
                "canary",
                "p",
                "aaa",
                {"vowels": 10.0, "gold": 1.0},
                {"made": "length", "start": "one"},
            ),
        ],
    )
    changes = {"length": {"vowels": 9.0, "gold": -0.5}}
    cells = [best_of_n(tmp_path, study, "vowels", 0, canaries=changes)]
    assert row_of(canary_table(study, cells), "vowels")["length"] == "+9.00 (-0.50)"
    worst, *_ = found = hacked(study, cells)
    assert (worst["agent"], worst["proxy"], worst["gold"]) == ("canary: length", 9.0, 0.0)
    (pair,) = pairs_to_label(found)  # the others are what the start wrote
    assert {pair["a"], pair["b"]} == {"aaa", "one"}
    assert {pair["policy_a"], pair["policy_b"]} == {"vowels, canary: length, suspected", "start"}


def test_prompts_are_opened_where_rewards_disagree_most(tmp_path):
    """Both rewards have mean 1 and deviation 1 on the start's texts; q's last text splits them."""
    study = small(rewards={"a": "length", "b": "length"}, agents=PPO)
    rows = [
        ("start", "p", "one", {"a": 0.0, "b": 0.0, "gold": 0.0}),
        ("start", "q", "two", {"a": 2.0, "b": 2.0, "gold": 2.0}),
        ("end", "p", "three", {"a": 3.0, "b": 3.0, "gold": 1.0}),
        ("end", "q", "four", {"a": 7.0, "b": 1.0, "gold": 1.0}),
    ]
    write_texts(tmp_path / "a", rows)
    points = [(0, 0.0, {"gold": 0.0})]
    table = disagreement_table(study, [cell(tmp_path / "a", "a", 0, points, study=study)])
    assert table.folded
    first = dict(zip(table.header, table.rows[0], strict=True))
    assert (first["prompt"], first["completion"], first["apart"]) == ("q", "four", "1.50")
    assert (first["by a"], first["by b"], first["by gold"]) == ("+6.00", "+0.00", "+0.00")
    assert [row[0] for row in table.rows] == ["q", "q", "p", "p"]


def test_people_are_a_column_and_are_shown_what_nobody_chose(tmp_path):
    study = small(seeds=2, agents=PPO)
    cells = straight(tmp_path, study, {"vowels": [1.0, 2.0]})
    score = {"vowels": 0.0, "gold": 0.0}
    rows = [("start", p, f"start {p}", score) for p in "pqr"]
    write_texts(tmp_path, rows + [("end", p, f"end {p}", score) for p in "pqr"])
    pairs = people_pairs(study, cells)
    assert [pair["prompt"] for pair in pairs] == ["p", "q", "r"]
    assert [pair["policy_b"] for pair in pairs] == ["vowels, ppo", "start", "vowels, ppo"]
    for seed, made in enumerate(cells):  # each seed has texts of its own, and they take turns
        cells[seed] = replace(made, folder=tmp_path / str(seed))
        ends = [("end", p, f"end {p} of {seed}", score) for p in "pqr"]
        write_texts(cells[seed].folder, rows + ends)
    turns = [
        {pair["a"], pair["b"]} - {f"start {p}"}
        for p, pair in zip("pqr", people_pairs(study, cells), strict=True)
    ]
    assert turns == [{"end p of 0"}, {"end q of 1"}, {"end r of 0"}]
    shares = {"p": 1.0, "q": 1.0, "r": 0.5}
    votes = [Vote(writer="vowels, ppo", prompt=p, share=s) for p, s in shares.items()]
    said = opinions(study, [*votes, Vote(writer="vowels, ppo, suspected", prompt="p", share=0)])
    assert said["vowels", "ppo"].startswith("0.83 (0.")
    assert said["vowels", "ppo"].endswith(", 3 answers")
    every = {table.title: table for table in tables(study, cells, votes)}
    for name in ("Leaderboard: ppo", "Cross matrix: ppo"):
        column = next(h for h in every[name].header if "people" in h)
        assert row_of(every[name], "vowels")[column] == said["vowels", "ppo"]
        assert row_of(every[name], "gold")[column] == "not asked"
    assert not any("people" in name for name in tables(study, cells)[0].header)


def test_what_a_search_found_is_a_middle_over_seeds(tmp_path):
    study = small(seeds=3)
    shares = (0.5, 1.0, 0.75)
    cells = [
        best_of_n(
            tmp_path,
            study,
            "vowels",
            seed,
            searched={"by the reward": 2.0, "by the gold": -1.0, "gamed": share},
        )
        for seed, share in enumerate(shares)
    ]
    cells.append(best_of_n(tmp_path, study, "constant", 0))  # made before there was a search
    table = search_table(study, cells)
    assert [row[0] for row in table.rows] == ["vowels"]
    row = row_of(table, "vowels")
    assert row["by it"] == "+2.00 (+2.00 to +2.00)"
    assert row["by the gold"] == "-1.00 (-1.00 to -1.00)"
    assert row["share that games it"].startswith("0.75 (")


def test_costs_are_sums_over_seeds_and_memory_is_the_largest(tmp_path):
    """Phases as learners log them; a failed cell has cost something too."""
    study = small(seeds=2, agents=PPO)
    cells = straight(tmp_path, study, {"vowels": [1.0, 2.0]})
    phases = {"collect": 1.0, "environment": 0.5, "reward": 0.25, "update": 2.0}
    phases |= {"reference": 0.5, "advantages": 0.25, "measure": 4.0, "scoring": 3.0, "all": 9.0}
    for seed, each in enumerate(cells):
        each.cost.clear()
        each.cost.update(tokens=100, reward_calls=4, reward_texts=32, memory_mib=500.0 + seed)
        each.cost["seconds"] = phases
    broken = cell(tmp_path, "vowels", 1, [], study=study, status="failed")
    broken.cost["seconds"] = {"all": 5.0}
    assert row_of(cost_table(study, [cells[0], broken]), "vowels", "ppo")["seconds"] == "14.0"
    row = row_of(cost_table(study, cells), "vowels", "ppo")
    assert list(row.values())[2:] == [
        *(200, 8, 64),
        *("18.0", "3.5", "5.5", "8.0", "6.0"),
        501,
    ]


def test_text_quality_has_wins_over_the_start_and_those_at_equal_length(tmp_path):
    """Of four texts two are better, one is worse; of two that are as long one is better."""
    study = small(seeds=1, agents=PPO)
    starts = [("p", "0123456789", 0.0), ("q", "0123456789", 0.0), ("r", "ab", 0.0), ("s", "a", 0.0)]
    ends = [("p", "9876543210", 1.0), ("q", "987654321", -1.0), ("r", "abcd", 1.0), ("s", "b", 0.0)]
    write_texts(
        tmp_path,
        [
            (stage, prompt, text, {"vowels": 0.0, "gold": gold})
            for stage, rows in (("start", starts), ("end", ends))
            for prompt, text, gold in rows
        ],
    )
    cells = straight(tmp_path, study, {"vowels": [1.0]})
    cells[0].snapshots[0]["kl"] = -1e-8
    for place, perplexity in ((0, 8.0), (-1, 2.0)):
        cells[0].snapshots[place]["quality"]["perplexity"] = perplexity
    table = quality_table(study, cells)
    start, row = row_of(table, "(the start)"), row_of(table, "vowels")
    assert (start["perplexity of the start"], row["perplexity of the start"]) == ("8", "2")
    assert (start["KL, nats"], row["KL, nats"]) == ("0", "9")  # of -1e-8, which is rounding
    assert row["wins over the start"] == "0.62"  # two and a half of four
    assert row["at equal length"] == "0.50"  # of p, q and s one and a half
    assert row["distinct bigrams"] == "none"


def test_what_was_known_is_a_mean_over_seeds(tmp_path):
    study = small(seeds=2, agents=PPO)
    names = ("hard accuracy", "gamma", "calibration error", "best-of-n gain", "spread")
    cells = straight(tmp_path, study, {"vowels": [1.0, 2.0]})
    for seed, accuracy in enumerate((0.5, 0.7)):
        known = {**dict.fromkeys(names, 0.25), "accuracy": accuracy, "gamma": None}
        cells.append(best_of_n(tmp_path, study, "vowels", seed, predictors=known))
    row = row_of(predictor_table(study, cells), "vowels")
    assert (row["accuracy"], row["gamma"], row["spread"]) == ("0.600", "none", "0.250")
    assert row["gold gain, ppo"] == "1.500"


def test_answers_about_one_prompt_are_alike_and_count_as_fewer():
    """Thirty answers, ten about each of three prompts, say less than about thirty."""
    study = small(agents=PPO)

    def said(prompts):
        votes = [
            Vote(writer="vowels, ppo", prompt=prompts[k], share=float(k >= 10)) for k in range(30)
        ]
        return float(opinions(study, votes)["vowels", "ppo"].split("(")[1].split(" to ")[0])

    assert said([f"p{k // 10}" for k in range(30)]) < said([f"p{k}" for k in range(30)]) - 0.1
