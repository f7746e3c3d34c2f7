"""TorchRL's ClipPPOLoss over a native batch, whose finished rows TorchRL resets itself."""

import gymnasium as gym
import torch
from tensordict.nn import InteractionType, TensorDictModule
from torchrl.envs import GymWrapper
from torchrl.modules import MLP, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss, value

from textgym.wrappers.vector import OneHotObservation


def main(updates=40):
    torch.manual_seed(0)
    batch = {"num_envs": 64, "autoreset_mode": "Disabled", "dense": True}
    envs = OneHotObservation(gym.make_vec("textgym:TextGym/Alphabet-v0", **batch))
    env = GymWrapper(envs, categorical_action_encoding=True)
    env.set_seed(0)
    sizes = {"in_features": envs.single_observation_space.shape[0], "num_cells": [64]}
    net = MLP(out_features=int(envs.single_action_space.n), **sizes)
    drawn = {"return_log_prob": True, "default_interaction_type": InteractionType.RANDOM}
    actor = ProbabilisticActor(
        TensorDictModule(net, in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"],
        distribution_class=torch.distributions.Categorical,
        **drawn,
    )
    critic = ValueOperator(MLP(out_features=1, **sizes), in_keys=["observation"])
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.02, normalize_advantage=True)
    gae, scores = value.GAE(gamma=1.0, lmbda=0.95, value_network=critic), []
    optimizer = torch.optim.Adam(loss.parameters(), lr=5e-3)
    for _ in range(updates):
        with torch.no_grad():
            rows = gae(env.rollout(12, actor, break_when_any_done=False)).reshape(-1)
        scores.append(float(rows["next", "reward"].sum() / rows["next", "done"].sum()))
        for part in [part for _ in range(3) for part in torch.randperm(len(rows)).chunk(4)]:
            values = loss(rows[part])
            optimizer.zero_grad()
            (values["loss_objective"] + values["loss_critic"] + values["loss_entropy"]).backward()
            optimizer.step()
    return scores[0], sum(scores[-5:]) / 5


if __name__ == "__main__":
    print("mean score: {:.2f} before, {:.2f} after (the optimum is 1)".format(*main()))
