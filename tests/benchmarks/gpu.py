"""What a GPU makes of writing and of an update: ten minutes, for a day on which there is one.

``python -m tests.benchmarks.gpu`` runs it where CUDA is, and ``--device cpu --smoke`` with tiny
models anywhere, in seconds. Models have the shapes of SmolLM2-135M and of Qwen2.5-1.5B, and random
weights, made on the spot: 128 texts of 128 and 256 tokens an iteration of PPO, one update, in
bfloat16 and, of the smaller, in float32. Of each case a line of JSON goes to ``--out`` as soon as
it is known, and a table to the terminal:

- tokens a second, and the share of the roofline (``roofline.py``), of writing, of the reference and
  of the update;
- the highest memory of the device, of a CPU that of the process so far;
- how often the host waits for the device while texts are written, for each token of the rows
  together; ``-`` on a CPU, which nobody waits for;
- how far ratios are off 1 before the first step: the update's pass against the old
  log-probabilities, the sampler's own against both, and the update's precision against float32:
  the median, 99 % and the largest.

A case begins only within the first ``--minutes``; what is left out is said.
"""

import argparse
import json
import resource
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.training.updates import parts
from tests.benchmarks.roofline import Work, product_speed
from tests.benchmarks.shapes import Shape, make_envs

LEVELS = (0.5, 0.99, 1.0)
_SPECIAL_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _config(kind, vocabulary, layers, width, heads, key_heads, inner):
    return kind(
        vocab_size=vocabulary,
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        intermediate_size=inner,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
        **_SPECIAL_IDS,
    )


FULL = {
    "SmolLM2-135M": _config(LlamaConfig, 49152, 30, 576, 9, 3, 1536),
    "1.5B": _config(Qwen2Config, 151936, 28, 1536, 12, 2, 8960),
}
TINY = {
    "tiny llama": _config(LlamaConfig, 64, 2, 32, 4, 2, 64),
    "tiny qwen2": _config(Qwen2Config, 64, 2, 32, 4, 2, 64),
}
FULL_SIZES = {"rows": 128, "prompt": 128, "new": 256, "tokens": 16384, "product": 8192}
TINY_SIZES = {"rows": 4, "prompt": 8, "new": 8, "tokens": 64, "product": 64}


def cases(smoke):
    """The models and precisions in the order in which they are run: name, configuration, bf16."""
    models = TINY if smoke else FULL
    small, large = models
    return [
        (small, models[small], True),
        (small, models[small], False),
        (large, models[large], True),
    ]


def make_learner(config, device, sizes, *, bf16):
    """PPO with a frozen reference, random weights that seldom end a text, and one update."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config)
    shape = Shape(config.vocab_size, 0, 0, 0)
    envs = make_envs(shape, sizes["rows"], prompt=sizes["prompt"], new=sizes["new"], device=device)
    settings = PPOConfig(bf16=bf16, micro_batch_tokens=sizes["tokens"], learning_rate=1e-6)
    return PPO(TransformerPolicy(model), envs, settings)


def speeds(learner, work, sizes, speed):
    """Tokens a second and shares of the roofline by phase, of the second of two iterations."""
    for _ in range(2):
        metrics, rollout = learner.step()
    new = rollout.num_actions / len(rollout)
    needed = work.iteration(len(rollout), sizes["prompt"], round(new))
    found = {}
    for phase, operations in needed.items():
        seconds = metrics[f"seconds_{phase}"]
        found[phase] = {
            "seconds": seconds,
            "tokens_a_second": rollout.num_actions / seconds,
            "share": operations / seconds / speed,
        }
    found["environment"] = {"seconds": metrics["seconds_environment"]}
    return found


def waits_a_token(learner, device):
    """How often the host waits for the device, for each token of all rows together."""
    if device != "cuda":
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            rollout = learner.collect()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchronizing CUDA operation" in str(each.message) for each in caught)
    steps = int(rollout.mask.sum(dim=1).max()) * len(rollout) / learner.envs.num_envs
    return waits / steps


def ratios(learner):
    """How far ratios are off 1 before the first step, by what is compared: quantiles."""
    rollout = learner.collect()
    old = learner.evaluate(learner.policy, rollout).log_probs
    every, new, exact = torch.arange(len(old), device=old.device), old.clone(), old.clone()
    for part in parts(every, rollout.read_lengths, learner.config.micro_batch_tokens):
        evaluated = learner.policy.evaluate(rollout, part, bf16=learner.bf16)
        new[part] = evaluated.log_probs.detach()
        with torch.no_grad():
            exact[part] = learner.policy.evaluate(rollout, part).log_probs
    compared = {
        "update against old": new - old,
        "update against sampler": new - rollout.log_probs,
        "update against float32": new - exact,
    }
    return {name: quantiles(gap[rollout.mask]) for name, gap in compared.items()}


def quantiles(log_ratio):
    """Of ``|ratio - 1|``, at ``LEVELS``; sorted, as torch's own takes no more than 16 million."""
    off = log_ratio.float().expm1().abs().sort().values
    return [float(off[round(level * (len(off) - 1))]) for level in LEVELS]


def peak_mib(device):
    """The highest memory: of the device since it was last asked, else of the process."""
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name, config, sizes, device, *, bf16):
    """One case."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    speed = product_speed(device, dtype, size=sizes["product"])
    learner = make_learner(config, device, sizes, bf16=bf16)
    work = Work.of(learner.policy.model)
    return {
        "model": name,
        "weights": sum(p.numel() for p in learner.policy.model.parameters()),
        "precision": "bfloat16" if bf16 else "float32",
        "tflops": speed / 1e12,
        "work": asdict(work),
        "phases": speeds(learner, work, sizes, speed),
        "peak_mib": peak_mib(device),
        "waits_a_token": waits_a_token(learner, device),
        "ratios_off_1": ratios(learner),
    }


def lines_of(result):
    """What the terminal shows of a case."""
    waits = result["waits_a_token"]
    yield (
        f"{result['model']}, {result['weights'] / 1e6:,.1f} M weights, {result['precision']}: "
        f"products {result['tflops']:.3g} TFLOP/s, peak {result['peak_mib']:,.0f} MiB, "
        f"waits a token {'-' if waits is None else f'{waits:.2f}'}"
    )
    for phase, found in result["phases"].items():
        if "share" in found:
            yield (
                f"  {phase:12s} {found['tokens_a_second']:12,.0f} tokens/s  "
                f"{found['share']:6.1%} of the roofline"
            )
    for name, found in result["ratios_off_1"].items():
        yield f"  {name:24s} off 1: " + "  ".join(
            f"{level:.0%} {value:.2e}" for level, value in zip(LEVELS, found, strict=True)
        )


def main():
    """Runs the cases for which there is time."""
    parser = argparse.ArgumentParser(
        description="Speed, roofline share, waits and first ratios on a GPU.",
        epilog="Example: python -m tests.benchmarks.gpu --out runs/gpu.jsonl",
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--smoke", action="store_true", help="tiny models, seconds in all")
    parser.add_argument("--minutes", type=float, default=8, help="no case begins after so many")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu.jsonl"))
    settings = parser.parse_args()
    if settings.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device: try --device cpu --smoke")
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    failed, start = False, time.monotonic()
    sizes = TINY_SIZES if settings.smoke else FULL_SIZES
    with settings.out.open("w", encoding="utf-8") as file:
        for name, config, bf16 in cases(settings.smoke):
            said = f"{name}, {'bfloat16' if bf16 else 'float32'}"
            if time.monotonic() - start > 60 * settings.minutes:
                print(f"{said}: left out, {settings.minutes:g} minutes are over")
                continue
            try:
                result = measure(name, config, sizes, settings.device, bf16=bf16)
            except Exception as error:  # the other cases are worth their minutes
                failed = True
                print(f"{said}: failed, {type(error).__name__}: {error}")
                print(json.dumps({"model": said, "failed": str(error)}), file=file, flush=True)
                continue
            print(json.dumps(result), file=file, flush=True)
            print("\n".join(lines_of(result)), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
