# ruff: noqa: RUF001 - Cyrillic is what is decoded
"""Each kind of source, packed or not, whole or broken; and what a corpus is on the disk."""

import errno
import gzip
import io
import json
import random
import resource
import sys

import pytest

from textgym.corpus import sources
from textgym.corpus.encodings import LineTooLong, decoded, text_lines
from textgym.corpus.records import Record, fingerprint, read_corpus, written_corpus
from textgym.corpus.sources import Collection, Faults, collect

LINES = "first line\n\nsecond é\u2028still\nthird"


def texts(*sources, **settings):
    faults = Faults()
    found = list(collect(Collection(sources=list(map(str, sources)), **settings), faults))
    return [record.text for record in found], faults


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("file", [LINES]),
        ("line", ["first line", "", "second é\u2028still", "third"]),
        ("paragraph", ["first line", "second é\u2028still\nthird"]),
    ],
)
def test_units_of_a_text_file(suffix, unit, expected, tmp_path):
    path = tmp_path / f"a.txt{suffix}"
    write(path, LINES.encode())
    assert texts(path, unit=unit)[0] == expected


def write(path, data):
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data))
    elif path.suffix == ".zst":
        zstandard = pytest.importorskip("zstandard")
        path.write_bytes(zstandard.compress(data))
    else:
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".txt", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20),
        (".txt", "UTF-16 without its mark".encode("utf-16-le")),
        (".txt.gz", bytes(range(256)) * 20),
        (".jsonl", bytes(range(256)) * 20),
        (".csv", b"\x00\x01\x02\x03" * 100),
        (".html", b"\x7fELF" + b"\x00\x01" * 100),
    ],
)
@pytest.mark.parametrize("unit", ["file", "line"])
def test_what_is_no_text_is_passed_over_and_named(suffix, data, unit, tmp_path):
    write(tmp_path / f"a{suffix}", data)
    write(tmp_path / "b.txt", b"tabs\tand a \x07 bell, a page \x0c and \x1b[1mcolours")
    found, faults = texts(tmp_path, unit=unit)
    assert len(found) == 1
    assert faults.counts == {"no text": 1}
    assert faults.places == [f"{tmp_path / f'a{suffix}'}: no text"]


def test_what_is_no_text_on_standard_input_ends_it(monkeypatch):
    raw = io.BufferedReader(io.BytesIO(bytes(range(256)) * 20))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))
    with pytest.raises(ValueError, match="no text"):
        texts("-")


@pytest.mark.parametrize(
    "data", [b"body;stars\nfine, so;5\n", "body;stars\nfine, so;5\n".encode("utf-16")]
)
def test_a_table_may_be_as_spreadsheets_write_it(data, tmp_path):
    (tmp_path / "a.csv").write_bytes(data)
    (record,) = collect(Collection(sources=[str(tmp_path)], column="body"), Faults())
    assert (record.text, record.columns) == ("fine, so", {"stars": "5"})
    (tmp_path / "a.csv").write_bytes(b"")
    assert texts(tmp_path)[1].counts == {"an empty table": 1}


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(encoding, ends, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(ends.join(["naïve", "日本", ""]).encode(encoding))
    assert texts(path, unit="line")[0] == ["naïve", "日本"]


def test_one_line_of_another_encoding_does_not_decide_about_the_others():
    data = "naïve\n".encode() + "façade\n".encode("latin-1") + "日本".encode()
    found = list(text_lines(io.BytesIO(data), 100))
    assert found == [(1, "naïve", "utf-8"), (2, "façade", "cp1252"), (3, "日本", "utf-8")]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Der Film handelt von einem schönen Mann, übrigens mit großen Gefühlen. ", "cp1252"),
        ("Film opowiada o człowieku, który idzie przez świat, ponieważ źle się czuje. ", "cp1250"),
        ("Это фильм о человеке, который идет и никогда не приходит домой. ", "cp1251"),
        ("Это фильм о человеке, который идет и никогда не приходит домой. ", "koi8_r"),
    ],
)
def test_a_long_text_tells_its_encoding(text, encoding):
    assert decoded((text * 12).encode(encoding)) == (text * 12, encoding)


def test_a_table_gives_its_column_and_keeps_the_others(tmp_path):
    (tmp_path / "a.csv").write_bytes(
        'body,stars\n"two\nlines, quoted",5\nplain,4,3\nfa\xe7ade,1\n'.encode("latin-1")
    )
    (tmp_path / "b.tsv").write_text("stars\tbody\n2\tsaid \u2028 so\n", encoding="utf-8")
    faults = Faults()
    found = list(collect(Collection(sources=[str(tmp_path)], column="body"), faults))
    assert [(r.text, r.columns["stars"]) for r in found] == [
        ("two\nlines, quoted", "5"),
        ("façade", "1"),
        ("said \u2028 so", "2"),
    ]
    assert faults.counts == {"not as many fields as columns": 1}
    with pytest.raises(ValueError, match="has no column 'text'; it has: body, stars; name it by"):
        texts(tmp_path / "a.csv")


def test_parquet_is_read_in_batches(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = {"text": [f"text {n}" for n in range(3000)], "n": list(range(3000))}
    parquet.write_table(pa.table(rows), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no more")
    found, faults = texts(tmp_path)
    assert found == rows["text"]
    assert faults.counts == {"no Parquet": 1}


@pytest.mark.filterwarnings("ignore")  # the library's own are nothing that a user could act on
def test_a_data_set_by_name_gives_its_column_and_where_it_was(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    rows = [{"body": "one", "n": 1}, {"body": None, "n": 2}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "train.jsonl").write_text(lines, encoding="utf-8")
    faults, name = Faults(), f"datasets:{tmp_path}"
    (record,) = collect(Collection(sources=[name], column="body"), faults)
    assert (record.text, record.where) == ("one", f"{name}, train row 1")
    assert record.columns == {"n": 1, "split": "train"}
    assert faults.counts == {"no text in the column 'body'": 1}


def test_what_is_broken_is_counted_and_the_rest_is_read(tmp_path):
    whole = gzip.compress(b"one\n" * 100_000)
    (tmp_path / "a.txt.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.txt").write_text("two\n", encoding="utf-8")
    (tmp_path / "c.txt.gz").write_bytes(b"no gzip")
    found, faults = texts(tmp_path, unit="line")
    assert found[-1] == "two"
    assert set(found[:-1]) <= {"one"}
    assert faults.counts == {
        "cannot be read (EOFError)": 1,
        "cannot be read (BadGzipFile)": 1,
    }


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_what_is_damaged_in_the_middle_or_cut_is_told(suffix, tmp_path):
    """zlib's own error was none that was foreseen, and what is cut of a .zst was not noticed."""
    drawn = random.Random(0)  # noqa: S311 - words, not secrets
    rows = [{"text": f"line {n} {drawn.random()}", "source": "s"} for n in range(20_000)]
    lines = [json.dumps(row) for row in rows]
    for name, damage in (("cut", slice(-1000, None)), ("damaged", slice(100_000, 100_100))):
        path = tmp_path / f"{name}.txt{suffix}"
        write(path, "\n".join(lines).encode())
        packed = bytearray(path.read_bytes())
        packed[damage] = b"" if name == "cut" else b"\xff" * 100
        path.write_bytes(packed)
        found, faults = texts(path, unit="line")
        assert len(found) < len(lines)
        assert found[:1000] == lines[: min(1000, len(found))]
        (only,) = faults.counts
        assert only.startswith("cannot be read")
        corpus = path.replace(tmp_path / f"{name}.jsonl{suffix}")
        with pytest.raises(ValueError, match=rf"{name}.jsonl\{suffix}.*(is not whole|no record)"):
            list(read_corpus(corpus))


class Failing(io.RawIOBase):
    """A file that is gone after its first lines, as of a disk over the network."""

    def __init__(self):
        self.given = b"one\ntwo\n"

    def readable(self):
        return True

    def readinto(self, buffer):
        if not self.given:
            raise OSError(errno.ESTALE, "Stale file handle")
        buffer[: len(self.given)] = self.given
        found, self.given = len(self.given), b""
        return found


def test_a_file_that_vanishes_while_it_is_read_keeps_what_was_read(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("three\n", encoding="utf-8")
    opened = sources.open_bytes
    monkeypatch.setattr(
        sources,
        "open_bytes",
        lambda path: io.BufferedReader(Failing()) if path.stem == "a" else opened(path),
    )
    found, faults = texts(tmp_path, unit="line")
    assert found == ["one", "two", "three"]
    assert faults.places == [f"{tmp_path / 'a.txt'}: cannot be read (OSError)"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_full_disk_is_named_and_leaves_nothing(suffix, tmp_path):
    """The size of files is limited, which fails as a full disk does."""
    drawn = random.Random(0)  # noqa: S311 - words, not secrets
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / f"a.jsonl{suffix}"

    def fill():
        with written_corpus(path) as write_one:
            for _ in range(200):
                write_one(Record(text=drawn.randbytes(3000).hex(), source="s"))

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="make room, or write elsewhere") as caught:
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []
    fill()
    assert len(list(read_corpus(path))) == 200


def test_a_file_that_vanishes_is_passed_over(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name, encoding="utf-8")
    faults = Faults()
    found = []
    for record in collect(Collection(sources=[str(tmp_path)]), faults):
        found.append(record.text)
        (tmp_path / "b.txt").unlink(missing_ok=True)
    assert found == ["a"]
    assert faults.counts == {"cannot be read (FileNotFoundError)": 1}


class Endless(io.RawIOBase):
    """A line of 50 MB, and one behind it."""

    def __init__(self):
        self.left, self.largest, self.end = 50 << 20, 0, b"\nend\n"

    def readable(self):
        return True

    def readinto(self, buffer):
        self.largest = max(self.largest, len(buffer))
        given = b"x" * min(len(buffer), self.left)
        self.left -= len(given)
        if not given:
            given, self.end = self.end, b""
        buffer[: len(given)] = given
        return len(given)


def test_gigantic_lines_are_never_held():
    raw = Endless()
    found = [line for _, line, _ in text_lines(io.BufferedReader(raw), 1000)]
    assert found == [LineTooLong(), "end"]
    assert raw.largest <= 1 << 20


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        texts("nowhere")
    with pytest.raises(ValueError, match=r"has no file of a known kind: \.txt"):
        texts(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.png is of no known kind"):
        texts(tmp_path / "a.png")
    with pytest.raises(ModuleNotFoundError, match=r'poems, .* pip install "poems"'):
        texts("package:poems")
    with pytest.raises(ValueError, match=r"package:\.\./poems is no name of a package"):
        texts("package:../poems")


def test_an_installed_package_is_read_and_not_run(tmp_path, monkeypatch):
    folder = tmp_path / "poems_of_ours" / "spring"
    folder.mkdir(parents=True)
    (tmp_path / "poems_of_ours" / "__init__.py").write_text("raise AssertionError")
    (folder / "one.txt").write_text("The snow is gone.")
    (folder / "more.jsonl").write_text('{"text": "The birds are back.", "by": "me"}\n')
    monkeypatch.syspath_prepend(tmp_path)
    more, one = collect(Collection(sources=["package:poems_of_ours"]), Faults())
    assert (one.text, one.source) == ("The snow is gone.", "package:poems_of_ours/spring/one.txt")
    assert (more.text, more.columns) == ("The birds are back.", {"by": "me"})
    assert more.where == "package:poems_of_ours/spring/more.jsonl, line 1"


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_corpus_comes_back_as_it_was(name, tmp_path):
    records = [
        Record(text="a\u2028b\ud800\n\0", source="s", place="line 1", digest="d", licence="CC0"),
        Record(text="", source="s", columns={"stars": 3, "nested": {"a": [1, None]}}),
    ]
    with written_corpus(tmp_path / name) as write_one:
        for record in records:
            write_one(record)
    assert list(read_corpus(tmp_path / name)) == records
    first = (tmp_path / name).read_bytes()
    with written_corpus(tmp_path / name) as write_one:
        for record in records:
            write_one(record)
    assert (tmp_path / name).read_bytes() == first  # equal corpora are equal files


def test_a_corpus_is_whole_or_absent(tmp_path):
    def fail():
        with written_corpus(tmp_path / "a.jsonl") as write_one:
            write_one(Record(text="a", source="s"))
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"a\.txt is no name of a corpus; end it in \.jsonl"):
        written_corpus(tmp_path / "a.txt").__enter__()
    whole = json.dumps({"text": "a", "source": "s"}) + "\n"
    for broken in ('{"text": "a"}', '{"text": 3, "source": "s"}', "[1]", "{"):
        (tmp_path / "b.jsonl").write_text(whole + broken + "\n", encoding="utf-8")
        with pytest.raises(ValueError, match=r"b\.jsonl:2 is no record .*textgym data collect"):
            list(read_corpus(tmp_path / "b.jsonl"))


def test_a_fingerprint_is_sha_256():
    assert fingerprint("abc") == "ba7816bf8f01cfea"  # FIPS 180-2, appendix B.1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("deep.jsonl", b"[" * 100_000 + b"]" * 100_000, r"deep\.jsonl:1 is no record of a corpus"),
        (
            "cut.jsonl.gz",
            gzip.compress(b"{}" * 9_000, mtime=0)[:30],
            r"cut\.jsonl\.gz is not whole",
        ),
        ("plain.jsonl.gz", b"{}", r"plain\.jsonl\.gz is not whole, or no \.gz"),
    ],
)
def test_a_damaged_corpus_is_one_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        list(read_corpus(tmp_path / name))
