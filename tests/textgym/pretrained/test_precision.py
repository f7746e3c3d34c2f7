"""What ``auto`` decides, what it leaves alone, and who asks it."""

import dataclasses
import logging
import time

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from agents.grpo import GRPO, GRPOConfig
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.sft import SFTConfig, train_language_model
from agents.training.precision import pinned_precision
from tests.agents.toys import make_model, make_toy
from textgym.pretrained import precision
from textgym.pretrained.precision import PassSeconds, pinned_bf16, time_passes
from textgym.tokenizers import load_tokenizer


@pytest.mark.parametrize(
    ("bfloat16", "bf16", "said"),
    [
        (0.5, True, "bfloat16 is 2.00 times as fast as float32 here: bfloat16"),
        (0.95, False, "bfloat16 is 1.05 times as fast as float32 here: float32"),
        (2.0, False, "bfloat16 is 0.50 times as fast as float32 here: float32"),
    ],
)
def test_the_faster_one_is_taken_if_it_is_worth_its_rounding(bfloat16, bf16, said):
    seconds = PassSeconds(float32=1.0, bfloat16=bfloat16)
    assert seconds.bf16 is bf16
    assert str(seconds) == said


@pytest.fixture
def pretended(monkeypatch):
    """Pretends that passes in bfloat16 take half, or twice, as long; notes what ran."""
    ran = []

    def pretend(bfloat16):
        def seconds(model, forward, ids, *, bf16):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                ran.append(forward(ids))
            return bfloat16 if bf16 else 1e-3

        monkeypatch.setattr(precision, "_seconds", seconds)
        return ran

    return pretend


def test_a_model_is_as_it_was_after_it():
    """Weights, gradients, random numbers; both precisions ran."""
    model, before = make_model(), torch.random.get_rng_state()
    weights = {name: p.clone() for name, p in model.named_parameters()}
    kinds = []

    def forward(ids):
        logits = model(input_ids=ids).logits
        kinds.append(logits.dtype)
        return logits

    seconds = time_passes(model, forward, vocabulary=11)
    assert seconds.float32 > 0 < seconds.bfloat16
    assert set(kinds) == {torch.float32, torch.bfloat16}
    assert all(torch.equal(weights[name], p) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_passes_are_timed_by_one_thread_alone():
    """On a busy machine threads that wait for each other took bfloat16 for half as fast."""
    model, threads, seen = make_model(), torch.get_num_threads(), []

    def forward(ids):
        seen.append(torch.get_num_threads())
        time.sleep(0.01)  # as if another program had its turn, which counts as nothing
        return model(input_ids=ids).logits

    torch.set_num_threads(2)
    try:
        seconds = time_passes(model, forward, vocabulary=11)
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError):
            time_passes(model, lambda _: 1 / 0, vocabulary=11)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert set(seen) == {1}
    assert seconds.float32 < len(seen) * 0.01


@pytest.mark.parametrize("bf16", [True, False])
def test_what_is_said_is_not_tried(bf16):
    def forward(_):
        raise AssertionError("it was tried")

    assert pinned_bf16(bf16, make_model(), forward, vocabulary=11) is bf16


@pytest.mark.parametrize("faster", [True, False])
def test_a_decision_is_logged(pretended, caplog, faster):
    pretended(0.5e-3 if faster else 2e-3)
    model = make_model()
    with caplog.at_level(logging.INFO, logger="textgym"):
        chosen = pinned_bf16("auto", model, lambda i: model(input_ids=i).logits, vocabulary=11)
    assert chosen is faster
    assert caplog.messages == [str(PassSeconds(float32=1e-3, bfloat16=5e-4 if faster else 2e-3))]


@pytest.mark.parametrize(("kind", "settings"), [(PPO, PPOConfig), (GRPO, GRPOConfig)])
@pytest.mark.parametrize("faster", [True, False])
def test_a_learner_decides_once_and_says_what(pretended, kind, settings, faster, tmp_path):
    """And a checkpoint goes on in what it was begun in, whatever would be faster now."""
    pretended(0.5e-3 if faster else 2e-3)
    policy = TransformerPolicy(make_model())
    learner = kind(policy, make_toy(rows=16), settings(bf16="auto"))
    assert learner.config.bf16 is learner.bf16 is faster
    assert learner.step()[0]["bf16"] == faster
    learner.save(tmp_path / "checkpoint")
    pretended(2e-3 if faster else 0.5e-3)
    assert kind.load(tmp_path / "checkpoint", make_toy(rows=16)).bf16 is faster


def test_frozen_policies_are_tried_without_a_backward_pass():
    policy = TransformerPolicy(make_model()).requires_grad_(requires_grad=False)
    assert PPO(policy, make_toy(), PPOConfig(bf16="auto")).bf16 in {True, False}


def test_models_of_short_texts_are_tried_with_those(pretended):
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=11, n_positions=24, n_embd=8, n_layer=1, n_head=1)
    )
    ran = pretended(1e-3)
    pinned_precision("auto", TransformerPolicy(model))
    assert {each.shape[1] for each in ran} == {16, 24}


def test_a_language_model_is_trained_in_what_is_faster(pretended, monkeypatch, tmp_path):
    """The decision reaches transformers' Trainer."""
    import agents.sft as sft

    told = []

    def arguments(*args, bf16, **kwargs):
        told.append(bf16)
        raise KeyboardInterrupt

    monkeypatch.setattr(sft, "training_arguments", arguments)
    shape = SFTConfig(layers=1, width=16, heads=2, steps=1, row_tokens=8)
    for faster in (True, False):
        ran = pretended(0.5e-3 if faster else 2e-3)
        with pytest.raises(KeyboardInterrupt):
            train_language_model(shape, load_tokenizer("characters:abc"), ["abc"], tmp_path / "lm")
    assert told == [True, False]
    assert max(each.shape[1] for each in ran) <= shape.row_tokens


def test_auto_is_a_word_of_this_setting_alone():
    with pytest.raises(ValueError, match="unknown bf16 'fast'"):
        PPOConfig(bf16="fast")
    with pytest.raises(TypeError, match="bf16"):
        PPOConfig(bf16=3)
    with pytest.raises(TypeError, match="whiten_rewards"):
        PPOConfig(whiten_rewards="auto")
    assert dataclasses.replace(PPOConfig(bf16="auto"), bf16=True).bf16 is True
