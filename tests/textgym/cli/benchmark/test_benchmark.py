"""The commands as a shell would start them: a study, again, its page, and policies side by side."""

import json

import numpy as np
import pytest

from reward_models.feedback.texts import read_material
from reward_models.preferences import Answer, PreferenceStore
from tests.commands import run_commands
from textgym.cli.benchmark.command import BenchmarkConfig, benchmark, read_votes
from textgym.cli.benchmark.evaluate import _wins
from textgym.cli.parsing import CommandError
from textgym.statistics.proportions import wilson_interval

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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"env": "TextGym/Alphabt-v0"}, r"did you mean TextGym/Alphabet-v0\?"),
        ({"policy": "nowhere"}, "no language model in nowhere"),
        ({"env_kwargs": '{"split": "test"}', "settings": "3"}, "--settings must be"),
        ({"env_kwargs": '{"completion_tokens": 0}'}, "completion_tokens must be a positive"),
        ({"settings": '{"learning_rat": 1}'}, r"ppo has no setting learning_rat .*learning_rate"),
        ({"settings": '{"learning_rate": -1}'}, "learning_rate must be above 0"),
        ({"workers": -1}, "workers must be at least 1, got -1"),
        ({"rewards": ("lenght",)}, r"did you mean length\?"),
    ],
)
def test_what_cannot_work_is_said_before_any_cell_runs(settings, message, tmp_path):
    """It was found out by each cell in a process of its own, after the same waiting."""
    given = {"env": "TextGym/Alphabet-v0", "rewards": ("distinct",), "agents": ("ppo",),
             "policy": "scratch:gpt2?layers=1&width=16&heads=2", **settings}  # fmt: skip
    with pytest.raises(CommandError, match=message) as told:
        benchmark(BenchmarkConfig(out=tmp_path / "study", **given))
    assert "\n" not in str(told.value)
    assert not (tmp_path / "study").exists()


def test_wins_are_of_all_seeds_and_the_seeds_of_a_prompt_are_no_further_prompts():
    """By hand 3 wins, 2 ties and 1 loss of 6; and three equal seeds of 400 prompts are 400."""
    first = np.zeros((3, 2))
    assert _wins(np.array([[1.0, 0.0], [1.0, 0.0], [1.0, -1.0]]), first).startswith("0.67 (")
    low, high = wilson_interval(200, 400)
    alike = np.tile([1.0, -1.0] * 200, (3, 1))
    assert _wins(alike, np.zeros((3, 400))) == f"0.50 ({low:.2f} to {high:.2f})"


def test_what_people_say_is_read_from_the_store_beside_the_pairs(tmp_path):
    rows = [
        {"prompt": p, "a": "one", "b": "two", "policy_a": a, "policy_b": b}
        for p, a, b in (
            ("p", "vowels, ppo", "start"),
            ("q", "start", "vowels, ppo"),
            ("r", "x", "y"),
        )
    ]
    (tmp_path / "people.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_votes(tmp_path) == []
    with pytest.raises(FileNotFoundError, match=r"no store .*other\.sqlite"):
        read_votes(tmp_path, tmp_path / "other.sqlite")
    with PreferenceStore(tmp_path / "people.sqlite") as store:
        pairs = read_material(str(tmp_path / "people.jsonl")).pairs
        store.add_pairs(pairs)
        store.record_answers(
            [Answer(pair_id=pair.pair_id, annotator="anna", answer="a") for pair in pairs]
        )
    votes = {vote.prompt: vote for vote in read_votes(tmp_path)}
    assert votes.keys() == {"p", "q"}
    assert all(vote.writer == "vowels, ppo" for vote in votes.values())
    for pair in pairs:
        if pair.prompt in votes:
            assert votes[pair.prompt].share == float(pair.policy_a == "vowels, ppo")
    with PreferenceStore(tmp_path / "empty.sqlite"):
        pass
    with pytest.raises(ValueError, match="has no answer to a pair"):
        read_votes(tmp_path, tmp_path / "empty.sqlite")


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


@pytest.mark.slow
def test_a_study_is_run_once_and_shown_twice(said):
    out, (first, second, *_) = said
    assert first.returncode == 0, first.stderr
    assert "10 of 10: " not in first.stdout
    assert "5 of 5: gold best-of-n seed 0" in first.stdout
    assert "Leaderboard: best-of-n" in first.stdout
    assert " of 5: " not in second.stdout
    assert second.stdout.splitlines()[-20:] == first.stdout.splitlines()[-20:]
    assert first.stdout.rstrip().endswith(str(out / "report.html"))


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_report_is_made_anew_with_every_table(said):
    _, results = said
    assert results[2].returncode == 0, results[2].stderr
    for title in (
        "Cost",
        "Failures",
        "Style matrix",
        "Text quality",
        "Figure: Performance profiles",
    ):
        assert title in results[2].stdout


@pytest.mark.slow
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


@pytest.mark.slow
def test_policies_are_held_against_the_first(said):
    out, results = said
    result = results[8]
    assert result.returncode == 0, result.stderr
    rows = json.loads((out / "sides" / "evaluation.json").read_text())["tables"][0]["rows"]
    assert [row[0] for row in rows] == ["a", "b"]
    assert rows[0][2:4] == ["", ""]
    assert "KL from the first" in result.stdout
