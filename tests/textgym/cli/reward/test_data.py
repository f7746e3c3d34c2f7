"""What becomes of a store's answers: items to learn from, and with ``export`` a file."""

import io

import pytest
from rich.console import Console

from reward_models.preferences import Answer, PreferenceStore, build_pairs, read_preferences
from textgym.cli.reward.data import load_data
from textgym.cli.reward.export import RewardExportConfig, export_reward_data


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
        return [*data.train, *data.held_out], data.notes

    majority, notes = every("majority")
    assert [len(majority), *{p.chosen for p in majority}, *notes] == [30, " x", "left out: 6 tie"]
    shares, notes = every("shares")
    assert sorted({round(p.probability, 3) for p in shares}) == [0.667, 0.833]
    assert not notes
    each, _ = every("each")
    assert len(each) == 90
    assert sum(p.probability == 0.5 for p in each) == 6


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


def test_an_export_says_how_many_ties_it_left_out(store, tmp_path):
    to = Console(file=io.StringIO(), width=200)
    export_reward_data(RewardExportConfig(store=store, out=tmp_path / "out.jsonl"), to)
    assert (
        f"84 answers in {tmp_path / 'out.jsonl'}; left out: 6 tie, 0 both bad, 0 skip"
        in to.file.getvalue()
    )
    assert len(read_preferences(str(tmp_path / "out.jsonl")).items) == 84
