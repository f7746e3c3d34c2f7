"""What each of two processes does in ``test_sharding.py`` with weights that are cut, and one alone.

Each writes ``OUT/<count>-<rank>.json``.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from torch.distributed.fsdp import CPUOffloadPolicy

from agents.grpo import GRPO, GRPOConfig
from agents.models.policy import TransformerPolicy
from agents.models.sharding import own_part, shard, whole, whole_weights
from agents.ppo import PPO, PPOConfig
from agents.training.checkpoint import save_policy
from agents.training.distributed import current_processes, fingerprint
from agents.training.guards import GuardError
from agents.training.updates import Updates
from tests.agents.rollouts.fake_engines import write_alone
from tests.agents.toys import make_model, make_toy
from textgym.pretrained.adapters import AdapterConfig, add_adapters
from textgym.pretrained.part_files import write_parts

TEXTS, ROWS, ITERATIONS = 14, 6, 3
SECONDS = 150  # that anybody waits for the others

PPO_CONFIG = PPOConfig(
    shard=True,
    episodes=TEXTS,
    epochs=2,
    minibatches=4,  # of three or four texts: a share may be one, and parts are uneven
    micro_batch_tokens=16,
    kl_coefficient=0.3,
    value_weight=1.0,
    learning_rate=1e-3,
    iterations=4,
)
GRPO_CONFIG = GRPOConfig(
    shard=True, episodes=TEXTS, group_size=2, minibatches=2, kl_coefficient=0.1, learning_rate=1e-3
)
CASES = {
    "ppo_critic": (PPO, PPO_CONFIG, "gpt2"),
    "recomputing": (
        PPO,
        replace(PPO_CONFIG, gradient_checkpointing=True, offload=True, epochs=1),
        "qwen3",
    ),
    "few": (PPO, replace(PPO_CONFIG, minibatches=TEXTS, epochs=1), "gpt2"),  # of one text each
    "grpo": (GRPO, GRPO_CONFIG, "llama"),
    "adapters": (GRPO, GRPO_CONFIG, "qwen2"),
    "transformers": (GRPO, GRPO_CONFIG, "mistral"),
    "bf16": (PPO, replace(PPO_CONFIG, bf16=True, epochs=1, minibatches=2), "gpt2"),
}


def make(case, processes, seed=0, **kwargs):
    """Makes a learner."""
    kind, config, model = CASES[case]
    own, critic = make_model(model, seed=seed), None
    if case in {"ppo_critic", "recomputing", "bf16"}:
        critic = make_model(model, seed=7)
    if case == "adapters":
        add_adapters(own, AdapterConfig(rank=2), base="scratch:none")
    if case == "ppo_critic":  # values of texts that were cut off are read as well
        kwargs["max_episode_steps"] = 5
    policy = TransformerPolicy(own, critic)
    # With values of 0, texts that are paid nothing have a gradient of exactly 0, or of rounding.
    torch.nn.init.constant_(policy.value_head.bias, 0.3)
    return kind(policy, make_toy(rows=ROWS // processes.count, **kwargs), config)


class FolderEngine:
    """Writes with the policy in a folder, which the main process puts there, as vLLM's server does.

    Every process has one; in each, the weights are those that the main one wrote last.
    """

    returns_kept = True

    def __init__(self, folder):
        self._folder = folder

    def refresh(self, policy):
        policy.save_pretrained(self._folder)

    def write(self, prompts, uniform, order):
        with torch.no_grad():
            policy = TransformerPolicy.from_pretrained(self._folder)
            return write_alone(policy, prompts, uniform, order)


def engine(out, processes):
    """Two iterations of which an engine writes the texts."""
    agent = make("grpo", processes)
    agent.engine = FolderEngine(out / f"weights-{processes.count}")
    agent.compute_in(bf16=False)
    history = [figures(agent.step()[0]) for _ in range(2)]
    return {"metrics": history, "weights": weights(agent.policy), "by_itself": by_itself(processes)}


def by_itself(processes):
    """The weights where the policy writes."""
    agent = make("grpo", processes)
    for _ in range(2):
        agent.step()
    return weights(agent.policy)


def figures(metrics):
    """Metrics without seconds."""
    return {name: value for name, value in metrics.items() if not name.startswith("seconds")}


def weights(module):
    """All weights in one list, in every process."""
    every = whole_weights(module, keep=True)
    return torch.cat([p.flatten().float() for p in every.values()]).tolist()


def kept(agent):
    """The bytes that this process keeps, by what they are of."""

    def size(tensors):
        return sum(own_part(t).numel() * t.element_size() for t in tensors)

    moments = [m for s in agent.optimizer.state.values() for n, m in s.items() if n != "step"]
    return {
        "weights": size(agent.policy.parameters()),
        "moments": size(moments),
        "reference": size(agent.reference.parameters()),
        "sampler": size(agent._copies.copy.parameters()) if agent._copies.copy else 0,
    }


def train(case, processes):
    """Three iterations; only the main process begins with the right weights."""
    agent = make(case, processes, seed=processes.rank)
    assert agent.processes.sharded == (processes.count > 1)
    if processes.count > 1:  # where it rests between passes, also on a CPU
        rests = agent.policy._get_fsdp_state()._fsdp_param_group.offload_policy
        assert isinstance(rests, CPUOffloadPolicy) == agent.config.offload
        assert agent.policy.runs_on == processes.device
    before = agent.reference and fingerprint(agent.reference)
    history = [figures(agent.step()[0]) for _ in range(ITERATIONS)]
    return {
        "metrics": history,
        "weights": weights(agent.policy),
        "kept": kept(agent) if case in {"ppo_critic", "bf16"} else {},
        "reference_stays": before == (agent.reference and fingerprint(agent.reference)),
        "tokens": agent.collected.tokens.tolist(),
    }


def gradients(processes):
    """The gradient of unevenly shared texts: one pass of the first process, three of the second."""
    agent = make("grpo", processes)
    rollout = agent.collect()
    policy = TransformerPolicy(make_model("gpt2"), make_model("gpt2", seed=3))
    torch.nn.init.ones_(policy.value_head.weight)
    every = torch.arange(TEXTS)
    shares = [every]
    if processes.count > 1:
        shard(policy, policy.trunks, processes.device)
        shares = [[every[:9]], [every[9:10], every[10:13], every[13:]]][processes.rank]
        shares += [every[:1]] * (3 - len(shares))
    for number, rows in enumerate(shares):
        said = policy.evaluate(rollout, rows, entropies=True)
        counts = float(processes.count == 1 or processes.rank == 1 or number == 0)
        loss = said.log_probs.sum() + said.values.square().sum() + said.entropies.sum()
        (counts * loss).backward()
    return torch.cat([whole(p.grad).flatten() for p in policy.parameters() if p.grad is not None])


def resume(out, processes):
    """Two processes begin, one goes on, and two go on from that."""
    if processes.count > 1:
        agent = make("ppo_critic", processes)
        agent.step()
        agent.save(out / "from_two")
        begun = weights(agent.policy)
        in_parts = parts(agent, out)
        _await(out / "from_one")
        envs = make_toy(rows=ROWS // processes.count, max_episode_steps=5)
        again = PPO.load(out / "from_one", envs)
        assert again.processes.sharded
        return {
            "metrics": figures(again.step()[0]),
            "weights": weights(again.policy),
            "begun": begun,
            "parts": in_parts,
        }
    straight = make("ppo_critic", processes)
    history = [figures(straight.step()[0]) for _ in range(3)]
    _await(out / "from_two")
    again = PPO.load(out / "from_two", make_toy(rows=ROWS, max_episode_steps=5))
    _await(out / "parts")
    from_parts = PPO.load(out / "parts", make_toy(rows=ROWS, max_episode_steps=5))
    assert state(from_parts) == state(again)
    between = figures(again.step()[0])
    again.save(out / "from_one")
    return {"metrics": history, "weights": weights(straight.policy), "between": between}


def parts(agent, out):
    """Writes a checkpoint in parts, reads it into another learner, and tells where it is whole."""
    agent.config, agent.written_reference = replace(agent.config, checkpoint_in_parts=True), None
    agent.save(out / "parts")
    agent.save(out / "parts_again")  # whose reference is the one before's
    other = make("ppo_critic", agent.processes, seed=5).restore(out / "parts_again")
    adapters = make("adapters", agent.processes)
    adapters.config = replace(adapters.config, checkpoint_in_parts=True)
    adapters.save(out / "adapters")
    return {"same": state(other) == state(agent), "apart": apart(agent, out)}


def apart(agent, out):
    """What is said where the second process sees another folder than the first."""

    def elsewhere(tensors, folder):
        write_parts(tensors, out / "elsewhere" if agent.processes.rank else folder)

    try:
        with patch("agents.training.checkpoint.write_parts", elsewhere):
            agent.save(out / "apart")
    except (RuntimeError, ValueError) as error:
        return str(error)
    return "nothing was noticed"


def state(agent):
    """All that is restored of weights and moments, whole, and the iteration."""
    moments = [m for s in agent.optimizer.state.values() for _, m in sorted(s.items())]
    told = [whole(each.detach()).flatten().tolist() for each in moments]
    return [agent.iteration, told, weights(agent.policy), weights(agent.reference)]


def _await(folder):
    """Waits for another process's checkpoint."""
    until = time.monotonic() + SECONDS
    while not folder.is_dir():
        assert time.monotonic() < until, folder
        time.sleep(0.1)


def learn(out, processes):
    """A callback, called in the main process alone, saves and predicts."""
    agent, seen = make("ppo_critic", processes), []
    text, _ = agent.envs.reset(seed=0)

    def callback(known, _):
        seen.append(agent.predict(text[:1], deterministic=True)[0].tolist())
        if len(seen) == 1:
            agent.save(out / f"called-{processes.count}")
        return len(seen) < 2

    agent.learn(10**9, callback)
    save_policy(agent, out / f"policy-{processes.count}")
    record = json.loads((out / f"called-{processes.count}" / "state.json").read_text())
    return {"seen": seen, "saved": record["iteration"], "weights": weights(agent.policy)}


def fail(out, processes):
    """In the last process the second pass fails; nobody waits for ever. It ends the group."""
    agent, passes = make("ppo_critic", processes), []
    agent.failure_folder = out

    def fails(*args, backward=Updates.backward):
        passes.append(None)
        if processes.rank == processes.count - 1 and len(passes) == 2:
            raise ZeroDivisionError("in the second pass")
        backward(*args)

    try:
        with patch.object(Updates, "backward", fails):
            agent.step()
    except (GuardError, ZeroDivisionError) as error:
        return str(error)
    return "nothing failed"


def main(out):
    """Does all of it."""
    processes = current_processes()
    result = {"gradients": gradients(processes).tolist()}
    result["resume"] = resume(out, processes)
    result |= {case: train(case, processes) for case in CASES}
    result["learn"] = learn(out, processes)
    result["engine"] = engine(out, processes)
    if processes.count > 1:
        result["fail"] = fail(out, processes)
    (out / f"{processes.count}-{processes.rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
