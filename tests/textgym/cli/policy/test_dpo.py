"""``textgym train dpo``: from a file, from a store, from its own texts, and how it refuses."""

import json
import re

import pytest
import torch
from rich.console import Console

from agents.dpo import DPOConfig
from agents.models.policy import TransformerPolicy
from reward_models.preferences import Answer, Pair, PreferenceStore
from textgym.cli.parsing import CommandError
from textgym.cli.policy.dpo import DPOTraining, train_dpo

SMALL = "scratch:gpt2?layers=1&width=16&heads=2"


def _train(capsys, out, **settings):
    config = DPOTraining(env="TextGym/Alphabet-v0", policy=SMALL, num_envs=8, out=out, **settings)
    train_dpo(config, Console(force_terminal=False, width=200))
    return capsys.readouterr().out


def _log_probability(policy, before, written):
    """Of ids behind others, by the model itself."""
    logits = policy.model(input_ids=torch.tensor([before + written])).logits[0]
    rows = torch.log_softmax(logits, dim=-1)[len(before) - 1 : -1]
    return float(rows.gather(1, torch.tensor(written).unsqueeze(1)).sum().detach())


def _write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def test_it_learns_from_a_file_and_says_how_it_does_on_what_it_has_not_seen(tmp_path, capsys):
    """One text is always the chosen one, so what is held out can be told apart as well."""
    rows = [
        {"prompt": a + b, "chosen": "bcd", "rejected": "hgf"} for a in "abcd" for b in "abcdefgh"
    ]
    said = _train(
        capsys,
        tmp_path / "out",
        data=_write(tmp_path / "pairs.jsonl", rows),
        held_out=0.25,
        dpo=DPOConfig(iterations=20, minibatches=2, learning_rate=3e-3),
    )
    assert re.search(r"accuracy .* to 1\.000", said)
    assert re.search(
        r"of \d+ held-out pairs, the policy's .* tell the chosen text in 100\.0%", said
    )
    assert re.search(r"\d+ of \d+ held-out pairs share a text with what is learned from", said)
    assert TransformerPolicy.from_pretrained(tmp_path / "out" / "policy").vocab_size == 11


def test_a_tie_is_half_an_answer_and_a_soft_label_is_soft(tmp_path, capsys):
    """Sixteen ties beside four clear answers were learned as wins of whoever came first."""
    row = {"prompt": "a", "response_a": "bcd", "response_b": "hgf", "winner": "model_a"}
    tie = {"prompt": "a", "response_a": "hgf", "response_b": "bcd", "winner": "tie"}
    said = _train(
        capsys,
        tmp_path / "out",
        data=_write(tmp_path / "arena.jsonl", [row] * 4 + [tie] * 16),
        held_out=0.0,
        dpo=DPOConfig(iterations=20, minibatches=2, learning_rate=3e-3),
    )
    policy = TransformerPolicy.from_pretrained(tmp_path / "out" / "policy")
    good, bad = (_log_probability(policy, [1, 3], ids) for ids in ([4, 5, 6, 2], [10, 9, 8, 2]))
    assert good > bad
    assert "accuracy 0.5" in said


def test_bad_rows_and_strange_columns_are_read_as_by_the_other_commands(tmp_path, capsys):
    rows = [{"q": a, "better": "bcd", "worse": ""} for a in "abcdefgh"]
    data = _write(tmp_path / "pairs.jsonl", [*rows, {"q": "a", "better": 7, "worse": "x"}])
    settings = {"dpo": DPOConfig(iterations=1, minibatches=1), "held_out": 0.5, "data": data}
    columns = "prompt=q,chosen=better,rejected=worse"
    with pytest.raises(CommandError, match="has the columns q, better, worse"):
        _train(capsys, tmp_path / "out", **settings)
    with pytest.raises(CommandError, match=r"jsonl:9: 'chosen' holds 7"):
        _train(capsys, tmp_path / "out", columns=columns, **settings)
    said = _train(capsys, tmp_path / "out", columns=columns, skip_bad_rows=True, **settings)
    assert "left out: 1 cannot be read" in said
    assert "empty texts: 8, learned from as they are" in said


def test_it_learns_from_a_store_and_without_data_from_its_own_texts(tmp_path, capsys):
    path = tmp_path / "answers.sqlite"
    with PreferenceStore(path) as store:
        for number, prompt in enumerate("abcdefgh"):
            store.add_pairs([Pair(pair_id=str(number), prompt=prompt, a="bcd", b="hgf")])
            store.record_answers([Answer(pair_id=str(number), annotator="one", answer="a")])
    dpo = DPOConfig(iterations=2, minibatches=1)
    assert "accuracy" in _train(capsys, tmp_path / "store", data=str(path), dpo=dpo)
    assert "nats from the start" in _train(capsys, tmp_path / "online", dpo=dpo)


def test_other_answers_are_not_gone_on_with(tmp_path, capsys):
    rows = [{"prompt": a, "chosen": "bcd", "rejected": "hgf"} for a in "abcdefgh"]
    settings = {"dpo": DPOConfig(iterations=2, minibatches=1), "held_out": 0.5}
    _train(capsys, tmp_path / "out", data=_write(tmp_path / "a.jsonl", rows), **settings)
    other = _write(tmp_path / "b.jsonl", [row | {"chosen": "c"} for row in rows])
    with pytest.raises(CommandError, match="made with other pairs"):
        _train(capsys, tmp_path / "out", data=other, **settings)


def test_what_is_no_pair_is_refused_in_one_line(tmp_path, capsys):
    rated = [{"prompt": "a", "completion": text, "rating": n} for n, text in enumerate("abcdefgh")]
    for data, message in [
        (_write(tmp_path / "rated.jsonl", rated), "DPO learns from pairs"),
        ("reviews", "pairs of whole reviews"),
        ("notes.txt", "is no preference data"),
    ]:
        with pytest.raises(CommandError, match=message) as caught:
            _train(capsys, tmp_path / "out", data=data)
        assert "\n" not in str(caught.value)
