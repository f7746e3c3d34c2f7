"""What ``test_device.py`` has done on a device that is not there, and on the host.

Writes one JSON object: for each case, what it gave on both, what the host waited for, and what
went wrong.
"""

import json
import sys
import tempfile
import traceback
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import load_file

from agents.best_of_n import best_of_n
from agents.dpo import DPO, DPOConfig
from agents.grpo import GRPO, GRPOConfig
from agents.maths.distributions import Sampling
from agents.measuring.baselines import policy_baseline
from agents.measuring.evaluation import evaluate_policy
from agents.ppo import PPO, PPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from agents.rollouts.collect import collect
from agents.training.distributed import Processes
from agents.training.optimizers import adam
from agents.training.updates import Updates, parts
from tests.agents.learners import SMALL, make_policy, measure_steps
from tests.agents.pretend_device import NAME, PretendDevice
from tests.agents.pretend_extras import CHOOSES, EDITS, EXTRAS
from tests.agents.toys import make_toy
from tests.contracts.test_native_batch import KINDS, MODES, check_backends, settings_of

ROWS, TEXTS = 4, SMALL["episodes"]
CONSTRAINED = {"constraints": {"forbid": ["b"], "min_tokens": 2}}


def collecting(device, waits, *, kind="gpt2", sampling=None, **settings):
    envs = make_toy(rows=ROWS, device=device, **settings)
    policy = make_policy(device, kind, edits=settings.get("action_kind") == "edit")
    generator = torch.Generator(device).manual_seed(3)
    steps, before = measure_steps(envs, lambda: len(waits)), len(waits)
    rollout = collect(
        envs,
        policy,
        sampling=sampling or Sampling(),
        generator=generator,
        example_ids=[number % 8 for number in range(TEXTS)],
    )
    return {
        "tokens": rollout.tokens.tolist(),
        "log_probs": rollout.log_probs.tolist(),
        "values": rollout.values.tolist(),
        "scores": rollout.scores.tolist(),
    }, {"steps": steps, "in_all": len(waits) - before, "actions": rollout.num_actions}


def learning(device, waits, *, kind, config, critic=False, loads=False, **world):
    """An iteration, a checkpoint, and another iteration by whoever is gone on with."""
    envs = make_toy(rows=ROWS, device=device, **world)
    agent = kind(make_policy(device, critic=critic), envs, config)
    agent.step()
    with tempfile.TemporaryDirectory() as folder:
        agent.save(folder)
        if loads:
            twin = kind.load(folder, envs)  # where the environment is
        else:
            twin = kind(make_policy(device, critic=critic), envs, config).restore(folder)
    metrics, again = (
        {name: value for name, value in each.step()[0].items() if "seconds" not in name}
        for each in (agent, twin)
    )
    observation, _ = envs.reset(seed=1)
    chosen = [agent.predict(observation, deterministic=sure)[0].tolist() for sure in (True, False)]
    return {**metrics, "resumed": metrics == again, "chosen": chosen}, {}


def measuring(device, waits):
    envs, policy = make_toy(rows=ROWS, device=device), make_policy(device)
    other = policy.frozen_copy()
    report = evaluate_policy(
        policy,
        other,
        envs,
        lambda texts: np.array([len(text) for text in texts]),
        example_ids=list(range(TEXTS)),
        temperature=0.7,
        seed=0,
    )
    best = best_of_n(envs, policy, n=2, example_ids=list(range(ROWS)), sampling=Sampling(), seed=1)
    baseline = policy_baseline(envs, policy, example_ids=list(range(ROWS)), seed=2)
    return {
        "rewards": report.rewards.tolist(),
        "kl": report.kl,
        "perplexity": report.perplexity,
        "best": best.completions,
        "baseline": baseline.mean.value,
    }, {}


def updating(device, waits):
    """A minibatch's gradient, and how many passes it took."""
    envs, policy = make_toy(rows=ROWS, device=device), make_policy(device)
    generator = torch.Generator(device).manual_seed(3)
    rollout = collect(
        envs, policy, sampling=Sampling(), generator=generator, example_ids=list(range(ROWS))
    )
    rows = torch.arange(len(rollout), device=device)
    passes = parts(rows, rollout.read_lengths, most_tokens=6)

    settings = PPOConfig(micro_batch_tokens=6)
    updates = Updates(
        policy,
        adam(policy, settings),
        settings,
        generator=generator,
        processes=Processes(device=torch.device(device)),
        iteration=0,
    )
    before = len(waits)
    with updates:
        for part in updates.parts(rows, rollout.read_lengths):
            new = policy.evaluate(rollout, part)
            loss = new.log_probs.sum() + new.values.sum()
            updates.backward(loss, {"loss": loss, "texts": rollout.mask[part, 0].sum()})
        measured = updates.sum_gradient()
    norm = torch.cat([each.grad.flatten() for each in policy.parameters()]).norm()
    return {**measured, "norm": norm.tolist()}, {
        "passes": len(passes),
        "in_all": len(waits) - before - 1,
    }


def mistaken(device, waits):
    """What the device makes of mistakes, and of what is none: refuses it, or waits so often."""
    numbers, here = torch.arange(3, device=device), torch.arange(3)
    mask, place = numbers > 1, torch.zeros(1, dtype=torch.int64, device=device)
    tried = {
        "added": lambda: numbers + here,
        "looked up": lambda: here[place],
        "written": lambda: numbers.index_put_((place,), here[:1]),
        "stacked": lambda: torch.stack([numbers, here]),
        "read": numbers.tolist,
        "asked": lambda: bool(mask.any()),
        "masked": lambda: numbers[mask],
        "sent": lambda: here.to(device),
        "made": lambda: torch.tensor([1, 2], device=device),
        "repeated": lambda: numbers.repeat_interleave(numbers),
        "chosen": lambda: numbers[here],
        "wide": numbers.double,
        "sent wide": lambda: here.double().to(device),
        "sent soon": lambda: here.to(device, non_blocking=True),
        "doubled": lambda: numbers * torch.tensor(2),
        "filled": lambda: numbers.masked_fill(mask, 0),
        "taken": lambda: numbers[place],
        "counted": lambda: numbers.repeat_interleave(2),
    }
    noticed = {}
    for name, attempt in tried.items():
        before = len(waits)
        try:
            attempt()
        except (RuntimeError, TypeError):
            noticed[name] = "refused"
        else:
            noticed[name] = len(waits) - before
    return noticed, {}


def stepping(device, waits, *, mode, kind, constraints=None):
    check_backends(device, mode, 4, "dict", seed=1, **settings_of(kind, constraints))
    return {}, {}


CASES = {
    **{f"collect {kind}": partial(collecting, kind=kind) for kind in ("gpt2", "llama", "mistral")},
    "collect top-k": partial(collecting, sampling=Sampling(top_k=3, temperature=0.7)),
    "collect top-p": partial(collecting, sampling=Sampling(top_p=0.8)),
    "collect masked": partial(collecting, **CONSTRAINED),
    "collect longer": partial(collecting, completion_tokens=14),
    "collect choices": partial(collecting, **CHOOSES),
    "collect edits": partial(collecting, **EDITS),
    "ppo": partial(
        learning,
        kind=PPO,
        config=PPOConfig(
            **SMALL,
            kl_target=0.5,
            whiten_rewards=True,
            scale_rewards=True,
            missing_end_penalty=0.5,
            entropy_coefficient=0.01,
            value_clip=0.2,
            adam="tensorflow",
        ),
    ),
    "ppo critic": partial(learning, kind=PPO, config=PPOConfig(**SMALL), critic=True, loads=True),
    "ppo cut off": partial(learning, kind=PPO, config=PPOConfig(**SMALL), max_episode_steps=3),
    "grpo": partial(learning, kind=GRPO, config=GRPOConfig(**SMALL, group_size=4)),
    "grpo draws": partial(
        learning,
        kind=GRPO,
        config=GRPOConfig(**SMALL, group_size=2, draws=3, overlong="filter", overlong_buffer=1),
    ),
    "rloo": partial(learning, kind=RLOO, config=RLOOConfig(**SMALL, group_size=4)),
    "reinforce": partial(learning, kind=Reinforce, config=ReinforceConfig(**SMALL, group_size=4)),
    "dpo": partial(learning, kind=DPO, config=DPOConfig(**SMALL)),
    "measuring": measuring,
    "updating": updating,
    "mistaken": mistaken,
    **{
        f"step {mode} {kind}": partial(stepping, mode=mode, kind=kind)
        for mode in MODES
        for kind in KINDS
    },
    **{
        f"step constrained {kind}": partial(
            stepping, mode="SameStep", kind=kind, constraints={"choices": ["abcd", "ad", "ddd"]}
        )
        for kind in ("append", "choose")
    },
    **EXTRAS,
}


def load_and_send(path, device):
    """As ``load_file``, which knows real devices alone."""
    return {name: tensor.to(device) for name, tensor in load_file(path).items()}


def run(case):
    """What a case gives there and here; the waits are those of the device."""
    try:
        with ExitStack() as stack:
            for module in (
                "safetensors.torch",
                "agents.models.policy",
            ):
                stack.enter_context(patch(f"{module}.load_file", load_and_send))
            device = stack.enter_context(PretendDevice())
            there, figures = case(NAME, device.waits)
        return {
            "there": there,
            "here": case("cpu", [])[0],
            "waits": [f"{wait.operator} at {wait.place}" for wait in device.waits],
            **figures,
        }
    except Exception:  # whatever it is, the test shows it
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    out, *wanted = sys.argv[1:]
    Path(out).write_text(json.dumps({name: run(CASES[name]) for name in wanted or CASES}))
