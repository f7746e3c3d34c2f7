"""Best of n: what is kept, in which order, and what it is worth where that is known."""

import math

import numpy as np
import pytest

from agents.best_of_n import best_of_n, first_highest, kl_bound
from agents.models.policy import TransformerPolicy
from tests.agents.toys import make_model, make_toy

LETTERS_AND_SPECIAL = 7  # of Bandit


@pytest.fixture(scope="module")
def uniform():
    """A policy for which all actions of Bandit are equally likely."""
    policy = TransformerPolicy(make_model(vocabulary=LETTERS_AND_SPECIAL))
    policy.requires_grad_(requires_grad=False)
    policy.head.weight.zero_()  # also the embeddings, which are tied to it
    return policy


def test_the_best_of_n_of_the_bandit_is_worth_what_order_statistics_say(uniform):
    """Each draw pays 1, .5, .25, 0, 0 with probability 1/5; P(max <= x) is P(one <= x)^n.

    For n = 3: 1 * (1 - (4/5)^3) + .5 * ((4/5)^3 - (3/5)^3) + .25 * ((3/5)^3 - (2/5)^3)
    = .488 + .148 + .038 = .674. The standard error of 4,000 prompts is below .006.
    """
    result = best_of_n(make_toy("Bandit", rows=500), uniform, n=3, example_ids=[0] * 4000, seed=0)
    assert result.all_scores.shape == (4000, 3)
    assert result.scores.mean() == pytest.approx(0.674, abs=0.02)
    assert result.all_scores.mean() == pytest.approx(0.35, abs=0.01)  # of a single draw
    assert result.kl_bound == pytest.approx(math.log(3) - 2 / 3)


def test_what_is_kept_is_each_prompt_s_highest_and_its_own():
    """The texts, decoded, are scored again by hand: prompts, order and scores belong together."""
    envs, examples = make_toy("Alphabet", rows=4), [3, 0, 7]
    result = best_of_n(envs, TransformerPolicy(make_model()), n=8, example_ids=examples, seed=1)
    assert result.prompts == ["d", "a", "h"]
    assert result.example_ids.tolist() == examples
    assert np.array_equal(result.scores, result.all_scores.max(axis=1))
    assert result.scores.max() > 0
    for text, wanted, score in zip(
        result.completions, ["efg", "bcd", "abc"], result.scores, strict=True
    ):
        right = sum(a == b for a, b in zip(text, wanted, strict=False)) + (len(text) == 3)
        assert score == right / 4
    assert result.texts == [a + b for a, b in zip(result.prompts, result.completions, strict=True)]
    for ids, text in zip(result.ids, result.completions, strict=True):
        assert ids in (envs.tokenizer.encode(text), [*envs.tokenizer.encode(text), 2])


def test_one_of_one_is_the_policy_s_own_text():
    envs, policy = make_toy("Alphabet", rows=4), TransformerPolicy(make_model())
    result = best_of_n(envs, policy, n=1, example_ids=range(8), seed=1)
    assert np.array_equal(result.scores, result.all_scores[:, 0])
    assert result.kl_bound == 0


def test_ties_go_to_the_first_and_what_was_cut_off_is_never_the_best():
    nan = math.nan
    scores = np.array([[1.0, 2.0, 2.0], [nan, -3.0, -4.0], [0.0, nan, 0.0]])
    assert first_highest(scores).tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="prompt 1 has no finished completion"):
        first_highest(np.array([[0.0, 1.0], [nan, nan]]))


def test_the_bound_of_the_divergence():
    """0 for one, log 2 - 1/2 for two; n below 1 is no number of completions."""
    assert kl_bound(1) == 0
    assert kl_bound(2) == pytest.approx(0.1931, abs=1e-4)
    assert kl_bound(1000) == pytest.approx(5.9088, abs=1e-4)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        kl_bound(0)
