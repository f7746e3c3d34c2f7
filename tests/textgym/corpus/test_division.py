# ruff: noqa: S311 - words are drawn, not secrets
"""What hangs together stays together, and a leak report finds what does not."""

import random
import tracemalloc

import pytest

from textgym.corpus.division import divide, leaks
from textgym.corpus.duplicates import Near, clusters, signature
from textgym.corpus.records import Record

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
WORDS = [f"word{n}" for n in range(500)]


def text(seed, length=80):
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def changed(original, seed, words=1):
    said = original.split()
    for place in random.Random(seed).sample(range(len(said)), words):
        said[place] = "other"
    return " ".join(said)


def record(what, number, source="a", **columns):
    return Record(text=what, source=source, place=f"line {number}", columns=columns)


def leaks_of(parts):
    return leaks((name, one) for name, records in parts.items() for one in records)


def jaccard(a, b):
    runs = [{tuple(t.split()[i : i + 5]) for i in range(len(t.split()) - 4)} for t in (a, b)]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_signatures_estimate_the_share_of_common_runs():
    for changes in (1, 3, 8):
        pairs = [(text(n), changed(text(n), n, changes)) for n in range(20)]
        estimated = [float((signature(a) == signature(b)).mean()) for a, b in pairs]
        exact = [jaccard(a, b) for a, b in pairs]
        # The mean of 20 estimates, each with a standard error of at most .044.
        assert sum(estimated) / 20 == pytest.approx(sum(exact) / 20, abs=0.04)


def test_the_first_of_near_duplicates_is_the_one_that_is_told():
    near, originals = Near(0.8), [text(n, 200) for n in range(30)]
    assert [near.earlier(near.key(t), str(n)) for n, t in enumerate(originals)] == [""] * 30
    again = [changed(t, n) for n, t in enumerate(originals)]
    assert [near.earlier(near.key(t), "later") for t in again] == [str(n) for n in range(30)]
    assert near.earlier(near.key("three short words"), "short") == ""


def test_a_chain_of_near_duplicates_is_one_cluster():
    first = text(0, 200)
    chain = [first]
    for n in range(5):
        chain.append(changed(chain[-1], n, 3))
    assert jaccard(chain[0], chain[-1]) < 0.8
    found = clusters(map(signature, [text(1, 200), *chain, text(2, 200)]))
    assert found == [0, 1, 1, 1, 1, 1, 1, 7]


def test_nothing_is_shared_between_the_parts():
    records = []
    for n in range(120):
        original = text(n, 160)
        records += [record(original, 3 * n), record(changed(original, n), 3 * n + 1)]
        records.append(record(original.upper() + "!", 3 * n + 2))
    homes = divide(records, SHARES)
    parts = {
        name: [r for r, home in zip(records, homes, strict=True) if home == name] for name in SHARES
    }
    assert leaks_of(parts) == []
    assert all(len(part) > 30 for part in parts.values())
    # By chance, most of the threes would be torn apart.
    torn = dict(zip(SHARES, (records[0::3], records[1::3], records[2::3]), strict=True))
    found = {(leak.kind, leak.splits): leak.count for leak in leaks_of(torn)}
    assert found["equal texts", ("train", "test")] == 120
    assert found["near duplicates", ("train", "validation")] == 120
    assert found["runs of 25 words", ("train", "validation")] == 120


@pytest.mark.parametrize(("words", "together"), [(25, True), (24, False)])
def test_texts_that_quote_a_passage_stay_together(words, together):
    """Also where no two of them are near duplicates: what is divided passes the check."""
    records = []
    for n in range(60):
        quoted = text(f"{n} quoted", words)
        records += [record(f"{text(f'{n} {k}')} x{k} {quoted} y{k}", 3 * n + k) for k in range(3)]
    homes = divide(records, SHARES)
    parts = {
        name: [r for r, home in zip(records, homes, strict=True) if home == name] for name in SHARES
    }
    assert leaks_of(parts) == []
    assert all(len(part) > 10 for part in parts.values())
    assert all(len(set(homes[3 * n : 3 * n + 3])) == 1 for n in range(60)) is together


def test_a_text_stays_where_it_is_when_others_come():
    records = [record(text(n), n) for n in range(60)]
    before = divide(records, SHARES)
    assert divide(records + [record(text(n), n) for n in range(60, 90)], SHARES)[:60] == before


def test_documents_and_columns_stay_whole():
    records = [record(text(n), n, source=f"file{n % 7}", author=n % 11) for n in range(154)]
    for by, value in (("source", lambda r: r.source), ("author", lambda r: r.columns["author"])):
        homes = divide(records, SHARES, by=by)
        held = {}
        for each, home in zip(records, homes, strict=True):
            assert held.setdefault(value(each), home) == home
        assert len(set(homes)) > 1
    with pytest.raises(ValueError, match="a, line 3 has no column 'author' to divide by"):
        divide([*records, record(text(0), 3)], SHARES, by="author")


def kept_by(compare):
    """Bytes that are held at most while texts of 6 MB in all are compared."""

    def texts():
        for n in range(60):
            yield record("x" * 100_000 + str(n), n)

    tracemalloc.start()
    try:
        compare(texts())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_texts_are_not_held_while_they_are_compared():
    divide([record("warm", 0)], SHARES)
    assert kept_by(lambda texts: divide(texts, SHARES)) < 2e6
    assert kept_by(lambda texts: leaks(("train", one) for one in texts)) < 2e6


def test_what_near_duplicates_are_compared_by_is_bounded_for_each_text():
    near = Near(0.8)
    keys = [near.key(text(n)) for n in range(200)]
    near.earlier(keys[0], "warm")
    tracemalloc.start()
    try:
        for n, key in enumerate(keys[1:]):
            assert near.earlier(key, f"a file, line {n}") == ""
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 199 * 10_000


def test_one_document_in_two_parts_is_a_leak():
    parts = {
        "train": [record(text(0), 1, source="a"), record(text(1), 1, source="b")],
        "test": [record(text(2), 2, source="a")],
    }
    (leak,) = leaks_of(parts)
    assert (leak.kind, leak.splits, leak.count) == ("one document", ("train", "test"), 1)
    assert leak.example == ("a, line 2", "a, line 1")


def test_a_shared_passage_is_found_in_otherwise_different_texts():
    passage = text(0, 25)
    parts = {
        "train": [record(f"{text(1)} {passage} {text(2)}", 1)],
        "test": [
            record(f"{text(3)} {passage} {text(4)}", 2),
            record(f"{text(5)} {passage[6:]}", 3),
        ],
    }
    (leak,) = leaks_of(parts)
    assert (leak.kind, leak.count) == ("runs of 25 words", 1)
