"""The measures by hand, and a policy compared with itself."""

import math

import numpy as np
import pytest
import torch

from agents.measuring.evaluation import distinct_n, evaluate_policy, repeated_bigrams
from agents.models.policy import TransformerPolicy
from tests.agents.toys import make_model, make_toy


def test_distinct_counts_over_all_rows():
    """ab bc | ab bd: three of four."""
    assert distinct_n(["abc", "abd"], 2) == 0.75
    assert distinct_n([[1, 1, 1]], 2) == 0.5
    assert distinct_n([[1]], 1) == 1.0
    assert math.isnan(distinct_n([[1], []], 2))


def test_repeated_bigrams_counts_within_a_row():
    """The same bigram in two rows is no repetition; ab in abab is."""
    assert repeated_bigrams(["ab", "ab"]) == 0.0
    assert repeated_bigrams(["abab"]) == pytest.approx(1 / 3)
    assert repeated_bigrams([[5, 5, 5, 5]]) == pytest.approx(2 / 3)
    assert math.isnan(repeated_bigrams([[1], []]))


def _evaluate(policy, reference, **kwargs):
    settings = {"example_ids": [0, 1, 2, 3, 4, 5, 6, 7], "temperature": 1.0, "seed": 0} | kwargs
    return evaluate_policy(
        policy, reference, make_toy(rows=4), lambda t: np.array([len(x) for x in t]), **settings
    )


def test_a_policy_against_itself_has_no_divergence(policy):
    report = _evaluate(policy, policy)
    assert report.kl == pytest.approx(0.0, abs=1e-5)
    assert len(report.completions) == len(report.gold) == len(report.rewards) == 8
    assert report.gold.tolist() == [len(text) for text in report.completions]


def test_without_a_gold_reward_its_scores_are_no_numbers(policy):
    report = evaluate_policy(
        policy, policy, make_toy(rows=4), example_ids=[0, 1, 2, 3], temperature=1.0, seed=0
    )
    assert np.isnan(report.gold).all()
    assert report.gold.shape == report.rewards.shape


def test_a_uniform_reference_makes_perplexity_the_number_of_legal_actions(policy):
    reference = TransformerPolicy(make_model())
    torch.nn.init.zeros_(reference.model.lm_head.weight)
    assert _evaluate(policy, reference).perplexity == pytest.approx(9.0, rel=1e-4)


def test_two_policies_are_paired_by_seed_and_examples(policy):
    """Equal policies write equal texts, so a difference is the policy's doing."""
    first, second = _evaluate(policy, policy), _evaluate(TransformerPolicy(make_model()), policy)
    assert first.completions == second.completions


def _surprisals(model, prompt, completion, envs):
    """Of each action under a model, by its own forward pass; padding and the start are illegal."""
    tokenizer = envs.tokenizer
    start, written = [tokenizer.bos_id, *tokenizer.encode(prompt)], tokenizer.encode(completion)
    if len(written) < envs.completion_tokens:
        written.append(tokenizer.eos_id)
    logits = model(input_ids=torch.tensor([start + written])).logits.detach()[
        0, len(start) - 1 : -1
    ]
    logits[:, [tokenizer.pad_id, tokenizer.bos_id]] = -torch.inf
    return -logits.log_softmax(-1)[torch.arange(len(written)), written]


def test_figures_do_not_depend_on_the_rows_and_are_those_of_all_texts_together(policy):
    """A mean of batches' means weighed a token in short texts more: 26.07, 24.70, 24.44."""
    reference, ids = TransformerPolicy(make_model(seed=7)), [number % 8 for number in range(63)]
    torch.nn.init.normal_(reference.model.lm_head.weight, std=0.5)
    reports = [
        evaluate_policy(
            policy, reference, make_toy(rows=rows), example_ids=ids, temperature=1.0, seed=0
        )
        for rows in (1, 8, 63)
    ]
    envs = make_toy(rows=1)
    texts = [(envs.examples[n].prompt, c) for n, c in zip(ids, reports[0].completions, strict=True)]
    under, own = (
        [_surprisals(each.model, *text, envs) for text in texts] for each in (reference, policy)
    )
    assert len({len(each) for each in under}) > 2  # some are short, some long
    perplexity = math.exp(float(torch.cat(under).mean()))
    kl = float(sum((a - b).sum() for a, b in zip(under, own, strict=True)) / len(texts))
    for report in reports:
        assert report.completions == reports[0].completions
        assert report.perplexity == pytest.approx(perplexity, rel=1e-5)
        assert report.kl == pytest.approx(kl, rel=1e-4)
        assert report.rewards.tolist() == reports[0].rewards.tolist()


def test_fewer_examples_than_rows_are_refused(policy):
    with pytest.raises(ValueError, match="3 examples for 4 rows"):
        _evaluate(policy, policy, example_ids=[0, 1, 2])
