"""``textgym compare``: blind and balanced pairs, and what the answers tell, again and again."""

import io
import json
from collections import Counter

import pytest
from rich.console import Console

from reward_models.preferences import Answer, Pair, PreferenceStore
from textgym.cli.feedback import compare as module
from textgym.cli.feedback.compare import CompareConfig, compare
from textgym.cli.parsing import CommandError

POLICIES = tuple(f"scratch:gpt2?layers=1&width=16&heads=2&positions=16&seed={n}" for n in range(3))


def config(tmp_path, **changed):
    given = {
        "policies": POLICIES,
        "env": "TextGym/Alphabet-v0",
        "store": tmp_path / "people.sqlite",
        "pairs": 60,
        "num_envs": 8,
    }
    return CompareConfig(**(given | changed))


def run(given):
    to = Console(file=io.StringIO(), width=200)
    compare(given, to)
    return to.file.getvalue()


def test_pairs_are_balanced_and_say_nothing_of_who_wrote_them(tmp_path):
    said = run(config(tmp_path))
    assert "0 of " in said
    assert "textgym label" in said
    with PreferenceStore(tmp_path / "people.sqlite") as store:
        pairs, origins = store.pairs(), store.provenance()
    met = Counter(frozenset((pair.policy_a, pair.policy_b)) for pair in pairs)
    assert len(met) == 3
    assert max(met.values()) - min(met.values()) <= 20 - min(met.values())
    first = sum(pair.policy_a < pair.policy_b for pair in pairs)
    assert 15 < first < len(pairs) - 15
    assert not any("scratch" in pair.pair_id for pair in pairs)
    assert len(origins) == 2 * len(pairs)
    again = run(config(tmp_path))
    assert "pairs to compare in" not in again
    with PreferenceStore(tmp_path / "people.sqlite") as store:
        assert pairs == store.pairs()


def test_a_policy_that_was_trained_since_is_another(tmp_path):
    """The store has what it wrote before; a folder that is gone leaves the answers worth a look."""
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    given = config(tmp_path, policies=(str(folder), "another"))
    pair = Pair(pair_id="1", prompt="", a="x", b="y", policy_a="another", policy_b=str(folder))
    with PreferenceStore(given.store) as store:
        store.add_pairs([pair])
        store.add_provenance(module.origins_of([pair]))
    assert "0 of 1 pairs are answered" in run(given)
    (folder / "model.safetensors").write_bytes(b"others")
    with pytest.raises(CommandError, match=r"texts that .*policy wrote with other weights"):
        run(given)
    (folder / "model.safetensors").unlink()
    assert "0 of 1 pairs are answered" in run(given)


def test_weights_are_read_once_however_many_texts_a_policy_wrote(tmp_path, monkeypatch):
    """They were read anew for every text, in most of the time that writing texts took."""
    read = []
    monkeypatch.setattr(module, "_weights", lambda folder: read.append(folder.name) or "hash")
    pairs = [
        Pair(pair_id=str(i), prompt="", a="x", b=str(i), policy_a="first", policy_b=name)
        for i, name in enumerate(["first", "second"] * 3)
    ]
    origins = module.origins_of(pairs, {"second": str(tmp_path / "there")})
    assert sorted(read) == ["first", "there"]
    assert [(o.pair_id, o.side, o.policy) for o in origins[:4]] == [
        ("0", "a", "first"), ("0", "b", "first"), ("1", "a", "first"), ("1", "b", "second"),
    ]  # fmt: skip


def test_the_answers_tell_who_is_preferred_and_what_is_open(tmp_path):
    """People who always prefer the third policy, and of the others the longer text."""
    run(config(tmp_path))
    with PreferenceStore(tmp_path / "people.sqlite") as store:
        for pair in store.pairs():
            if POLICIES[2] in (pair.policy_a, pair.policy_b):
                better = "a" if pair.policy_a == POLICIES[2] else "b"
            else:
                better = "a" if len(pair.a) >= len(pair.b) else "b"
            store.record_answers([Answer(pair_id=pair.pair_id, annotator="x", answer=better)])
    said = run(config(tmp_path)).splitlines()
    assert said[0].startswith(POLICIES[2])
    assert said[0].endswith("rank 1")
    assert sum("settled by" in line and "it is better" in line for line in said) >= 2
    figures = json.loads((tmp_path / "people.json").read_text())
    assert figures["ratings"]["players"][0] == POLICIES[2]


def test_simulated_annotators_answer_at_once(tmp_path):
    truth = "textgym.tasks.toys:alphabet_score"
    said = run(config(tmp_path, annotators=("careful", "average"), truth=truth))
    assert "are answered" not in said
    with PreferenceStore(tmp_path / "people.sqlite") as store:
        assert len(store.answers()) == 2 * len(store.pairs())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"policies": POLICIES[:1]}, "two different policies"),
        ({"policies": (POLICIES[0], POLICIES[0])}, "two different policies"),
        ({"annotators": ("average",)}, "--annotators need --truth"),
        ({"env": "nothing"}, "unknown environment"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, changed, said):
    with pytest.raises(CommandError, match=said):
        run(config(tmp_path, **changed))
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_another_comparison_is_refused(tmp_path):
    run(config(tmp_path))
    with pytest.raises(CommandError, match="name the same policies"):
        run(config(tmp_path, policies=POLICIES[:2]))
