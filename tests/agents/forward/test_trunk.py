"""The lean forward is transformers' own, gradients and all."""

from functools import partial
from typing import get_args

import numpy as np
import pytest
import torch
from transformers import (
    BartConfig,
    BartForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from agents.forward.lean_gpt2 import LeanGPT2
from agents.forward.lean_llama import LeanLlama
from agents.forward.requirements import UnfitModelError
from agents.forward.trunk import TransformersTrunk, make_trunk
from agents.models.policy import TransformerPolicy
from agents.models.scratch import Kind, ScratchConfig, make_scratch_model
from agents.sft import SFTConfig, make_language_model
from tests.agents.toys import VOCABULARY, make_model
from textgym.tokenizers import load_tokenizer

TOKENS = torch.randint(3, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kind", "trunk"),
    [
        ("gpt2", LeanGPT2),
        ("llama", LeanLlama),
        ("qwen2", LeanLlama),
        ("qwen3", LeanLlama),
        ("mistral", TransformersTrunk),
    ],
)
def test_each_family_gets_its_trunk(kind, trunk):
    assert type(make_trunk(make_model(kind))) is trunk


def _house_model(name):
    """A small model as the house itself makes it, by the functions that its commands call."""
    tokenizer = load_tokenizer("characters:abcdefgh")
    if name == "sft":
        return make_language_model(SFTConfig(layers=2, width=32, row_tokens=32), tokenizer)
    config = ScratchConfig(kind=name, layers=2, width=32, heads=4, positions=32)
    return make_scratch_model(config, tokenizer)


HOUSE_MODELS = ["sft", *get_args(Kind)]


@pytest.mark.parametrize("name", HOUSE_MODELS)
def test_what_the_house_makes_runs_lean(name):
    """A fixture that asks for what the trunk asks for would hide that nothing else fits."""
    assert type(TransformerPolicy(_house_model(name)).trunk) in (LeanGPT2, LeanLlama)


@pytest.mark.parametrize(
    "model",
    [
        *(partial(make_model, kind) for kind in ("gpt2", "llama", "qwen2", "qwen3")),
        *(partial(_house_model, name) for name in HOUSE_MODELS),
    ],
    ids=["gpt2", "llama", "qwen2", "qwen3", *(f"house {name}" for name in HOUSE_MODELS)],
)
def test_lean_states_and_gradients_are_those_of_transformers(model):
    model = model().eval()
    torch.manual_seed(0)
    for parameter in model.parameters():  # biases and gains start at 0 and 1, and hide mistakes
        torch.nn.init.normal_(parameter, std=0.2)
    assert not isinstance(make_trunk(model), TransformersTrunk)
    expected = model.base_model(input_ids=TOKENS).last_hidden_state
    actual = make_trunk(model).full(TOKENS)
    torch.testing.assert_close(expected, actual, atol=1e-4, rtol=1e-4)
    probe = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    trained = dict(model.base_model.named_parameters())
    ours = torch.autograd.grad((actual * probe).sum(), trained.values())
    theirs = torch.autograd.grad((expected * probe).sum(), trained.values())
    for name, mine, other in zip(trained, ours, theirs, strict=True):
        torch.testing.assert_close(other, mine, atol=2e-3, rtol=1e-3, msg=name)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3", "mistral"])
def test_selected_states_are_those_of_all_and_teach_the_same(kind):
    """In any order, and one of them twice."""
    model = make_model(kind).eval()
    trunk, selected = make_trunk(model), torch.tensor([26, 0, 10, 10, 17])
    expected = trunk.full(TOKENS).flatten(0, 1)[selected]
    actual = trunk.full(TOKENS, selected)
    torch.testing.assert_close(expected, actual)
    probe = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    trained = dict(model.base_model.named_parameters())
    theirs = torch.autograd.grad((expected * probe).sum(), trained.values())
    ours = torch.autograd.grad((actual * probe).sum(), trained.values())
    for name, mine, other in zip(trained, ours, theirs, strict=True):
        torch.testing.assert_close(other, mine, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3", "mistral"])
def test_selected_states_of_a_prompt_are_those_of_all(kind):
    trunk, selected = make_trunk(make_model(kind).eval()), torch.tensor([8, 9 + 2, 18 + 5])
    states, caches = [], []
    with torch.no_grad():
        for which in (None, selected):
            cache = trunk.new_cache(3, 16)
            cache.fit(9)
            states.append(trunk.read(TOKENS, cache.add(torch.tensor([9, 3, 6])), cache, which))
            caches.append([*cache.keys, *cache.values])
    torch.testing.assert_close(states[0].flatten(0, 1)[selected], states[1])
    torch.testing.assert_close(*caches)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3"])
def test_lean_and_transformers_write_the_same_cache(kind):
    """Reading, stepping, dropping and adding, in rows of different lengths."""
    model = make_model(kind).eval()
    hidden = []
    with torch.no_grad():
        for trunk in (make_trunk(model), TransformersTrunk(model)):
            cache = trunk.new_cache(3, 16)
            cache.fit(9)
            trunk.read(TOKENS, cache.add(torch.tensor([9, 3, 6])), cache)
            for token in range(3, 9):
                if token == 6:
                    assert cache.drop(np.array([0])).tolist() == [2, 1]
                    trunk.read(TOKENS[:1, :4], cache.add(torch.tensor([4])), cache)
                cache.fit(token + 7)
                state = trunk.step(torch.full((3,), token), cache)
                cache.lengths = cache.lengths + 1
            hidden.append(state)
        whole = torch.zeros(3, 12, dtype=torch.int64)
        whole[0], whole[1, :9] = torch.cat([TOKENS[2, :6], torch.arange(3, 9)]), 0
        whole[1, :9] = torch.cat([TOKENS[1, :3], torch.arange(3, 9)])
        whole[2, :7] = torch.cat([TOKENS[0, :4], torch.arange(6, 9)])
        full = model.base_model(input_ids=whole).last_hidden_state
    torch.testing.assert_close(hidden[1], hidden[0], atol=1e-5, rtol=1e-4)
    expected = full[torch.arange(3), torch.tensor([11, 8, 6])]
    torch.testing.assert_close(expected, hidden[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
def test_a_text_outgrows_its_first_columns(kind):
    """The cache widens on the way, and nothing that was read is lost."""
    model = make_model(kind).eval()
    text = torch.randint(3, VOCABULARY, (2, 39), generator=torch.Generator().manual_seed(2))
    trunk, widths = make_trunk(model), set()
    with torch.no_grad():
        full = model.base_model(input_ids=text).last_hidden_state
        cache = trunk.new_cache(2, 39)
        cache.fit(4)
        trunk.read(text[:, :4], cache.add(torch.tensor([4, 4])), cache)
        for column in range(4, 39):
            widths.add(cache.width)
            cache.fit(column + 1)
            state = trunk.step(text[:, column], cache)
            cache.lengths = cache.lengths + 1
            torch.testing.assert_close(full[:, column], state, atol=1e-5, rtol=1e-4)
    assert widths == {32, 39}


@pytest.mark.parametrize(
    "model",
    [
        GPT2LMHeadModel(
            GPT2Config(n_layer=1, n_head=2, n_embd=8, scale_attn_by_inverse_layer_idx=True)
        ),
        GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, activation_function="relu")),
        LlamaForCausalLM(
            LlamaConfig(
                num_hidden_layers=1,
                num_attention_heads=2,
                hidden_size=8,
                intermediate_size=8,
                hidden_act="gelu",
            )
        ),
    ],
    ids=["scaled", "relu", "gelu"],
)
def test_a_rarer_option_is_left_to_transformers(model):
    assert isinstance(make_trunk(model), TransformersTrunk)


def test_a_window_shorter_than_a_text_is_refused():
    model = make_model("mistral")
    model.config.sliding_window = 8
    with pytest.raises(ValueError, match="looks back 8 tokens and texts have 16"):
        TransformersTrunk(model).new_cache(1, 16)


def test_steps_that_are_not_what_was_read_are_refused():
    """BART's decoder counts positions by its cache: its steps were of other places."""
    config = BartConfig(
        vocab_size=VOCABULARY,
        d_model=16,
        decoder_layers=1,
        encoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        max_position_embeddings=32,
        is_decoder=True,
        is_encoder_decoder=False,
    )
    torch.manual_seed(0)
    policy = TransformerPolicy(BartForCausalLM(config))
    with pytest.raises(
        UnfitModelError, match="BartForCausalLM reads a text of 16 tokens otherwise"
    ):
        policy.trunk.new_cache(2, 16)
    mamba = MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1)
    )
    with pytest.raises(UnfitModelError, match="keeps more than keys and values"):
        TransformerPolicy(mamba).trunk.new_cache(2, 16)


@pytest.mark.parametrize("setting", ["logits_scaling", "final_logit_softcapping"])
def test_logits_that_are_bent_are_refused_however_small_they_are(setting):
    """At first a cap bends nothing that can be measured; once trained, it does."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": VOCABULARY}
    torch.manual_seed(0)
    if setting == "logits_scaling":
        model = GraniteForCausalLM(GraniteConfig(**sizes, **heads, logits_scaling=1.001))
    else:
        config = Gemma2Config(**sizes, **heads, head_dim=8, final_logit_softcapping=500.0)
        model = Gemma2ForCausalLM(config)
        with torch.no_grad():
            logits = model(input_ids=TOKENS).logits
        assert logits.abs().max() < 5
    with pytest.raises(UnfitModelError, match="does more to its logits"):
        TransformerPolicy(model)


def test_keys_and_values_may_have_sizes_of_their_own():
    """As in DeepSeek's latent attention."""
    config = DeepseekV3Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        moe_intermediate_size=16,
        num_hidden_layers=1,
        first_k_dense_replace=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        qk_rope_head_dim=4,
        qk_nope_head_dim=8,
        v_head_dim=4,
        kv_lora_rank=8,
        q_lora_rank=8,
        n_routed_experts=4,
        n_group=1,
        topk_group=1,
    )
    torch.manual_seed(0)
    cache = TransformerPolicy(DeepseekV3ForCausalLM(config)).trunk.new_cache(2, 9)
    cache.fit(9)
    assert cache.keys[0].shape[-1] > cache.values[0].shape[-1]
