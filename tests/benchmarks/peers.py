"""One trainer at work in a process of its own, for ``test_peers.py``.

``python tests/benchmarks/peers.py ppo-trl bfloat16`` prints one line of JSON: seconds and the
processor's seconds of each iteration after the warm-up, the tokens of an iteration, the highest
resident memory and, of our own trainers, seconds by phase, the operations that each needs, and how
many a second matrix products reach here, by the clock and by the processor's time.

Everybody has the same start: GPT-2, vocabulary 4096, 4 layers of width 256, no dropout, random
weights that make the end of text and the other special tokens impossible, so that every completion
has all of its tokens and nobody needs a processor of logits for that. Everybody steps Adam without
weight decay.
"""

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter, process_time
from types import SimpleNamespace

import torch
from torch import nn

from tests.benchmarks.roofline import Work, product_speed
from tests.benchmarks.shapes import NEW, PROMPT, ROWS, SHAPES, SPECIAL, free, make_envs
from textgym.cli.console import keep_large_blocks

GROUP = 8
SB3_ROWS = 32  # what it learns from takes too long for more
SHAPE = SHAPES["S"]
RATE = 1e-5


def model(attention="eager"):
    """The language model that everybody starts from."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    made = GPT2LMHeadModel(SHAPE.config(GPT2Config, attention))
    with torch.no_grad():
        shift = torch.full((SHAPE.width,), 0.25)
        made.transformer.ln_f.bias.copy_(shift)
        made.lm_head.weight[:SPECIAL] = -30 * shift / (shift @ shift)
    return made


class Clock:
    """Times between ticks, the first of which ends the warm-up."""

    def __init__(self):
        self._ticks = []

    def tick(self):
        self._ticks.append((perf_counter(), process_time()))

    def result(self, tokens, **more):
        pairs = list(zip(self._ticks, self._ticks[1:], strict=False))
        return {
            "seconds": [b[0] - a[0] for a, b in pairs],
            "cpu_seconds": [b[1] - a[1] for a, b in pairs],
            "tokens": tokens,
            **more,
        }


def ours(algorithm, settings):
    """PPO or GRPO of ``agents``, one epoch and one minibatch."""
    from agents.forward.lean_gpt2 import LeanGPT2
    from agents.grpo import GRPO, GRPOConfig
    from agents.models.policy import TransformerPolicy
    from agents.ppo import PPO, PPOConfig

    common = {"bf16": settings.bf16, "temperature": 1.0, "learning_rate": RATE}
    policy, clock, phases = TransformerPolicy(model()), Clock(), []
    assert isinstance(policy.trunk, LeanGPT2)  # as the house's own models have it
    if algorithm == "ppo":
        agent = PPO(policy, make_envs(SHAPE), PPOConfig(epochs=1, minibatches=1, **common))
    else:
        config = GRPOConfig(group_size=GROUP, kl_coefficient=0.0, **common)
        agent = GRPO(policy, make_envs(SHAPE), config)
    for _ in range(settings.iterations + 1):
        metrics, rollout = agent.step()
        assert rollout.num_actions == ROWS * NEW
        clock.tick()
        phases.append({n[8:]: s for n, s in metrics.items() if n.startswith("seconds_")})
    needed = Work.of(policy.model).iteration(ROWS, PROMPT, NEW)
    if algorithm == "grpo":
        del needed["reference"]  # without a price of KL nobody asks it
    dtype = torch.bfloat16 if settings.bf16 else torch.float32
    speeds = [product_speed("cpu", dtype, clock=each) for each in (perf_counter, process_time)]
    return clock.result(ROWS * NEW, phases=phases[1:], needed=needed, speeds=speeds)


def stable_baselines(settings):
    """Stable-Baselines3's PPO on the same network; the first iteration counts: it is long."""
    from stable_baselines3.common.callbacks import BaseCallback

    from agents.bridges.sb3.ppo import make_ppo
    from agents.models.policy import TransformerPolicy

    ppo = make_ppo(
        TransformerPolicy(model()),
        make_envs(SHAPE, SB3_ROWS, "numpy"),
        n_steps=NEW,
        batch_size=128,
        n_epochs=1,
        learning_rate=RATE,
        gamma=1.0,
    )
    clock = Clock()

    class Ticks(BaseCallback):
        def _on_rollout_start(self):
            clock.tick()

        def _on_step(self):
            return True

    ppo.learn(NEW * SB3_ROWS, callback=Ticks())
    clock.tick()
    return clock.result(NEW * SB3_ROWS)


def _tokenizer():
    """For TRL: one token a character, and the beginning of text before a prompt."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<bos>", "<eos>", *SHAPE.letters]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side="left",
        **dict(zip(("pad_token", "bos_token", "eos_token"), names, strict=False)),
    )


def _ticking(clock):
    from transformers import TrainerCallback

    class Ticks(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            clock.tick()

    return Ticks()


def _arguments(settings):
    return {
        "output_dir": settings.scratch,
        "per_device_train_batch_size": ROWS // settings.pieces,
        "gradient_accumulation_steps": settings.pieces,
        "bf16": settings.bf16,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "learning_rate": RATE,
        "weight_decay": 0.0,
        "temperature": 1.0,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1000,
    }


class _FreeReward(nn.Module):
    """A reward model for TRL's PPO that costs nothing: the last token's id, modulo 7."""

    base_model_prefix = "base"

    def __init__(self):
        super().__init__()
        self.base = _Ids()
        self.score = nn.Identity()


class _Ids(nn.Module):
    def forward(self, input_ids, **kwargs):
        return SimpleNamespace(hidden_states=[(input_ids % 7).float().unsqueeze(-1)])


def trl_ppo(settings):
    """TRL's PPO: a value network of its own, a frozen reference, one epoch and one minibatch."""
    from transformers import GPT2Config, GPT2ForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    clock, tokenizer = Clock(), _tokenizer()
    config = PPOConfig(
        **_arguments(settings),
        num_ppo_epochs=1,
        num_mini_batches=1,
        total_episodes=ROWS * (settings.iterations + 1),
        response_length=NEW,
        local_rollout_forward_batch_size=ROWS // settings.pieces,
        num_sample_generations=0,
        kl_coef=0.19,
    )
    attention = settings.attention
    texts = [{"input_ids": ids} for ids in tokenizer(SHAPE.prompts)["input_ids"]]
    PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=model(attention),
        ref_model=model(attention),
        reward_model=_FreeReward(),
        value_model=GPT2ForSequenceClassification(
            SHAPE.config(GPT2Config, attention, num_labels=1)
        ),
        train_dataset=texts,
        eval_dataset=texts,
        callbacks=[_ticking(clock)],
    ).train()
    return clock.result(ROWS * NEW)


def trl_grpo(settings):
    """TRL's GRPO: no reference, one update by the whole batch."""
    import pyarrow as pa
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    clock, lengths = Clock(), set()

    def reward(prompts, completions, completion_ids, **columns):
        lengths.update(map(len, completion_ids))
        return free(prompts, completions)

    config = GRPOConfig(
        **_arguments(settings),
        max_steps=settings.iterations + 1,
        num_generations=GROUP,
        max_completion_length=NEW,
        beta=0.0,
    )
    GRPOTrainer(
        model=model(settings.attention),
        reward_funcs=reward,
        args=config,
        processing_class=_tokenizer(),
        train_dataset=Dataset(pa.table({"prompt": SHAPE.prompts}), fingerprint="prompts"),
        callbacks=[_ticking(clock)],
    ).train()
    assert lengths == {NEW}
    return clock.result(ROWS * NEW)


TRAINERS = {
    "ppo": lambda settings: ours("ppo", settings),
    "grpo": lambda settings: ours("grpo", settings),
    "ppo-sb3": stable_baselines,
    "ppo-trl": trl_ppo,
    "grpo-trl": trl_grpo,
}


def _memory(field):
    """Resident MiB of this process; ``getrusage`` would start with its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trainer", choices=TRAINERS)
    parser.add_argument("precision", choices=["float32", "bfloat16"])
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--allocator", choices=["glibc", "ours"], default="ours")
    parser.add_argument("--attention", choices=["eager", "sdpa"], default="sdpa")
    parser.add_argument("--pieces", type=int, default=1, help="TRL's gradient accumulation")
    parser.add_argument("--scratch", default="runs/peers")
    settings = parser.parse_args()
    settings.bf16 = settings.precision == "bfloat16"
    torch.set_num_threads(settings.threads)
    if settings.allocator == "ours":
        keep_large_blocks()
    result = TRAINERS[settings.trainer](settings)
    sys.stdout.flush()
    print(json.dumps({**result, "peak_mib": _memory("VmHWM")}))


if __name__ == "__main__":
    main()
