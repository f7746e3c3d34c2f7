"""What the learners descend, against objectives that are worked out by other routes.

A toy of two letters and three places has 15 texts, all of which can be written down, and so can a
few phrases, or two edits of a short draft. So what an update expects to do can be compared with the
gradient of what it is meant to raise.
"""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from agents.grpo import GRPO, GRPOConfig
from agents.maths.losses import token_weights
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from agents.training.updates import Updates
from tests.agents.toys import make_model, make_toy
from textgym.tokenizers import CharacterTokenizer

PLAIN = PPOConfig(
    kl_coefficient=0.3, temperature=1.0, value_weight=0.0, whiten_advantages="off", clip=0.05
)


def likes_a(prompts, completions, **columns):
    """Counts a, and pays for a b at the start."""
    return [
        1.0 * text.count("a") - 0.5 * len(text) + 2 * text.startswith("b") for text in completions
    ]


def _learner(kind, config, rows=8, task="Alphabet", letters="ab", **kwargs):
    """A learner that is away from its reference, and whose critic says something."""
    kwargs = {"reward": likes_a, "completion_tokens": 3, **kwargs}
    envs = make_toy(task, rows=rows, tokenizer=CharacterTokenizer(letters), **kwargs)
    policy, reference = (
        TransformerPolicy(make_model(vocabulary=3 + len(letters), seed=seed), edits="Edit" in task)
        for seed in range(2)
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        policy.model.lm_head.weight *= 1.5
        reference.model.lm_head.weight *= 2
        policy.value_head.weight.normal_(std=0.5, generator=generator)
        for each in (policy, reference):
            for parameter in each.edit_head.parameters() if each.edit_head else ():
                parameter.normal_(std=0.1, generator=generator)
    learner = kind(policy, envs, config, reference=reference)
    learner.next_examples = lambda count: [n % 2 for n in range(count)]  # the prompts a and b
    return learner


def _every_episode(learner, played):
    """One row of each way to act after the first prompt, and from the same draft."""
    rollout = learner.collect([0] * played, group=played)
    actions = rollout.actions.reshape(*rollout.mask.shape, -1)
    ways = torch.where(rollout.mask[..., None], actions, -1)
    _, first = np.unique(ways.flatten(1).numpy(), axis=0, return_index=True)
    rows = torch.from_numpy(np.sort(first))
    return rollout.take(rows)


PHRASES = {"proposer": "list", "proposer_kwargs": {"phrases": ["a", "ba", "ab"]}}
SETTINGS = {
    "texts": {"count": 1 + 2 + 4 + 8},
    "cold texts": {"count": 1 + 2 + 4 + 8, "temperature": 0.7},
    "texts cut off": {"count": 1 + 2 + 4, "max_episode_steps": 2},
    "phrases": {"task": "Alphabet-Choose", **PHRASES},
    "edits": {
        "task": "Alphabet-Edit",
        "letters": "abcd",  # of which the drafts are
        "drafter_kwargs": {"rate": 0.8},
        "completion_tokens": 2,
        "max_actions": 2,
        "played": 8000,
    },
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_expected_update_of_ppo_is_the_gradient_of_reward_less_kl(settings):
    """By enumeration: d/dw sum p(text) (score - 0.3 log p / p_ref), whatever the critic says.

    But for texts that an outside limit cuts off: what they are worth is what it says of them.
    """
    config = {"temperature": 1.0, "played": 2000, "count": None} | settings
    temperature, played, count = (config.pop(name) for name in ("temperature", "played", "count"))
    ppo = _learner(PPO, dataclasses.replace(PLAIN, temperature=temperature), rows=500, **config)
    rollout = _every_episode(ppo, played)
    assert count in {None, len(rollout)}
    reference = ppo.reference_log_probs(rollout)
    batch, metrics = ppo._learnable(rollout, reference)
    rows = torch.arange(len(rollout))
    new = ppo.policy.evaluate(rollout, rows, temperature)
    of_text = new.log_probs.sum(dim=1)
    chance = of_text.exp()
    torch.testing.assert_close(torch.tensor(1.0), chance.detach().sum(), atol=1e-5, rtol=0)
    nats = of_text - reference.sum(dim=1)
    with torch.no_grad():
        guessed = ppo.policy.state_values(rollout.tokens, rollout.lengths)
    worth = torch.where(rollout.truncated, guessed, torch.from_numpy(rollout.scores).float())
    assert bool(rollout.truncated.any()) == ("max_episode_steps" in settings)
    objective = (chance * (worth - 0.3 * nats)).sum()
    assert float((chance * nats).detach().sum()) > 0.02
    assert metrics["kl"] == pytest.approx(float(nats.detach().mean()), abs=1e-5)  # of equal rows
    weights = [p for name, p in ppo.policy.named_parameters() if not name.startswith("value_head")]
    expected = torch.autograd.grad(objective, weights, retain_graph=True)
    # An action counts for as much as its text is likely.
    counts = rollout.mask * chance.detach()[:, None]
    loss, _ = ppo._loss(new, rollout, batch, rows, counts)
    for mine, other in zip(torch.autograd.grad(loss, weights), expected, strict=True):
        torch.testing.assert_close(-mine, other, atol=1e-5, rtol=1e-4)


SHAPING = {
    "plain": {},
    "k2": {"kl_estimator": "k2"},
    "k3": {"kl_estimator": "k3", "whiten_advantages": "batch"},
    "loss": {"kl_in": "loss", "kl_estimator": "k2"},
    "discounted": {"gamma": 0.9, "lam": 0.8, "whiten_advantages": "batch"},
    "whitened": {"whiten_rewards": True, "lam": 0.5},
    "clipped": {"reward_clip": 0.4, "missing_end_penalty": 0.7, "scale_rewards": True},
}


@pytest.mark.parametrize("settings", SHAPING.values(), ids=SHAPING)
def test_what_is_learned_from_by_plain_loops(settings):
    """Rewards, KL, returns and advantages of every action, one number at a time."""
    ppo = _learner(PPO, dataclasses.replace(PLAIN, **settings), rows=32)
    config, rollout = ppo.config, ppo.collect()
    reference = ppo.reference_log_probs(rollout)
    batch, metrics = ppo._learnable(rollout, reference)
    counts = rollout.mask.sum(dim=1).tolist()
    assert min(counts) == 1 < max(counts)  # an end alone, and a text that was cut off
    scores = [
        score - config.missing_end_penalty * (reason == 2)
        for score, reason in zip(rollout.scores, rollout.stop_reasons, strict=True)
    ]
    if config.scale_rewards:
        scores = [score / np.std(scores) for score in scores]
    paid = []
    for row, count in enumerate(counts):
        limit = config.reward_clip or np.inf
        own = [0.0] * (count - 1) + [min(limit, max(-limit, scores[row]))]
        for t in range(count) if config.kl_in == "reward" else ():
            r = float(rollout.log_probs[row, t] - reference[row, t])
            own[t] -= (
                0.3
                * {"k1": r, "k2": r * r / 2, "k3": np.exp(-r) - 1 + r}[config.kl_estimator or "k1"]
            )
        paid.append(own)
    if config.whiten_rewards:
        every = np.concatenate(paid)
        paid = [(np.array(own) - every.mean()) / every.std() + every.mean() for own in paid]
    advantages, returns = [], []
    for row, count in enumerate(counts):
        values = [*rollout.values[row, :count].tolist(), 0.0]
        running, own = 0.0, []
        for t in reversed(range(count)):
            delta = paid[row][t] + config.gamma * values[t + 1] - values[t]
            running = delta + config.gamma * config.lam * running
            own.insert(0, running)
        advantages.append(own)
        returns.append([a + v for a, v in zip(own, values[:-1], strict=True)])
    flat = np.concatenate(returns)
    residual = flat - rollout.values[rollout.mask].numpy()
    explained = 1 - residual.var() / flat.var()
    assert metrics["explained_variance"] == pytest.approx(explained, abs=1e-4)
    np.testing.assert_allclose(batch.returns[rollout.mask], flat, atol=1e-4)
    flat = np.concatenate(advantages)
    if config.whiten_advantages == "batch":
        flat = (flat - flat.mean()) / flat.std()
    np.testing.assert_allclose(batch.advantages[rollout.mask], flat, atol=1e-3)


LOSSES = {
    "values": {"value_weight": 0.5},
    "clipped values": {"value_weight": 0.5, "value_clip": 0.05},
    "minibatch": {"whiten_advantages": "minibatch"},
    "kl k2": {"kl_in": "loss", "kl_estimator": "k2"},
    "kl k3": {"kl_in": "loss", "kl_estimator": "k3"},
}


@pytest.mark.parametrize("settings", LOSSES.values(), ids=LOSSES)
def test_the_loss_of_a_minibatch_by_plain_loops(settings):
    """After the policy has moved, in two parts of unequal length, by a price that has moved too."""
    ppo = _learner(PPO, dataclasses.replace(PLAIN, **settings), rows=32)
    config, rollout = ppo.config, ppo.collect()
    reference = ppo.reference_log_probs(rollout)
    batch, _ = ppo._learnable(rollout, reference)
    with torch.no_grad():
        ppo.policy.model.lm_head.weight *= 1.3
        ppo.policy.value_head.weight *= 1.3
    ppo.kl_coefficient = 17.0
    rows = torch.arange(5, 29)
    whitened, total = ppo._whitened(batch, rollout.mask, rows), 0.0
    for part in (rows[:7], rows[7:]):
        new = ppo.policy.evaluate(rollout, part, 1.0)
        weights = token_weights(rollout.mask[part], rollout.mask[rows].sum())
        total += float(ppo._loss(new, rollout, whitened, part, weights)[0].detach())
    new = ppo.policy.evaluate(rollout, rows, 1.0)
    mask, expected, moved = rollout.mask[rows], [], 0
    advantages = batch.advantages[rows][mask].double().numpy()
    if config.whiten_advantages == "minibatch":
        advantages = (advantages - advantages.mean()) / advantages.std()
    given = (new.log_probs, batch.old_log_probs[rows], reference[rows], new.values)
    given = [each.detach()[mask].tolist() for each in given]
    given += [each[rows][mask].tolist() for each in (batch.old_values, batch.returns)]
    for a, now, old, ref, value, before, due in zip(advantages, *given, strict=True):
        ratio = np.exp(now - old)
        clipped = min(1 + config.clip, max(1 - config.clip, ratio))
        moved += clipped != ratio
        term = -min(a * ratio, a * clipped)
        error = (value - due) ** 2
        if config.value_clip is not None:
            near = before + min(config.value_clip, max(-config.value_clip, value - before))
            error = max(error, (near - due) ** 2)
        term += config.value_weight * error / 2
        if config.kl_in == "loss":
            r = now - ref
            term += 17.0 * {"k2": r * r / 2, "k3": np.exp(-r) - 1 + r}[config.kl_estimator or "k1"]
        expected.append(term)
    assert moved > 0
    assert total == pytest.approx(np.mean(expected), rel=1e-4)


def _text_loss(ratio, advantage, low, high):
    return -min(ratio * advantage, min(1 + high, max(1 - low, ratio)) * advantage)


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("normalise", [False, True])
def test_rloo_by_plain_loops(normalise, clip, monkeypatch):
    """Scores less their price of KL, against the others' mean; the likelihood of whole texts.

    Without a clip it is the paper's loss, in which there is no ratio, however far the policy moved.
    """
    config = RLOOConfig(group_size=4, kl_coefficient=0.3, normalise=normalise, clip=clip)
    agent = _learner(RLOO, config, rows=8)
    given = _intercepted(agent, monkeypatch)
    paid = [
        float(score - 0.3 * nats)
        for score, nats in zip(given["rollout"].scores, given["nats"], strict=True)
    ]
    expected = []
    for row, own in enumerate(paid):
        group = paid[row // 4 * 4 : row // 4 * 4 + 4]
        expected.append(own - (sum(group) - own) / 3)
    if normalise:
        expected = (np.array(expected) - np.mean(expected)) / np.std(expected)
    np.testing.assert_allclose(given["advantages"], expected, atol=1e-3)
    terms = [
        -a * now.sum() if clip is None else _text_loss(np.exp((now - old).sum()), a, clip, clip)
        for now, old, a in zip(given["new"], given["old"], expected, strict=True)
    ]
    assert given["loss"] == pytest.approx(np.mean(terms), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("weigh", ["texts", "tokens"])
@pytest.mark.parametrize(("group", "kl_in"), [(1, "reward"), (4, "loss"), (2, "reward")])
def test_reinforce_by_plain_loops(weigh, group, kl_in, monkeypatch):
    """Returns with a discount, the price of KL and a group's mean, scaled over the whole batch.

    The loss is the mean over texts of means over their actions: equation 1 of Hu et al.
    """
    settings = {"group_size": group, "kl_in": kl_in, "weigh": weigh}
    config = ReinforceConfig(kl_coefficient=0.3, gamma=0.9, clip=0.05, **settings)
    agent = _learner(Reinforce, config, rows=8)
    given = _intercepted(agent, monkeypatch)
    scores = given["rollout"].scores.reshape(-1, group)
    if group > 1:
        scores = scores - scores.mean(axis=1, keepdims=True)
    every = []
    for price, score in zip(given["price"], scores.flatten(), strict=True):
        paid = [-0.3 * nats if kl_in == "reward" else 0.0 for nats in price]
        paid[-1] += score
        every.append([sum(0.9**k * r for k, r in enumerate(paid[t:])) for t in range(len(paid))])
    flat = np.concatenate(every)
    flat = (flat - flat.mean()) / flat.std()
    mask = given["rollout"].mask
    np.testing.assert_allclose(given["advantages"][mask], flat, atol=1e-3)
    texts, at = [], 0
    for now, old, ref in zip(given["new"], given["old"], given["ref"], strict=True):
        own = flat[at : at + len(now)]
        at += len(now)
        price = 0.3 * (now - ref) ** 2 / 2 if kl_in == "loss" else 0.0
        terms = [_text_loss(r, a, 0.05, 0.05) for r, a in zip(np.exp(now - old), own, strict=True)]
        texts.append(np.array(terms) + price)
    whole = (
        np.mean([np.mean(t) for t in texts]) if weigh == "texts" else np.concatenate(texts).mean()
    )
    assert given["loss"] == pytest.approx(whole, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("weigh", ["texts", "tokens"])
@pytest.mark.parametrize("scale", [False, True])
def test_grpo_by_plain_loops(weigh, scale, monkeypatch):
    """A group's own mean and deviation, its clip upwards, k3 in the loss, and who counts for it."""
    config = GRPOConfig(
        group_size=4,
        kl_coefficient=0.3,
        clip=0.05,
        clip_high=0.1,
        weigh=weigh,
        scale_by_spread=scale,
    )
    agent = _learner(GRPO, config, rows=8)
    given = _intercepted(agent, monkeypatch)
    groups = given["rollout"].scores.reshape(-1, 4)
    centred = groups - groups.mean(axis=1, keepdims=True)
    if scale:
        centred /= np.maximum(centred.std(axis=1, keepdims=True), 1e-9)
    expected = centred.flatten()
    np.testing.assert_allclose(given["advantages"], expected, atol=1e-4)
    texts = []
    for now, old, ref, a in zip(given["new"], given["old"], given["ref"], expected, strict=True):
        r = now - ref
        price = 0.3 * (np.exp(-r) - 1 + r)
        texts.append([_text_loss(x, a, 0.05, 0.1) for x in np.exp(now - old)] + price)
    whole = (
        np.mean([np.mean(t) for t in texts]) if weigh == "texts" else np.concatenate(texts).mean()
    )
    assert given["loss"] == pytest.approx(whole, rel=1e-3, abs=1e-4)


def _intercepted(agent, monkeypatch):
    """Runs an iteration of one update, whose loss is computed where the policy has moved."""
    seen, module = {}, sys.modules[type(agent).__module__]
    name = "reinforce_loss" if agent.config.clip is None else "clipped_policy_loss"
    evaluate, surrogate, backward = agent.policy.evaluate, getattr(module, name), Updates.backward
    weight = agent.policy.model.lm_head.weight

    def elsewhere(rollout, rows, *args, **kwargs):
        here = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(1.3)
            there = evaluate(rollout, rows, *args, **kwargs).log_probs
            weight.copy_(here)
        new = evaluate(rollout, rows, *args, **kwargs)
        seen.update(rollout=rollout, rows=rows, there=there)
        moved = new.log_probs + (there - new.log_probs).detach()
        return new._replace(log_probs=moved)

    def looking(new, old, advantages, *args):
        seen["advantages"] = advantages
        return surrogate(new, old, advantages, *args)

    def noted(updates, loss, figures):
        seen["loss"] = float(loss.detach())
        backward(updates, loss, figures)

    agent.policy.evaluate = elsewhere
    monkeypatch.setattr(module, name, looking)
    monkeypatch.setattr(Updates, "backward", noted)
    monkeypatch.setattr(Updates, "require_unmoved", lambda *_: None)
    agent.step()
    rollout, order = seen["rollout"], seen["rows"].argsort()
    arrays = {
        "new": seen["there"][order],
        "old": rollout.log_probs,
        "ref": agent.reference_log_probs(rollout),
    }
    for name, array in arrays.items():
        rows = zip(array, rollout.mask, strict=True)
        seen[name] = [row[mask].double().numpy() for row, mask in rows]
    seen["advantages"] = seen["advantages"][order].squeeze(-1)
    seen["price"] = [o - r for o, r in zip(seen["old"], seen["ref"], strict=True)]
    seen["nats"] = [each.sum() for each in seen["price"]]
    return seen
