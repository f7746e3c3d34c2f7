"""Rows of a user's own data, and where they stand."""

import csv
import gzip
import importlib.util
import json

import pytest

from textgym.data.tables import is_table, parse_columns, read_rows

HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None
HAS_DATASETS = importlib.util.find_spec("datasets") is not None


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_json_lines_are_read_with_their_lines(tmp_path):
    path = write(
        tmp_path, "data.jsonl", '{"prompt": "a\u2028b", "n": 1}\r\n\n{"prompt": "c", "m": [2]}\n'
    )
    first, second = read_rows(path)
    assert first.values == {"prompt": "a\u2028b", "n": 1, "m": None}
    assert second.values == {"prompt": "c", "n": None, "m": [2]}
    assert [f"{path}:1", f"{path}:3"] == [first.place, second.place]


def test_csv_is_read_with_its_lines(tmp_path):
    path = write(tmp_path, "data.CSV", 'prompt,reference\n"a, ""b""\nc",d\n\ne,f\n')
    first, second = read_rows(path)
    assert first.values == {"prompt": 'a, "b"\nc', "reference": "d"}
    assert second.values == {"prompt": "e", "reference": "f"}
    # A record of several lines stands where it begins.
    assert [f"{path}:2", f"{path}:5"] == [first.place, second.place]


def test_a_long_field_is_read_and_the_library_s_limit_stays(tmp_path):
    """The library refuses fields of 131,072 characters, by a limit that is the process's."""
    limit = csv.field_size_limit()
    path = write(tmp_path, "data.csv", f"prompt\n{'x' * 200_000}\n")
    assert len(read_rows(path)[0].values["prompt"]) == 200_000
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("data.jsonl", '{"a": 1}\n{"a": \n', r"data\.jsonl:2 is no JSON: "),
        ("data.jsonl", "a\n", r"data\.jsonl:1 is no JSON: "),
        ("data.jsonl", "[1]\n", r"data\.jsonl:1 is a JSON list; each line holds one object"),
        ("data.jsonl", "[" * 100_000, r"data\.jsonl:1 is no JSON: "),
        ("data.jsonl", '{"a": %s}' % ("1" * 5000), r"data\.jsonl:1 is no JSON: "),
        ("data.jsonl", "\n \n", r"data\.jsonl has no rows"),
        (
            "data.jsonl",
            b'{"a": "x\xff"}',
            r"jsonl:1: the column 'a' has the byte 0xff at character 1",
        ),
        ("data.jsonl", '{"a": "\\ud800"}', r"jsonl:1: the column 'a' has half a surrogate pair"),
        ("data.jsonl", '{"\\ud800": 1}', r"jsonl:1: the name of a column has half a surrogate"),
        ("data.jsonl", '{"a": 1, "a": 2}', r"jsonl:1 is no JSON: it names 'a' twice"),
        ("data.jsonl", '{"a": 1}\n{"a": 2', r"jsonl:2 is no JSON: expecting .* at column 8; each"),
        ("data.jsonl", f'{{"a": {"[" * 200 + "]" * 200}}}', r"nested more than 100 deep"),
        ("data.jsonl", "null", r"jsonl:1 is a JSON null; each line holds one object"),
        ("data.json", "[1]", r"json, row 1 is a JSON int; each element of the list holds one"),
        (
            "data.json",
            '[{"a": 1},\n {"a"',
            r"json, row 2 is no JSON: .*, line 2; it and what stands",
        ),
        ("data.json", '[{"a": 1} {"a": 2}]', r"json, row 1 is no JSON: no comma and no end at"),
        ("data.json", '[{"a": 1}] x', r"json has something behind the list"),
        ("data.json", "[]", r"data\.json has no rows"),
        ("data.jsonl.gz", "goats", r"data\.jsonl\.gz is not whole, or no \.gz: "),
        ("data.tsv", "a\tb\n1\n", r"data\.tsv:2 has 1 fields .* a field with a tab"),
        ("data.csv", "", r"data\.csv has no rows"),
        ("data.csv", "prompt\n", r"data\.csv has no rows"),
        ("data.csv", "a,b\n1,2\n1,2,3\n", r"data\.csv:3 has 3 fields where .* names 2 columns"),
        ("data.csv", "a,a\n1,2\n", r"data\.csv:1 names a column twice: a, a"),
        ("data.csv", 'a\n"b\n', r"data\.csv:2 is no CSV: "),
        (
            "data.xml",
            "<a/>",
            r"data\.xml is no table; known: \.jsonl, .*, \.parquet \(also packed as \.gz or",
        ),
    ],
)
def test_what_cannot_be_read_says_where(name, text, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        read_rows(write(tmp_path, name, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["data.jsonl", "data.csv"])
def test_a_missing_file_is_named(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{name} does not exist"):
        read_rows(str(tmp_path / name))


TWO = [{"a": "x"}, {"a": "y\u2028z"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in TWO)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.json", json.dumps(TWO)),
        ("data.json", json.dumps({"version": 1, "data": TWO}, indent=2)),
        ("data.json", LINES),
        ("data.ndjson", LINES),
        ("data.jsonl", LINES.replace("\n", "\r")),
        ("data.jsonl", LINES.encode("utf-8-sig")),
        ("data.jsonl", LINES.encode("utf-8-sig").replace(b'{"a": "y', b'\xef\xbb\xbf{"a": "y')),
        ("data.jsonl", LINES.encode("utf-16")),
        ("data.jsonl", ("\ufeff" + LINES).encode("utf-16-be")),
        ("data.csv", ("\ufeff" + 'a,\n"x",\n"y\u2028z",\n').encode("utf-32-le")),
        ("data.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("data.JSON.GZ", gzip.compress(json.dumps(TWO).encode(), mtime=0)),
        ("data.csv", "a,b\rx,\ry\u2028z,\r"),
        ("data.csv", "b; a\n;x\n;y\u2028z\n"),
        ("data.tsv", 'a\tb\nx\t\n"y\u2028z"\t\n'),
    ],
)
def test_what_people_publish_is_read_as_it_is(name, content, tmp_path):
    assert [row["a"] for row in TWO] == [
        row.values["a"] for row in read_rows(write(tmp_path, name, content))
    ]


@pytest.mark.skipif(not HAS_PYARROW, reason="pyarrow is not installed")
def test_zstandard_is_unpacked(tmp_path):
    import pyarrow as pa

    path = str(tmp_path / "data.jsonl.zst")
    with pa.output_stream(path, compression="zstd") as file:
        file.write(LINES.encode())
    assert [row["a"] for row in TWO] == [row.values["a"] for row in read_rows(path)]


def test_one_object_in_a_json_is_one_row(tmp_path):
    text = json.dumps({"prompt": "p", "completions": [{"response": "x"}, {"response": "y"}]})
    (row,) = read_rows(write(tmp_path, "data.json", text))
    assert row.values["prompt"] == "p"


@pytest.mark.parametrize(
    ("name", "content", "read", "bad"),
    [
        ("data.jsonl", b'{"a": 1}\n{"a"\n[]\n{"a": "\xff"}\n{"a": 2}\n{"a": 3', [1, 2], 4),
        ("data.json", '[{"a": 1}, 7, {"a": 2}, {"a": 3', [1, 2], 2),
        ("data.csv", 'a\n1\n1,2\n"x"y\n2\n"3\n', ["1", "2"], 3),
        ("data.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-4], ["x", "y\u2028z"], 1),
    ],
)
def test_every_kind_of_bad_row_is_told_and_left_out(name, content, read, bad, tmp_path):
    told = []
    rows = read_rows(write(tmp_path, name, content), on_bad=told.append)
    assert (read, bad) == ([row.values["a"] for row in rows], len(told))
    assert all(name in str(error) for error in told)


def test_a_file_of_bad_rows_alone_says_why(tmp_path):
    with pytest.raises(ValueError, match=r"data\.jsonl:1 is no JSON"):
        read_rows(write(tmp_path, "data.jsonl", "x\ny\n"), on_bad=lambda _: None)


def test_columns_are_renamed_also_what_is_inside(tmp_path):
    path = write(tmp_path, "data.jsonl", '{"q": {"text": "?"}, "a.b": 1, "c": [{"d": 5}], "p": 2}')
    named = {"prompt": "q.text", "chosen": "a.b", "x": "c.0.d", "p": "q.gone", "q": "p"}
    (row,) = read_rows(path, columns=named)
    assert row.values == {"c": [{"d": 5}], "prompt": "?", "chosen": 1, "x": 5, "p": None, "q": 2}
    with pytest.raises(ValueError, match=r"no column 'r'; it has: q, a\.b, c, p$"):
        read_rows(path, columns={"prompt": "r"})


def test_renaming_is_written_with_commas():
    assert parse_columns(None) == {}
    assert parse_columns(" a = b c,d=e=f") == {"a": "b c", "d": "e=f"}
    for words in ("a", "a=", "=b", "a=b,", "a=b,a=c"):
        with pytest.raises(ValueError, match="written ours=theirs"):
            parse_columns(words)


def test_a_table_is_known_by_its_name():
    assert all(map(is_table, ["a.jsonl", "b/c.CSV", "d.parquet", "datasets:owner/name"]))
    assert all(map(is_table, ["a.jsonl.gz", "b.tsv.ZST", "c.json"]))
    assert not any(map(is_table, ["Bandit", "a.txt", "jsonl", "name"]))


@pytest.mark.parametrize(
    ("name", "package"), [("data.parquet", "pyarrow"), ("datasets:a/b", "datasets")]
)
def test_a_missing_library_says_how_to_get_it(name, package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=f'{name} needs .*pip install "{package}"'):
        read_rows(name)


@pytest.mark.skipif(not HAS_PYARROW, reason="pyarrow is not installed")
def test_parquet_is_read_with_its_rows(tmp_path):
    from pyarrow import parquet, table

    columns = {"prompt": ["a", "b"], "reference": ["c", None]}
    parquet.write_table(table(columns), tmp_path / "data.parquet")
    first, second = read_rows(str(tmp_path / "data.parquet"))
    assert first.values == {"prompt": "a", "reference": "c"}
    assert second.values == {"prompt": "b", "reference": None}
    assert second.place.endswith("data.parquet, row 2")


@pytest.mark.skipif(not HAS_PYARROW, reason="pyarrow is not installed")
def test_what_is_no_parquet_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"data\.parquet is no Parquet: ") as caught:
        read_rows(write(tmp_path, "data.parquet", "goats"))
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"gone\.parquet does not exist"):
        read_rows(str(tmp_path / "gone.parquet"))


@pytest.mark.skipif(not HAS_DATASETS, reason="datasets is not installed")
# The library's own warnings are nothing that a user of ours could act on.
@pytest.mark.filterwarnings("ignore")
def test_a_dataset_is_read_with_its_splits(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "goats"
    folder.mkdir()
    (folder / "train.csv").write_text("prompt,reference\na,b\n")
    (folder / "test.csv").write_text("prompt,reference\nc,d\n")
    rows = {row.values["prompt"]: row for row in read_rows(f"datasets:{folder}")}
    assert rows["a"].values == {"prompt": "a", "reference": "b", "split": "train"}
    assert rows["c"].values == {"prompt": "c", "reference": "d", "split": "test"}
    assert rows["c"].place.endswith("goats, test row 1")


@pytest.mark.skipif(not HAS_DATASETS, reason="datasets is not installed")
@pytest.mark.filterwarnings("ignore")
def test_a_dataset_that_is_out_of_reach_is_one_line(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="datasets:nobody/has-this cannot be loaded") as caught:
        read_rows("datasets:nobody/has-this")
    assert "\n" not in str(caught.value)
