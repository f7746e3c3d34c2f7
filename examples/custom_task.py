"""Bring your own task: count on from a number, with a reward that knows the right answer.

A task is any object with these attributes. Once it is registered it has ids for all three kinds of
action, and everything that takes an environment takes it.

Run it: ``python examples/custom_task.py``. It needs numpy and Gymnasium only.
"""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np

import textgym
from textgym.testing import check_task, check_vector_env

ROWS = 256


def follows(prompts, completions, *, next_number, **columns):  # noqa: ARG001 - a reward's signature
    """The share of digits that are right, from the left; what is too long earns nothing."""
    scores = []
    for completion, wanted in zip(completions, next_number, strict=True):
        right = sum(a == b for a, b in zip(completion, wanted, strict=False))
        scores.append(right / len(wanted) if len(completion) <= len(wanted) else 0.0)
    return scores


@dataclass(frozen=True)
class Counting:
    """Say the number that comes next."""

    name: str = "Counting"
    prompt_tokens: int = 3
    completion_tokens: int = 3
    tokenizer: str = "characters:0123456789"
    reward: object = follows
    splits: tuple[str, ...] = ("train", "test")

    def examples(self, split):
        if split not in self.splits:
            raise ValueError(f"unknown split {split!r}; known: {', '.join(self.splits)}")
        numbers = range(10, 98)
        mine = [n for n in numbers if (n % 4 == 0) == (split == "test")]
        return [textgym.Example(prompt=str(n), columns={"next_number": str(n + 1)}) for n in mine]


def main():
    check_task(Counting())
    textgym.register_task("Counting", Counting)
    envs = gym.make_vec("TextGym/Counting-v0", num_envs=ROWS, autoreset_mode="Disabled").unwrapped
    check_vector_env(gym.make_vec("TextGym/Counting-v0", num_envs=4))
    rng, done = np.random.default_rng(0), np.zeros(ROWS, dtype=bool)
    envs.reset(seed=0)
    score = np.zeros(ROWS)
    while not done.all():
        legal = envs.action_masks()
        _, rewards, terminated, truncated, _ = envs.step(
            (rng.random(legal.shape) * legal).argmax(axis=1)
        )
        score += rewards
        done = terminated | truncated
    for prompt, completion, value in list(zip(*envs.texts(), score, strict=True))[:5]:
        print(f"{prompt} -> {completion or '(nothing)':<10} {value:.2f}")
    print(f"mean score of {ROWS} random texts: {score.mean():.3f}")


if __name__ == "__main__":
    main()
