"""Preferences for the commands: where they are kept does not decide how they are divided."""

import io
import json
import random
from dataclasses import replace

import pytest
from rich.console import Console

from reward_models.feedback.selection import arrange_sheets
from reward_models.measuring.pairs import drawn_with
from reward_models.preferences import (
    Answer,
    Handout,
    HandoutConfig,
    Pair,
    PreferenceStore,
    SheetVote,
    build_pairs,
    decided_pairs,
    export_preferences,
    make_sheets,
    read_preferences,
)
from textgym.cli.parsing import CommandError
from textgym.cli.reward.data import load_data
from textgym.cli.reward.export import RewardExportConfig, export_reward_data
from textgym.cli.reward.imports import RewardImportConfig, import_reward_data

# The prompts of a store's pairs, and the splits that they are in.
KINDS = {
    "prompts, one split": ([f"p{n % 20}" for n in range(60)], ["train"]),
    "prompts, two splits": ([f"p{n % 25}" for n in range(60)], ["train", "train", "test"]),
    "prompts, all of the second learned from": ([f"p{n % 20}" for n in range(60)], ["train", "b"]),
    "no prompts, one split": ([""] * 60, ["train"]),
    "no prompts, two splits": ([""] * 80, ["train", "test"]),
    "no prompts, three splits": ([""] * 60, ["train", "test", "validation"]),
    "some prompts, two splits": ([f"p{n % 9}" * (n % 3 > 0) for n in range(60)], ["train", "test"]),
}


def pairs_of(prompts, splits):
    """Splits are drawn, so that a prompt is in several of them."""
    rng = random.Random(0)  # noqa: S311 - not a secret
    return [
        Pair(pair_id=str(n), prompt=prompt, a=f" a{n}", b=f" b{n}", split=rng.choice(splits))
        for n, prompt in enumerate(prompts)
    ]


def store_of(path, pairs):
    with PreferenceStore(path) as store:
        store.add_pairs(pairs)
        store.record_answers([Answer(pair_id=p.pair_id, annotator="x", answer="a") for p in pairs])
    return str(path)


def texts(items):
    return sorted((item.prompt, item.chosen, item.rejected) for item in items)


@pytest.mark.parametrize(("prompts", "splits"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("votes", ["majority", "shares", "each"])
def test_a_store_and_the_same_items_in_a_file_are_divided_alike(tmp_path, prompts, splits, votes):
    pairs = pairs_of(prompts, splits)
    rows = [{"prompt": p.prompt, "chosen": p.a, "rejected": p.b, "split": p.split} for p in pairs]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    store = store_of(tmp_path / "data.sqlite", pairs)
    from_file = load_data(str(path), held_out=0.3, seed=5)
    from_store = load_data(store, held_out=0.3, seed=5, votes=votes)
    assert texts(from_file.train) == texts(from_store.train)
    assert texts(from_file.held_out) == texts(from_store.held_out)
    assert from_file.notes == from_store.notes
    assert from_file.held_out


def test_a_store_without_prompts_keeps_all_that_it_holds_out(tmp_path):
    """The empty prompt was taken for one that is learned from: measured on 0, without a word."""
    pairs = [
        Pair(pair_id=str(n), prompt="", a=f"a{n}", b=f"b{n}", split="train" if n < 40 else "test")
        for n in range(80)
    ]
    data = load_data(store_of(tmp_path / "data.sqlite", pairs), held_out=0.1, seed=0)
    said = "0 of 40 held-out pairs share a text with what is learned from"
    assert (len(data.train), len(data.held_out), data.notes) == (40, 40, [said])


def test_a_split_to_learn_from_without_answers_is_named(tmp_path):
    """It went on, and died of an index."""
    pairs = [Pair(pair_id=s, prompt=s, a="x", b="y", split=s) for s in ("train", "test")]
    with PreferenceStore(tmp_path / "data.sqlite") as store:
        store.add_pairs(pairs)
        store.record_answers([Answer(pair_id="test", annotator="x", answer="a")])
    with pytest.raises(CommandError, match=r"the split train of .* has no answers that prefer"):
        load_data(str(tmp_path / "data.sqlite"), held_out=0.1, seed=0)


@pytest.fixture
def store(tmp_path):
    """Three annotators on 30 pairs: two prefer x, one y; of every fifth pair one says tie."""
    path = tmp_path / "store.sqlite"
    pairs = build_pairs([(f"p{n}", f" {t}") for n in range(30) for t in "xy"], seed=0)
    with PreferenceStore(path) as opened:
        opened.add_pairs(pairs)
        for number, pair in enumerate(pairs):
            x, y = ("a", "b") if pair.a == " x" else ("b", "a")
            third = "tie" if number % 5 == 0 else y
            opened.record_answers(
                [
                    Answer(pair_id=pair.pair_id, annotator=who, answer=answer)
                    for who, answer in (("ann", x), ("bob", x), ("cy", third))
                ]
            )
    return path


def test_a_store_s_votes_are_counted_as_asked(store):
    """Majority, shares of votes with half a vote a tie, or each answer by itself."""

    def every(votes):
        data = load_data(str(store), held_out=0.2, seed=0, votes=votes)
        assert not {p.prompt for p in data.train} & {p.prompt for p in data.held_out}
        assert "10 of 10 held-out pairs share a text" in data.notes[-1] or votes == "each"
        return [*data.train, *data.held_out], data.notes[:-1]

    majority, notes = every("majority")
    assert [len(majority), *{p.chosen for p in majority}, *notes] == [30, " x"]
    shares, notes = every("shares")
    assert sorted({round(p.probability, 3) for p in shares}) == [0.667, 0.833]
    assert not notes
    each, _ = every("each")
    assert len(each) == 90
    assert sum(p.probability == 0.5 for p in each) == 6


def test_votes_weighed_by_ability_are_soft_labels_and_the_notes_name_people(store):
    """Ann and Bob always agree, so Cy, who contradicts them, is found out; no label is even."""
    data = load_data(str(store), held_out=0.2, seed=0, votes="ability")
    labels = [*data.train, *data.held_out]
    assert {label.chosen for label in labels} == {" x"}
    assert all(0.9 < label.probability < 1 for label in labels)
    people = [note for note in data.notes if "right in" in note]
    assert [note.partition(":")[0] for note in people] == ["ann", "bob", "cy"]
    assert [float(note.split("right in ")[1][:4]) > 0.5 for note in people] == [True, True, False]


def test_a_side_that_somebody_always_takes_is_read_from_the_store(tmp_path):
    """The left is mostly a; of the pairs that show b there, it is b that is not believed."""
    pairs = build_pairs([(f"p{n}", f" {t}") for n in range(60) for t in "xy"], seed=0)
    with PreferenceStore(tmp_path / "s.sqlite") as opened:
        opened.add_pairs(pairs)
        for number, pair in enumerate(pairs):
            left = "ab"[number % 3 == 0]
            best = "a" if pair.a == " x" else "b"
            opened.record_answers(
                [
                    Answer(pair_id=pair.pair_id, annotator="leaning", answer=left, shown_left=left),
                    Answer(pair_id=pair.pair_id, annotator="one", answer=best, shown_left=left),
                    Answer(pair_id=pair.pair_id, annotator="two", answer=best, shown_left="a"),
                ]
            )
    data = load_data(str(tmp_path / "s.sqlite"), held_out=0.2, seed=0, votes="ability")
    assert {label.chosen for label in data.train} == {" x"}
    (leaning,) = [note for note in data.notes if note.startswith("leaning")]
    assert "says left in 0.9" in leaning


@pytest.mark.parametrize("votes", ["majority", "shares", "each"])
def test_a_file_of_several_people_s_answers_is_voted_on_as_its_store(store, tmp_path, votes):
    """Each answer was a pair of its own, and --votes was not heard."""
    with PreferenceStore(store) as opened:
        export_preferences(opened, tmp_path / "answers.jsonl", ties=True)
    sides = [
        load_data(str(path), held_out=0.2, seed=0, votes=votes)
        for path in (store, tmp_path / "answers.jsonl")
    ]
    one, other = ([replace(i, pair_id="") for i in [*s.train, *s.held_out]] for s in sides)
    assert one == other
    assert sides[0].notes == sides[1].notes
    assert len(one) == (90 if votes == "each" else 30)


def test_pairs_without_a_leading_answer_are_counted(tmp_path):
    rows = [
        {"prompt": f"p{n}", "response_a": "x", "response_b": "y", "winner": w, "annotator": who}
        for n in range(4)
        for who, w in (("ann", "model_a"), ("bob", "tie" if n else "model_a"))
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = load_data(str(path), held_out=0, seed=0)
    assert [item.prompt for item in data.train] == ["p0"]
    assert "left out: 3 pairs on which no answer has most votes" in data.notes


def test_a_file_is_imported_and_trained_on_by_the_printed_way(tmp_path):
    """The message about a missing store names the command that makes one."""
    path = tmp_path / "votes.tsv"
    path.write_text(
        "question\tleft\tright\tverdict\trater\n"
        "Q\tx\ty\ta\tann\nQ\tx\ty\ttie\tann\tmore\nQ\tx\ty\tb\tbob\nR\tx\ty\ttie\tbob\n"
    )
    to, store = Console(file=io.StringIO(), width=200), tmp_path / "made" / "votes.sqlite"
    words = "prompt=question,response_a=left,response_b=right,winner=verdict,annotator=rater"
    with pytest.raises(FileNotFoundError, match=f"textgym reward import FILE {store}"):
        load_data(str(store), held_out=0, seed=0)
    config = RewardImportConfig(data=str(path), store=store, columns=words)
    with pytest.raises(CommandError, match=r"votes\.tsv:3 has 6 fields"):
        import_reward_data(config, to)
    assert not store.exists()
    import_reward_data(replace(config, skip_bad_rows=True), to)
    import_reward_data(replace(config, skip_bad_rows=True), to)
    said = to.file.getvalue()
    assert f"3 answers and 2 pairs are new in {store}\nleft out: 1 cannot be read\n" in said
    assert f"0 answers and 0 pairs are new in {store}; 3 were there" in said
    with PreferenceStore(store) as opened:
        answers = opened.preferences(ties=True)
    assert [(p.prompt, p.annotator, p.probability) for p in answers] == [
        ("Q", "ann", 1.0),
        ("Q", "bob", 1.0),
        ("R", "bob", 0.5),
    ]


def test_a_store_that_is_not_there_is_not_made(tmp_path):
    for use in (
        lambda: load_data(str(tmp_path / "no.sqlite"), held_out=0.1, seed=0),
        lambda: export_reward_data(
            RewardExportConfig(store=tmp_path / "no.sqlite", out=tmp_path / "o")
        ),
    ):
        with pytest.raises(FileNotFoundError, match="there is no store"):
            use()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_not_made_a_store_by_who_reads_it(tmp_path):
    """An export of an empty file filled it with a database of nothing."""
    (tmp_path / "empty.jsonl").touch()
    config = RewardExportConfig(store=tmp_path / "empty.jsonl", out=tmp_path / "o")
    with pytest.raises(FileNotFoundError, match="the file is empty"):
        export_reward_data(config)
    assert (tmp_path / "empty.jsonl").read_bytes() == b""


def test_an_export_says_how_many_ties_it_left_out(store, tmp_path):
    to = Console(file=io.StringIO(), width=200)
    export_reward_data(RewardExportConfig(store=store, out=tmp_path / "out.jsonl"), to)
    assert (
        f"84 answers in {tmp_path / 'out.jsonl'}; left out: 6 tie, 0 both bad, 0 skip"
        in to.file.getvalue()
    )
    assert len(read_preferences(str(tmp_path / "out.jsonl")).items) == 84


def judged(url, question, judge, prompts=12, texts=3, split="train"):
    """A store of a question that one person answered by a rule."""
    named = [(f"p{n}", f"t{n} {k}", "") for n in range(prompts) for k in range(texts)]
    with PreferenceStore(url) as store:
        sheets = make_sheets(named, question, split=split)
        store.add_sheets(sheets)
        handout = Handout(store, HandoutConfig(repeat_every=0), question=question)
        handout.fill(arrange_sheets(sheets, 0))
        lease = handout.next("ann")
        while lease is not None:
            shown = [lease.sheet.texts[number] for number in lease.order]
            said = SheetVote(lease=lease.lease, annotator="ann", said=judge(shown), key="k")
            lease = handout.answer(said)
    return url


def by_last_character(shown):
    """The order of places, the text whose number is lowest first."""
    return sorted(range(len(shown)), key=lambda place: shown[place][-1])


def test_a_store_s_rankings_and_ratings_are_learned_from(tmp_path):
    ranked = judged(str(tmp_path / "rank.sqlite"), "rank", by_last_character)
    data = load_data(ranked, held_out=0.25, seed=0)
    assert len(data.train) + len(data.held_out) == 12
    assert min(len(data.train), len(data.held_out)) > 0
    for item in [*data.train, *data.held_out]:
        assert [text[-1] for text in item.completions] == ["0", "1", "2"]
        assert item.places == 2
    rated = judged(str(tmp_path / "rate.sqlite"), "rate", lambda shown: 5 - int(shown[0][-1]))
    data = load_data(rated, held_out=0.25, seed=0)
    assert len(data.train) + len(data.held_out) == 36
    assert {(item.completion[-1], item.rating) for item in data.train} == {
        ("0", 5),
        ("1", 4),
        ("2", 3),
    }
    assert not {i.prompt for i in data.train} & {i.prompt for i in data.held_out}


def test_pairs_of_one_ranking_are_drawn_together(tmp_path):
    """Three pairs that one answer states are one piece of evidence, not three."""
    ranked = judged(str(tmp_path / "rank.sqlite"), "rank", by_last_character)
    rankings = load_data(ranked, held_out=0.25, seed=0).train
    pairs = decided_pairs(rankings)
    assert len(pairs) == 3 * len(rankings) > 3
    clusters = drawn_with(pairs)
    assert len(set(clusters)) == len(rankings)
    assert all(
        (one == other) == (first.prompt == second.prompt)
        for one, first in zip(clusters, pairs, strict=True)
        for other, second in zip(clusters, pairs, strict=True)
    )


def test_of_several_questions_one_is_learned_from_and_the_others_are_named(tmp_path):
    path = judged(str(tmp_path / "s.sqlite"), "rate", lambda shown: 5 - int(shown[0][-1]))
    judged(path, "rank", by_last_character)
    pairs = pairs_of([f"p{n}" for n in range(20)], ["train"])
    data = load_data(store_of(path, pairs), held_out=0.1, seed=0)
    assert type(data.train[0]).__name__ == "Preference"
    assert "12 of rank, 36 of rate" in data.notes[-1]
    data = load_data(path, held_out=0.1, seed=0, question="rate")
    assert type(data.train[0]).__name__ == "Rating"
    with pytest.raises(CommandError, match="no answers to the question spans"):
        load_data(path, held_out=0.1, seed=0, question="spans")


def test_the_held_out_split_of_sheets_is_held_out(tmp_path):
    path = judged(str(tmp_path / "s.sqlite"), "rank", by_last_character, prompts=6)
    with PreferenceStore(path) as store:
        known = [(f"q{n}", f"q{n} {k}", "") for n in range(2) for k in range(3)]
        store.add_sheets(make_sheets(known, "rank", split="held_out"))
    with PreferenceStore(path) as store:
        handout = Handout(store, HandoutConfig(repeat_every=0), question="rank")
        handout.fill(arrange_sheets(store.sheets("rank"), 0))
        lease = handout.next("ann")
        while lease is not None:
            said = SheetVote(lease=lease.lease, annotator="ann", said=[0, 1, 2], key="k")
            lease = handout.answer(said)
    data = load_data(path, held_out=0.5, seed=0)
    assert {item.prompt for item in data.held_out} == {"q0", "q1"}
    assert len(data.train) == 6
