"""What the native batch's other settings and wrappers cost beside the plain batch.

``make bench ARGS=tests/benchmarks/test_lanes.py`` prints the table: 1,024 rows, prompts of 16 and
completions of 48 tokens, no text ends before its allowance, a free reward. Each lane and the plain
batch take turns of two whole episodes of all rows, five times after a warm-up; the ratio of the
medians, of the processor's time, which other programs do not spend. Below it the microseconds of
the tokenizers' decoding and encoding, a text of each length beside one of half of it: a ratio of 2
is linear.
"""

import time
from pathlib import Path

import gymnasium as gym
import numpy as np

from tests.benchmarks.test_env_steps import COMPLETION, TASK, actions_of
from textgym.tokenizers import load_tokenizer
from textgym.wrappers import vector

ROWS, ROUNDS, EPISODES = 1024, 5, 2
MOST = 3.0
LENGTHS = (2_000, 4_000, 8_000, 16_000)


def half(prompts, completions, **columns):
    """A potential that costs nothing."""
    return [0.5] * len(completions)


def lanes(folder):
    """How each is made, by name."""

    def recording(envs):
        return vector.RecordTrajectories(envs, Path(folder) / "episodes.jsonl")

    def shaping(envs):
        return vector.PotentialShaping(envs, half)

    return {
        'obs_mode="dict"': ({"obs_mode": "dict"}, None),
        "DictObservation": ({}, vector.DictObservation),
        "emit_mask": ({"emit_mask": True}, None),
        "ActionMaskObservation": ({}, vector.ActionMaskObservation),
        "RecordTrajectories": ({}, recording),
        "PotentialShaping": ({}, shaping),
        "TextObservation": ({}, vector.TextObservation),
    }


def make(settings, wrapper):
    envs = gym.make_vec(
        "textgym:TextGym/Sentiment-v0",
        num_envs=ROWS,
        vectorization_mode="vector_entry_point",
        **TASK,
        **settings,
    )
    return envs if wrapper is None else wrapper(envs)


def episodes(envs, actions):
    """The processor's seconds of whole episodes of all rows, which end in the same step."""
    envs.reset(seed=0)
    start = time.process_time()
    for step in range(EPISODES * (COMPLETION + 1)):  # the step after an end starts anew
        envs.step(actions[step % len(actions)])
    return time.process_time() - start


def test_lanes_beside_the_plain_batch(tmp_path):
    made = {name: make(*how) for name, how in lanes(tmp_path).items()}
    plain = make({}, None)
    actions = actions_of(ROWS, plain.single_action_space.n, 0.0)
    seconds = {name: [] for name in ("plain", *made)}
    for turn in range(1 + ROUNDS):
        for name, envs in (("plain", plain), *made.items()):
            spent = episodes(envs, actions)
            if turn:
                seconds[name].append(spent)
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    steps = ROWS * EPISODES * (COMPLETION + 1)
    print(f"\nplain batch of {ROWS}: {steps / medians['plain']:,.0f} steps a processor's second")
    for name in made:
        ratio = medians[name] / medians["plain"]
        print(f"{name:24s} {ratio:6.1f} times   target {MOST}")


def test_tokenizers_are_linear():
    tokenizer = load_tokenizer("reviews-4096")
    generator = np.random.default_rng(0)
    words = ["good", "film", "éclair", "!!", "—", "the", "😀", "it's"]
    print()
    for name, run in (
        ("encode", lambda text, ids: tokenizer.encode(text)),
        ("decode", lambda text, ids: tokenizer.decode(ids)),
    ):
        before = None
        for length in LENGTHS:
            text = " ".join(generator.choice(words, length).tolist())
            ids = tokenizer.encode(text)
            times = []
            for _ in range(5):
                start = time.process_time()
                run(text, ids)
                times.append(time.process_time() - start)
            now = float(np.median(times))
            said = "" if before is None else f"  {now / before:.2f} times half as long"
            print(f"{name} {length:6,d} words: {now * 1e6:10,.0f} us{said}")
            before = now
