"""What passes through the steps, in which order, and what each of them says of it."""

import io

import pytest

from textgym.corpus import pipeline
from textgym.corpus.duplicates import Near, signature
from textgym.corpus.encodings import LineTooLong, text_lines
from textgym.corpus.noise import without_markup
from textgym.corpus.pipeline import clean
from textgym.corpus.records import Record
from textgym.corpus.repairs import spaced
from textgym.corpus.report import as_json


def records(*texts):
    return [Record(text=text, source="a", place=f"line {n}") for n, text in enumerate(texts)]


def test_a_text_that_one_step_changes_and_a_later_one_drops_is_in_both_counts():
    kept, counts = clean(
        iter(records("so   short", "long  enough to be kept", "")),
        ("spaces", "length?least=3", "exact"),
    )
    assert [record.text for record in kept] == ["long enough to be kept"]
    told = [(count.seen, dict(count.changed), dict(count.dropped)) for count in counts]
    assert told == [
        (3, {"white space": 2}, {}),
        (3, {}, {"fewer than 3 words": 1, "empty": 1}),
        (1, {}, {}),
    ]
    report = as_json(counts, 3, 1)
    assert (report["texts_before"], report["texts_after"]) == (3, 1)


@pytest.mark.slow
def test_workers_that_are_ahead_change_no_order(monkeypatch):
    """With a text a chunk there are more chunks than may wait."""
    monkeypatch.setattr(pipeline, "_CHUNK", 1)
    texts = [f"text number {n}" for n in range(4 * pipeline._AHEAD)]
    kept, _ = clean(iter(records(*texts)), ("spaces",), workers=2)
    assert [record.text for record in kept] == texts


def test_of_several_near_texts_the_first_is_named():
    """Two that are not near each other, and one that is near both."""
    first = signature(" ".join(f"word{n}" for n in range(200)))
    second, third = first.copy(), first.copy()
    second[:40] += 1
    third[:20] += 1
    near = Near(0.8)
    assert [near.earlier(key, place) for key, place in ((first, "1"), (second, "2"))] == ["", ""]
    assert near.earlier(third, "3") == "1"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_gigantic_line_is_one_line(encoding):
    raw = io.BufferedReader(io.BytesIO(f"a\n{'x' * 3_000_000}\nb\n".encode(encoding)))
    said = [(n, isinstance(text, LineTooLong)) for n, text, _ in text_lines(raw, 100)]
    assert said == [(1, False), (2, True), (3, False)]


def test_a_blank_line_stays_and_more_are_one():
    assert spaced("a\n\n\n\nb\n\nc\nd") == "a\n\nb\n\nc\nd"


def test_what_is_hidden_inside_something_hidden_ends_with_its_own_end():
    assert without_markup("a<template>b<svg>c</svg>d</template>e") == "ae"
