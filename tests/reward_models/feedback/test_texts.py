"""A file's columns become pairs whose first text says nothing about who wrote it."""

import json

import pytest

from reward_models.feedback import texts as texts_module
from reward_models.feedback.texts import read_material, read_texts
from textgym.data.tables import SkippedRows, read_rows


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_pairs_keep_their_texts_and_writers_and_which_is_first_is_drawn(tmp_path):
    rows = [
        {"prompt": f"p{n}", "a": f"good {n}", "b": f"bad {n}", "policy_a": "x", "policy_b": "y"}
        for n in range(60)
    ]
    pairs = read_material(write(tmp_path / "pairs.jsonl", rows)).pairs
    assert [row["prompt"] for row in rows] == [pair.prompt for pair in pairs]
    for pair in pairs:
        assert {pair.a.split()[0]: pair.policy_a, pair.b.split()[0]: pair.policy_b} == {
            "good": "x",
            "bad": "y",
        }
    firsts = sum(pair.policy_a == "x" for pair in pairs)
    assert 15 < firsts < 45, "a fair coin, 60 times"
    turned = [
        {**row, "a": row["b"], "b": row["a"], "policy_a": "y", "policy_b": "x"} for row in rows
    ]
    assert pairs == read_material(write(tmp_path / "turned.jsonl", turned)).pairs


def test_known_answers_follow_their_texts(tmp_path):
    rows = [
        {"a": f"right {n}", "b": f"wrong {n}", "known": "a" if n % 2 else None} for n in range(20)
    ]
    material = read_material(write(tmp_path / "pairs.jsonl", rows))
    known = [pair for pair in material.pairs if pair.pair_id in material.expected]
    assert len(known) == 10
    for pair in known:
        assert getattr(pair, material.expected[pair.pair_id]).startswith("right")
    rows[0]["known"] = "left"
    with pytest.raises(ValueError, match="known is 'left'"):
        read_material(write(tmp_path / "pairs.jsonl", rows))


def test_texts_of_one_prompt_are_paired_each_once(tmp_path):
    rows = [
        {"prompt": f"p{n % 2}", "completion": f"text {n}", "policy": f"writer {n}"}
        for n in range(9)
    ]
    rows.append({"prompt": "p0", "completion": "text 0", "policy": "by 0"})
    pairs = read_material(write(tmp_path / "texts.jsonl", rows)).pairs
    assert sorted(pair.prompt for pair in pairs) == ["p0", "p0", "p1", "p1"]
    used = [text for pair in pairs for text in (pair.a, pair.b)]
    assert len(used) == len(set(used))
    for pair in pairs:
        assert pair.a.split()[1] == pair.policy_a.split()[1]


def test_lists_of_completions_are_read(tmp_path):
    rows = [{"prompt": "p", "completions": ["x", "y"]}]
    (pair,) = read_material(write(tmp_path / "texts.jsonl", rows)).pairs
    assert {"x", "y"} == {pair.a, pair.b}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"prompt": "p", "text": "x"}], "name them a and b"),
        ([{"a": "x", "b": "x"}], "two equal texts"),
        ([{"a": "x", "b": 5}], "b is no text, but int"),
        ([{"prompt": "p", "completion": "x"}], "no prompt with two different texts"),
    ],
)
def test_what_cannot_be_compared_is_said_with_its_place(tmp_path, rows, said):
    with pytest.raises(ValueError, match=said):
        read_material(write(tmp_path / "texts.jsonl", rows))


def test_where_texts_came_from_is_kept_with_the_side_that_they_got(tmp_path):
    rows = [
        {
            "a": f"x{n}",
            "policy_a": "one",
            "checkpoint_a": "c0",
            "seed_a": n,
            "b": f"y{n}",
            "policy_b": "two",
        }
        for n in range(8)
    ]
    material = read_material(write(tmp_path / "pairs.jsonl", rows))
    pairs = {pair.pair_id: pair for pair in material.pairs}
    assert len(material.provenance) == 16
    for said in material.provenance:
        text = getattr(pairs[said.pair_id], said.side)
        expected = ("one", "c0", int(text[1:])) if text[0] == "x" else ("two", "", None)
        assert expected == (said.policy, said.checkpoint, said.seed)


def test_a_draft_and_two_edits_are_asked_about_as_such(tmp_path):
    rows = [{"draft": "the dog", "a": "a dog", "b": "the cat"}]
    material = read_material(write(tmp_path / "edits.jsonl", rows))
    assert (material.question, material.pairs[0].prompt) == ("edits", "the dog")


def test_bad_rows_are_left_out_and_counted_and_columns_have_other_names(tmp_path):
    """A list that is no JSON, or that holds no texts, was an error without a place, or a text."""
    pairs = [
        {"q": "p", "left": "x", "right": "y"},
        {"q": "p", "left": 7, "right": "y"},
        {"q": "p", "left": "x", "right": "z", "known": "c"},
    ]
    columns = {"prompt": "q", "a": "left", "b": "right"}
    name, skipped = write(tmp_path / "pairs.jsonl", pairs), SkippedRows()
    (pair,) = read_material(name, columns=columns, on_bad=skipped).pairs
    assert (pair.prompt, {pair.a, pair.b}) == ("p", {"x", "y"})
    assert (skipped.number, skipped.first) == (2, f"{name}:2: a is no text, but int")
    with pytest.raises(ValueError, match=r"pairs\.jsonl:2: a is no text"):
        read_material(name, columns=columns)
    for wrong in ("[1", '{"a": 1}', ["x", None], 3):
        rows = [{"completions": ["one", "two"]}, {"completions": wrong}]
        name, skipped = write(tmp_path / "texts.jsonl", rows), SkippedRows()
        assert len(read_material(name, on_bad=skipped).pairs) == skipped.number == 1
        with pytest.raises(ValueError, match=r"texts\.jsonl:2: completions "):
            read_material(name)
    with pytest.raises(ValueError, match=r"texts\.jsonl:1: completions "):
        read_material(write(tmp_path / "texts.jsonl", rows[1:]), on_bad=SkippedRows())


@pytest.mark.parametrize(
    "columns", [("completion", "checkpoint"), ("a", "b"), ("chosen", "rejected")]
)
def test_a_file_whose_texts_are_ranked_is_read_once(tmp_path, monkeypatch, columns):
    """A file of pairs was read twice, and what cannot be read in it was counted twice."""
    rows = [dict(zip(columns, texts, strict=True)) for texts in (("x", "y"), (None, "z"))]
    path = tmp_path / "pairs.jsonl"
    write(path, rows)
    path.write_text(path.read_text() + "no row\n")
    read = []
    monkeypatch.setattr(
        texts_module, "read_rows", lambda *a, **k: read.append(a) or read_rows(*a, **k)
    )
    skipped = SkippedRows()
    texts, _ = read_texts(str(path), on_bad=skipped)
    assert (len(read), skipped.number) == (1, 2)
    assert {text for _, text, _ in texts} == ({"x"} if "completion" in columns else {"x", "y"})


@pytest.mark.parametrize("kind", ["texts", "pairs"])
def test_where_texts_that_are_ranked_came_from_is_read_as_that_of_pairs(tmp_path, kind):
    """As far as the file says: the second text has no writer."""
    rows = [
        {"prompt": "p", "completion": "x", "policy": "w", "checkpoint": "c", "seed": 3},
        {"prompt": "p", "completion": "y"},
    ]
    if kind == "pairs":
        known = {"policy_a": "w", "checkpoint_a": "c", "seed_a": 3}
        rows = [{"prompt": "p", "a": "x", "b": "y", **known}]
    texts, origins = read_texts(write(tmp_path / "texts.jsonl", rows))
    assert sorted(texts) == [("p", "x", "w"), ("p", "y", "")]
    assert origins == {("p", "x"): ("w", "c", "p", 3)}
