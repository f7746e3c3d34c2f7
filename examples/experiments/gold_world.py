"""A world where the gold is known: a learned reward is gamed, the worst of an ensemble later.

After Gao et al. (2023) and Coste et al. (2023), on the real stack: texts of a dozen letters, of
which the gold likes some and dislikes others, and each of them less and less the more of it there
is, which ordinary texts hardly show. Proxies are Bradley-Terry models on random features of the
letters' counts, learned from comparisons of ordinary texts, of which one in four is wrong. A
learner then optimises a single proxy, the mean of five and the worst of five.

Run it: ``python -m examples.experiments.gold_world runs/gold_world``; it goes on after a stop, and
a second word names who runs the cells, such as ``here``.
"""

import functools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import textgym

LETTERS, LONGEST, MEMBERS, PAIRS, FEATURES, FLIPS = "abcdefgh", 12, 5, 300, 64, 0.25
LIKED = np.array([1.0, 0.8, 0.5, 0.2, -0.2, -0.5, -0.8, -1.0])
ENOUGH, COST = 3.0, 0.35  # of one letter, and what the square of more takes off
HERE = "examples.experiments.gold_world"


def counts(completions):
    """How often each letter occurs, ``(N, 8)``."""
    return np.array([[text.count(letter) for letter in LETTERS] for text in completions], float)


def worth(found):
    """What the gold thinks of counts ``(N, 8)``."""
    return found @ LIKED - COST * (np.maximum(found - ENOUGH, 0) ** 2).sum(axis=1)


def gold(prompts, completions, **columns):  # noqa: ARG001 - a reward's signature
    return worth(counts(completions)).tolist()


@functools.cache
def proxy_weights(member):
    """A proxy's features and head, and the mean and deviation of its scores of ordinary texts."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(7)  # all members have learned from the same comparisons
    texts = np.stack([ordinary(rng) for _ in range(2 * PAIRS)])
    first, second = texts[:PAIRS], texts[PAIRS:]
    sign = np.where((worth(first) > worth(second)) ^ (rng.random(PAIRS) < FLIPS), 1.0, -1.0)
    own = np.random.default_rng((member, 1))
    features = own.normal(size=(len(LETTERS), FEATURES)) / 2, own.normal(size=FEATURES)
    lead = sign[:, None] * (features_of(first, features) - features_of(second, features))

    def loss(head):
        margin = lead @ head
        probability = 1 / (1 + np.exp(np.clip(margin, -30, 30)))
        value = np.logaddexp(0, -margin).mean() + 2e-3 * head @ head
        return value, -(lead * probability[:, None]).mean(axis=0) + 4e-3 * head

    head = minimize(loss, np.zeros(lead.shape[1]), jac=True, method="L-BFGS-B").x
    known = features_of(texts, features) @ head
    return features, head, known.mean(), known.std()


def features_of(found, features):
    weights, biases = features
    return np.concatenate([np.maximum(found @ weights + biases, 0), found], axis=1)


def ordinary(rng):
    """The counts of a text whose letters are drawn evenly, and whose end is as likely as one."""
    length = min(int(rng.geometric(1 / 9)) - 1, LONGEST)
    return np.bincount(rng.integers(0, len(LETTERS), length), minlength=len(LETTERS)).astype(float)


def members_scores(completions):
    """The standardised scores of all members, ``(5, N)``."""
    found = counts(completions)
    scores = []
    for member in range(MEMBERS):
        features, head, mean, deviation = proxy_weights(member)
        scores.append((features_of(found, features) @ head - mean) / deviation)
    return np.stack(scores)


def single(prompts, completions, **columns):  # noqa: ARG001 - as above
    return members_scores(completions)[0].tolist()


def mean(prompts, completions, **columns):  # noqa: ARG001 - as above
    return members_scores(completions).mean(axis=0).tolist()


def worst(prompts, completions, **columns):  # noqa: ARG001 - as above
    return members_scores(completions).min(axis=0).tolist()


@dataclass(frozen=True)
class GoldWorld:
    """Write letters after a letter."""

    name: str = "GoldWorld"
    prompt_tokens: int = 2
    completion_tokens: int = LONGEST
    tokenizer: str = f"characters:{LETTERS}"
    reward: str = f"{HERE}:gold"
    splits: tuple[str, ...] = ("train",)

    def examples(self, split):
        if split not in self.splits:
            raise ValueError(f"unknown split {split!r}; known: train")
        return [textgym.Example(prompt=letter) for letter in LETTERS]


def study(**settings):
    """PPO at two prices of KL and GRPO at none, against a single proxy and ensembles of five."""
    from agents.comparing.study import Study

    common = {"learning_rate": 2e-3, "minibatches": 2}
    agents = {
        "ppo, free": {"agent": "ppo", "settings": {**common, "kl_coefficient": 0.0}},
        "ppo, 0.1 a nat": {"agent": "ppo", "settings": {**common, "kl_coefficient": 0.1}},
        "grpo, free": {"agent": "grpo", "settings": {**common, "kl_coefficient": 0.0}},
    }
    given = {
        "env": f"{HERE}:TextGym/GoldWorld-v0",
        "rewards": {name: f"{HERE}:{name}" for name in ("single", "mean", "worst")},
        "agents": agents,
        "tokens": 15_000,
        "draws": 64,
    }
    return Study(**{**given, **settings})


if __name__ != "__main__":
    textgym.register_task("GoldWorld", GoldWorld)
else:
    from agents.comparing.campaign import run_study
    from agents.comparing.executors import make_executor
    from agents.comparing.page import table_text, write_page

    out, *executor = sys.argv[1:]
    runner = make_executor(*(executor or ["processes"]), workers=2, folder=Path(out))
    run_study(study(), Path(out), runner, progress=print)
    print("\n\n".join(map(table_text, write_page(Path(out)))))
