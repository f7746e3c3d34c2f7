"""The quickstart's corpus: what the commands for anybody's text make of the same reviews."""

import json
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from tests.commands import run_commands
from textgym.cli.quickstart.plan import make_plan
from textgym.cli.quickstart.texts import gather_texts, read_texts
from textgym.cli.stages import Run
from textgym.corpus.division import leaks
from textgym.data.reviews import POOLS, load_reviews


def _plan(*, smoke):
    return make_plan(
        seed=0,
        device="cpu",
        report_on="test",
        kl_coefficient=0.25,
        kl_target=14.0,
        bf16=False,
        smoke=smoke,
    )


def _run(folder):
    folder.mkdir()
    return Run(out=folder, config={}, console=Console(quiet=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The texts of a full run, and what the stage said."""
    run = _run(tmp_path_factory.mktemp("texts") / "run")
    return run, gather_texts(run, _plan(smoke=False))


@pytest.mark.slow
def test_the_texts_are_what_the_commands_make_of_the_package(whole, tmp_path):
    run, said = whole
    raw, clean = tmp_path / "raw.jsonl", tmp_path / "clean.jsonl"
    collected, cleaned = run_commands(
        ("data", "collect", "--sources", "package:reviews", "--out", str(raw)),
        ("data", "clean", "--corpus", str(raw), "--out", str(clean)),
    )
    assert (collected.returncode, cleaned.returncode) == (0, 0), cleaned.stderr
    expected = defaultdict(list)
    for line in clean.read_text(encoding="utf-8").splitlines():
        expected[json.loads(line)["pool"]].append(line)
    for pool in POOLS:
        written = (run.out / "texts" / f"{pool}.jsonl").read_text(encoding="utf-8")
        assert written.splitlines() == expected[pool]
    assert said == {"texts": 24_832, "mended": 604, "dropped": 21}
    steps = json.loads((run.out / "texts" / "report" / "report.json").read_text())["steps"]
    assert {step["step"]: sum(step["dropped"].values()) for step in steps if step["dropped"]} == {
        "repetition": 21
    }


@pytest.mark.slow
def test_no_pool_knows_a_text_of_another(whole):
    run, _ = whole
    assert leaks((pool, record) for pool in POOLS for record in read_texts(run, pool)) == []


def test_texts_go_where_the_environment_s_prompts_of_that_pool_are(tmp_path, monkeypatch):
    """What a policy is asked to continue, its language model has not learned."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    run = _run(tmp_path / "run")
    gather_texts(run, replace(_plan(smoke=True), texts=100))
    pools = {record.place: pool for pool in POOLS for record in read_texts(run, pool)}
    assert {place.rpartition(" ")[0] for place in pools} == set(POOLS)
    assert all(place.startswith(f"{pool} ") for place, pool in pools.items())
    # Few texts are mended, and those begin as they did.
    for pool in POOLS:
        prompts = [" ".join(review.text.split()[:8]) for review in load_reviews(pool)]
        kept = {record.place: record for record in read_texts(run, pool)}
        same = Counter(
            " ".join(record.text.split()[:8]) == prompts[int(place.split()[-1]) - 1]
            for place, record in kept.items()
        )
        assert same[True] > 0.99 * same.total()
        labels = [load_reviews(pool)[int(place.split()[-1]) - 1].label for place in kept]
        assert [record.columns["label"] for record in kept.values()] == labels


def test_a_stop_leaves_no_half_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    run = _run(tmp_path / "run")
    monkeypatch.setattr("textgym.cli.quickstart.texts.write_report", _stopped)
    with pytest.raises(KeyboardInterrupt):
        gather_texts(run, replace(_plan(smoke=True), texts=10))
    assert not (run.out / "texts").exists()


def _stopped(*_):
    raise KeyboardInterrupt
