"""The commands as a shell would start them: a study, again, its page, and policies side by side."""

import json

import pytest

from tests.commands import run_commands

pytestmark = pytest.mark.slow

PARTS = "tests.agents.comparing.parts"
SMALL = (
    *("--env", "TextGym/Alphabet-v0", "--rewards", "distinct", f"vowels={PARTS}:vowels"),
    *(
        "--seeds",
        "1",
        "--total-timesteps",
        "100",
        "--prompts",
        "8",
        "--count",
        "4",
        "--num-envs",
        "8",
    ),
    *("--policy", "scratch:gpt2?layers=1&width=16&heads=2", "--executor", "here"),
)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    study = ("benchmark", *SMALL, "--out", str(out))
    return out, run_commands(
        study,
        study,
        ("report", str(out), "--every"),
        ("benchmark", *SMALL, "--out", str(out), "--seeds", "2"),
        ("benchmark", *SMALL, "--out", str(out / "a"), "--agents", "pqo"),
        ("benchmark", *SMALL, "--out", str(out / "a"), "--rewards", "lenght"),
        ("benchmark", "--out", str(out / "a")),
        ("report", str(out / "nothing")),
        (
            *("evaluate", "--env", "TextGym/Alphabet-v0", "--rewards", "length", "--prompts", "8"),
            *("--policies", "a=scratch:gpt2?layers=1&width=16&heads=2"),
            *("b=scratch:gpt2?layers=1&width=16&heads=2", "--out", str(out / "sides")),
        ),
    )


def test_a_study_is_run_once_and_shown_twice(said):
    out, (first, second, *_) = said
    assert first.returncode == 0, first.stderr
    assert "10 of 10: " not in first.stdout
    assert "5 of 5: gold best-of-n seed 0" in first.stdout
    assert "Leaderboard: best-of-n" in first.stdout
    assert " of 5: " not in second.stdout
    assert second.stdout.splitlines()[-20:] == first.stdout.splitlines()[-20:]
    assert first.stdout.rstrip().endswith(str(out / "report.html"))


def test_the_page_loads_nothing_and_json_and_csv_are_beside_it(said):
    out, _ = said
    page = (out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    tables = json.loads((out / "report.json").read_text())["tables"]
    for table in tables:
        assert table["title"] in page
    board = (out / "tables" / "leaderboard-best-of-n.csv").read_text().splitlines()
    assert board[0].startswith("reward,gold gain at equal tokens,rank,at 1 nats")
    assert len(board) == 6


def test_a_report_is_made_anew_with_every_table(said):
    _, results = said
    assert results[2].returncode == 0, results[2].stderr
    for title in ("Cost", "Failures", "Reward hacking: canaries", "Text quality"):
        assert title in results[2].stdout


def test_wrong_words_are_one_line(said):
    _, results = said
    expected = (
        "holds a study with seeds 1, not 2: give the same, or another folder",
        "unknown agent pqo (did you mean ppo?)",
        "the reward lenght: ",
        "--env is required",
        "there is no study in",
    )
    for result, message in zip(results[3:8], expected, strict=True):
        assert result.returncode != 0
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_policies_are_held_against_the_first(said):
    out, results = said
    result = results[8]
    assert result.returncode == 0, result.stderr
    rows = json.loads((out / "sides" / "evaluation.json").read_text())["tables"][0]["rows"]
    assert [row[0] for row in rows] == ["a", "b"]
    assert rows[0][2:4] == ["", ""]
    assert "KL from the first" in result.stdout
