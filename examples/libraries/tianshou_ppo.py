"""Tianshou's PPO with its own networks; it batches single environments itself."""

import gymnasium as gym
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic

from textgym.wrappers import OneHotObservation


def main(steps=7_000):
    torch.manual_seed(0)

    def make():
        return OneHotObservation(gym.make("textgym:TextGym/Alphabet-v0", dense=True))

    envs = DummyVectorEnv([make] * 64)
    envs.seed(0)
    space, actions = make().observation_space, make().action_space
    nets = [Net(state_shape=space.shape, hidden_sizes=[64]) for _ in range(2)]
    policy = ProbabilisticActorPolicy(
        actor=DiscreteActor(preprocess_net=nets[0], action_shape=actions.n, softmax_output=False),
        dist_fn=lambda logits: torch.distributions.Categorical(logits=logits),
        action_space=actions,
        action_scaling=False,
    )
    critic = DiscreteCritic(preprocess_net=nets[1])
    settings = {"gamma": 1.0, "ent_coef": 0.02, "optim": AdamOptimizerFactory(lr=5e-3)}
    agent = PPO(policy=policy, critic=critic, **settings)
    collector = Collector(agent, envs, VectorReplayBuffer(1024, 64))
    plan = {"max_epochs": 1, "epoch_num_steps": steps, "collection_step_num_env_steps": 512}
    more = {"update_step_num_repetitions": 8, "batch_size": 128, "test_collector": None}
    quiet = {"show_progress": False, "verbose": False}
    means = [collector.collect(n_episode=128, reset_before_collect=True).returns_stat.mean]
    agent.run_training(OnPolicyTrainerParams(training_collector=collector, **plan, **more, **quiet))
    means += [collector.collect(n_episode=128, reset_before_collect=True).returns_stat.mean]
    return tuple(map(float, means))


if __name__ == "__main__":
    print("mean score: {:.2f} before, {:.2f} after (the optimum is 1)".format(*main()))
