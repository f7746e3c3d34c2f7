"""Labelled pairs with a known truth, and rewards that are written in the text."""

import numpy as np
import pytest

from reward_models.preferences import Preference


def number_reward(prompts, completions, **columns):
    """The first word is the score."""
    return [float(text.split()[0]) for text in completions]


def _pair(number, chosen, rejected, **fields):
    return Preference(
        pair_id=str(number),
        prompt=f"prompt {number // 2}",
        chosen=chosen,
        rejected=rejected,
        **fields,
    )


@pytest.fixture
def pair():
    return _pair


@pytest.fixture
def reward():
    return number_reward


@pytest.fixture(scope="session")
def drawn_pairs():
    """A function: pairs whose labels are drawn from the numbers in them, sharpened if asked."""

    def draw(number, seed=0, sharpness=1.0):
        rng = np.random.default_rng(seed)
        pairs = []
        for row in range(number):
            a, b = rng.normal(size=2)
            first = rng.random() < 1 / (1 + np.exp(b - a))
            texts = [f"{sharpness * x} {'so ' * rng.integers(1, 9)}" for x in (a, b)]
            pairs.append(_pair(row, *(texts if first else texts[::-1])))
        return pairs

    return draw
