"""Standard studies: each runs by its name, and what is expected of it is held against its runs."""

import io
import json
import re
from typing import get_args, get_type_hints

import numpy as np
import pytest
from rich.console import Console

from tests.agents.comparing.parts import cell, small, straight
from textgym.cli.benchmark.command import BenchmarkConfig, benchmark
from textgym.cli.benchmark.standards import gold_world
from textgym.cli.benchmark.standards.catalogue import STANDARDS
from textgym.cli.benchmark.standards.expectations import Expectation, expected_table
from textgym.cli.parsing import CommandError

PPO = {"ppo": {"agent": "ppo"}}


def run(out, **settings):
    to = Console(file=io.StringIO(), width=200)
    given = {"executor": "here", **settings}
    benchmark(BenchmarkConfig(out=out, **given), to)
    return to.file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("name", STANDARDS)
def test_a_standard_study_is_one_command_and_goes_on_after_a_stop(tmp_path, name):
    """In its small size, whose figures say nothing: every cell runs, every expectation is asked."""
    said = run(tmp_path, standard=name, smoke=True)
    assert "Expected results" in said
    report = json.loads((tmp_path / "report.json").read_text())
    by_title = {table["title"]: table for table in report["tables"]}
    rows = by_title["Expected results"]["rows"]
    assert [row[0] for row in rows] == [each.claim for each in STANDARDS[name].expects]
    assert {row[-1] for row in rows} == {"open"}  # of one seed
    assert by_title["Failures"]["rows"] == []
    again = run(tmp_path, standard=name, smoke=True)
    assert re.search(r"\d of \d+: ", said)
    assert not re.search(r"\d of \d+: ", again)
    assert again.count("done before") == said.count("✓")
    with pytest.raises(CommandError, match="another"):
        run(tmp_path, standard=name)


def test_the_command_knows_every_standard_study():
    hint = get_type_hints(BenchmarkConfig)["standard"]
    (names,) = [get_args(each) for each in get_args(hint) if get_args(each)]
    assert set(names) == STANDARDS.keys()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"standard": "sentiment", "env": "TextGym/Alphabet-v0"}, "--env and --standard are two"),
        ({"smoke": True, "env": "a", "rewards": ("length",)}, "name one by --standard"),
    ],
)
def test_two_studies_in_one_command_are_refused(tmp_path, settings, message):
    with pytest.raises(CommandError, match=message):
        run(tmp_path, **settings)
    assert not [each for each in tmp_path.iterdir() if each.name != ".lock"]


def expectation(**settings):
    return Expectation(claim="it is so", agent="ppo", more="vowels", less="length", **settings)


@pytest.mark.parametrize(
    ("more", "less", "difference", "found"),
    [
        ([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], "+1.000 (+1.000 to +1.000)", "as expected"),
        ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], "-1.000 (-1.000 to -1.000)", "otherwise"),
        ([1.0, 2.0, 9.0], [2.0, 1.0, 3.0], "+2.000 (", "open"),
        ([2.0, 3.0], [1.0, 2.0, 3.0], "+1.000", "open"),
        ([], [1.0], "none", "not run"),
    ],
)
def test_an_expectation_is_held_against_the_same_seeds(tmp_path, more, less, difference, found):
    study = small(seeds=3, agents=PPO)
    cells = straight(tmp_path, study, {"vowels": more, "length": less})
    (row,) = expected_table([expectation()], cells).rows
    assert row[0] == "it is so"
    assert row[3].startswith(difference)
    assert row[4] == found


def test_a_drop_is_what_was_lost_after_the_peak_and_failed_runs_do_not_count(tmp_path):
    """One falls from 5 to 1 in every seed, the other from 2 to 2 less the seed's number."""
    study = small(seeds=4, agents=PPO)
    cells = []
    for seed in range(4):
        for name, golds in (("vowels", (0.0, 5.0, 1.0)), ("length", (0.0, 2.0, 2.0 - seed))):
            points = [(9 * k, float(k), {"gold": gold}) for k, gold in enumerate(golds)]
            status = "failed" if (seed, name) == (3, "length") else "done"
            cells.append(cell(tmp_path, name, seed, points, study=study, status=status))
    (row,) = expected_table([expectation(figure="drop")], cells).rows
    assert row[3].startswith("+3.000 (")  # of 4, 3 and 2
    assert row[4] == "as expected"


def test_the_gold_of_the_gold_world_by_hand():
    """Three letters of a kind are worth their sum; a fifth takes 4 times .35 off its own worth."""
    texts = ["", "abc", "aaa", "aaaaa", "hhhh"]
    golds = gold_world.gold([""] * 5, texts)
    assert golds == pytest.approx([0, 2.3, 3, 5 - 0.35 * 4, -4 - 0.35])


def test_proxies_know_ordinary_texts_and_the_worst_is_the_lowest():
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdefgh"), rng.integers(1, 8))) for _ in range(300)]
    prompts = [""] * len(texts)
    golds, single, mean, worst = (
        np.array(of(prompts, texts))
        for of in (gold_world.gold, gold_world.single, gold_world.mean, gold_world.worst)
    )
    assert np.corrcoef(golds, mean)[0, 1] > 0.7
    assert (worst <= single + 1e-12).all()
    assert (worst <= mean + 1e-12).all()
    assert (worst < mean).any()
