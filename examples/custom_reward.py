"""Compare two rewards, one of them your own, on the very same texts.

A reward is any callable with the signature of ``vowels`` below. The one that an environment was
made with pays its agents; any other can be asked about the same texts afterwards.

Run it: ``python examples/custom_reward.py``. It needs numpy and Gymnasium only.
"""

import gymnasium as gym
import numpy as np

from textgym.rewards import resolve
from textgym.testing import check_reward_function

ROWS = 64
SHOWN = 6


def vowels(prompts, completions, **columns):  # noqa: ARG001 - a reward's signature
    """The share of vowels in each completion; 0 for an empty one."""
    return [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in completions]


def main():
    check_reward_function(vowels)  # finite, repeatable, the same score in whatever batch
    envs = gym.make_vec(
        "textgym:TextGym/Alphabet-v0",
        num_envs=ROWS,
        autoreset_mode="Disabled",
        reward=vowels,
    ).unwrapped
    rng = np.random.default_rng(0)
    envs.reset(seed=0)
    mine, done = np.zeros(ROWS), np.zeros(ROWS, dtype=bool)
    while not done.all():
        legal = envs.action_masks()
        tokens = (rng.random(legal.shape) * legal).argmax(axis=1)  # uniform over the legal ones
        _, rewards, terminated, truncated, _ = envs.step(tokens)
        mine += rewards
        done = terminated | truncated

    prompts, completions = envs.texts()
    theirs = np.array(resolve("textgym.tasks.toys:alphabet_score")(prompts, completions))
    print(f"{'text':<10}  vowels  alphabet")
    for row in range(SHOWN):
        text = f"{prompts[row]}|{completions[row]}"
        print(f"{text:<10}  {mine[row]:6.2f}  {theirs[row]:8.2f}")
    print(f"mean of {ROWS}: vowels {mine.mean():.3f}, alphabet {theirs.mean():.3f}")
    print(f"correlation of the two: {np.corrcoef(mine, theirs)[0, 1]:+.3f}")


if __name__ == "__main__":
    main()
