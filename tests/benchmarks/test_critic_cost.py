"""How much longer an iteration of the quickstart's PPO takes with a critic of its own: with the
policy's number of blocks, and with the number that the quickstart takes.

``make bench ARGS=tests/benchmarks/test_critic_cost.py`` prints the ratio, of processor time and
by the clock. Model, rows, settings and environment are those of the quickstart's plan, with random
weights and a free reward; bfloat16 where that is faster here. Both take turns, five rounds after a
warm-up; medians.
"""

import time

import gymnasium as gym
import numpy as np

from agents.models.loading import keep_lowest_layers
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO
from agents.sft import make_language_model
from reward_models.metrics import length
from textgym.cli.quickstart.plan import make_plan

ROUNDS = 5


def _learner(plan, *, critic_layers):
    envs = gym.make_vec(
        "textgym:TextGym/Sentiment-v0",
        num_envs=plan.rows,
        reward=length,
        tokenizer="reviews-4096",
        autoreset_mode="Disabled",
        backend="torch",
    ).unwrapped
    model, critic = (make_language_model(plan.language_model, envs.tokenizer) for _ in range(2))
    if not critic_layers:
        return PPO(TransformerPolicy(model), envs, plan.ppo)
    return PPO(TransformerPolicy(model, keep_lowest_layers(critic, critic_layers)), envs, plan.ppo)


def test_a_critic_of_its_own_costs_time(capsys):
    plan = make_plan(
        seed=0,
        device="cpu",
        report_on="test",
        kl_coefficient=0.25,
        kl_target=14.0,
        bf16="auto",
        smoke=False,
    )
    depths = 0, plan.critic_layers, plan.language_model.layers
    learners = [_learner(plan, critic_layers=depth) for depth in depths]
    spent = np.zeros((ROUNDS + 1, len(learners), 2))
    for of_round in spent:
        for of_learner, learner in zip(of_round, learners, strict=True):
            start = time.process_time(), time.perf_counter()
            metrics, _ = learner.step()
            of_learner[:] = time.process_time() - start[0], time.perf_counter() - start[1]
            assert ("critic_gradient_norm" in metrics) == (learner is not learners[0])
    plain, *apart = np.median(spent[1:], axis=0)
    with capsys.disabled():
        print(f"\nwithout a critic {plain[1]:.2f} s an iteration")
        for depth, took in zip(depths[1:], apart, strict=True):
            print(f"with one of {depth} blocks {took[1]:.2f} s: ", end="")
            print("{:.2f} times the processor's time, {:.2f} by the clock".format(*took / plain))
