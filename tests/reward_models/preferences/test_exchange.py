"""Between a file and a store: what people answered goes in and comes out as it was."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.preferences import (
    Preference,
    PreferenceStore,
    Ranking,
    Rating,
    export_preferences,
    import_preferences,
    read_answers,
    read_preferences,
    write_preferences,
)

ROW = {"prompt": "Q", "response_a": "x", "response_b": "y"}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def told(store):
    """Every answer as who, which text, how sure; whatever the texts' sides are."""
    return sorted(
        (p.annotator, p.chosen if p.probability > 0.5 else "tie", p.strength)
        for p in store.preferences(ties=True)
    )


def test_answers_of_several_people_become_a_store(tmp_path):
    """Sides may be turned round between rows; what is no answer is counted."""
    rows = [
        ROW | {"winner": "model_a", "annotator": "ann", "strength": 3},
        ROW | {"response_a": "y", "response_b": "x", "winner": "model_a", "annotator": "bob"},
        ROW | {"winner": "tie", "annotator": "cy"},
        ROW | {"winner": "tie (bothbad)", "annotator": "dee"},
        ROW | {"response_a": "y", "winner": "model_b", "annotator": "eve"},
    ]
    found = read_answers(write(tmp_path / "a.jsonl", rows))
    with PreferenceStore(tmp_path / "s.sqlite") as store:
        assert import_preferences(found, store) == {"pairs": 1, "answers": 4, "known": 0}
        assert import_preferences(found, store) == {"pairs": 0, "answers": 0, "known": 4}
        assert told(store) == [("ann", "x", 3), ("bob", "y", None), ("cy", "tie", None)]
        assert store.answer_counts()["both_bad"] == 1
        (pair,) = store.pairs()
    assert ({pair.a, pair.b}, pair.split) == ({"x", "y"}, "train")
    assert found.left_out == {"two equal texts": 1}


def test_unsigned_answers_are_of_several_people_and_a_second_word_replaces_the_first(tmp_path):
    unsigned = [ROW | {"winner": w} for w in ("model_a", "model_b", "model_a")]
    found = read_answers(write(tmp_path / "a.jsonl", unsigned), annotator="panel")
    with PreferenceStore(tmp_path / "s.sqlite") as store:
        import_preferences(found, store)
        assert [(w, t) for w, t, _ in told(store)] == [
            ("panel", "x"),
            ("panel 2", "y"),
            ("panel 3", "x"),
        ]
    signed = [ROW | {"winner": w, "annotator": "ann"} for w in ("model_a", "model_b")]
    found = read_answers(write(tmp_path / "b.jsonl", signed))
    with PreferenceStore(tmp_path / "t.sqlite") as store:
        import_preferences(found, store)
        assert told(store) == [("ann", "y", None)]
    assert found.notes == ["pairs that one annotator answered again: 1; the last answer counts"]


def test_soft_labels_and_ratings_are_no_answers_and_rankings_are_several(tmp_path):
    rows = [{"prompt": "Q", "chosen": "x", "rejected": "y", "probability": p} for p in (0.7, 1)]
    found = read_answers(write(tmp_path / "a.jsonl", rows))
    assert (len(found.answers), found.left_out) == (1, {"soft labels": 1})
    ranking = {
        "prompt": "Q",
        "completions": ["x", "y", "z"],
        "ranks": [2, 1, 3],
        "annotator": "ann",
    }
    found = read_answers(write(tmp_path / "b.jsonl", [ranking]))
    chosen = {p.pair_id: p for p in found.pairs}
    said = sorted(
        (getattr(chosen[a.pair_id], a.answer), *sorted((chosen[a.pair_id].a, chosen[a.pair_id].b)))
        for a in found.answers
    )
    assert said == [("x", "x", "z"), ("y", "x", "y"), ("y", "y", "z")]
    rating = {"prompt": "Q", "completion": "x", "rating": 3}
    with pytest.raises(ValueError, match="no answer of a person to a pair; left out: 2 ratings"):
        read_answers(write(tmp_path / "c.jsonl", [rating, rating]))


def test_a_pair_id_names_one_pair(tmp_path):
    rows = [
        ROW | {"winner": "tie", "pair_id": "7"},
        ROW | {"prompt": "R", "winner": "tie", "pair_id": "7"},
    ]
    with pytest.raises(ValueError, match=r"a\.jsonl:2: pair_id '7' named two other texts before"):
        read_answers(write(tmp_path / "a.jsonl", rows))


def test_bad_rows_are_left_out_of_an_import_and_counted(tmp_path):
    path = write(tmp_path / "a.jsonl", [ROW | {"winner": "tie"}, ROW | {"winner": "nobody"}])
    with pytest.raises(ValueError, match="winner is 'nobody'"):
        read_answers(path)
    found = read_answers(path, skip_bad=True)
    assert (len(found.answers), found.left_out) == (1, {"cannot be read": 1})


def test_export_is_the_way_back(tmp_path):
    """A store, exported and imported, says the same again, splits and sides included."""
    rows = [
        ROW | {"prompt": f"Q{n}", "winner": w, "annotator": who, "split": split}
        for n, split in enumerate(["train"] * 4 + ["test"] * 2)
        for who, w in (("ann", "model_a"), ("bob", "model_b" if n % 2 else "tie"))
    ]
    with PreferenceStore(tmp_path / "s.sqlite") as store:
        import_preferences(read_answers(write(tmp_path / "a.jsonl", rows)), store)
        assert export_preferences(store, tmp_path / "out.jsonl", ties=True)["written"] == 12
        pairs, answers = store.pairs(), store.preferences(ties=True)
    with PreferenceStore(tmp_path / "t.sqlite") as store:
        import_preferences(read_answers(str(tmp_path / "out.jsonl")), store)
        assert pairs == store.pairs()
        assert answers == store.preferences(ties=True)
    held_out = read_preferences(str(tmp_path / "out.jsonl")).held_out
    assert {p.prompt for p in held_out} == {"Q4", "Q5"}


def test_an_export_is_a_data_set_of_hugging_face_s(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [ROW | {"winner": w, "annotator": w} for w in ("model_a", "model_b", "tie")]
    with PreferenceStore(tmp_path / "s.sqlite") as store:
        import_preferences(read_answers(write(tmp_path / "a.jsonl", rows)), store)
        counts = export_preferences(store, tmp_path / "out.jsonl")
    assert (counts["written"], counts["tie"]) == (2, 1)
    files = {"train": str(tmp_path / "out.jsonl")}
    loaded = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))
    read = loaded["train"]
    assert {"prompt", "chosen", "rejected", "annotator"} <= set(read.column_names)
    assert sorted(zip(read["chosen"], read["rejected"], strict=True)) == [("x", "y"), ("y", "x")]


texts = st.text(st.characters(codec="utf-8"), max_size=6)
names = st.sampled_from(["", "ann", "b o b"])
preferences = st.builds(
    Preference,
    pair_id=st.text("ab", min_size=1, max_size=3),
    prompt=texts,
    chosen=texts.map(lambda text: f"{text}!"),
    rejected=texts,
    annotator=names,
    strength=st.none() | st.integers(1, 4),
    probability=st.floats(0.5, 1),
    margin=st.floats(-9, 9),
    subset=names,
    implicit=st.booleans(),
)
rankings = st.builds(
    lambda prompt, found, best, who: Ranking(
        prompt=prompt, completions=tuple(found), places=1 if best else len(found) - 1, annotator=who
    ),
    texts,
    st.lists(texts, min_size=2, max_size=4, unique=True),
    st.booleans(),
    names,
)
ratings = st.builds(
    Rating, prompt=texts, completion=texts, rating=st.floats(-9, 9), annotator=names
)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.lists(preferences, min_size=1, max_size=3),
        st.lists(rankings, min_size=1, max_size=3),
        st.lists(ratings, min_size=1, max_size=3),
    )
)
def test_what_is_written_is_read_as_it_was(tmp_path_factory, items):
    path = tmp_path_factory.mktemp("written") / "items.jsonl"
    write_preferences(items, path)
    learnable = not all(isinstance(i, Preference) and i.probability == 0.5 for i in items)
    learnable &= not (isinstance(items[0], Rating) and len({i.rating for i in items}) == 1)
    learnable &= not all(isinstance(i, Preference) and i.chosen == i.rejected for i in items)
    if learnable:
        different = [i for i in items if not isinstance(i, Preference) or i.chosen != i.rejected]
        assert different == list(read_preferences(str(path)).items)
