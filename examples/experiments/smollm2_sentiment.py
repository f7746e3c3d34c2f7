"""Teach the pretrained SmolLM2-135M to like films, on one CPU thread, and ask a judge about it.

The reward is VADER's lexicon. The judge is a classifier of words and pairs of words, learned from
labels that people gave to other reviews; nothing optimises it. The same prompts of the test split
are continued before and after, by the same random numbers. It learns by GRPO, without a price of
KL, which is measured at the end: adapters of the upper third, and, apart, all weights.

Run it: ``python examples/experiments/smollm2_sentiment.py``. It needs what
``examples/pretrained_agent.py`` does. A line of JSON is added to ``--out`` for each iteration and
for each result; the table is printed at the end.
"""

import argparse
import json
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

import textgym  # noqa: F401 - registers the ids
from agents.grpo import GRPO, GRPOConfig
from agents.maths.kl import sequence_kl
from agents.measuring.evaluation import distinct_n, repeated_bigrams
from agents.models.loading import load_model
from agents.models.policy import TransformerPolicy
from agents.rollouts.collect import collect
from reward_models.models.gold import GoldJudge
from textgym.data.reviews import load_reviews
from textgym.pretrained.adapters import AdapterConfig
from textgym.statistics.comparisons import paired_difference, win_rate

# The upper third alone: nothing has to flow back through the 20 layers below the adapters.
TARGETS = tuple(
    f"{layer}.{part}"
    for layer in range(20, 30)
    for part in (
        *(f"self_attn.{name}_proj" for name in "qvo"),
        *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    )
)


# For adapters chosen on seed 0, by the training reward; for all weights not tuned.
LEARNING_RATES = {"adapters": 3e-3, "all": 5e-5}


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/smollm2_sentiment.jsonl"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--texts", type=int, default=64, help="an iteration, and rows at once")
    parser.add_argument("--tokens", type=int, default=20, help="of a text, at most")
    parser.add_argument("--test-prompts", type=int, default=192)
    parser.add_argument("--judge-texts", type=int, default=4400)
    parser.add_argument(
        "--weights", nargs="+", choices=LEARNING_RATES, default=[*LEARNING_RATES], help="that learn"
    )
    parser.add_argument("--learning-rate", type=float, help=f"default: {LEARNING_RATES}")
    return parser.parse_args()


def make_envs(given, split):
    return gym.make_vec(
        "TextGym/Sentiment-v0",
        num_envs=given.texts,
        split=split,
        tokenizer="smollm2",
        reward="vader",
        prompt_tokens=16,
        completion_tokens=given.tokens,
        backend="torch",
        autoreset_mode="Disabled",
    ).unwrapped


def make_agent(given, envs, weights, seed):
    adapters = AdapterConfig(rank=8, alpha=16, targets=TARGETS, seed=seed)
    lora = adapters if weights == "adapters" else None
    model, _ = load_model("smollm2", envs.tokenizer, lora=lora)
    config = GRPOConfig(
        iterations=given.iterations,
        group_size=4,
        minibatches=2,
        learning_rate=given.learning_rate or LEARNING_RATES[weights],
        kl_coefficient=0.0,
        temperature=0.8,
        bf16=True,
        seed=seed,
    )
    policy = TransformerPolicy(model)
    # Adapters are switched off for it; without a price of KL none is made of all weights.
    reference = policy.frozen_copy() if lora is None else None
    return GRPO(policy, envs, config, reference=reference)


def measure(given, agent, envs, judge):
    """What it writes for the first test prompts; the start is the reference."""
    rollout = collect(
        envs,
        agent.policy.frozen_copy(torch.bfloat16),
        sampling=agent.config.sampling,
        generator=torch.Generator().manual_seed(1),
        example_ids=list(range(given.test_prompts)),
    )
    own = agent.evaluate(agent.policy, rollout)
    reference = agent.reference_log_probs(rollout)
    rows = rollout.completions()
    texts = envs.tokenizer.decode_batch(rows)
    return {
        "gold": judge.score(texts).tolist(),
        "reward": float(rollout.scores.mean()),
        "kl": float(sequence_kl(own.log_probs - reference, rollout.mask)),
        "distinct_2": distinct_n(rows, 2),
        "repeated_bigrams": repeated_bigrams(rows),
        "texts": texts[:12],
    }


def train(given, weights, seed, judge, before, note):
    """One run, noted iteration by iteration."""
    envs, test = make_envs(given, "train"), make_envs(given, "test")
    agent = make_agent(given, envs, weights, seed)
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(given.iterations):
        metrics, _ = agent.step()
        # Watched, never learned from.
        metrics["gold"] = float(judge.score(envs.texts()[1]).mean())
        note({"weights": weights, "seed": seed, **metrics})
    minutes, cpu = (time.perf_counter() - start) / 60, (time.process_time() - cpu) / 60
    after = measure(given, agent, test, judge)
    gain = paired_difference(after["gold"], before["gold"], np.random.default_rng(0))
    result = {"before": before, "after": after, "minutes": minutes, "cpu_minutes": cpu}
    result |= {"gain": [gain.value, gain.low, gain.high], "tokens": agent.num_timesteps}
    result["win_rate"] = win_rate(after["gold"], before["gold"]).rate
    rate = agent.config.learning_rate
    note({"weights": weights, "seed": seed, "learning_rate": rate, "result": result})
    return result


def table(results):
    """Markdown: a row a run."""
    header = [
        "weights that learn",
        "seed",
        "gold before → after",
        "gain (interval)",
        "win rate",
        "reward",
    ]
    header += ["KL, nats", "distinct-2, after / before", "repeated bigrams", "tokens"]
    header += ["CPU minutes"]
    rows = [header, ["---"] * len(header)]
    for (weights, seed), result in results.items():
        before, after, gain = result["before"], result["after"], result["gain"]
        rows.append(
            [
                weights,
                str(seed),
                f"{np.mean(before['gold']):.3f} → {np.mean(after['gold']):.3f}",
                f"{gain[0]:.3f} ({gain[1]:.3f} to {gain[2]:.3f})",
                f"{result['win_rate']:.0%}",
                f"{before['reward']:.2f} → {after['reward']:.2f}",
                f"{after['kl']:.1f}",
                f"{after['distinct_2'] / before['distinct_2']:.2f}",
                f"{before['repeated_bigrams']:.3f} → {after['repeated_bigrams']:.3f}",
                f"{result['tokens']:,}",
                f"{result['cpu_minutes']:.1f}",
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main():
    given = options()
    torch.set_num_threads(1)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    reviews = load_reviews("judge")[: given.judge_texts]
    judge = GoldJudge.fit([r.text for r in reviews], [r.label for r in reviews])

    def note(line):
        with given.out.open("a") as file:
            print(json.dumps(line), file=file)
        shown = ("weights", "seed", "iteration", "reward", "gold")
        print({name: line[name] for name in shown if name in line}, flush=True)

    test = make_envs(given, "test")
    before = measure(given, make_agent(given, test, "adapters", 0), test, judge)
    results = {
        (weights, seed): train(given, weights, seed, judge, before, note)
        for weights in given.weights
        for seed in given.seeds
    }
    print(table(results))


if __name__ == "__main__":
    main()
