"""What each of several processes does in ``test_distributed.py``, and what one does alone.

Each writes ``OUT/<count>-<rank>.json``.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

from agents.dpo import DPO, DPOConfig
from agents.grpo import GRPO, GRPOConfig
from agents.maths.masks import pack_ids, pack_mask, unpack_mask
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.training.distributed import current_processes
from agents.training.guards import GuardError
from agents.training.updates import Updates
from tests.agents.toys import make_model, make_toy
from textgym.rewards import RewardError

TEXTS = 14  # no multiple of processes, minibatches or rows

CASES = {
    "ppo": (
        PPO,
        PPOConfig(
            episodes=TEXTS,
            epochs=2,
            minibatches=4,
            kl_target=0.5,
            kl_coefficient=0.3,
            value_clip=0.2,
            whiten_rewards=True,
            whiten_advantages="minibatch",
            scale_rewards=True,
            missing_end_penalty=0.5,
            iterations=4,
            micro_batch_tokens=40,
        ),
    ),
    "ppo_few": (PPO, PPOConfig(episodes=TEXTS, minibatches=TEXTS, target_kl=1e-3, top_k=5)),
    "grpo": (GRPO, GRPOConfig(episodes=TEXTS, group_size=7, minibatches=2)),
    "grpo_draws": (
        GRPO,
        GRPOConfig(
            episodes=TEXTS,
            group_size=2,
            minibatches=2,
            draws=3,
            weigh="constant",
            overlong="filter",
            overlong_buffer=1,
            ratio="text",
            parts="apart",
        ),
    ),
    "dpo": (DPO, DPOConfig(episodes=TEXTS, minibatches=2)),
    "edits": (GRPO, GRPOConfig(episodes=TEXTS, group_size=2, minibatches=3)),
}


def make(case, rows, seed=0, **kwargs):
    """Makes a learner; the seed is that of the weights."""
    kind, config = CASES[case]
    edits = case == "edits"
    policy = TransformerPolicy(make_model(seed=seed), edits=edits)
    reference = TransformerPolicy(make_model(seed=7)) if case == "ppo" else None
    if case == "grpo_draws":
        kwargs["reward"] = [["textgym.tasks.toys:alphabet_score", 1.0], ["length", 0.1]]
    envs = make_toy("Alphabet-Edit" if edits else "Alphabet", rows=rows, **kwargs)
    return kind(policy, envs, config, reference=reference)


def figures(metrics):
    """Metrics without seconds."""
    return {name: value for name, value in metrics.items() if not name.startswith("seconds")}


def weights(agent):
    """All weights in one list."""
    return torch.cat([p.detach().flatten() for p in agent.policy.parameters()]).tolist()


def train(case, processes):
    """Two iterations; only the main process begins with the right weights."""
    agent = make(case, 6 // processes.count, seed=processes.rank)
    history = [figures(agent.step()[0]) for _ in range(2)]
    rollout = agent.collect([0] * TEXTS)
    return {
        "metrics": history,
        "weights": weights(agent),
        "tokens": rollout.tokens.tolist(),
        "actions": rollout.actions.tolist(),
        "legal": rollout.legal.tolist(),
        "scores": rollout.scores.tolist(),
        "example_ids": rollout.example_ids.tolist(),
    }


def resume(out, processes):
    """One iteration, a checkpoint, and one more by another learner."""
    agent = make("ppo", 6 // processes.count)
    agent.step()
    agent.save(out / "checkpoint")
    processes.exchange(None)  # the main process has written
    again = PPO.load(out / "checkpoint", make_toy(rows=6 // processes.count))
    return {"metrics": figures(again.step()[0]), "weights": weights(again)}


def fail(out, processes):
    """In the last process the reward fails, then the ratio is off, then memory runs out."""
    errors = []

    def reward(prompts, completions, **_):
        if processes.rank == processes.count - 1:
            raise ZeroDivisionError("no score today")
        return [0.0] * len(completions)

    agent = make("ppo", 2, reward=reward)
    before = agent.random.record(), agent.random.sampler.get_state()
    try:
        agent.step()
    except RewardError as error:
        errors.append(str(error))
    record, drawn = agent.random.record(), agent.random.sampler.get_state()
    unchanged = record == before[0] and torch.equal(drawn, before[1])

    for broken in ("ratio is off", "[enforce fail] can't allocate memory: 7 bytes"):
        agent = make("ppo", 2)
        agent.failure_folder = out

        def fails(*args, backward=Updates.backward, broken=broken):
            if processes.rank == processes.count - 1:
                raise (GuardError if "ratio" in broken else RuntimeError)(broken)
            backward(*args)

        try:
            with patch.object(Updates, "backward", fails):
                agent.step()
        except GuardError as error:
            errors.append(str(error))
    return {"errors": errors, "unchanged": unchanged}


def refuse(processes):
    """Settings, and later weights, that are not the same everywhere."""
    errors = []
    try:
        PPO(
            TransformerPolicy(make_model()),
            make_toy(rows=3),
            PPOConfig(learning_rate=1e-3 * (1 + processes.rank)),
        )
    except ValueError as error:
        errors.append(str(error))
    agent = make("ppo", 3)
    with torch.no_grad():
        agent.policy.value_head.bias += processes.rank
    try:
        agent.step()
    except ValueError as error:
        errors.append(str(error))
    return {"errors": errors}


def kept(processes):
    """Rows of 7 episodes whose sets are of different sizes here and there; in one they are bits."""
    gathered = []
    agent = make("grpo", 3)
    rollout = agent.collect([0] * TEXTS)
    own = rollout.take(torch.arange(TEXTS)[processes.share(TEXTS)])
    for in_bits in (False, True):
        mask = torch.zeros((*own.mask.shape, 40), dtype=torch.bool)
        mask[..., : 1 + processes.rank] = True  # the first, and in the last process the second
        pack = pack_mask if in_bits and processes.rank else _pack_ids
        whole = processes.gather_rollout(replace(own, kept=pack(mask)), TEXTS)
        gathered.append(unpack_mask(whole.kept, 40).sum(dim=-1).tolist())
    return gathered


def _pack_ids(mask):
    return pack_ids(mask.flatten(0, 1)).unflatten(0, mask.shape[:2])


def learn():
    """A callback that stops training; it is called in the main process alone."""
    seen = []
    agent = make("grpo", 3)
    agent.learn(10**9, lambda known, _: seen.append(known["iteration"]) or len(seen) < 2)
    return {"iteration": agent.iteration, "seen": seen}


def main(out):
    """Does all of it."""
    processes = current_processes()
    result = {case: train(case, processes) for case in CASES}
    result["resume"] = resume(out, processes)
    if processes.count > 1:
        result["fail"] = fail(out, processes)
        result["refuse"] = refuse(processes)
        result["learn"] = learn()
        result["kept"] = kept(processes)
        halves = processes.gather(torch.arange(7.0)[processes.share(7)], 7).tolist()
        total = torch.full((3,), processes.rank + 1, dtype=torch.int64)
        processes.sum_([total])
        result["sent"] = {
            "gathered": halves,
            "summed": total.tolist(),
            "exchanged": processes.exchange(processes.rank),
            "main": processes.as_main(f"rank {processes.rank}"),
        }
    (out / f"{processes.count}-{processes.rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
