"""PufferLib's PuffeRL over its serial batch; ``make libraries`` builds it, as pip alone cannot."""

import tempfile

import gymnasium as gym
import numpy as np
import pufferlib.emulation
import pufferlib.models
import pufferlib.vector
from pufferlib import pufferl

from textgym.wrappers import OneHotObservation


def make_env():
    env = OneHotObservation(gym.make("textgym:TextGym/Alphabet-v0", dense=True))
    return pufferlib.EpisodeStats(env)


def make(buf=None, seed=0):
    return pufferlib.emulation.GymnasiumPufferEnv(env_creator=make_env, buf=buf, seed=seed)


def main(steps=80_000):
    envs = pufferlib.vector.make(make, num_envs=64, backend=pufferlib.vector.Serial)
    sizes = {"bptt_horizon": 16, "minibatch_size": 512, "update_epochs": 4}
    rates = {"learning_rate": 5e-3, "gamma": 1.0, "ent_coef": 0.02, "optimizer": "adam"}
    plan = {"total_timesteps": steps, "device": "cpu", "env": "alphabet", "use_rnn": False}
    settings = {**pufferl.load_config("default")["train"], **sizes, **rates, **plan}
    settings["data_dir"] = tempfile.mkdtemp()
    trainer, means = pufferl.PuffeRL(settings, envs, pufferlib.models.Default(envs.driver_env)), []
    while trainer.global_step < steps:
        means.append(float(np.mean(trainer.evaluate()["episode_return"])))
        trainer.train()
    trainer.close()
    return means[0], means[-1]


if __name__ == "__main__":
    print("mean score: {:.2f} before, {:.2f} after (the optimum is 1)".format(*main()))
