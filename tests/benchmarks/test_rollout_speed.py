"""Tokens per second of rollouts and of PPO, beside ``generate`` of transformers on the same model.

``make bench`` prints the tables. GPT-2 with random weights: shape S has 4 layers of width 256 and a
vocabulary of 4096, shape M 6 layers of width 512 and 8192; 128 rows, prompts of 16 tokens, 48
tokens each, temperature 1 without top-k. A rollout also gives log-probabilities and values, steps
the environment for every token and scores the texts (a free reward). Shape S alone has more cases:
``ragged`` plays 512 texts in the 128 rows with a policy that ends a text after 24 tokens on
average; ``PPO`` is a whole iteration of one epoch and one minibatch: rollout, reference, update.
All cases take turns, three rounds after a warm-up; medians, once by the clock and once by the
processor's time, which other programs do not spend; beside the ratio the share of the roofline that
a full rollout reaches, see ``roofline.py``. Both sides run in one process with the same
allocator settings and threads.
"""

import time

import numpy as np
import pytest
import torch

from agents.forward.trunk import TransformersTrunk
from agents.maths.distributions import Sampling
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.rollouts.collect import collect
from agents.sft import SFTConfig, make_language_model
from tests.benchmarks.roofline import Work, product_speed
from tests.benchmarks.shapes import NEW, PROMPT, ROWS, SHAPES, make_envs
from textgym.tokenizers import load_tokenizer

MEAN = 24


def _model(shape):
    """By the function that the quickstart makes its own by, whichever forward that runs through."""
    config = SFTConfig(
        layers=shape.layers, width=shape.width, heads=shape.heads, row_tokens=PROMPT + NEW
    )
    return make_language_model(config, load_tokenizer("characters:" + shape.letters))


def _ending(shape):
    """A policy that ends a text with a probability that makes it ``MEAN`` tokens long."""
    model = _model(shape)
    with torch.no_grad():
        shift = torch.full((shape.width,), 4 / shape.width**0.5)
        model.transformer.ln_f.bias.copy_(shift)
        stop = np.log((shape.vocabulary - 3) / 36)  # one in 37, cut off at NEW
        model.lm_head.weight[2] = shift * stop / (shift @ shift)
    return TransformerPolicy(model)


def _cases(shape):
    envs, generator = make_envs(shape), torch.Generator().manual_seed(0)
    full = TransformerPolicy(_model(shape))
    half = full.frozen_copy(torch.bfloat16)
    prompts = torch.randint(3, shape.vocabulary, (ROWS, PROMPT), generator=generator)

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
        "generate, bfloat16": lambda: generate(half),
        "rollout, bfloat16": lambda: rollout(half),
    }
    if shape is not SHAPES["S"]:
        return cases
    plain, ending = TransformerPolicy(_model(shape)), _ending(shape)
    plain._trunk = TransformersTrunk(plain.model)
    cases |= {
        "rollout by transformers' forward": lambda: rollout(plain),
        "rollout of 512 texts, float32": lambda: rollout(full, 512),
        "ragged, 512 texts, float32": lambda: rollout(ending, 512),
    }
    for bf16 in (False, True):
        config = PPOConfig(epochs=1, minibatches=1, bf16=bf16, temperature=1.0)
        ppo = PPO(TransformerPolicy(_model(shape)), make_envs(shape), config)
        name = f"PPO, {'bfloat16' if bf16 else 'float32'}"
        cases[name] = lambda ppo=ppo: ppo.step()[1].num_actions
    return cases


@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", SHAPES)
def test_rollout_beside_generate(size):
    cases, rates = _cases(SHAPES[size]), {}
    for turn in range(4):
        for name, run in cases.items():
            start = np.array([time.perf_counter(), time.process_time()])
            tokens = run()
            if turn:
                spent = np.array([time.perf_counter(), time.process_time()]) - start
                rates.setdefault(name, []).append(tokens / spent)
    print(
        f"\nshape {size}, {torch.get_num_threads()} threads: by the clock and by processor's time"
    )
    medians = {name: np.median(rate, axis=0) for name, rate in rates.items()}
    for name, rate in medians.items():
        print(f"{name:32s} {rate[0]:8,.0f} {rate[1]:8,.0f} tokens/s")
    for kind in ("float32", "bfloat16"):
        ratio = medians[f"rollout, {kind}"] / medians[f"generate, {kind}"]
        print(f"rollout over generate, {kind}: {ratio[0]:.2f} {ratio[1]:.2f}")
        needed = Work.of(_model(SHAPES[size])).forward(1, PROMPT, NEW) / NEW
        speeds = [
            product_speed("cpu", getattr(torch, kind), clock=clock)
            for clock in (time.perf_counter, time.process_time)
        ]
        shares = medians[f"rollout, {kind}"] * needed / speeds
        print(f"its share of the roofline: {shares[0]:.0%} {shares[1]:.0%}")
        assert ratio[0] > 1
    if "ragged, 512 texts, float32" in medians:
        ratio = medians["ragged, 512 texts, float32"] / medians["rollout of 512 texts, float32"]
        print(f"ragged over full: {ratio[0]:.2f} {ratio[1]:.2f}")
