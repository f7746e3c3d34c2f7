"""Teach a tiny GPT-2 to recite the alphabet with PPO, from random weights, in a few seconds.

The prompt is a letter; the score is 1 for the three letters that follow it, and then the end.

Run it: ``python examples/ppo_on_a_toy.py``. It needs no data and no GPU.
"""

import gymnasium as gym
import torch

import textgym  # noqa: F401 - registers the ids
from agents import PPO, PPOConfig, TransformerPolicy
from agents.sft import SFTConfig, make_language_model


def main():
    torch.set_num_threads(1)
    envs = gym.make_vec(
        "TextGym/Alphabet-v0", num_envs=256, backend="torch", autoreset_mode="Disabled"
    ).unwrapped
    shape = SFTConfig(layers=2, width=32, heads=4)
    policy = TransformerPolicy(make_language_model(shape, envs.tokenizer))
    config = PPOConfig(
        iterations=50,
        epochs=4,
        minibatches=2,
        learning_rate=3e-3,
        value_weight=0.5,  # a value function that starts from nothing has much to learn
        lam=0.95,
        kl_coefficient=0.0,  # random weights are nothing to stay close to
        temperature=1.0,
    )
    ppo = PPO(policy, envs, config)
    print("iteration  reward  length")
    for iteration in range(1, config.iterations + 1):
        metrics, _ = ppo.step()
        if iteration == 1 or iteration % 10 == 0:
            print(f"{iteration:9d}  {metrics['reward']:6.3f}  {metrics['length']:6.2f}")
    print("what it writes now:")
    for prompt, completion in sorted(dict(zip(*envs.texts(), strict=True)).items()):
        print(f"  {prompt} -> {completion}")


if __name__ == "__main__":
    main()
