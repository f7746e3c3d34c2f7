"""Rows of a user's own data, and where they stand."""

import csv
import importlib.util

import pytest

from textgym.data.tables import is_table, read_rows

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
    assert [f"{path}:3", f"{path}:5"] == [first.place, second.place]


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
        ("data.jsonl", b'{"a": "\xff"}', r"data\.jsonl is not UTF-8: byte 0xff at offset 7"),
        ("data.csv", "", r"data\.csv has no rows"),
        ("data.csv", "prompt\n", r"data\.csv has no rows"),
        ("data.csv", "a,b\n1,2\n1,2,3\n", r"data\.csv:3 has 3 fields where .* names 2 columns"),
        ("data.csv", "a,a\n1,2\n", r"data\.csv:1 names a column twice: a, a"),
        ("data.csv", 'a\n"b\n', r"data\.csv:2 is no CSV: "),
        ("data.xml", "<a/>", r"data\.xml is no table; known: \.jsonl, \.csv, \.parquet and data"),
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


def test_a_table_is_known_by_its_name():
    assert all(map(is_table, ["a.jsonl", "b/c.CSV", "d.parquet", "datasets:owner/name"]))
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
