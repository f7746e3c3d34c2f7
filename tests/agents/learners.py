"""Small learners, and what they are made of."""

import torch

from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from tests.agents.toys import VOCABULARY, make_model, make_toy

SMALL = {"episodes": 8, "epochs": 1, "minibatches": 2, "micro_batch_tokens": 40}


def toy_learner(rows=8, seed=0, task="Alphabet", **settings):
    """Makes one."""
    envs = make_toy(task, rows=rows)
    config = PPOConfig(kl_coefficient=0.0, temperature=1.0, seed=seed, **settings)
    policy = TransformerPolicy(make_model(vocabulary=envs.tokenizer.vocab_size))
    return PPO(policy, envs, config)


def make_policy(device="cpu", kind="gpt2", critic=False, vocabulary=VOCABULARY, **kwargs):
    """A policy whose values are not all 0, the same on every device."""
    models = [make_model(kind, vocabulary, seed=seed).to(device) for seed in range(1 + critic)]
    policy = TransformerPolicy(*models, **kwargs)
    generator = torch.Generator().manual_seed(5)
    weight = policy.value_head.weight
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=generator) / 10)
    return policy


def measure_steps(envs, waits):
    """Notes of each step whether rows ended in it, and what ``waits`` had counted by then."""
    step, steps = envs.step, []

    def measured(actions):
        before = envs.ended_rows
        result = step(actions)
        steps.append((bool((envs.ended_rows & ~before).any()), waits()))
        return result

    envs.step = measured
    return steps


def only_gradient(learner):
    """The gradient of an iteration's only update, by parameter, and what the iteration measured."""
    found = {}

    def note(*_):
        assert not found
        named = learner.policy.named_parameters()
        found.update({name: p.grad.clone() for name, p in named if p.grad is not None})

    hook = learner.optimizer.register_step_pre_hook(note)
    metrics, _ = learner.step()
    hook.remove()
    return found, metrics
