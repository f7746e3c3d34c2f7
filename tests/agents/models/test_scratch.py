"""Models from one line: the size that was asked for, the same weights for the same line."""

import pytest
import torch

from agents.models.scratch import ScratchConfig, make_scratch_model
from textgym.tokenizers import load_tokenizer

LETTERS = load_tokenizer("characters:abcdefgh")  # eleven ids
SMALL = "layers=2&width=32&heads=4&positions=16"


def _model(line):
    return make_scratch_model(ScratchConfig.parse(line), LETTERS)


def _count(model):
    return sum(p.numel() for p in model.parameters())


def test_a_gpt2_has_the_size_that_was_asked_for():
    """Counted by hand: embeddings, and per block attention, network and two gains with biases."""
    block = (32 * 96 + 96) + (32 * 32 + 32) + (32 * 128 + 128) + (128 * 32 + 32) + 2 * 64
    assert _count(_model(f"scratch:gpt2?{SMALL}")) == 11 * 32 + 16 * 32 + 2 * block + 64


@pytest.mark.parametrize(
    ("kind", "more"), [("llama", 0), ("qwen2", 32 + 16 + 16), ("qwen3", 8 + 8)]
)
def test_a_rotary_model_has_the_size_that_was_asked_for(kind, more):
    """Two of four heads keep keys and values; three matrices of 32 x 48 in the network."""
    attention = 2 * 32 * 32 + 2 * 32 * 16 + more
    block = attention + 3 * 32 * 48 + 2 * 32
    model = _model(f"scratch:{kind}?{SMALL}&kv_heads=2&inner=48")
    assert _count(model) == 11 * 32 + 2 * block + 32


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3"])
def test_a_line_gives_the_same_weights_again_and_leaves_the_global_generator(kind):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (
        next(_model(f"scratch:{kind}?{SMALL}&seed={seed}").parameters()) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(expected, torch.rand(1))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3"])
def test_the_output_layer_is_the_embedding_and_the_special_ids_are_the_tokenizer_s(kind):
    model = _model(f"scratch:{kind}?{SMALL}")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    config = model.config
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)


def test_the_written_line_holds_every_field():
    """So that a later default does not change a model that an adapter was trained on."""
    config = ScratchConfig(kind="llama", layers=1, width=8, heads=2, positions=9, seed=3)
    line = "scratch:llama?layers=1&width=8&heads=2&kv_heads=0&inner=0&positions=9&seed=3"
    assert line == config.line()
    assert config == ScratchConfig.parse(line)
    assert ScratchConfig() == ScratchConfig.parse("scratch:gpt2")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("scratch:bert", "unknown kind 'bert'; known: gpt2, llama, qwen2"),
        ("scratch:gpt2?depth=3", "unknown field 'depth'.*known: layers, width"),
        ("scratch:gpt2?layers=three", "layers in .* is no whole number: 'three'"),
        ("scratch:gpt2?layers=", "layers in .* is no whole number"),
        ("scratch:gpt2?layers=1&layers=2", "gives layers twice"),
        ("scratch:gpt2?layers=0", "layers must be at least 1, got 0"),
        ("scratch:gpt2?width=10", "width 10 is not a multiple of heads 4"),
        ("scratch:llama?width=20", "must be even, and 20 / 4 is not"),
        ("scratch:llama?kv_heads=3", "heads 4 is not a multiple of kv_heads 3"),
        ("scratch:gpt2?kv_heads=2", "gpt2 takes no kv_heads"),
        ("scratch:gpt2?seed=-1", "seed must be at least 0, got -1"),
    ],
)
def test_a_line_that_describes_no_model_says_why(line, message):
    with pytest.raises(ValueError, match=message):
        ScratchConfig.parse(line)
