"""Write a few texts with random legal actions, and look at them in the terminal.

The loop is the one that any agent has: reset, choose a legal token, step, until the text is
finished.

Run it: ``python examples/random_agent.py``. It needs numpy and Gymnasium only.
"""

import gymnasium as gym

from textgym import StopReason

EPISODES, SEED = 5, 1


def main():
    env = gym.make("textgym:TextGym/Alphabet-v0", render_mode="ansi")
    env.action_space.seed(SEED)
    total = 0.0
    for episode in range(EPISODES):
        _, info = env.reset(seed=SEED if episode == 0 else None)
        print(f"example {info['example_id']}, a prompt of {info['prompt_length']} tokens")
        finished = False
        while not finished:
            legal = env.unwrapped.action_masks()
            token = env.action_space.sample(mask=legal.astype("int8"))
            _, reward, terminated, truncated, info = env.step(token)
            finished = terminated or truncated
        total += reward
        why = StopReason(info["stop_reason"]).name
        print(f"  {env.render()}  {info['completion_length']} tokens, stopped by {why}")
    print(f"mean score of {EPISODES} texts: {total / EPISODES:.3f}")


if __name__ == "__main__":
    main()
