"""What GRPO's settings make of it: the successors' losses, written out text by text.

A toy of two letters and three places has 15 texts after a prompt, so that what an update expects to
do can be summed over all of them.
"""

import itertools

import pytest
import torch

from agents.grpo import GRPO, GRPOConfig, _Batch
from agents.maths.advantages import group_advantages, leave_one_out
from agents.maths.losses import reinforce_loss
from tests.agents.test_objectives import _every_episode, _learner

FREE = {"group_size": 2, "kl_coefficient": 0.0}
ALLOWANCE = 3


def _weights_of(agent):
    return [p for name, p in agent.policy.named_parameters() if not name.startswith("value_head")]


def _moved(agent, texts=24, by=1.3):
    """A collection, and what the policy says of it when it has moved on."""
    rollout = agent.collect([n // 4 % 2 for n in range(texts)])
    with torch.no_grad():
        agent.policy.model.lm_head.weight *= by
    return rollout, agent.policy.evaluate(rollout, torch.arange(texts))


def _same_gradient(agent, loss, other):
    """Whether two losses pull the policy's weights the same way, and how hard they do."""
    ours, theirs = (
        torch.autograd.grad(each, _weights_of(agent), retain_graph=True) for each in (loss, other)
    )
    assert max(float(each.abs().max()) for each in theirs) > 1e-3
    for mine, written_out in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, written_out, atol=1e-5, rtol=1e-3)


def _gspo(now, old, advantage, config):
    """Equations 5 and 7 of Zheng et al., one text."""
    s = ((now - old).sum() / len(now)).exp()
    inside = s.clamp(1 - config.clip, 1 + config.clip_high)
    return torch.minimum(s * advantage, inside * advantage)


def _grpo(now, old, advantage, config):
    """Equation 3 of Shao et al., the sum over a text's tokens."""
    r = (now - old).exp()
    inside = r.clamp(1 - config.clip, 1 + config.clip_high)
    return torch.minimum(r * advantage, inside * advantage).sum()


def _cispo(now, old, advantage, config):
    """Equations 4 and 5 of MiniMax, the sum over a text's tokens."""
    weight = [min(float(r), 1 + config.clip_high) for r in (now - old).detach().exp()]
    return (torch.tensor(weight) * advantage * now).sum()


def _mean_over_texts(terms, lengths):
    return sum(terms) / len(terms)


def _mean_over_tokens(terms, lengths):
    return sum(terms) / sum(lengths)


def _by_constant(terms, lengths):
    """The learner's 8 rows are 4 texts in each of two minibatches, however many are given here."""
    return sum(terms) / (4 * ALLOWANCE)


FORMULAS = {
    "dr. grpo": ({"weigh": "constant", "minibatches": 2}, _grpo, _by_constant),
    "dapo": ({"weigh": "tokens"}, _grpo, _mean_over_tokens),
    "gspo": ({"ratio": "text"}, _gspo, _mean_over_texts),
    "cispo": ({"surrogate": "cispo", "weigh": "tokens"}, _cispo, _mean_over_tokens),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_successors_loss_is_its_papers_in_any_parts(name):
    """Loss and gradient, where some ratios have left their bounds and others have not."""
    settings, of_text, mean = FORMULAS[name]
    config = GRPOConfig(**FREE, **settings, clip=0.05, clip_high=0.08, episodes=8)
    agent = _learner(GRPO, config, rows=8)
    rollout, new = _moved(agent)
    scores = torch.linspace(-1.0, 2.0, 24).sin()
    batch = _Batch(
        old_log_probs=rollout.log_probs,
        reference_log_probs=None,
        advantages=scores,
        counts=rollout.mask,
    )
    rows = torch.arange(24)
    written, lengths, bound = [], rollout.mask.sum(dim=1).tolist(), 0
    for row, length in enumerate(lengths):
        now, old = new.log_probs[row, :length], rollout.log_probs[row, :length]
        written.append(of_text(now, old, scores[row], config))
        bound += float(written[-1].detach()) != pytest.approx(
            float(of_text(now, old, scores[row], GRPOConfig(clip=9.0, clip_high=9.0)).detach())
        )
    assert 2 < bound < 24
    assert 1 <= min(lengths) < max(lengths) == ALLOWANCE
    loss = 0.0
    for part in (rows[:7], rows[7:]):
        own = new._replace(log_probs=new.log_probs[part])
        loss += agent._loss(own, rollout, batch, part, agent._weights(rollout.mask, rows, part))[0]
    expected = -mean(written, lengths)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-4)
    _same_gradient(agent, loss, expected)


def _all_pairs(agent):
    """Every text after a prompt, every two of them as a group, and how likely that is."""
    rollout = _every_episode(agent, 2000)
    assert len(rollout) == 15
    new = agent.policy.evaluate(rollout, torch.arange(15))
    chance = new.log_probs.sum(dim=1).exp()
    rows = torch.tensor(list(itertools.product(range(15), repeat=2)))
    return rollout, new, chance, rows.flatten(), chance.detach()[rows].prod(dim=1)


def test_dr_grpo_expects_the_gradient_of_the_reward():
    """Over all pairs of texts: but for a mean that holds the text itself, and for the constant.

    By tokens or by texts it expects another one, which favours short texts that are good.
    """
    gradients = {}
    for weigh in ("constant", "tokens", "texts"):
        config = GRPOConfig(**FREE, weigh=weigh, scale_by_spread=False)
        agent = _learner(GRPO, config, rows=500, reward=letters)
        agent.episodes = 2
        rollout, _, chance, rows, likely = _all_pairs(agent)
        scores = torch.from_numpy(rollout.scores).float()
        objective = (chance * scores).sum()
        expected = torch.autograd.grad(objective / 2 / ALLOWANCE, _weights_of(agent))
        pairs = rollout.take(rows)
        advantages = group_advantages(scores[rows], 2, scale=False)
        batch = _Batch(
            old_log_probs=pairs.log_probs,
            reference_log_probs=None,
            advantages=advantages,
            counts=pairs.mask,
        )
        new = agent.policy.evaluate(pairs, torch.arange(450))
        weights = torch.cat(
            [agent._weights(pairs.mask, two, two) for two in torch.arange(450).split(2)]
        )
        weights = weights * likely.repeat_interleave(2)[:, None]
        loss, _ = agent._loss(new, pairs, batch, torch.arange(450), weights)
        ours = torch.autograd.grad(-loss, _weights_of(agent))
        gradients[weigh] = torch.cat([each.flatten() for each in ours])
    true = torch.cat([each.flatten() for each in expected])
    torch.testing.assert_close(gradients["constant"], true, atol=1e-6, rtol=1e-3)
    for weigh in ("tokens", "texts"):
        assert torch.cosine_similarity(gradients[weigh], true, dim=0) < 0.999


def test_rloo_expects_the_gradient_of_the_reward():
    """Over all pairs of texts, each with the other's score as its baseline."""
    agent = _learner(GRPO, GRPOConfig(**FREE), rows=500, reward=letters)
    rollout, new, chance, rows, likely = _all_pairs(agent)
    scores = torch.from_numpy(rollout.scores).float()
    whole = new.log_probs.sum(dim=1)[rows][:, None]
    advantages = leave_one_out(scores[rows], 2)[:, None]
    weights = (likely.repeat_interleave(2) / 2)[:, None]
    loss = reinforce_loss(whole, whole.detach(), advantages, weights).loss
    _same_gradient(agent, -loss, (chance * scores).sum())


def letters(prompts, completions, **columns):
    """Short texts of a are good, and a b at the start is better."""
    return [2.0 * text.startswith("b") + text.count("a") / (1 + len(text)) for text in completions]
