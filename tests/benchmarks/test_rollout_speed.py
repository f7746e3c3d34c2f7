"""Tokens per second of a rollout, beside ``generate`` of transformers on the same model.

``make bench`` prints the table. GPT-2 with 4 layers of width 256 and a vocabulary of 4096, random
weights, 128 prompts of 16 tokens, 36 tokens each, temperature 1 without top-k, float32; the medians
of 3 rounds after a warm-up. The rollout also gives log-probabilities and values, steps the
environment for every token, and scores the texts (a free reward).
"""

import time

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from agents.decoding import Sampling
from agents.policy import TransformerPolicy
from agents.rollout import collect
from tests.agents.models import make_toy

ROWS, PROMPT, NEW = 128, 16, 36


def free(prompts, completions, **columns):
    """Costs nothing."""
    return [0.0] * len(completions)


def _median(function):
    function()
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        tokens = function()
        rounds.append(tokens / (time.perf_counter() - start))
    return float(np.median(rounds))


def test_rollout_beside_generate():
    letters = "".join(chr(0x4E00 + i) for i in range(4093))
    envs = make_toy(
        rows=ROWS,
        tokenizer=f"characters:abcdefgh{letters[8:]}",
        reward=free,
        completion_tokens=NEW,
    )
    shape = GPT2Config(
        vocab_size=4096,
        n_embd=256,
        n_layer=4,
        n_head=4,
        n_positions=64,
        attn_implementation="eager",
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    policy = TransformerPolicy(GPT2LMHeadModel(shape))
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(3, 4096, (ROWS, PROMPT), generator=generator)

    def rollout():
        result = collect(envs, policy, sampling=Sampling(), generator=generator)
        return int(result.mask.sum())

    def generate():
        policy.model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=True,
            top_k=0,
            max_new_tokens=NEW,
            min_new_tokens=NEW,
        )
        return ROWS * NEW

    ours, theirs = _median(rollout), _median(generate)
    print(f"\nrollout {ours:,.0f} tokens/s, generate {theirs:,.0f}: ratio {ours / theirs:.2f}")
    assert ours > 0
    assert theirs > 0
