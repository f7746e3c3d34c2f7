"""skrl's PPO with the networks that it makes, over a native batch in the mode ``NextStep``."""

import gymnasium as gym
import numpy as np
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from skrl.utils.model_instantiators.torch import categorical_model, deterministic_model

from textgym.wrappers.vector import OneHotObservation


def main(steps=500):
    set_seed(0)
    envs = gym.make_vec("textgym:TextGym/Alphabet-v0", num_envs=64, dense=True)
    envs = stats = gym.wrappers.vector.RecordEpisodeStatistics(envs, buffer_length=100_000)
    env = wrap_env(OneHotObservation(envs), verbose=False)
    layer = {"name": "net", "input": "OBSERVATIONS", "layers": [64], "activations": "tanh"}
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    models = {
        "policy": categorical_model(network=[layer], output="ACTIONS", **spaces),
        "value": deterministic_model(network=[layer], output="ONE", **spaces),
    }
    rates = {"learning_rate": 5e-3, "discount_factor": 1.0, "entropy_loss_scale": 0.02}
    quiet = {"write_interval": 0, "checkpoint_interval": 0}
    cfg = PPO_CFG(rollouts=12, learning_epochs=4, mini_batches=4, experiment=quiet, **rates)
    memory = RandomMemory(memory_size=12, num_envs=64)
    agent = PPO(models=models, memory=memory, cfg=cfg, **spaces)
    plan = {"timesteps": steps, "disable_progressbar": True, "headless": True}
    SequentialTrainer(cfg=plan, env=env, agents=agent).train()
    returns = list(stats.return_queue)
    return float(np.mean(returns[:150])), float(np.mean(returns[-150:]))


if __name__ == "__main__":
    print("mean score: {:.2f} before, {:.2f} after (the optimum is 1)".format(*main()))
