"""More of what is done on a device that is not there; see ``on_pretend_device``."""

import tempfile

import gymnasium as gym
import numpy as np
import torch

from agents.bridges.environment_plugins import LanguageModelDrafter, LanguageModelProposer
from agents.bridges.sb3.ppo import make_ppo
from agents.dpo import DPO, DPOConfig
from agents.models.loading import load_saved
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from reward_models.metrics.likelihood import LikelihoodReward
from reward_models.models.process import ProcessReward, TokenScorer
from reward_models.models.transformer import PreferenceModel
from reward_models.reading.scoring import PreferenceReward
from tests.agents.learners import SMALL, make_policy
from tests.agents.toys import make_model, make_toy
from tests.textgym.envs.test_conversations import Parrot
from textgym import Example, TextVectorEnv
from textgym.pretrained.adapters import AdapterConfig, add_adapters
from textgym.tokenizers import load_tokenizer

ROWS = 4
CHOOSES = {"action_kind": "choose", "num_choices": 4, "max_actions": 4}
EDITS = {"action_kind": "edit", "max_actions": 5}
PROMPTS, COMPLETIONS = ["a", "bc", "", "abcdefgh"] * 3, ["abc", "", "hgfe", "a"] * 3
PAIRS = [("a", "abc", "b"), ("b", "bb", "c"), ("c", "a", ""), ("d", "d", "eee")]


def logged(agent):
    """What an iteration measures, but for its seconds."""
    return {name: value for name, value in agent.step()[0].items() if "seconds" not in name}


def kinds(device, waits):
    """The other kinds of action are learned, and predicted."""
    told = {}
    for name, world in (("choose", CHOOSES), ("edit", EDITS)):
        envs = make_toy(rows=ROWS, device=device, **world)
        agent = PPO(make_policy(device, edits=name == "edit"), envs, PPOConfig(**SMALL))
        told[name] = [logged(agent), logged(agent)]
        observation, _ = envs.reset(seed=1)
        chosen, _ = agent.predict(observation, action_masks=envs.action_masks())
        told[f"{name} predicted"] = chosen.tolist()
    return told, {}


def conversing(device, waits):
    envs = TextVectorEnv(
        num_envs=ROWS, task=Parrot(), backend="torch", device=device, autoreset_mode="Disabled"
    )
    policy = make_policy(device, vocabulary=envs.tokenizer.vocab_size)
    return logged(PPO(policy, envs, PPOConfig(**SMALL))), {}


def branching(device, waits):
    """Snapshots, forks, partial resets, groups, own prompts, pictures and refused actions."""
    told = []
    for world in ({}, CHOOSES, EDITS):
        envs = make_toy(rows=ROWS, device=device, **world)
        envs.reset(seed=0)
        shape = (ROWS, 2) if world is EDITS else (ROWS,)
        actions = torch.ones(shape, dtype=torch.int64, device=device) * (1 if world else 3)
        saved = envs.save_state()
        first = envs.step(actions)[0].tolist()
        envs.restore_state(saved)
        told += [first, envs.step(actions)[0].tolist(), envs.fork([0, 0, 1, 1]).tolist()]
        envs.reset(options={"reset_mask": np.array([True, False, True, False])})
        envs.reset(options={"group": 2})
        told += [envs.texts(), envs.reset(options={"prompt": "a"})[0].tolist()]
    envs = make_toy(
        rows=ROWS, device=device, invalid_action="raise", dense=True, render_mode="ansi"
    )
    envs.reset(seed=0)
    told += [envs.step(np.full(ROWS, 3))[1].tolist(), envs.render()[0]]
    try:
        envs.step(np.zeros(ROWS, dtype=np.int64))
    except ValueError as error:
        told.append(str(error))
    return told, {}


def adapting(device, waits):
    with tempfile.TemporaryDirectory() as folder:
        base = f"{folder}/base"
        make_model("llama").save_pretrained(base)
        envs = make_toy(rows=ROWS, device=device)
        model = load_saved(base, device, envs.tokenizer)
        add_adapters(model, AdapterConfig(rank=2), base=base)
        agent = PPO(TransformerPolicy(model), envs, PPOConfig(**SMALL))
        agent.step()
        agent.save(f"{folder}/saved")
        twin = PPO.load(f"{folder}/saved", envs, device)
        return [logged(agent), logged(twin)], {}


def comparing(device, waits):
    """DPO on pairs that were given."""
    config = DPOConfig(**SMALL, loss="ipo")
    agent = DPO(make_policy(device), make_toy(rows=ROWS, device=device), config, pairs=PAIRS)
    return [logged(agent), agent.accuracy(PAIRS)], {}


def proposing(device, waits):
    tokenizer = load_tokenizer("characters:abcdefgh")
    with tempfile.TemporaryDirectory() as folder:
        make_model().save_pretrained(folder)
        proposer = LanguageModelProposer(folder, 3, tokenizer, device=device)
        drafter = LanguageModelDrafter(
            folder, tokenizer, prompt_tokens=4, completion_tokens=8, device=device
        )
    envs = make_toy(
        rows=ROWS, device=device, action_kind="choose", num_choices=4, proposer=proposer
    )
    begun = envs.reset(seed=0)[0].tolist()
    after = envs.step(np.ones(ROWS, dtype=np.int64))[0].tolist()
    generators = [np.random.default_rng(seed) for seed in range(2)]
    return [
        begun,
        after,
        drafter.draft([Example(prompt="a"), Example(prompt="bc")], generators),
    ], {}


def rewarding(device, waits):
    """Scores of learned rewards; an LSTM's cell on a GPU is an operator of its own."""
    tokenizer = load_tokenizer("characters:abcdefgh")
    settings = {"device": device, "batch_size": 5}
    with tempfile.TemporaryDirectory() as folder:
        make_model().save_pretrained(folder)
        models = [
            PreferenceModel.from_language_model(folder, max_length=40, pooling=pooling)
            for pooling in ("mean", "last")
        ]
        scorer = TokenScorer.from_language_model(folder, max_tokens=40)
    likelihood = LikelihoodReward(make_model().to(device), tokenizer, batch_size=5)
    process = ProcessReward(scorer, tokenizer, **settings)
    rewards = [likelihood, *(PreferenceReward(model, tokenizer, **settings) for model in models)]
    told = [reward(PROMPTS, COMPLETIONS) for reward in rewards]
    return [*told, process.step_scores(PROMPTS, COMPLETIONS)], {}


def baselines(device, waits):
    """Stable-Baselines3's PPO with a policy there, and an environment of numpy's."""
    envs = gym.make_vec("TextGym/Alphabet-v0", num_envs=ROWS, autoreset_mode="Disabled")
    agent = make_ppo(make_policy(device), envs, n_steps=8, batch_size=16, n_epochs=1, seed=0)
    agent.learn(ROWS * 8)
    return float(agent.policy.value_net.head.weight.detach().abs().sum()), {}


EXTRAS = {
    case.__name__: case
    for case in (
        kinds,
        conversing,
        branching,
        adapting,
        comparing,
        proposing,
        rewarding,
        baselines,
    )
}
