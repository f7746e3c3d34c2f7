"""Each setting beside the plain ones takes its part in what is learned, on toys with a known end.

Bounds leave room around what five seeds reach, and each test fails where its setting is ignored.
A seed is that of the first weights and of all that is drawn.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch

from agents.maths.distributions import Sampling
from agents.measuring.baselines import policy_baseline
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.sft import make_language_model
from tests.agents.toys import episodes, make_model, make_toy
from textgym.cli.quickstart.plan import make_plan
from textgym.pretrained.adapters import AdapterConfig, add_adapters
from textgym.tasks.toys import PAYOUTS
from textgym.tasks.value_iteration import optimal_values

pytestmark = pytest.mark.learning

OFTEN = {"epochs": 4, "minibatches": 2, "learning_rate": 3e-3, "temperature": 1.0}
PAYS = torch.tensor([*PAYOUTS.values(), 0.0])  # the letters, then the end


def bandit_model(seed):
    """A random model whose embeddings, which are its output layer too, give it an opinion."""
    model = make_model(vocabulary=7, seed=seed)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(4)
    return model


def log_probs_of_choices(policy, envs):
    """Of ``Bandit``'s letters and its end, each read as the only action of a text, ``(5,)``."""
    tokenizer = envs.tokenizer
    ids = torch.tensor([*tokenizer.encode("".join(PAYOUTS)), tokenizer.eos_id])[:, None]
    zero, legal = torch.zeros_like(ids), torch.zeros(tokenizer.vocab_size, dtype=torch.bool)
    legal[ids] = True
    every = episodes(zero + tokenizer.bos_id, zero, ids, zero == 0, legal)
    with torch.no_grad():
        return policy.evaluate(every).log_probs[:, 0]


def priced_optimum(start, price):
    """What earns most if each nat from the start costs so much: Gibbs' distribution, ``(5,)``."""
    return torch.softmax(start + PAYS / price, dim=0)


def learn(kind, policy, envs, config):
    """Trains to the end and returns the learner and what each iteration measured."""
    learner = kind(policy, envs, config)
    return learner, [learner.step()[0] for _ in range(config.iterations)]


@pytest.mark.parametrize(
    ("bf16", "adapters"),
    [(True, False), (False, True), (True, True)],
    ids=["bfloat16", "adapters", "both"],
)
def test_the_priced_optimum_is_reached_in_other_weights(bf16, adapters, seed):
    """Where the sampler's are rounded, and where what learns is put beside a frozen base.

    The start is read before the adapters are there: a reference with them would see no divergence,
    and nothing would hold the policy.
    """
    model, envs = bandit_model(seed), make_toy("Bandit", rows=256)
    start = log_probs_of_choices(TransformerPolicy(model), envs)
    if adapters:
        pytest.importorskip("peft")
        add_adapters(model, AdapterConfig(rank=4, alpha=8.0, seed=seed), base="scratch:gpt2")
    config = PPOConfig(
        **(OFTEN | {"epochs": 2}),
        iterations=60,
        kl_coefficient=0.5,
        final_rate=0.0,
        bf16=bf16,
        seed=seed,
    )
    ppo, _ = learn(PPO, TransformerPolicy(model), envs, config)
    learned = log_probs_of_choices(ppo.policy, envs).exp()
    torch.testing.assert_close(learned, priced_optimum(start, 0.5), atol=0.03, rtol=0.0)


def test_a_target_of_kl_ends_at_the_best_policy_that_is_so_far_from_the_start(seed):
    """On the curve of priced optima, where it crosses the target: found by bisection here."""
    target = 0.5
    envs, policy = make_toy("Bandit", rows=256), TransformerPolicy(bandit_model(seed))
    start = log_probs_of_choices(policy, envs)
    low, high = 0.01, 10.0
    while high - low > 1e-4:
        price = (low + high) / 2
        best = priced_optimum(start, price)
        low, high = (price, high) if (best * (best.log() - start)).sum() > target else (low, price)
    config = PPOConfig(
        **(OFTEN | {"learning_rate": 5e-3}),
        iterations=80,
        kl_coefficient=0.25,
        kl_target=target,
        seed=seed,
    )
    ppo, _ = learn(PPO, policy, envs, config)
    learned = log_probs_of_choices(ppo.policy, envs)
    assert float((learned.exp() * (learned - start)).sum()) == pytest.approx(target, abs=0.1)
    torch.testing.assert_close(learned.exp(), best, atol=0.07, rtol=0.0)


class HotterSampler(PPO):
    """Writes at a higher temperature than it learns at, as another engine might, and knows it."""

    def collect(self, example_ids=None, *, group=1):
        config, self.config = self.config, dataclasses.replace(self.config, temperature=1.09)
        rollout = super().collect(example_ids, group=group)
        self.config = config
        return rollout


def test_a_cap_of_weights_takes_out_what_a_sampler_of_its_own_brings_in(seed):
    """An entropy bonus of .25 is best served by softmax(payout / .25), which has a with .818.

    What is drawn at temperature 1.09 and not weighed settles where a has .889: the sampler's
    probabilities times the advantages then balance the bonus.
    """
    envs = make_toy("Bandit", rows=256)
    config = PPOConfig(
        iterations=100,
        epochs=1,
        minibatches=1,
        learning_rate=3e-3,
        final_rate=0.0,
        kl_coefficient=0.0,
        entropy_coefficient=0.25,
        whiten_advantages="off",
        max_gradient_norm=None,
        bf16=True,
        importance_cap=4.0,
        seed=seed,
    )
    model = make_model(vocabulary=7, seed=seed)
    ppo, _ = learn(HotterSampler, TransformerPolicy(model), envs, config)
    learned = log_probs_of_choices(ppo.policy, envs).exp()
    torch.testing.assert_close(learned, torch.softmax(PAYS / 0.25, dim=0), atol=0.03, rtol=0.0)


def pays_the_first(prompts, completions, **columns):
    """What ``Bandit`` pays, for the first letter of longer texts."""
    return [PAYOUTS.get(text[:1], 0.0) for text in completions]


def test_a_critic_of_its_own_alone_can_carry_credit_back(seed):
    """At lambda 0 the score reaches the last action alone; the first one decides, and is to be a.

    What that is paid is the change of the critic's value, which knows the score two actions early.
    """
    config = PPOConfig(
        **OFTEN, iterations=30, kl_coefficient=0.0, lam=0.0, critic_learning_rate=1e-2, seed=seed
    )
    models = (make_model(vocabulary=7, seed=seed + start) for start in (0, 100))
    envs = make_toy("Bandit", rows=128, completion_tokens=3, reward=pays_the_first)
    _, history = learn(PPO, TransformerPolicy(*models), envs, config)
    assert history[0]["reward"] < 0.6
    assert np.mean([step["reward"] for step in history[-5:]]) > 0.9


def test_a_narrowing_nucleus_ends_at_the_alphabet(seed):
    """What top-p leaves is drawn and learned from; the likeliest texts are the optimum, 1."""
    config = PPOConfig(
        **(OFTEN | {"learning_rate": 2e-3}),
        iterations=60,
        kl_coefficient=0.0,
        lam=0.95,
        value_weight=0.5,
        clip=0.1,
        top_p=0.95,
        seed=seed,
    )
    envs = make_toy(rows=128)
    ppo, history = learn(PPO, TransformerPolicy(make_model(seed=seed)), envs, config)
    assert history[0]["reward"] < 0.25
    assert np.mean([step["reward"] for step in history[-5:]]) > 0.9
    likeliest = policy_baseline(envs, ppo.policy, example_ids=[*range(8)] * 16, seed=seed)
    assert likeliest.scores.mean() > 0.95


def share_of_a(prompts, completions, **columns):
    """A third for each a."""
    return [text.count("a") / 3 for text in completions]


def test_who_is_cut_off_from_outside_does_not_learn_to_hurry(seed):
    """A text that a limit of two actions cuts off is worth what its state had promised without.

    Three letters are learned first, at a price that keeps other texts possible. Then two at most
    can be written, which nothing is paid for, while one and the end pay a third: who counts what
    was cut off as nothing learns to end there.
    """
    toy = {"name": "Bandit", "rows": 128, "completion_tokens": 3, "reward": share_of_a}
    config = PPOConfig(
        **OFTEN, iterations=20, kl_coefficient=0.1, lam=0.95, value_weight=0.5, seed=seed
    )
    policy = TransformerPolicy(make_model(vocabulary=7, seed=seed))
    learn(PPO, policy, make_toy(**toy), config)
    config = dataclasses.replace(config, kl_coefficient=0.0)
    learn(PPO, policy, make_toy(**toy, max_episode_steps=2), config)
    drawn = policy_baseline(
        make_toy(**toy), policy, example_ids=[0] * 256, seed=seed, sampling=Sampling()
    )
    assert drawn.scores.mean() > 0.8


def best_at_kl(task, kl):
    """The most that a policy earns so many nats from a uniform one, by soft value iteration.

    At a price p the best policy's reward less p KL is J(p), the mean over examples; the smallest
    J(p) + p KL over prices is the most at a KL, since each bounds it from above.
    """

    def worth(price):
        def soft(values):
            return price * math.log(sum(math.exp(value / price) for value in values) / len(values))

        roots = [optimal_values(task, each, backup=soft)[()] for each in task.examples("train")]
        return sum(roots) / len(roots)

    return min(worth(price) + price * kl for price in np.geomspace(0.02, 1.0, 30).tolist())


def test_the_quickstart_s_settings_come_near_the_most_that_their_kl_allows(seed):
    """Its models, its precision, its temperature and its controller, on a corridor."""
    plan = make_plan(
        seed=seed,
        device="cpu",
        report_on="test",
        kl_coefficient=0.25,
        kl_target=2.0,
        bf16=True,
        smoke=True,
    )
    envs = make_toy("Corridor", rows=plan.rows * 2)
    config = dataclasses.replace(plan.ppo, iterations=60, learning_rate=2e-3)
    models = (make_language_model(plan.language_model, envs.tokenizer) for _ in range(2))
    policy = TransformerPolicy(*models)
    _, history = learn(PPO, policy, envs, config)
    reward, kl = (np.mean([step[name] for step in history[-10:]]) for name in ("reward", "kl"))
    most = best_at_kl(envs.task, float(kl))
    assert history[0]["bf16"] == 1.0
    assert kl == pytest.approx(2.0, abs=0.5)
    assert most - 0.1 < reward < most + 0.05
