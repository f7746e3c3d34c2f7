"""Tiny models made on the spot, and environments without data."""

import gymnasium as gym
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import textgym  # noqa: F401 - registers the ids
from agents.models.episodes import Episodes

VOCABULARY = 11  # three special ids and eight letters, as in Alphabet


def make_model(kind="gpt2", vocabulary=VOCABULARY, width=32, dropout=0.0, seed=0):
    """A random two-layer model."""
    torch.manual_seed(seed)
    small = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "attn_implementation": "eager",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**small))
    if kind == "mistral":  # which transformers' own forward runs
        return MistralForCausalLM(MistralConfig(**small, sliding_window=None))
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**small))
    if kind == "qwen3":  # whose heads may be wider than their share
        return Qwen3ForCausalLM(Qwen3Config(**small, head_dim=width // 2))
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_embd=width,
            n_layer=2,
            n_head=4,
            n_positions=64,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            attn_implementation="eager",
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def make_toy(name="Alphabet", rows=8, **kwargs):
    """A toy environment as the trainer wants it."""
    return gym.make_vec(
        f"TextGym/{name}-v0",
        num_envs=rows,
        backend="torch",
        autoreset_mode="Disabled",
        **kwargs,
    ).unwrapped


def episodes(tokens, places, actions, mask, legal, texts=None):
    """Whole texts and the actions in them, as a policy reads them."""
    return Episodes(
        tokens=tokens,
        places=places,
        actions=actions,
        mask=mask,
        legal=legal,
        texts=texts,
        pad_id=0,
    )
