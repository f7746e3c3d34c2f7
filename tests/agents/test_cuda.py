"""The whole path on a GPU, where there is one; ``test_device.py`` has what can be seen without."""

import warnings
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch

from agents.maths.distributions import Sampling
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.rollouts.collect import collect
from agents.rollouts.writer import Actor
from tests.agents.learners import SMALL, make_policy, measure_steps
from tests.agents.toys import episodes, make_model, make_toy

DEVICE = "cuda"
ROWS, TEXTS = 4, 16

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@contextmanager
def _syncs(mode):
    """Lets torch raise, or warn, where the host waits for the device; gives the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # the mode itself warns that it is new
        torch.cuda.set_sync_debug_mode(mode)
        try:
            yield caught
        finally:
            torch.cuda.set_sync_debug_mode("default")


def _waits(caught):
    return sum("synchronizing CUDA operation" in str(each.message) for each in caught)


def _collect(policy, envs):
    return collect(
        envs,
        policy,
        sampling=Sampling(),
        generator=torch.Generator(DEVICE).manual_seed(0),
        example_ids=[number % 8 for number in range(TEXTS)],
    )


def _evaluate(policy, rollout):
    with torch.no_grad():
        return policy.evaluate(_sent(rollout, policy.device))


def _sent(rollout, device):
    fields = (rollout.tokens, rollout.places, rollout.actions, rollout.mask, rollout.legal)
    return episodes(*(each.to(device) for each in fields))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
def test_what_is_collected_there_is_what_the_host_finds(kind):
    """Log-probabilities and values of the very texts, to float32's accuracy."""
    rollout = _collect(make_policy(DEVICE, kind), make_toy(rows=ROWS, device=DEVICE))
    here = _evaluate(make_policy(kind=kind), rollout)
    assert rollout.tokens.device.type == rollout.legal.device.type == torch.device(DEVICE).type
    torch.testing.assert_close(here.log_probs, rollout.log_probs.cpu(), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(here.values, rollout.values.cpu(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("bf16", [False, True])
def test_an_iteration_learns_there(bf16):
    """The guards hold: sampler and update agree, and the first ratio is 1."""
    policy = make_policy(DEVICE)
    before = [each.detach().clone() for each in policy.parameters()]
    agent = PPO(policy, make_toy(rows=ROWS, device=DEVICE), PPOConfig(**SMALL, bf16=bf16))
    metrics, rollout = agent.step()
    assert rollout.tokens.device.type == torch.device(DEVICE).type
    assert metrics["gradient_norm"] > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


def test_an_update_there_is_the_hosts():
    """Of one collection; only how products are summed differs."""
    envs, policies = make_toy(rows=ROWS, device=DEVICE), [make_policy(DEVICE), make_policy()]
    rollout = _collect(policies[0], envs)
    gradients = []
    for policy in policies:
        new = policy.evaluate(_sent(rollout, policy.device))
        (new.log_probs.mean() + new.values.square().mean()).backward()
        gradients.append([each.grad.cpu() for each in policy.parameters() if each.grad is not None])
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)


def test_a_resumed_learner_goes_on_there_as_if_nothing_had_happened(tmp_path):
    """Weights, moments and generators bit for bit; a step but for the order of atomic sums."""
    envs = make_toy(rows=ROWS, device=DEVICE)
    agent = PPO(make_policy(DEVICE), envs, PPOConfig(**SMALL))
    agent.step()
    agent.save(tmp_path / "saved")
    twin = PPO.load(tmp_path / "saved", envs, DEVICE)
    for mine, theirs in zip(agent.policy.parameters(), twin.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for name, generator in agent.random.generators.items():
        assert torch.equal(generator.get_state(), twin.random.generators[name].get_state())
    first, second = agent.step(), twin.step()
    assert torch.equal(first[1].actions, second[1].actions)
    assert first[0]["gradient_norm"] == pytest.approx(second[0]["gradient_norm"], rel=1e-4)


def test_writing_a_token_never_waits():
    """Logits, mask, top-k, top-p, the draw and the key-value cache stay on the device."""
    actor = Actor(TransformerPolicy(make_model().to(DEVICE)), rows=2, columns=32)
    tokens = torch.tensor([[1, 3, 4], [1, 5, 0]], device=DEVICE)
    legal, uniform = torch.ones(11, dtype=torch.bool, device=DEVICE), torch.rand(2, device=DEVICE)
    with torch.no_grad():
        actor.open(torch.arange(2, device=DEVICE), tokens, torch.tensor([3, 2], device=DEVICE))
        for sampling in (Sampling(), Sampling(top_k=3, temperature=0.5), Sampling(top_p=0.8)):
            with _syncs("error"):
                actor.feed(actor.act(legal, uniform, sampling).action)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_k=3), Sampling(top_p=0.8)])
def test_a_step_in_which_no_text_ends_waits_once(sampling):
    """For which rows have ended, as on the pretended device."""
    policy, envs = make_policy(DEVICE), make_toy(rows=ROWS, device=DEVICE)
    generator = torch.Generator(DEVICE).manual_seed(0)
    ids = [number % 8 for number in range(TEXTS)]
    with _syncs("warn") as caught:
        steps = measure_steps(envs, lambda: _waits(caught))
        collect(envs, policy, sampling=sampling, generator=generator, example_ids=ids)
    waits = {later - before for (ended, before), (_, later) in pairwise(steps) if not ended}
    assert waits == {1}
