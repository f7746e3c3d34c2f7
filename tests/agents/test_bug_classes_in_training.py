"""Errors that trainers of language models are known for, in the training loop.

The list of them all is in ``test_bug_classes.py``.
"""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from agents.maths.distributions import Sampling
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.rollouts.collect import collect
from agents.training.updates import Updates
from tests.agents.learners import only_gradient
from tests.agents.toys import make_model, make_toy
from textgym.pretrained.adapters import AdapterConfig, add_adapters
from textgym.tokenizers import CharacterTokenizer
from textgym.types import StopReason

CONFIG = PPOConfig(iterations=6, minibatches=2, epochs=2, learning_rate=1e-3, kl_coefficient=0.1)


def nothing(prompts, completions, **columns):
    """A reward of 0 for all."""
    return [0.0] * len(completions)


def everything(prompts, completions, **columns):
    """A reward of 1 for all."""
    return [1.0] * len(completions)


def _ppo(config=CONFIG, rows=8, reward=None, **model):
    envs = make_toy(rows=rows) if reward is None else make_toy(rows=rows, reward=reward)
    return PPO(TransformerPolicy(make_model(**model)), envs, config)


def _figures(metrics):
    """All that is measured but time."""
    return {name: value for name, value in metrics.items() if not name.startswith("seconds")}


def _batch(ppo, rollout):
    return ppo._learnable(rollout, ppo.evaluate(ppo.reference, rollout).log_probs)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("limits", [{}, {"top_p": 0.8}, {"top_k": 3}], ids=["all", "p", "k"])
def test_the_first_ratio_is_one(kind, limits):
    """Ragged texts, rows that restart, a temperature: within 1e-5 of 1 at every action."""
    config = dataclasses.replace(CONFIG, temperature=0.7, episodes=20, **limits)
    ppo = _ppo(config, kind=kind)
    rollout = ppo.collect()
    assert rollout.mask.sum(dim=1).unique().numel() > 2
    ratio = (ppo.evaluate(ppo.policy, rollout).log_probs - rollout.log_probs).exp()
    assert float((ratio - 1)[rollout.mask].abs().max()) < 1e-5


@pytest.mark.parametrize("kind", ["gpt2", "mistral"])
def test_dropout_moves_no_ratio(kind):
    """A model made with dropout, in training mode: acting, learning and comparing do without."""
    model = make_model(kind, dropout=0.5)
    if kind == "mistral":  # run by transformers' own modules, which ask for the mode
        for layer in model.model.layers:
            layer.self_attn.attention_dropout = 0.5
    ppo = PPO(TransformerPolicy(model), make_toy(rows=8), CONFIG)
    ppo.policy.train()
    ppo.reference.train()
    rollout = ppo.collect()
    assert _batch(ppo, rollout)[1]["kl"] == pytest.approx(0.0, abs=1e-5)
    again = ppo.evaluate(ppo.policy, rollout)
    torch.testing.assert_close(rollout.log_probs, again.log_probs, atol=1e-5, rtol=1e-4)


def test_the_score_is_one_hot_at_the_end():
    """At the end of text where there is one, and else at the last action of the allowance."""
    rollout = _ppo(rows=32, reward=everything).collect()
    last = rollout.mask.sum(dim=1) - 1
    assert torch.equal(F.one_hot(last, rollout.mask.shape[1]).float(), rollout.rewards)
    ended = rollout.stop_reasons == StopReason.END_OF_TEXT
    assert 0 < ended.sum() < 32
    assert set(rollout.actions[torch.arange(32), last][torch.from_numpy(ended)].tolist()) == {2}


class _Stopping(CharacterTokenizer):
    """Ends a text with its full stop, and never with the usual id."""

    @property
    def eos_id(self):
        return 11

    @property
    def forbidden_ids(self):
        return (0, 1, 2)


def test_another_stop_token_is_an_end():
    """The penalty for a missing end asks the tokenizer, and not for the usual id."""
    envs = make_toy(rows=32, tokenizer=_Stopping("abcdefgh."), reward=everything)
    config = dataclasses.replace(CONFIG, missing_end_penalty=3.0)
    ppo = PPO(TransformerPolicy(make_model(vocabulary=12)), envs, config)
    rollout = ppo.collect()
    stopped = ((rollout.actions == 11) & rollout.mask).any(dim=1)
    assert 0 < stopped.sum() < 32
    paid = ppo._shaped(rollout).sum(dim=1)
    assert torch.equal(torch.where(stopped, 1.0, -2.0), paid)


def _widened(rollout, columns):
    """The same episodes with more padding behind them, of tokens and of actions, in it rubbish."""
    pad = {"tokens": 7, "places": 0, "actions": 5, "log_probs": 9.0, "values": -40.0}
    wide = {
        name: F.pad(getattr(rollout, name), (0, columns), value=value)
        for name, value in {**pad, "rewards": 0.0, "mask": False}.items()
    }
    return dataclasses.replace(rollout, **wide)


@pytest.mark.parametrize("kl_in", ["reward", "loss"])
def test_padding_changes_no_figure(kl_in, monkeypatch):
    """What is logged is of actions: entropy, KL, losses and clip fractions, and the gradient."""
    config = dataclasses.replace(
        CONFIG,
        kl_in=kl_in,
        kl_estimator="k2",
        whiten_advantages="minibatch",
        whiten_rewards=True,
        epochs=1,
        minibatches=1,
        max_gradient_norm=None,
    )
    ppo = _ppo(config, rows=32)
    torch.nn.init.normal_(ppo.policy.value_head.weight)
    with torch.no_grad():
        ppo.reference.model.lm_head.weight.mul_(3)
    rollout = ppo.collect()
    monkeypatch.setattr(Updates, "require_unmoved", lambda *_: None)
    with torch.no_grad():
        ppo.policy.model.lm_head.weight.mul_(2)  # the ratios are not 1
    figures, gradients, start = [], [], {k: v.clone() for k, v in ppo.policy.state_dict().items()}
    for given in (rollout, _widened(rollout, 5)):
        ppo.policy.load_state_dict(start)
        ppo.iteration = 0
        monkeypatch.setattr(ppo, "collect", lambda given=given: given)
        gradient, metrics = only_gradient(ppo)
        figures.append(_figures(metrics))
        gradients.append([*gradient.values()])
    assert figures[0]["entropy"] > 0 < figures[0]["clip_fraction"]
    assert figures[0] == pytest.approx(figures[1], rel=1e-4, abs=1e-6)
    for expected, actual in zip(*gradients, strict=True):
        torch.testing.assert_close(expected, actual, atol=1e-6, rtol=1e-3)


def test_the_controller_sees_whole_texts():
    """One move an iteration, by the KL of whole texts: 1 + gain (kl / target - 1) to the digit."""
    first = _ppo(CONFIG)
    kl = [first.step()[0]["kl"] for _ in range(2)][1]
    target = kl / 1.1
    config = dataclasses.replace(CONFIG, kl_target=target, kl_gain=1.0)
    ppo = _ppo(config)
    ppo.step()
    assert ppo.kl_coefficient == pytest.approx(0.1 * 0.8)  # from 0, as far as it may fall
    before = {name: value.clone() for name, value in ppo.policy.state_dict().items()}
    _, rollout = ppo.step()
    made = ppo.kl_coefficient
    ppo.policy.load_state_dict(before)
    ratio = rollout.log_probs - ppo.evaluate(ppo.reference, rollout).log_probs
    measured = sum(float(row[mask].sum()) for row, mask in zip(ratio, rollout.mask, strict=True))
    assert made == pytest.approx(0.1 * 0.8 * (measured / 8 / target), rel=1e-3)
    assert made / 0.08 == pytest.approx(1.1, abs=0.01)


def test_a_score_of_zero_is_a_score():
    """Neither missing nor cut off: the critic learns that there was nothing to be had."""
    ppo = _ppo(dataclasses.replace(CONFIG, kl_coefficient=0.0), reward=nothing)
    torch.nn.init.ones_(ppo.policy.value_head.bias)
    rollout = ppo.collect()
    assert rollout.scores.tolist() == [0.0] * 8
    assert not rollout.truncated.any()
    batch, _ = _batch(ppo, rollout)
    assert not batch.returns.any()


def test_replies_are_no_actions():
    """Advantages go from one own token to the next, whatever the other side says in between."""
    envs = make_toy("Guess", rows=6, completion_tokens=24)
    model = make_model(vocabulary=envs.tokenizer.vocab_size)
    policy = TransformerPolicy(model)
    torch.nn.init.normal_(policy.value_head.weight)
    config = dataclasses.replace(
        CONFIG, gamma=0.9, lam=0.8, kl_coefficient=0.0, whiten_advantages="off"
    )
    ppo = PPO(policy, envs, config)
    rollout = ppo.collect()
    assert (rollout.places.diff(dim=1)[rollout.mask[:, 1:]] > 1).any()
    batch, _ = _batch(ppo, rollout)
    with torch.no_grad():
        for row in range(6):
            count = int(rollout.mask[row].sum())
            text = rollout.tokens[row : row + 1, : rollout.lengths[row]]
            states = model.base_model(input_ids=text).last_hidden_state[0]
            values = [*policy.value_head(states)[rollout.places[row, :count], 0].tolist(), 0.0]
            expected = 0.0
            for t in reversed(range(count)):
                delta = float(rollout.rewards[row, t]) + 0.9 * values[t + 1] - values[t]
                expected = delta + 0.9 * 0.8 * expected
                assert float(batch.advantages[row, t]) == pytest.approx(expected, abs=1e-4)


def test_ids_are_never_encoded_again():
    """A text has many spellings in subwords; what is learned from is the one that was sampled."""
    envs = make_toy(rows=8, tokenizer="reviews-4096", reward=nothing)
    policy = TransformerPolicy(make_model(vocabulary=4096, width=8))
    rollout = collect(envs, policy, sampling=Sampling(), generator=torch.Generator().manual_seed(0))
    drifted = 0
    for row, completion in enumerate(rollout.completions()):
        assert rollout.actions[row][rollout.mask[row]].tolist() == completion
        places = rollout.places[row][rollout.mask[row]] + 1
        assert rollout.tokens[row, places].tolist() == completion
        written = [token for token in completion if token != envs.tokenizer.eos_id]
        drifted += envs.tokenizer.encode(envs.tokenizer.decode(written)) != written
    assert drifted > 0


@pytest.mark.parametrize("minibatches", [1, 3, 4, 7])
def test_each_text_is_used_once_an_epoch(monkeypatch, minibatches):
    """Three epochs use every text of the iteration three times, and none of another.

    Minibatches are as many as were asked for, 7 for 17 texts included, and as large as each other.
    """
    config = dataclasses.replace(CONFIG, epochs=3, minibatches=minibatches, episodes=17)
    ppo = _ppo(config)
    for _ in range(2):
        used, orders = Counter(), []

        def counting(updates, rows, *args, parts=Updates.parts, used=used, orders=orders):
            used.update(rows.tolist())
            orders.append(tuple(rows.tolist()))
            return parts(updates, rows, *args)

        with monkeypatch.context() as patch:
            patch.setattr(Updates, "parts", counting)
            ppo.step()
        assert used == dict.fromkeys(range(17), 3)
        assert len(orders) == len(set(orders)) == 3 * minibatches  # each epoch in another order
        sizes = {len(order) for order in orders}
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("critic", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_the_reference_is_apart_and_frozen(critic, given):
    """After five updates and more: no weight shared, moved, or known to the optimiser."""
    policy = TransformerPolicy(make_model(), make_model(seed=3) if critic else None)
    reference = TransformerPolicy(make_model()) if given else None
    config = dataclasses.replace(CONFIG, epochs=3)
    ppo = PPO(policy, make_toy(rows=8), config, reference=reference)
    start = {name: value.clone() for name, value in policy.state_dict().items()}
    assert ppo.step()[0]["updates"] == 6
    for name, value in ppo.reference.state_dict().items():
        assert torch.equal(start[name], value), name
    frozen = {p.data_ptr() for p in ppo.reference.parameters()}
    assert not frozen & {p.data_ptr() for p in policy.parameters()}
    assert not frozen & {p.data_ptr() for g in ppo.optimizer.param_groups for p in g["params"]}
    assert not any(p.requires_grad or p.grad is not None for p in ppo.reference.parameters())
    moved = [name for name, p in policy.named_parameters() if not torch.equal(start[name], p)]
    assert {name.split(".")[0] for name in moved} >= {"model", "value_head"}


@pytest.mark.parametrize("kind", ["copied", "given", "adapters"])
def test_the_reference_runs_no_critic(kind):
    """Its log-probabilities are all that is read: a critic was copied, and run, for nothing."""
    critics = {name: make_model(width=16, seed=3) for name in ("policy", "reference")}
    model, given = make_model(), None
    if kind == "adapters":
        pytest.importorskip("peft", reason="the extra lora is not installed")
        add_adapters(model, AdapterConfig(rank=4), base="here")
    if kind == "given":
        given = TransformerPolicy(make_model(seed=1), critics["reference"], edits=True)
    ppo = PPO(TransformerPolicy(model, critics["policy"]), make_toy(), CONFIG, reference=given)
    rollout = ppo.collect()
    for parameter in (p for critic in critics.values() for p in critic.parameters()):
        parameter.data.fill_(torch.nan)
    assert ppo.reference is None if kind == "adapters" else ppo.reference.critic is None
    log_probs = ppo.reference_log_probs(rollout)
    assert ppo.evaluate(ppo.policy, rollout).values.isnan().any()
    plain = TransformerPolicy(make_model(seed=1 if given else 0))
    expected = ppo.evaluate(plain, rollout).log_probs
    torch.testing.assert_close(expected, log_probs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("edits", [False, True])
def test_the_narrow_sampler_has_no_critic(edits):
    """Which does not write: it was copied, and its weights anew in every iteration, for nothing."""
    policy = TransformerPolicy(make_model(), make_model(width=16, seed=3), edits=edits)
    envs = make_toy("Alphabet-Edit" if edits else "Alphabet")
    ppo = PPO(policy, envs, dataclasses.replace(CONFIG, bf16=True))
    narrow = [p.numel() for p in ppo._copies.copy.parameters()]
    actor = TransformerPolicy(make_model(), edits=edits)
    assert [p.numel() for p in actor.parameters()] == narrow
    for _ in range(2):  # the critic learns from values of its own, the policy from its own ratio
        metrics, rollout = ppo.step()
        assert rollout.values is None
        assert 0 < metrics["sampler_gap"] < 0.05
    assert metrics["explained_variance"] != 0


def test_a_reference_is_saved_without_the_critic_that_it_was_given_with(tmp_path):
    """And training with a critic goes on from there as it would have."""
    policy = TransformerPolicy(make_model(), make_model(width=16, seed=3))
    reference = TransformerPolicy(make_model(seed=1), make_model(width=16, seed=4))
    straight = PPO(policy, make_toy(), CONFIG, reference=reference)
    straight.step()
    straight.save(tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint" / "reference" / "critic").exists()
    expected = [_figures(straight.step()[0]) for _ in range(2)]
    other = TransformerPolicy(make_model(seed=5), make_model(width=16, seed=6))
    for resumed in (
        PPO.load(tmp_path / "checkpoint", make_toy()),
        PPO(other, make_toy(), CONFIG).restore(tmp_path / "checkpoint"),
    ):
        assert expected == [_figures(resumed.step()[0]) for _ in range(2)]


def test_in_bfloat16_an_unmoved_policy_is_its_reference():
    """Sampled narrowly, compared by one and the same forward pass: no KL, and no first ratio."""
    ppo = _ppo(dataclasses.replace(CONFIG, bf16=True), rows=32)
    rollout = ppo.collect()
    batch, metrics = _batch(ppo, rollout)
    assert abs(metrics["kl"]) < 1e-6 > metrics["kl_k3"]
    assert not torch.equal(rollout.log_probs, batch.old_log_probs)  # the sampler's are others
    assert torch.equal(batch.reference_log_probs, batch.old_log_probs)
    assert np.isfinite(rollout.scores).all()


@pytest.mark.parametrize("limits", [{}, {"top_p": 0.9}, {"top_k": 1}], ids=["all", "p", "k"])
@pytest.mark.parametrize("kl_in", ["reward", "loss"])
def test_what_the_sampler_cut_away_still_costs(limits, kl_in):
    """By hand: a policy sure of one action, which its reference gives a tenth, is log 10 from it.

    Under top-p both were renormalised over that action alone: KL was 0, its price too, and a
    controller gave it away while the policy collapsed.
    """
    models = (make_model(vocabulary=7, seed=seed) for seed in (0, 1))
    policy, reference = map(TransformerPolicy, models)
    with torch.no_grad():
        policy.model.lm_head.weight.mul_(200)  # sure of itself, and of its own end of text
    config = dataclasses.replace(
        CONFIG, kl_in=kl_in, kl_target=None, kl_coefficient=0.5, temperature=1.0, **limits
    )
    ppo = PPO(policy, make_toy("Bandit", rows=32), config, reference=reference)
    metrics, rollout = ppo.step()
    of_reference = []
    for tokens, actions, places, mask in zip(
        rollout.tokens, rollout.actions, rollout.places, rollout.mask, strict=True
    ):
        logits = reference.model(input_ids=tokens[None]).logits[0]
        legal = torch.where(rollout.legal, 0.0, -torch.inf)
        every = (logits + legal).log_softmax(dim=-1)
        of_reference.append(
            sum(every[p, a] for p, a in zip(places[mask], actions[mask], strict=True))
        )
    of_policy = torch.where(rollout.mask, rollout.log_probs, 0.0).sum(dim=1)
    expected = float((of_policy - torch.stack(of_reference)).mean())
    assert expected > 1.0
    assert metrics["kl"] == pytest.approx(expected, rel=1e-3)


def test_with_limits_the_ratio_knows_them_and_the_loss_s_price_does_not():
    """Each by its own mask: the two differ by the log of what was cut away."""
    config = dataclasses.replace(CONFIG, top_p=0.7, temperature=1.0, kl_in="loss", kl_target=None)
    ppo = _ppo(config, rows=16)
    rollout = ppo.collect()
    new = ppo.policy.evaluate(rollout)
    assert (new.log_probs - rollout.log_probs).abs()[rollout.mask].max() < 1e-4
    assert (new.log_probs - new.legal_log_probs)[rollout.mask].max() > 0.05
    assert ((new.log_probs - new.legal_log_probs)[rollout.mask] >= -1e-6).all()
