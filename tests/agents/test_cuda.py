"""The whole path on a GPU, where there is one; ``test_device.py`` has what can be seen without."""

import json
import sys
import warnings
from contextlib import contextmanager
from itertools import pairwise

import pytest
import torch

from agents.dpo import DPO, DPOConfig
from agents.forward.output_product import OutputProduct
from agents.grpo import GRPO, GRPOConfig
from agents.maths.distributions import Sampling
from agents.maths.masks import unpack_mask
from agents.models.output_layer import chosen_log_probs
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from agents.rollouts.collect import collect
from agents.rollouts.writer import Actor
from tests.agents.learners import SMALL, make_policy, measure_steps
from tests.agents.toys import episodes, make_model, make_toy
from tests.benchmarks import gpu
from textgym.pretrained.adapters import AdapterConfig, add_adapters

DEVICE = "cuda"
ROWS, TEXTS = 4, 16
GROUPS = {"episodes": 8, "minibatches": 2, "group_size": 2, "bf16": True}
LEARNERS = {
    "critic": (PPO, PPOConfig(**SMALL, bf16=True)),
    "recomputing": (PPO, PPOConfig(**SMALL, bf16=True, gradient_checkpointing=True)),
    "limits": (PPO, PPOConfig(**SMALL, bf16=True, top_k=5, top_p=0.9)),
    "adapters": (GRPO, GRPOConfig(**GROUPS)),
    "grpo": (GRPO, GRPOConfig(**GROUPS)),
    "rloo": (RLOO, RLOOConfig(**GROUPS)),
    "reinforce": (Reinforce, ReinforceConfig(episodes=8, minibatches=2, bf16=True)),
    "dpo": (DPO, DPOConfig(episodes=8, minibatches=2, bf16=True)),
}

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


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3", "mistral"])
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


@pytest.mark.parametrize("case", LEARNERS)
def test_every_learner_learns_there_in_bfloat16(case):
    """With a critic, adapters, layers that are computed again, and top-k and top-p as well."""
    kind, config = LEARNERS[case]
    model = make_model("qwen2").to(DEVICE)
    if case == "adapters":
        add_adapters(model, AdapterConfig(rank=2), base="scratch:none")
    critic = make_model("qwen2", seed=7).to(DEVICE) if case == "critic" else None
    agent = kind(TransformerPolicy(model, critic), make_toy(rows=ROWS, device=DEVICE), config)
    before = [each.detach().clone() for each in agent.policy.parameters()]
    for _ in range(2):
        metrics, _ = agent.step()
    assert metrics["gradient_norm"] > 0
    after = agent.policy.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_logits_there_are_the_exact_ones_of_rounded_operands(dtype):
    """A bfloat16 result would be off by up to an eighth, as logits go beyond 35."""
    generator = torch.Generator().manual_seed(0)
    states, weight = (torch.randn(n, 64, generator=generator) for n in (200, 50_000))
    exact = states.to(dtype).double() @ weight.to(dtype).double().T
    product = OutputProduct(weight.to(DEVICE), None, dtype)
    found = product.logits(states.to(DEVICE))
    assert found.dtype == torch.float32
    # Of float32 operands the device may round products to TF32, if it is told to: it is not.
    assert (found.cpu() - exact).abs().max() < 1e-3


def test_gradients_of_many_ids_there_are_the_hosts():
    """Chunks are of another size, and where nothing is kept they are computed again."""
    generator = torch.Generator().manual_seed(0)
    found = []
    states, weight = (torch.randn(n, 64, generator=generator) for n in (700, 50_000))
    actions = torch.randint(50_000, (700,), generator=generator)
    legal = torch.rand(50_000, generator=generator) < 0.9
    legal[actions] = True
    for device in ("cpu", DEVICE):
        own = [each.to(device).requires_grad_() for each in (states, weight)]
        chosen, entropies = chosen_log_probs(
            own[0], own[1], None, actions.to(device), legal.to(device), 1.0, entropies=True
        )
        gradients = torch.autograd.grad((chosen + entropies).mean(), own)
        found.append([each.detach().cpu() for each in (chosen, entropies, *gradients)])
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-3)


def test_what_was_kept_of_many_ids_is_listed_there():
    policy = TransformerPolicy(make_model("llama", 4096).to(DEVICE))
    envs = gpu.make_envs(gpu.Shape(4096, 0, 0, 0), rows=3, prompt=4, new=40, device=DEVICE)
    generator = torch.Generator(DEVICE).manual_seed(0)
    rollout = collect(
        envs, policy, sampling=Sampling(top_k=7), generator=generator, example_ids=range(3)
    )
    assert (rollout.kept.dtype, rollout.kept.shape[2]) == (torch.int32, 7)
    kept = unpack_mask(rollout.kept, 4096)[rollout.mask]
    assert kept.gather(1, rollout.actions[rollout.mask][:, None]).all()


def test_layers_computed_again_there_take_less_memory_for_the_same_gradient():
    rollout = _collect(make_policy(DEVICE), make_toy(rows=ROWS, device=DEVICE))
    peaks, gradients = [], []
    for recomputes in (False, True):
        policy = make_policy(DEVICE)
        if recomputes:
            policy.recompute_activations()
        many = torch.arange(len(rollout), device=DEVICE).repeat(64)
        before = torch.cuda.memory_allocated()
        new = policy.evaluate(rollout, many)
        peaks.append(torch.cuda.memory_allocated() - before)
        new.log_probs.mean().backward()
        gradients.append([p.grad for p in policy.model.parameters()])
    assert peaks[1] < 0.7 * peaks[0]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)


def test_the_script_of_ten_minutes_goes_through_with_tiny_models(tmp_path, monkeypatch):
    out = tmp_path / "gpu.jsonl"
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", DEVICE, "--smoke", "--out", str(out)])
    with pytest.raises(SystemExit) as left:
        gpu.main()
    assert left.value.code == 0
    results = [json.loads(line) for line in out.read_text().splitlines()]
    assert [each["waits_a_token"] >= 1 for each in results] == [True] * 3


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
