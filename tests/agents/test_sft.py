"""Training a language model: what it learns from, and that a stop costs nothing but time."""

import dataclasses
import math

import pytest
import torch
from transformers import TrainerCallback

from agents.sft import (
    SFTConfig,
    _collate,
    _decides,
    make_language_model,
    perplexity,
    train_language_model,
)
from agents.training.optimizers import MuonWithAdamW
from tests.agents.toys import make_model
from tests.settings import variants
from textgym.tokenizers import CharacterTokenizer

TOKENIZER = CharacterTokenizer("abcdefgh")
CONFIG = SFTConfig(
    layers=1, width=16, heads=2, steps=12, batch_size=4, row_tokens=8, save_steps=4, bf16=False
)
TEXTS = ["abcd", "bcdefgh", "cde", "defgh", "efg", "fgh", "gh", "h", "abcdefgh", "bcd"]


class _StopAt(TrainerCallback):
    """Raises in the middle of training, as a kill does."""

    def __init__(self, step):
        self._step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self._step:
            raise KeyboardInterrupt


def _weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_a_stopped_run_ends_with_the_weights_of_an_unstopped_one(tmp_path):
    """Killed after step 6, it goes on from the checkpoint of step 4, in the same data order."""
    train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "stopped", callbacks=[_StopAt(6)])
    assert not (tmp_path / "stopped").exists()
    result = train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "stopped")
    assert result["steps"] == 12
    expected, actual = _weights(tmp_path / "straight"), _weights(tmp_path / "stopped")
    for name, value in expected.items():
        assert torch.equal(value, actual[name]), name


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "m", callbacks=[_StopAt(10)])
    (cut,) = tmp_path.glob("m.checkpoints/*/checkpoint-8/trainer_state.json")
    cut.write_text('{"ep')
    train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "m")
    train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "straight")
    for name, value in _weights(tmp_path / "straight").items():
        assert torch.equal(value, _weights(tmp_path / "m")[name]), name


@pytest.mark.learning
def test_learns_a_language_that_can_be_learned(tmp_path):
    """After each letter comes the next: only the first letter and the end are uncertain."""
    config = dataclasses.replace(CONFIG, steps=150, batch_size=16, save_steps=1000, width=32)
    texts = ["abcdefg"[i:] for i in range(4)] * 8
    train_language_model(config, TOKENIZER, texts, tmp_path / "m")
    from agents.models.policy import TransformerPolicy

    model = TransformerPolicy.from_pretrained(tmp_path / "m").model
    # Of 5.5 letters and an end on average, one in 4 must be guessed: 4 ** (1 / 6.5) = 1.24.
    assert perplexity(model, TOKENIZER, texts, 8) < 1.35


def test_padding_is_not_learned_from():
    """A short row's loss is that of the row alone."""
    model = make_language_model(CONFIG, TOKENIZER)
    short, long = [1, 3, 4, 2], [1, 3, 4, 5, 6, 7, 2]
    losses = [float(model(**_collate([row], 0)).loss.detach()) for row in (short, long)]
    both = float(model(**_collate([short, long], 0)).loss.detach())
    assert both == pytest.approx((3 * losses[0] + 6 * losses[1]) / 9, rel=1e-5)


def test_perplexity_of_a_uniform_model_is_the_vocabulary():
    model = make_language_model(CONFIG, TOKENIZER)
    torch.nn.init.zeros_(model.get_output_embeddings().weight)
    assert perplexity(model, TOKENIZER, TEXTS, 8) == pytest.approx(TOKENIZER.vocab_size, rel=1e-4)


def test_the_seed_decides_the_first_weights_and_no_global_generator():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = (make_language_model(CONFIG, TOKENIZER) for _ in "ab")
    other = make_language_model(dataclasses.replace(CONFIG, seed=1), TOKENIZER)
    assert torch.equal(before, torch.get_rng_state())
    weights = [m.transformer.h[0].mlp.c_fc.weight for m in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_no_text_says_so(tmp_path):
    with pytest.raises(ValueError, match="no text to learn from"):
        train_language_model(CONFIG, TOKENIZER, ["", ""], tmp_path / "m")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_optimiser_takes_every_parameter_once_and_matrices_by_muon(kind):
    model = make_model(kind)
    optimizer = MuonWithAdamW(model, matrix_rate=0.1, rate=0.1, weight_decay=0.0)
    taken = [p for group in optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p in taken}) == len(taken) == len(list(model.parameters()))
    by_muon = {id(p) for p in optimizer.muon.param_groups[0]["params"]}
    names = {n for n, p in model.named_parameters() if id(p) in by_muon}
    assert len(names) == (8 if kind == "gpt2" else 14)
    assert not any(part in name for name in names for part in ("wte", "wpe", "embed", "lm_head"))


def test_a_schedule_reaches_both_optimisers():
    """A wrapper that copies its groups would train at the first step size for ever."""
    model = make_model()
    optimizer = MuonWithAdamW(model, matrix_rate=0.2, rate=0.4, weight_decay=0.0)
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in model.parameters()]
    model(**_collate([[1, 3, 4, 5]], 0)).loss.backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert math.isclose(optimizer.muon.param_groups[0]["lr"], 0.0)


REASONS = {
    "save_steps": "how much a kill loses",
    "logging_steps": "how much is reported",
    "bf16": "what it comes to decides, and not how it was asked for",
}


def test_each_setting_makes_another_run_or_has_a_reason_not_to():
    model = make_language_model(CONFIG, TOKENIZER)
    expected = _decides(CONFIG, [[1]], model, bf16=False)
    others = variants(CONFIG)
    for name, other in others.items():
        found = _decides(other, [[1]], model, bf16=False)
        assert (found != expected) == (name not in REASONS), name
    assert _decides(CONFIG, [[1]], model, bf16=True) != expected
    assert _decides(CONFIG, [[2]], model, bf16=False) != expected
    wide = make_language_model(dataclasses.replace(CONFIG, seed=1), TOKENIZER)
    assert _decides(CONFIG, [[1]], wide, bf16=False) != expected


def test_other_texts_are_not_gone_on_with_and_it_is_said(tmp_path, caplog):
    """The checkpoints of the former ones were once taken for the new ones'."""
    with pytest.raises(KeyboardInterrupt):
        train_language_model(CONFIG, TOKENIZER, TEXTS, tmp_path / "m", callbacks=[_StopAt(10)])
    train_language_model(CONFIG, TOKENIZER, TEXTS[::-1], tmp_path / "m")
    assert [record.message.partition(" of a run ")[2] for record in caplog.records] == [
        "with other data: this one begins anew"
    ]
    train_language_model(CONFIG, TOKENIZER, TEXTS[::-1], tmp_path / "straight")
    for name, value in _weights(tmp_path / "straight").items():
        assert torch.equal(value, _weights(tmp_path / "m")[name]), name
