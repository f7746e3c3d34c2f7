"""Other people's files: every known shape is read, every mistake is one line that says where."""

import csv
import importlib.util
import json
from pathlib import Path

import pytest

from reward_models.preferences import (
    Answer,
    Preference,
    PreferenceStore,
    Ranking,
    Rating,
    build_pairs,
    data_hash,
    export_preferences,
    pairs_of_rankings,
    pairs_of_ratings,
    read_preferences,
)

PAIR = {"prompt": "Say", "chosen": " yes", "rejected": " no"}


@pytest.fixture
def write(tmp_path):
    """A function that writes rows as JSON Lines and returns the path."""

    def to_file(*rows, name="data.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return to_file


def texts(item):
    return item.prompt, item.chosen, item.rejected


def says(role, content):
    return {"role": role, "content": content}


HELLO = says("user", "Hello"), says("assistant", "Hi."), says("user", "Who?")
ME, YOU = says("assistant", "Me."), says("assistant", "You.")
TURNS = "\n\nHuman: Hello\n\nAssistant: Hi.\n\nHuman: Who?\n\nAssistant:"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (PAIR, ("Say", " yes", " no")),
        ({**PAIR, "chosen": "[1, 2]", "rejected": "[]"}, ("Say", "[1, 2]", "[]")),
        (
            {"chosen": "The film was great fun", "rejected": "The film was greatly dull"},
            ("The film was", " great fun", " greatly dull"),
        ),
        ({"chosen": "I like it", "rejected": "I like it all"}, ("I like", " it", " it all")),
        ({"chosen": "good", "rejected": "bad"}, ("", "good", "bad")),
        (
            {"chosen": f"{TURNS} Me, I say.", "rejected": f"{TURNS} Me, they say."},
            (TURNS, " Me, I say.", " Me, they say."),
        ),
        (
            {"prompt": HELLO, "chosen": [ME], "rejected": [YOU]},
            ("User: Hello\nBot: Hi.\nUser: Who?\nBot:", " Me.", " You."),
        ),
        (
            {"chosen": [*HELLO, ME], "rejected": [*HELLO, YOU]},
            ("User: Hello\nBot: Hi.\nUser: Who?\nBot:", " Me.", " You."),
        ),
        (
            {"conversation_a": [*HELLO, ME], "conversation_b": [*HELLO, YOU], "winner": "model_b"},
            ("User: Hello\nBot: Hi.\nUser: Who?\nBot:", " You.", " Me."),
        ),
        (
            {"question": "Q?", "response_a": " x", "response_b": " y", "winner": "model_a"},
            ("Q?", " x", " y"),
        ),
        (
            {"instruction": "Do", "output_1": " x", "output_2": " y", "preference": 2},
            ("Do", " y", " x"),
        ),
    ],
)
def test_every_shape_of_a_pair_is_read(write, row, expected):
    """Prompt and completion, put together, are the text; the better one is the chosen one."""
    (item,) = read_preferences(write(row)).items
    assert expected == texts(item)
    assert item.probability == 1.0


def test_a_conversation_that_goes_on_after_the_answer_is_kept_whole(write):
    """What follows the answer that differs belongs to the completion."""
    tail = [says("user", "Really?"), says("assistant", "Yes.")]
    row = {"chosen": [HELLO[0], ME, *tail], "rejected": [HELLO[0], YOU, *tail]}
    (item,) = read_preferences(write(row)).items
    expected = "User: Hello\nBot:", " Me.\nUser: Really?\nBot: Yes."
    assert expected == (item.prompt, item.chosen)


def test_margins_soft_labels_and_strengths_are_read(write):
    """A probability below one half turns the pair round, and its margin with it."""
    first, second = read_preferences(
        write(
            {**PAIR, "probability": 0.25, "margin": 2, "strength": 3, "annotator": "ann"},
            {**PAIR, "probability": 0.5, "margin": 0, "strength": None},
        )
    ).items
    assert texts(first) == ("Say", " no", " yes")
    assert (
        first.probability,
        first.margin,
        first.strength,
        first.annotator,
    ) == (0.75, -2.0, 3, "ann")
    assert (second.probability, second.margin, second.strength) == (0.5, 0.0, None)


def test_ties_of_an_arena_are_half_an_answer_and_both_bad_is_none(write):
    row = {"prompt": "p", "answer_a": "x", "answer_b": "y"}
    winners = ["tie", "model_a", "tie (bothbad)"]
    data = read_preferences(write(*({**row, "winner": winner} for winner in winners)))
    assert [item.probability for item in data.items] == [0.5, 1.0]
    assert data.left_out == {"both bad": 1}


def test_votes_of_an_arena_in_three_columns(write):
    """As one data set of an arena has them: 0 or 1 for either model and for a tie."""
    row = {"prompt": "p", "response_a": "x", "response_b": "y"}
    votes = [(0, 1, 0), (0, 0, 1)]
    names = ("winner_model_a", "winner_model_b", "winner_tie")
    path = write(*(row | dict(zip(names, vote, strict=True)) for vote in votes))
    first, second = read_preferences(path).items
    assert texts(first) == ("p", "y", "x")
    assert second.probability == 0.5


@pytest.mark.parametrize(
    ("row", "completions", "places"),
    [
        ({"prompt": "p", "completions": ["b", "c", "a"], "ranks": [2, 3, 1]}, "abc", 2),
        ({"prompt": "p", "completions": ["b", "c", "a"], "best": 2}, "abc", 1),
        ({"query": "p", "sample0": "b", "sample1": "a", "sample2": "c", "best": 1}, "abc", 1),
    ],
)
def test_rankings_are_read_best_first(write, row, completions, places):
    (item,) = read_preferences(write(row)).items
    assert Ranking(prompt="p", completions=tuple(completions), places=places) == item


@pytest.mark.parametrize("column", ["rating", "score", "label"])
def test_ratings_are_read(write, column):
    """A label, true or false, is a rating of 1 or 0."""
    value = True if column == "label" else 0.5
    other = {"prompt": "p", "completion": "y", column: 0}
    item = read_preferences(write({"prompt": "p", "completion": "x", column: value}, other)).items[
        0
    ]
    assert Rating(prompt="p", completion="x", rating=float(value)) == item


def test_lists_in_a_csv_are_json(tmp_path):
    path = tmp_path / "data.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "chosen", "rejected", "margin"])
        writer.writerow([json.dumps(HELLO[:1]), json.dumps([ME]), json.dumps([YOU]), "1.5"])
        writer.writerow(["[not a list]", "x", "y", ""])
    first, second = read_preferences(str(path)).items
    assert texts(first) == ("User: Hello\nBot:", " Me.", " You.")
    assert texts(second) == ("[not a list]", "x", "y")
    assert (first.margin, second.margin) == (1.5, 0.0)


@pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="pyarrow is not installed")
def test_parquet_holds_conversations(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([{"chosen": [*HELLO, ME], "rejected": [*HELLO, YOU]}])
    pq.write_table(table, tmp_path / "data.parquet")
    (item,) = read_preferences(str(tmp_path / "data.parquet")).items
    assert (item.chosen, item.rejected) == (" Me.", " You.")


RANKED = {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 2]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "p", "good": "x"},
            r"has the columns prompt, good, which are no known preferences; .* --columns chosen=",
        ),
        ({**PAIR, "chosen": None}, r"jsonl:2 has no 'chosen'; give it a text"),
        ({**PAIR, "rejected": []}, r"jsonl:2: 'rejected' is a conversation without a message"),
        ({**PAIR, "chosen": 3}, r"jsonl:2: 'chosen' holds 3, but it is made of texts"),
        ({**PAIR, "prompt": 3}, r"jsonl:2: 'prompt' is 3, but it holds a text"),
        ({**PAIR, "margin": "far"}, r"jsonl:2: 'margin' is 'far', but it is a number"),
        ({**PAIR, "probability": 2}, r"'probability' is 2, but it is a number from 0 to 1"),
        ({**PAIR, "strength": 9}, r"'strength' is 9, but it is a number from 1 to 4"),
        ({"chosen": [ME], "rejected": "x"}, r"jsonl:2: conversations and plain texts are mixed"),
        ({**PAIR, "strength": 2.5}, r"jsonl:2: 'strength' is 2.5, but it is a whole number"),
        ({**PAIR, "margin": 10**400}, r"jsonl:2: 'margin' is 1000\d*, but it is a number$"),
        (
            {"chosen": [*HELLO, says("narrator", "x")], "rejected": [*HELLO, YOU]},
            r"jsonl:2: \{'role': 'narrator', 'content': 'x'\} is no message",
        ),
        (
            {"chosen": [HELLO[0], says("assistant", [{"type": "image"}])], "rejected": [ME]},
            r"jsonl:2: \{'role': 'assistant', 'content': \[\{'type': 'image'\}\]\} is no message",
        ),
        (
            {"prompt": "other", "chosen": [*HELLO, ME], "rejected": [*HELLO, YOU]},
            r"jsonl:2: what both conversations begin with has nothing of the prompt",
        ),
        (
            {"prompt": ["a", "b"], "response_a": ["x"], "response_b": ["y"], "winner": "tie"},
            r"jsonl:2: 1 answers to 2 turns; give one each",
        ),
        (
            {"chosen": [says("user", "A"), ME], "rejected": [says("user", "B"), ME]},
            r"jsonl:2: what follows the prompt does not begin with a message of the assistant",
        ),
        (
            {"prompt": "p", "answer_a": "x", "answer_b": "y", "winner": "gpt"},
            r"jsonl:2: winner is 'gpt'; known: model_a",
        ),
        (
            {"prompt": "p", "output_1": "x", "output_2": "y", "preference": 0.7},
            "preference is 0.7; 1 and 2 say",
        ),
        ({**RANKED, "ranks": [1]}, r"jsonl:2 has 1 ranks for 2 completions"),
        ({**RANKED, "ranks": [1, 1]}, r"jsonl:2: ranks are \[1, 1\]; they are the numbers 1"),
        ({**RANKED, "completions": ["a", "a"]}, r"jsonl:2 has 2 completions, 1 of them different"),
        ({**RANKED, "completions": "a"}, r"'completions' is 'a', but it is a list"),
        ({"prompt": "p", "completions": ["a", "b"], "best": 2}, "is a number from 0 to 1"),
        ({"prompt": "p", "completion": "x", "rating": "NaN"}, r"jsonl:2: 'rating' is 'NaN'"),
        ({"completion": "x", "rating": 1}, r"jsonl:2 has no prompt; add a column 'prompt'"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(tmp_path, row, message):
    path = tmp_path / "data.jsonl"
    path.write_text(f"\n{json.dumps(row)}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        read_preferences(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**PAIR, "probability": 0.5}] * 3, "all 3 comparisons are ties"),
        ([{**PAIR, "rejected": " yes"}] * 2, r"nothing to learn from \(2 two equal texts\)"),
        ([{"prompt": "", "completion": "x", "rating": 4}] * 2, "all 2 ratings are 4"),
        ([{**PAIR, "split": "test"}], "no row whose split is 'train'"),
    ],
)
def test_a_file_that_teaches_nothing_is_refused(write, rows, message):
    with pytest.raises(ValueError, match=message):
        read_preferences(write(*rows))


def test_bad_rows_are_left_out_and_counted_on_request(write):
    """One bad row in a hundred thousand need not stop a run, but it is said."""
    path = write(PAIR, {**PAIR, "chosen": None}, {**PAIR, "chosen": 3}, {**PAIR, "chosen": " no"})
    data = read_preferences(path, skip_bad=True)
    assert len(data.items) == 1
    assert data.left_out == {"cannot be read": 2, "two equal texts": 1}
    assert [f"the first row that cannot be read: {path}:2 has no 'chosen'; give it a text, or "
            "remove the row"] == list(data.notes)  # fmt: skip


def test_rows_that_are_no_rows_are_left_out_as_well(write):
    """A cut last line is the commonest of them."""
    path = Path(write(PAIR, PAIR))
    path.write_text(
        path.read_text(encoding="utf-8") + '[1]\n{"prompt": "p", "cho', encoding="utf-8"
    )
    data = read_preferences(str(path), skip_bad=True)
    assert (len(data.items), data.left_out) == (2, {"cannot be read": 2})
    assert f"{path}:3 is a JSON list" in data.notes[0]


def test_an_empty_answer_is_an_answer(write):
    """People judged it; the model that gave it said nothing."""
    data = read_preferences(write({**PAIR, "rejected": ""}, {**PAIR, "chosen": " \n"}))
    assert [texts(item)[1:] for item in data.items] == [(" yes", ""), (" \n", " no")]
    assert data.notes == ("empty texts: 2, learned from as they are",)


def test_columns_are_named_by_whoever_reads(write):
    path = write({"q": {"text": "Say"}, "better one": " yes", "worse one": " no", "chosen": 7})
    columns = {"prompt": "q.text", "chosen": "better one", "rejected": "worse one"}
    (item,) = read_preferences(path, columns=columns).items
    assert texts(item) == ("Say", " yes", " no")


def test_an_annotator_who_says_both_is_noted(write):
    """Two annotators may differ; one who prefers either text is a sign of a broken export."""
    turned = {"prompt": "Say", "chosen": " no", "rejected": " yes"}
    by = [{**PAIR, "annotator": "ann"}, {**turned, "annotator": "bob"}]
    assert read_preferences(write(*by)).notes == ()
    (note,) = read_preferences(write(PAIR, turned, *by)).notes
    assert note.startswith("1 pairs are there in both directions")


def test_a_column_split_keeps_rows_apart(write):
    """Except those with a prompt that is learned from."""
    other = {**PAIR, "prompt": "Other", "split": "test"}
    data = read_preferences(write({**PAIR, "split": "train"}, {**PAIR, "split": "test"}, other))
    assert [item.prompt for item in data.items] == ["Say"]
    assert [item.prompt for item in data.held_out] == ["Other"]
    assert data.left_out == {"held out, but their prompt is learned from": 1}


def preferences(prompts):
    return [
        Preference(pair_id=str(n), prompt=prompt, chosen=f"good {n}", rejected="bad")
        for n, prompt in enumerate(prompts)
    ]


def test_the_hash_of_data_changes_with_it():
    items = preferences(["p", "q"])
    assert data_hash(items) == data_hash(preferences(["p", "q"]))
    assert len({data_hash(items), data_hash(items[::-1]), data_hash(items[:1])}) == 3


def test_rankings_and_ratings_become_pairs():
    """A whole ranking of three states three orders, one of which only the best is known two."""
    whole = Ranking(prompt="p", completions=("a", "b", "c"), places=2)
    best = Ranking(prompt="p", completions=("a", "b", "c"), places=1)
    orders = [[texts(pair)[1:] for pair in pairs_of_rankings([r])] for r in (whole, best)]
    assert orders == [[("a", "b"), ("a", "c"), ("b", "c")], [("a", "b"), ("a", "c")]]
    ratings = [Rating(prompt=p, completion=c, rating=r) for p, c, r in
               [("p", "a", 1), ("p", "b", 3), ("p", "c", 3), ("q", "d", 9)]]  # fmt: skip
    pairs = pairs_of_ratings(ratings)
    assert [texts(pair) for pair in pairs] == [("p", "b", "a"), ("p", "c", "a")]


def test_an_export_says_what_it_left_out_and_is_read_again(tmp_path):
    """Ties leave for TRL, which has no column for them, and stay on request."""
    pairs = build_pairs([(f"p{n}", f" {text}") for n in range(5) for text in "xy"], seed=0)
    answers = ["a", "b", "tie", "both_bad", "skip"]
    with PreferenceStore(tmp_path / "store.sqlite") as store:
        store.add_pairs(pairs)
        store.record_answers(
            [
                Answer(pair_id=pair.pair_id, annotator="ann", answer=answer)
                for pair, answer in zip(pairs, answers, strict=True)
            ]
        )
        plain, tied = tmp_path / "out" / "plain.jsonl", tmp_path / "tied.jsonl"
        assert export_preferences(store, plain) == {
            "written": 2,
            "tie": 1,
            "both_bad": 1,
            "skip": 1,
        }
        assert export_preferences(store, tied, ties=True) == {
            "written": 3,
            "both_bad": 1,
            "skip": 1,
        }
        expected = store.preferences()
        assert {("p0", pairs[0].a), ("p1", pairs[1].b)} == {(p.prompt, p.chosen) for p in expected}
    assert tuple(expected) == read_preferences(str(plain)).items
    assert [p.probability for p in read_preferences(str(tied)).items] == [1.0, 1.0, 0.5]
