"""``textgym data``: collected, cleaned, divided and checked by the words that a person types."""

import io
import json
import multiprocessing
import random
import sys

import pytest
from rich.console import Console

from textgym.cli.data.clean import CleanConfig, clean_data
from textgym.cli.data.collect import CollectConfig, collect_data
from textgym.cli.data.split import CheckConfig, SplitConfig, check_data, split_data
from textgym.cli.parsing import CommandError
from textgym.corpus.records import read_corpus

WORDS = [f"word{n}" for n in range(400)]


def printed(run, config):
    out = io.StringIO()
    run(config, Console(file=out, width=80))
    return out.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Sixty texts, ten of them twice, and a broken line."""
    drawn = random.Random(0)  # noqa: S311 - words, not secrets
    texts = [" ".join(drawn.choices(WORDS, k=40)) for _ in range(60)]
    lines = [json.dumps({"text": text}) for text in texts + texts[:10]]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jsonl").write_text("\n".join([*lines, "{"]), encoding="utf-8")
    return tmp_path


def test_from_files_to_parts_that_share_nothing(folder):
    raw, clean, parts = folder / "raw.jsonl.gz", folder / "clean.jsonl", folder / "parts"
    said = printed(collect_data, CollectConfig(sources=(str(folder / "raw"),), out=raw))
    assert said.strip().startswith("70 texts, ")
    assert "passed over: no JSON: 1" in said
    assert f"{folder / 'raw' / 'a.jsonl'}:71: no JSON" in said
    said = printed(clean_data, CleanConfig(corpus=raw, out=clean))
    assert "60 of 70 texts in" in said
    report = json.loads((folder / "clean.report" / "report.json").read_text(encoding="utf-8"))
    dropped = {step["step"]: step["dropped"] for step in report["steps"]}
    assert dropped["exact"] == {"repeats": 10}
    page = (folder / "clean.report" / "report.html").read_text(encoding="utf-8")
    assert "70 texts came, 60 are left" in page
    said = printed(split_data, SplitConfig(corpus=clean, out=parts, validation=0.2, test=0.2))
    sizes = [
        len(list(read_corpus(parts / f"{name}.jsonl"))) for name in ("train", "validation", "test")
    ]
    assert sum(sizes) == 60
    assert min(sizes) > 0
    assert said.strip() + "\n" == "train {}, validation {}, test {} in {}\n".format(*sizes, parts)
    files = tuple(parts / f"{name}.jsonl" for name in ("train", "validation"))
    # All texts are of one file, which was divided: that alone is no leak.
    assert printed(check_data, CheckConfig(files=files)).endswith("nothing is shared\n")


def test_parts_that_are_not_as_asked_for_are_said(tmp_path):
    """A passage that stands in all texts keeps them together."""
    drawn = random.Random(1)  # noqa: S311 - words, not secrets
    notice = " ".join(drawn.choices(WORDS, k=30))
    corpus = tmp_path / "raw.jsonl"
    texts = [f"{' '.join(drawn.choices(WORDS, k=40))} {notice}" for _ in range(120)]
    for glued, lines in ((True, texts), (False, [text.removesuffix(notice) for text in texts])):
        rows = [json.dumps({"text": text, "source": "a"}) for text in lines]
        corpus.write_text("\n".join(rows), encoding="utf-8")
        config = SplitConfig(corpus=corpus, out=tmp_path / "parts", validation=0.4, test=0.3)
        said = printed(split_data, config)
        assert ("has 100% of the texts where" in " ".join(said.split())) is glued
        assert ("(boilerplate)" in said) is glued


def test_what_is_collected_is_as_the_words_say(folder):
    (folder / "raw" / "b.txt").write_text("one\ntwo " + "x" * 300 + "\n", encoding="utf-8")
    config = CollectConfig(
        sources=(str(folder / "raw" / "b.txt"),),
        out=folder / "raw.jsonl",
        unit="line",
        licence="CC0",
        most_characters=200,
    )
    said = printed(collect_data, config)
    (record,) = read_corpus(folder / "raw.jsonl")
    assert (record.text, record.place, record.licence) == ("one", "line 1", "CC0")
    assert "a line longer than 200 characters: 1" in said


def divided(folder, rows, **settings):
    """The rows' numbers in each part."""
    corpus = folder / "corpus.jsonl"
    lines = (json.dumps({"source": "s", "number": n} | row) for n, row in enumerate(rows))
    corpus.write_text("\n".join(lines), encoding="utf-8")
    printed(split_data, SplitConfig(corpus=corpus, out=folder / "parts", **settings))
    names = ("train", "validation", "test")
    parts = {name: read_corpus(folder / "parts" / f"{name}.jsonl") for name in names}
    return {
        name: {record.columns["number"] for record in records} for name, records in parts.items()
    }


def test_shares_column_and_threshold_decide_where_texts_go(folder):
    drawn = random.Random(1)  # noqa: S311 - words, not secrets
    texts = [" ".join(drawn.choices(WORDS, k=60)) for _ in range(60)]
    # Every second text has three words of the one before it changed: a Jaccard index near .6.
    for n in range(0, 60, 2):
        said = texts[n].split()
        said[10] = said[30] = said[50] = "other"
        texts[n + 1] = " ".join(said)
    rows = [{"text": text, "author": n % 7} for n, text in enumerate(texts)]
    parts = divided(folder, rows, validation=0.5, test=0.0)
    assert parts["test"] == set()
    assert 20 < len(parts["validation"]) < 40

    def torn(parts):
        return sum(
            (n in part) != (n + 1 in part) for part in parts.values() for n in range(0, 60, 2)
        )

    assert torn(divided(folder, rows, validation=0.4, test=0.3, threshold=0.9)) > 10
    assert torn(divided(folder, rows, validation=0.4, test=0.3, threshold=0.4)) == 0
    parts = divided(folder, rows, validation=0.4, test=0.3, by="author", threshold=0.9)
    authors = [{n % 7 for n in part} for part in parts.values()]
    assert sum(map(len, authors)) == 7
    # A third and two thirds go elsewhere than two thirds and a third.
    sizes = [len(part) for part in divided(folder, rows, validation=0.6, test=0.1).values()]
    assert sizes[1] > 2 * sizes[2]


def test_what_cannot_be_read_whole_is_not_checked(folder):
    with pytest.raises(
        CommandError, match=r"a\.jsonl cannot be read whole: .*a\.jsonl:71: no JSON"
    ):
        check_data(
            CheckConfig(files=(folder / "raw" / "a.jsonl",) * 2), Console(file=io.StringIO())
        )


def test_a_leak_is_told_and_ends_the_command(folder):
    a, b = folder / "a.jsonl", folder / "b.jsonl"
    for path, texts in ((a, ["one two three", "four"]), (b, ["One, two - three!"])):
        path.write_text("\n".join(json.dumps({"text": t}) for t in texts), encoding="utf-8")
    out = io.StringIO()
    with pytest.raises(CommandError, match="the parts share what is above"):
        check_data(CheckConfig(files=(a, b)), Console(file=out, width=80))
    assert (
        f"equal texts: 1 texts of {b} are in {a}, such as {b}, line 1 ({a}, line 1)"
        in out.getvalue()
    )
    with pytest.raises(CommandError, match="name two files or more"):
        check_data(CheckConfig(files=(a,)))


def test_one_file_with_a_column_split_is_checked(folder):
    path = folder / "both.jsonl"
    rows = [{"text": "a b", "split": "train"}, {"text": "A B", "split": "test"}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(CommandError, match="train 1, test 1"):
        check_data(CheckConfig(files=(path,)), Console(file=io.StringIO()))


def test_standard_input_is_read(folder, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"eins\nzwei\n")))
    printed(collect_data, CollectConfig(sources=("-",), out=folder / "in.jsonl"))
    assert [r.text for r in read_corpus(folder / "in.jsonl")] == ["eins", "zwei"]
    assert [r.where for r in read_corpus(folder / "in.jsonl")][1] == "standard input, line 2"


def test_hostile_text_is_shown_verbatim_in_the_report(folder):
    path = folder / "raw" / "a.jsonl"
    path.write_text(json.dumps({"text": "<script>alert(1)</script> & short"}), encoding="utf-8")
    printed(collect_data, CollectConfig(sources=(str(path),), out=folder / "raw.jsonl"))
    config = CleanConfig(corpus=folder / "raw.jsonl", out=folder / "c.jsonl", steps=("length",))
    printed(clean_data, config)
    page = (folder / "c.report" / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; short" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("run", "config", "said"),
    [
        (collect_data, {"sources": (), "out": "a.jsonl"}, "name at least one source"),
        (collect_data, {"sources": ("raw",), "out": "a.txt"}, "is no name of a corpus"),
        (
            collect_data,
            {"sources": ("raw",), "out": "a.jsonl", "column": "body"},
            "no text was found",
        ),
        (
            clean_data,
            {"corpus": "c.jsonl", "out": "d.jsonl", "steps": ("mend",)},
            "unknown step 'mend'",
        ),
        (clean_data, {}, "--corpus and --out are needed"),
        (
            split_data,
            {"corpus": "c.jsonl", "out": "p", "validation": float("nan")},
            "must be shares that leave some",
        ),
        (
            split_data,
            {"corpus": "c.jsonl", "out": "p", "test": 0.99},
            "must be shares that leave some",
        ),
        (split_data, {"corpus": "c.jsonl", "out": "p", "by": "author"}, "no column 'author'"),
    ],
)
def test_a_wrong_word_is_one_line(run, config, said, folder, monkeypatch):
    monkeypatch.chdir(folder)
    printed(collect_data, CollectConfig(sources=("raw",), out=folder / "c.jsonl"))
    paths = {"corpus", "out"}
    from pathlib import Path

    given = {key: Path(value) if key in paths else value for key, value in config.items()}
    kind = {collect_data: CollectConfig, clean_data: CleanConfig, split_data: SplitConfig}[run]
    with pytest.raises(CommandError, match=said):
        run(kind(**given), Console(file=io.StringIO()))


@pytest.mark.slow
def test_a_worker_that_is_ended_is_one_line_and_leaves_nothing(folder, monkeypatch):
    from textgym.corpus import records

    def read(path):
        for number in range(4000):
            if number == 1000:
                for worker in multiprocessing.active_children():
                    worker.kill()
            yield records.Record(text=f"text {number}", source="s")

    monkeypatch.setattr(records, "read_corpus", read)
    config = CleanConfig(corpus=folder / "c.jsonl", out=folder / "d.jsonl", workers=2)
    with pytest.raises(CommandError, match="a worker was ended from outside"):
        printed(clean_data, config)
    assert not list(folder.glob("*d.jsonl*"))


def test_the_list_explains_every_step():
    said = printed(clean_data, CleanConfig(list=True))
    assert "* repair" in said
    assert "  stopwords" in said
    assert said.rstrip().endswith("repetition exact near")
