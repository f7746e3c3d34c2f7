"""``textgym evaluate --human``: the texts that were just sampled are judged, blind and balanced."""

import io
import json
from collections import Counter

import pytest
from rich.console import Console

from reward_models.preferences import Answer, PreferenceStore
from textgym.cli.benchmark import people
from textgym.cli.benchmark.evaluate import EvaluateConfig, evaluate
from textgym.cli.parsing import CommandError

NAMES = ("first", "second", "third")
SHAPE = "scratch:gpt2?layers=1&width=16&heads=2&positions=16"


def run(tmp_path, **changed):
    given = {
        "policies": tuple(f"{name}={SHAPE}&seed={n}" for n, name in enumerate(NAMES)),
        "env": "TextGym/Alphabet-v0",
        "prompts": 12,
        "seeds": 2,
        "num_envs": 12,
        "human": True,
        "pairs": 60,
        "out": tmp_path / "out",
    }
    to = Console(file=io.StringIO(), width=220)
    evaluate(EvaluateConfig(**(given | changed)), to)
    return to.file.getvalue()


def answering(pair_says, monkeypatch):
    """A page at which somebody answers all there is, in place of the real one."""
    opened = []

    def page(config, console):
        opened.append(config)
        with PreferenceStore(config.source) as store:
            store.record_answers(
                [
                    Answer(pair_id=pair.pair_id, annotator="ann", answer=pair_says(pair))
                    for pair in store.pending("ann")
                ]
            )

    monkeypatch.setattr(people, "label", page)
    return opened


def prefers_third(pair):
    """The third policy's text, and of the others a tie."""
    if "third" not in (pair.policy_a, pair.policy_b):
        return "tie"
    return "a" if pair.policy_a == "third" else "b"


def test_people_judge_what_was_sampled_and_stand_in_the_tables(tmp_path, monkeypatch):
    """The third wins every comparison, and the first two are even; once more opens no page."""
    opened = answering(prefers_third, monkeypatch)
    said = run(tmp_path)
    (page,) = opened
    assert (page.source, page.rule) == (str(tmp_path / "out" / "people.sqlite"), "balanced")
    with PreferenceStore(page.source) as store:
        pairs = store.pairs()
        assert len(store.provenance()) == 2 * len(pairs)
    met = Counter(frozenset((pair.policy_a, pair.policy_b)) for pair in pairs)
    assert len(met) == 3
    assert max(met.values()) <= 20
    assert not any(name in pair.pair_id for pair in pairs for name in NAMES)
    tables = json.loads((tmp_path / "out" / "evaluation.json").read_text())["tables"]
    scores, _, judged = tables
    assert scores["header"][-2:] == ["people: rank", "people: wins over the first"]
    ranks, wins = zip(*[row[-2:] for row in scores["rows"]], strict=True)
    assert ranks[2] == "1"
    assert wins[0] == ""
    assert wins[1].startswith("0.50 (")
    assert wins[2].startswith("1.00 (")
    assert judged["title"] == "People"
    assert "third against" in said
    again = run(tmp_path)
    assert again[again.index("Scores") :] == said[said.index("Scores") :]
    assert len(opened) == 1


def test_simulated_annotators_need_no_page_and_what_nobody_says_is_said(tmp_path, monkeypatch):
    opened = answering(prefers_third, monkeypatch)
    store = tmp_path / "people.sqlite"
    said = run(tmp_path, annotators=("careful",), truth="length", store=store, out=None)
    assert "people: rank" in said
    assert opened == []
    monkeypatch.setattr(people, "label", lambda config, console: None)
    with pytest.raises(CommandError, match="nobody has answered yet"):
        run(tmp_path, store=tmp_path / "other.sqlite", out=None)


def test_answers_to_texts_of_before_are_not_counted(tmp_path, monkeypatch):
    """A policy that was trained on writes others: what people said of the old ones is kept."""
    answering(prefers_third, monkeypatch)
    run(tmp_path, pairs=30)
    answering(lambda pair: "tie", monkeypatch)
    changed = tuple(f"{name}={SHAPE}&seed={n + 7}" for n, name in enumerate(NAMES))
    run(tmp_path, pairs=30, policies=changed)
    rows = json.loads((tmp_path / "out" / "evaluation.json").read_text())["tables"][0]["rows"]
    assert rows[2][-1].startswith("0.50 (")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"out": None}, "say where by --store"),
        ({"policies": (SHAPE,)}, "give two or more"),
        ({"human": False, "truth": "length"}, "are for --human"),
        ({"annotators": ("careful",)}, "--annotators need --truth"),
    ],
)
def test_what_cannot_work_is_one_line(tmp_path, changed, message):
    with pytest.raises(CommandError, match=message) as caught:
        run(tmp_path, **changed)
    assert "\n" not in str(caught.value)


def test_policies_that_write_one_letter_are_measured_too(tmp_path):
    """They have no bigram, so nothing says how varied they are."""
    run(tmp_path, env="TextGym/Bandit-v0", human=False)
    tables = json.loads((tmp_path / "out" / "evaluation.json").read_text())["tables"]
    (table,) = [table for table in tables if table["title"] == "Texts"]
    place = table["header"].index("distinct bigrams")
    assert [row[place] for row in table["rows"]] == ["none"] * 3
