"""Preferences for the commands: where they are kept does not decide how they are divided."""

import json
import random

import pytest

from reward_models.preferences import Answer, Pair, PreferenceStore
from textgym.cli.errors import CommandError
from textgym.cli.reward.data import load_data

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
    assert (len(data.train), len(data.held_out), data.notes) == (40, 40, [])


def test_a_split_to_learn_from_without_answers_is_named(tmp_path):
    """It went on, and died of an index."""
    pairs = [Pair(pair_id=s, prompt=s, a="x", b="y", split=s) for s in ("train", "test")]
    with PreferenceStore(tmp_path / "data.sqlite") as store:
        store.add_pairs(pairs)
        store.record_answers([Answer(pair_id="test", annotator="x", answer="a")])
    with pytest.raises(CommandError, match=r"the split train of .* has no answers that prefer"):
        load_data(str(tmp_path / "data.sqlite"), held_out=0.1, seed=0)
