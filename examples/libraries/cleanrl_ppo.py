"""PPO in the manner of CleanRL: a loop of one's own over a native batch, and no library."""

import gymnasium as gym
import torch
from torch.distributions import Categorical

from textgym.wrappers.vector import OneHotObservation


def main(updates=50, rows=64, steps=8):
    torch.manual_seed(0)
    batch = {"num_envs": rows, "autoreset_mode": "SameStep", "dense": True}
    envs = OneHotObservation(gym.make_vec("textgym:TextGym/Alphabet-v0", **batch))
    width, actions = envs.single_observation_space.shape[0], int(envs.single_action_space.n)
    layers = torch.nn.Linear(width, 64), torch.nn.Tanh(), torch.nn.Linear(64, actions + 1)
    net, scores = torch.nn.Sequential(*layers), []  # the logits, and the value behind them
    optimizer, after = torch.optim.Adam(net.parameters(), lr=5e-3), envs.reset(seed=0)[0]
    for _ in range(updates):
        told = []
        for _ in range(steps):
            out = net(seen := torch.as_tensor(after)).detach()
            action = (choice := Categorical(logits=out[:, :-1])).sample()
            after, paid, done, _, _ = envs.step(action.numpy())
            paid, done = torch.as_tensor(paid).float(), torch.as_tensor(done)
            told.append((seen, action, choice.log_prob(action), out[:, -1], paid, done))
        seen, action, old, value, paid, done = map(torch.stack, zip(*told, strict=True))
        scores.append(float(paid.sum() / done.sum()))
        gain, carry, later = value.clone(), 0.0, net(torch.as_tensor(after))[:, -1].detach()
        for step in reversed(range(steps)):
            carry = paid[step] - value[step] + ~done[step] * (later + 0.95 * carry)
            gain[step], later = carry, value[step]
        for part in [part for _ in range(4) for part in torch.randperm(rows).chunk(4)]:
            out, g = net(seen[:, part]), gain[:, part]
            choice, normal = Categorical(logits=out[..., :-1]), (g - g.mean()) / (g.std() + 1e-8)
            ratio = (choice.log_prob(action[:, part]) - old[:, part]).exp()
            loss = -torch.min(ratio * normal, ratio.clamp(0.8, 1.2) * normal).mean()
            loss += 0.5 * (out[..., -1] - g - value[:, part]).pow(2).mean()
            optimizer.zero_grad()
            (loss - 0.02 * choice.entropy().mean()).backward()
            optimizer.step()
    return scores[0], sum(scores[-5:]) / 5


if __name__ == "__main__":
    print("mean score: {:.2f} before, {:.2f} after (the optimum is 1)".format(*main()))
