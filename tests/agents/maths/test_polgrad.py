"""Our surrogates, advantages and weights beside those of polgrad, which others wrote.

It knows tensors alone: losses of given log-probabilities, and their gradients, by named papers.
"""

import dataclasses
import math

import pytest
import torch

from agents.maths.advantages import (
    generalised_advantages,
    group_advantages,
    leave_one_out,
    standardise,
)
from agents.maths.kl import ESTIMATORS
from agents.maths.losses import (
    cispo_loss,
    clipped_policy_loss,
    clipped_value_loss,
    reinforce_loss,
    text_means,
    text_weights,
    token_weights,
    weighted_sum,
)

polgrad = pytest.importorskip("polgrad")
testing = pytest.importorskip("polgrad.testing")

ALLOWANCE = 17
TOKEN, TEXT = polgrad.RatioKind.TOKEN, polgrad.RatioKind.SEQUENCE


def _named(name, **changes):
    """The loss of a paper, whose numbers the test may change."""
    return dataclasses.replace(polgrad.get_algorithm(name).loss, **changes)


def _clipped(weigh, *bounds):
    """Our surrogate of tokens, weighed by texts, tokens or a constant."""

    def loss(logprobs, old_logprobs, advantages, response_mask):
        weights = _weights(response_mask)[weigh]
        given = logprobs, old_logprobs, advantages[:, None], weights
        return clipped_policy_loss(*given, *bounds).loss

    return loss


def _weights(mask):
    """In float64, as all there is."""
    lengths = mask.sum(dim=1, keepdim=True)
    ours = {
        "texts": text_weights(mask),
        "tokens": token_weights(mask),
        "constant": token_weights(mask, len(mask) * ALLOWANCE),
    }
    theirs = {
        "texts": mask.double() / (len(mask) * lengths),
        "tokens": mask.double() / mask.sum(),
        "constant": mask.double() / (len(mask) * ALLOWANCE),
    }
    for name, weights in ours.items():
        torch.testing.assert_close(weights, theirs[name].float())
    return theirs


def _of_texts(loss, *bounds):
    """A loss of texts as single actions, by the geometric means of their ratios."""

    def of_texts(logprobs, old_logprobs, advantages, response_mask):
        now, acted = (text_means(each, response_mask) for each in (logprobs, old_logprobs))
        weights = torch.full_like(now, 1 / len(now))
        return loss(now, acted, advantages[:, None], weights, *bounds).loss

    return of_texts


def _cispo(logprobs, old_logprobs, advantages, response_mask):
    weights = _weights(response_mask)["tokens"]
    return cispo_loss(logprobs, old_logprobs, advantages[:, None], weights, 0.5).loss


def _reinforce(logprobs, old_logprobs, advantages, response_mask):
    whole, before = (
        torch.where(response_mask, each, 0.0).sum(dim=1, keepdim=True)
        for each in (logprobs, old_logprobs)
    )
    weights = torch.full_like(whole, 1 / len(whole))
    return reinforce_loss(whole, before, advantages[:, None], weights).loss


def _dual(name):
    return _named(name, clip=polgrad.ClipConfig(eps_low=0.2, eps_high=0.2, ratio_cap=3.0))


LOSSES = {
    "ppo": (_clipped("tokens", 0.2), _named("ppo")),
    "ppo with a bound for bad actions": (_clipped("tokens", 0.2, None, 3.0), _dual("ppo")),
    "grpo": (_clipped("texts", 0.2), _named("grpo")),
    "dr. grpo": (_clipped("constant", 0.2), _named("dr_grpo", norm_len=ALLOWANCE)),
    "dapo": (_clipped("tokens", 0.2, 0.28), _named("dapo")),
    "gspo": (_of_texts(clipped_policy_loss, 3e-4, 4e-4), _named("gspo")),
    "gspo, wider": (
        _of_texts(clipped_policy_loss, 0.3, 0.4),
        _named("gspo", clip=polgrad.ClipConfig(eps_low=0.3, eps_high=0.4)),
    ),
    "cispo": (
        _cispo,
        _named("cispo", ratio=TOKEN, clip=polgrad.ClipConfig(eps_low=None, eps_high=0.5)),
    ),
    "rloo": (_reinforce, _named("rloo")),
    "reinforce++": (_clipped("texts", 0.2), _named("reinforce_pp")),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_surrogate_and_its_gradient_are_the_papers(name):
    """On 64 batches of texts of all lengths, with rubbish behind their ends."""
    testing.assert_conforms(*LOSSES[name])


def test_it_would_notice_another_surrogate():
    """GRPO with every token alike is none, and neither is one of ratios of whole texts."""
    for other in (_clipped("tokens", 0.2), _clipped("texts", 0.25), LOSSES["gspo, wider"][0]):
        with pytest.raises(AssertionError, match="conformance violation"):
            testing.assert_conforms(other, _named("grpo"))


def _batches():
    return testing.random_batches(20, [(6, 9), (4, 1), (12, 5)], seed=3)


def test_the_price_of_kl_in_the_loss():
    for batch in _batches():
        mask, weights = batch["response_mask"], _weights(batch["response_mask"])["texts"]
        log_ratio = batch["logprobs"] - batch["ref_logprobs"]
        for name, kind in zip(("k2", "k3"), ("K2", "K3"), strict=True):
            expected = polgrad.kl_loss(
                batch["logprobs"],
                batch["ref_logprobs"],
                polgrad.KLEstimator[kind],
                polgrad.Aggregation.SEQ_MEAN_TOKEN_MEAN,
                response_mask=mask,
            )
            torch.testing.assert_close(weighted_sum(ESTIMATORS[name](log_ratio), weights), expected)


@pytest.mark.parametrize("clip", [None, 0.3])
def test_the_loss_of_values(clip):
    for batch in _batches():
        mask = batch["response_mask"]
        given = batch["logprobs"], batch["old_logprobs"], batch["ref_logprobs"]
        expected = polgrad.value_loss(
            *given, mask, clip_eps=clip, aggregation=polgrad.Aggregation.TOKEN_MEAN
        )
        ours = clipped_value_loss(*given, _weights(mask)["tokens"], clip)
        torch.testing.assert_close(ours, expected.loss)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.99, 1.0), (1.0, 0.0)])
def test_generalised_advantages(gamma, lam):
    for batch in _batches():
        mask = batch["response_mask"]
        rewards, values = batch["logprobs"], batch["old_logprobs"]
        ours = generalised_advantages(rewards, values, mask, gamma=gamma, lam=lam)
        config = polgrad.GAEConfig(gamma=gamma, lam=lam)
        theirs = polgrad.gae(rewards, values, config=config, response_mask=mask)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, torch.where(mask, other, 0.0))


def test_advantages_of_groups():
    """Ours divide by the population's deviation; the sample's is larger, by sqrt(n / (n - 1))."""
    for seed in range(20):
        scores = torch.randn(12, generator=torch.Generator().manual_seed(seed)).double()
        groups = torch.arange(3).repeat_interleave(4)
        config = polgrad.GroupNormConfig(center=True, scale="std", eps=1e-12, unbiased=False)
        ours = group_advantages(scores, 4, scale=True)
        torch.testing.assert_close(ours, polgrad.grpo_advantages(scores, groups, config))
        of_sample = dataclasses.replace(config, unbiased=True)
        of_sample = polgrad.grpo_advantages(scores, groups, of_sample)
        torch.testing.assert_close(ours, of_sample * math.sqrt(4 / 3))
        plain = dataclasses.replace(config, scale="none")
        ours = group_advantages(scores, 4, scale=False)
        torch.testing.assert_close(ours, polgrad.grpo_advantages(scores, groups, plain))
        torch.testing.assert_close(
            leave_one_out(scores, 4), polgrad.rloo_advantages(scores, groups)
        )


def test_scaling_over_a_batch():
    """Theirs divides by the sample's deviation over all tokens."""
    for batch in _batches():
        mask, x = batch["response_mask"], batch["logprobs"]
        count = int(mask.sum())
        expected = polgrad.whiten(x, mask, shift_mean=True) * math.sqrt(count / (count - 1))
        torch.testing.assert_close(standardise(x, mask), torch.where(mask, expected, 0.0))
