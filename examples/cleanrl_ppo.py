"""PPO in one file, in the manner of CleanRL, on ``gymnasium.make_vec``: no library of agents.

With ``SameStep`` a finished row shows its next episode at once. Illegal tokens are masked out.
Run it: ``python examples/cleanrl_ppo.py``. It takes about fifteen seconds on one core.
"""

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

import textgym  # noqa: F401 - registers the ids

ROWS, STEPS, UPDATES, EPOCHS, CLIP, LAM = 256, 8, 150, 4, 0.2, 0.95  # no discount


class Agent(nn.Module):
    def __init__(self, places, tokens, actions, width=64):
        super().__init__()
        layers = nn.Embedding(tokens, 16), nn.Flatten(), nn.Linear(16 * places, width), nn.Tanh()
        self.trunk = nn.Sequential(*layers)
        self.policy, self.value = nn.Linear(width, actions), nn.Linear(width, 1)

    def forward(self, tokens, legal):
        hidden = self.trunk(tokens)
        choice = Categorical(logits=self.policy(hidden).masked_fill(~legal, -1e9))
        return choice, self.value(hidden).squeeze(-1)


def main():
    torch.manual_seed(0)
    envs = gym.make_vec("TextGym/Alphabet-v0", num_envs=ROWS, autoreset_mode="SameStep")
    envs = gym.wrappers.vector.RecordEpisodeStatistics(envs)
    observation, _ = envs.reset(seed=0)
    legal = torch.as_tensor(envs.unwrapped.action_masks()[0])
    actions = int(envs.single_action_space.n)  # as many as there are ids
    agent = Agent(envs.single_observation_space.shape[0], actions, actions)
    optimizer = torch.optim.Adam(agent.parameters(), lr=5e-3, eps=1e-5)
    means = []
    for _ in range(UPDATES):
        columns, returns = [], []
        with torch.no_grad():
            for _ in range(STEPS):
                tokens = torch.as_tensor(observation)
                choice, value = agent(tokens, legal)
                action = choice.sample()
                observation, reward, terminated, truncated, infos = envs.step(action.numpy())
                done, reward = torch.as_tensor(terminated | truncated), torch.as_tensor(reward)
                step = (tokens, action, choice.log_prob(action), value, reward.float(), done)
                columns.append(step)
                if "episode" in infos:
                    returns += infos["episode"]["r"][infos["_episode"]].tolist()
            after = agent(torch.as_tensor(observation), legal)[1]
        tokens, actions, old, values, rewards, dones = map(torch.stack, zip(*columns, strict=True))
        advantages, carry = torch.zeros_like(rewards), torch.zeros(ROWS)
        for step in reversed(range(STEPS)):
            going_on = 1.0 - dones[step].float()
            delta = rewards[step] + after * going_on - values[step]
            carry = delta + LAM * going_on * carry
            advantages[step], after = carry, values[step]
        normal = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        for _ in range(EPOCHS):
            for rows in torch.randperm(ROWS).chunk(2):
                choice, value = agent(tokens[:, rows].flatten(0, 1), legal)
                ratio = (choice.log_prob(actions[:, rows].flatten()) - old[:, rows].flatten()).exp()
                gain = normal[:, rows].flatten()
                loss = -torch.min(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
                loss = loss + 0.5 * ((value - (advantages + values)[:, rows].flatten()) ** 2).mean()
                loss = loss - 0.05 * choice.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
        means.append(float(np.mean(returns)))
    print(f"mean score: {means[0]:.2f} before, {means[-1]:.2f} after (the optimum is 1)")


if __name__ == "__main__":
    main()
