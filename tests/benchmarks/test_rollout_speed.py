"""Tokens per second of rollouts and of PPO, beside ``generate`` of transformers on the same model.

``make bench`` prints the table. GPT-2 with 4 layers of width 256 and a vocabulary of 4096, random
weights; 128 rows, prompts of 16 tokens, 48 tokens each, temperature 1 without top-k. A rollout also
gives log-probabilities and values, steps the environment for every token and scores the texts (a
free reward). ``ragged`` plays 512 texts in the 128 rows with a policy that ends a text after 24
tokens on average. ``PPO`` is a whole iteration of one epoch and one minibatch: rollout, reference,
update. All cases take turns, three rounds after a warm-up; medians. Both sides run in one process
with the same allocator settings and threads.
"""

import time
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from agents.collecting import collect
from agents.decoding import Sampling
from agents.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.trunks import TransformersTrunk
from textgym.types import Example

ROWS, PROMPT, NEW, VOCABULARY, MEAN = 128, 16, 48, 4096, 24
LETTERS = [chr(0x4E00 + i) for i in range(VOCABULARY - 3)]


def free(prompts, completions, **columns):
    """Costs nothing to speak of, and differs, so that there is something to learn."""
    return [float(ord(text[0]) % 7) if text else 0.0 for text in completions]


def _task():
    prompts = ["".join(LETTERS[i : i + PROMPT - 1]) for i in range(512)]
    return SimpleNamespace(
        name="Speed",
        prompt_tokens=PROMPT,
        completion_tokens=NEW,
        tokenizer="characters:" + "".join(LETTERS),
        reward=free,
        splits=("train",),
        examples=lambda split: [Example(prompt=prompt) for prompt in prompts],
    )


def _envs():
    return gym.make_vec(
        "TextGym/Alphabet-v0",
        num_envs=ROWS,
        task=_task(),
        reward=free,
        backend="torch",
        autoreset_mode="Disabled",
    ).unwrapped


def _model():
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=256,
            n_layer=4,
            n_head=4,
            n_positions=PROMPT + NEW,
            attn_implementation="eager",
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    )


def _ending():
    """A policy that ends a text with a probability that makes it ``MEAN`` tokens long."""
    model = _model()
    with torch.no_grad():
        shift = torch.ones(256) / 4
        model.transformer.ln_f.bias.copy_(shift)
        stop = np.log((VOCABULARY - 3) / 36)  # one in 37, cut off at NEW
        model.lm_head.weight[2] = shift * stop / (shift @ shift)
    return TransformerPolicy(model)


def _cases():
    envs, generator = _envs(), torch.Generator().manual_seed(0)
    full, ending = TransformerPolicy(_model()), _ending()
    plain = TransformerPolicy(_model())
    plain._trunk = TransformersTrunk(plain.model)
    half = full.frozen_copy(torch.bfloat16)
    prompts = torch.randint(3, VOCABULARY, (ROWS, PROMPT), generator=generator)

    def rollout(policy, texts=ROWS):
        ids = [i % 512 for i in range(texts)]
        result = collect(envs, policy, sampling=Sampling(), generator=generator, example_ids=ids)
        return result.num_actions

    def generate(policy):
        with torch.no_grad():
            policy.model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=True,
                top_k=0,
                max_new_tokens=NEW,
                min_new_tokens=NEW,
            )
        return ROWS * NEW

    cases = {
        "generate, float32": lambda: generate(full),
        "rollout, float32": lambda: rollout(full),
        "rollout by transformers' forward": lambda: rollout(plain),
        "generate, bfloat16": lambda: generate(half),
        "rollout, bfloat16": lambda: rollout(half),
        "rollout of 512 texts, float32": lambda: rollout(full, 512),
        "ragged, 512 texts, float32": lambda: rollout(ending, 512),
    }
    for bf16 in (False, True):
        config = PPOConfig(epochs=1, minibatches=1, bf16=bf16, temperature=1.0)
        ppo = PPO(TransformerPolicy(_model()), _envs(), config)
        name = f"PPO, {'bfloat16' if bf16 else 'float32'}"
        cases[name] = lambda ppo=ppo: ppo.step()[1].num_actions
    return cases


def test_rollout_beside_generate():
    cases, rates = _cases(), {}
    for turn in range(4):
        for name, run in cases.items():
            start = time.perf_counter()
            tokens = run()
            if turn:
                rates.setdefault(name, []).append(tokens / (time.perf_counter() - start))
    print(f"\n{torch.get_num_threads()} threads")
    medians = {name: float(np.median(rate)) for name, rate in rates.items()}
    for name, rate in medians.items():
        print(f"{name:32s} {rate:8,.0f} tokens/s")
    for kind in ("float32", "bfloat16"):
        ratio = medians[f"rollout, {kind}"] / medians[f"generate, {kind}"]
        print(f"rollout over generate, {kind}: {ratio:.2f}")
    ragged = medians["ragged, 512 texts, float32"] / medians["rollout of 512 texts, float32"]
    print(f"ragged over full: {ragged:.2f}")
    assert all(rate > 0 for rate in medians.values())
