"""Two implementations of one algorithm agree: Stable-Baselines3's PPO and the parts of ours.

They share the transformer and nothing else: their distributions, losses, advantages and buffers are
Stable-Baselines3's, ours are in ``agents``. Texts have prompts of different lengths.
"""

import copy
import importlib
import sys
import tempfile
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback

import textgym
from agents.bridges import sb3
from agents.bridges.sb3.logger import quiet_logger
from agents.bridges.sb3.policy import TextActorCriticPolicy
from agents.bridges.sb3.ppo import make_ppo, text_policy_kwargs
from agents.maths.advantages import generalised_advantages, standardise
from agents.maths.distributions import Sampling, action_log_probs
from agents.maths.losses import clipped_policy_loss, clipped_value_loss, token_weights
from agents.maths.masks import unpack_mask
from agents.models.policy import TransformerPolicy
from agents.rollouts.collect import collect
from tests.agents.toys import VOCABULARY, make_model, make_toy

CHOICES = {"choices": ["a", "bd", "cab", "hgfed"]}
TEMPERATURE = 0.7


@dataclass(frozen=True)
class Letters:
    """Prompts of no to five letters; every letter of a completion is worth something else."""

    name: str = "Letters"
    prompt_tokens: int = 6
    completion_tokens: int = 6
    tokenizer: str = "characters:abcdefgh"
    reward: str = "tests.agents.bridges.sb3.test_ppo:letter_sum"
    splits: tuple = ("train",)

    def examples(self, split):
        return [textgym.Example(prompt=text) for text in ("", "h", "abc", "gfedc", "ba")]


def letter_sum(prompts, completions, **columns):
    """a is worth 0, b an eighth, and so on."""
    return [sum(ord(c) - ord("a") for c in text) / 8 for text in completions]


def _envs(rows=16, **kwargs):
    return textgym.TextVectorEnv(
        task=Letters(), num_envs=rows, backend="torch", autoreset_mode="Disabled", **kwargs
    )


def _policy(seed=0, critic=None):
    """A transformer whose values are not all 0, as they are at the start."""
    policy = TransformerPolicy(make_model(seed=seed), critic)
    torch.nn.init.normal_(policy.value_head.weight)
    return policy


def _agent(policy, masked, envs=None, **settings):
    constraints = {"constraints": CHOICES} if masked else {}
    envs = _envs(**constraints) if envs is None else envs
    settings = {"n_steps": 4, "batch_size": 64, **settings}
    agent = make_ppo(policy, envs, temperature=TEMPERATURE, masked=masked, **settings)
    assert isinstance(agent, MaskablePPO if masked else PPO)
    return agent


def _collect(policy, masked):
    envs = _envs(**({"constraints": CHOICES} if masked else {}))
    envs.reset(seed=3)
    generator = torch.Generator().manual_seed(3)
    rollout = collect(envs, policy, sampling=Sampling(temperature=TEMPERATURE), generator=generator)
    assert len(set(rollout.prompt_lengths.tolist())) > 2
    assert len(set(rollout.mask.sum(dim=1).tolist())) > 2
    return rollout


def _evaluate(policy, rollout):
    return policy.evaluate(rollout, temperature=TEMPERATURE)


def _transitions(rollout, width=12):
    """The states before all actions, as observations ``(M, T)``, and the masks there ``(M, V)``."""
    states, masks = [], []
    for n, t in rollout.mask.nonzero().tolist():
        state = torch.zeros(width, dtype=torch.int64)  # the padding's id
        length = int(rollout.prompt_lengths[n]) + t
        state[:length] = rollout.tokens[n, :length]
        states.append(state)
        fixed = rollout.legal.ndim == 1
        masks.append(rollout.legal if fixed else unpack_mask(rollout.legal[n, t], VOCABULARY))
    return torch.stack(states), torch.stack(masks)


@pytest.mark.parametrize(("masked", "critic_width"), [(False, None), (True, None), (False, 16)])
def test_both_say_the_same_of_every_action(masked, critic_width):
    """Log-probabilities, values, entropies: one reads states, the other whole texts."""
    critic = None if critic_width is None else make_model("llama", width=critic_width)
    policy = _policy(critic=critic)
    rollout = _collect(policy, masked)
    ours = _evaluate(policy, rollout)
    states, masks = _transitions(rollout)
    theirs = _agent(policy, masked).policy
    given = {"action_masks": masks.numpy()} if masked else {}
    with torch.no_grad():
        values, log_probs, entropy = theirs.evaluate_actions(
            states, rollout.actions[rollout.mask], **given
        )
    near = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(ours.log_probs[rollout.mask], log_probs, **near)
    torch.testing.assert_close(ours.values[rollout.mask], values.flatten(), **near)
    with torch.no_grad():
        logits = policy.next_logits(states, (states != 0).sum(dim=1))
        every = action_log_probs(logits, masks, TEMPERATURE)
    torch.testing.assert_close(torch.special.entr(every.exp()).sum(dim=1), entropy, **near)
    assert log_probs.std() > 0.1
    assert values.std() > 0.1


@pytest.mark.parametrize("masked", [False, True])
def test_nothing_illegal_is_ever_chosen(masked):
    """Neither when sampling nor when taking the likeliest, though the model would like to."""
    policy = _policy()
    with torch.no_grad():
        policy.model.get_output_embeddings().weight[:2] *= 50  # padding, and beginning of text
    agent = _agent(policy, masked)
    env, chosen = agent.get_env(), []
    observations = env.reset()
    for i in range(50):
        masks = np.stack(env.env_method("action_masks"))
        given = {"action_masks": masks} if masked else {}
        actions, _ = agent.predict(observations, deterministic=i % 2 == 0, **given)
        assert masks[np.arange(env.num_envs), actions].all()
        chosen += actions.tolist()
        observations = env.step(actions)[0]
    assert len(set(chosen)) > 3


def _fill(agent, rollout, batch):
    """Puts transitions, advantages and returns of ours into a buffer of theirs."""
    states, masks = _transitions(rollout)
    buffer = type(agent.rollout_buffer)(
        len(states), agent.observation_space, agent.action_space, device="cpu", n_envs=1
    )
    buffer.reset()
    buffer.observations[:, 0] = states
    buffer.actions[:, 0, 0] = rollout.actions[rollout.mask]
    for name, value in batch.items():
        getattr(buffer, name)[:, 0] = value[rollout.mask]
    if hasattr(buffer, "action_masks"):
        buffer.action_masks[:, 0] = masks.numpy()
    buffer.pos, buffer.full = len(states), True
    agent.rollout_buffer, agent.batch_size = buffer, len(states)


@pytest.mark.parametrize("masked", [False, True])
def test_one_update_is_the_same_to_the_last_weight(masked):
    """Losses, gradients and the weights after Adam's step, on data of an older policy.

    The older policy makes ratios other than 1, and some that are clipped. Their value loss has no
    half, so it has half the weight; the update's settings are those of ``PPOConfig``.
    """
    old, policy = _policy(), _policy(seed=0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    theirs = copy.deepcopy(policy)
    rollout = _collect(old, masked)
    mask = rollout.mask
    with torch.no_grad():
        before = _evaluate(old, rollout)
    advantages, returns = generalised_advantages(
        rollout.rewards, before.values, mask, gamma=0.9, lam=0.8
    )
    advantages = standardise(advantages, mask)

    new, weights = _evaluate(policy, rollout), token_weights(mask)
    loss = clipped_policy_loss(new.log_probs, before.log_probs, advantages, weights, 0.2)
    value_loss = clipped_value_loss(new.values, before.values, returns, weights, None)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3, eps=1e-5)
    (loss.loss + 0.1 * value_loss).backward()
    norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
    optimizer.step()

    agent = _agent(
        theirs,
        masked,
        n_epochs=1,
        normalize_advantage=False,
        vf_coef=0.05,
        max_grad_norm=0.5,
        learning_rate=1e-3,
        clip_range=0.2,
    )
    batch = {
        "values": before.values,
        "log_probs": before.log_probs,
        "advantages": advantages,
        "returns": returns,
    }
    _fill(agent, rollout, batch)
    agent.train()

    said = agent.logger.name_to_value
    assert float(loss.loss.detach()) == pytest.approx(said["train/policy_gradient_loss"], abs=1e-5)
    assert float(value_loss.detach()) == pytest.approx(said["train/value_loss"] / 2, abs=1e-5)
    assert float(loss.approximate_kl) == pytest.approx(said["train/approx_kl"], abs=1e-5)
    clipped = float(loss.clip_fraction_low + loss.clip_fraction_high)
    assert 0 < clipped < said["train/clip_fraction"] < 1
    assert norm > 0.5  # so that clipping of gradients is compared as well
    for (name, ours), other in zip(policy.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, other.grad, atol=1e-5, rtol=1e-4, msg=name)
        torch.testing.assert_close(ours, other, atol=1e-5, rtol=1e-4, msg=name)


class _Raw(BaseCallback):
    """Keeps what steps paid and how they ended, before Stable-Baselines3 changes the rewards."""

    def __init__(self):
        super().__init__()
        self.rewards, self.dones, self.cut = [], [], []

    def _on_step(self):
        self.rewards.append(self.locals["rewards"].copy())
        self.dones.append(self.locals["dones"].copy())
        for row, info in enumerate(self.locals["infos"]):
            if info["TimeLimit.truncated"]:
                self.cut.append((len(self.dones) - 1, row, info["terminal_observation"]))
        return True


def _episodes(dones):
    """``(row, first, last)`` of every stretch without an end in it but at its last step."""
    steps, rows = dones.shape
    for row in range(rows):
        first = 0
        for step in range(steps):
            if dones[step, row] or step == steps - 1:
                yield row, first, step
                first = step + 1


def test_advantages_are_the_same_over_ends_limits_and_what_the_buffer_cuts_off():
    """Twelve steps of eight rows, a limit after three; the last stretch of a row goes on."""
    policy = _policy()
    agent = _agent(
        policy, masked=False, envs=_envs(max_episode_steps=3, dense=True), n_steps=12, batch_size=96
    )
    agent.gamma = agent.rollout_buffer.gamma = 0.9
    agent.rollout_buffer.gae_lambda = 0.8
    raw = _Raw()
    _, callback = agent._setup_learn(96, raw)
    callback.on_training_start({}, {})
    assert agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, 12)
    buffer = agent.rollout_buffer
    rewards, dones = np.array(raw.rewards), np.array(raw.dones)

    def value(observation):
        tokens = torch.as_tensor(observation)[None]
        return policy.state_values(tokens, (tokens != 0).sum(dim=1)).item()

    after = {(step, row): value(observation) for step, row, observation in raw.cut}
    spans = list(_episodes(dones))
    for row, _, last in spans:
        if last == 11 and not dones[last, row]:
            after[last, row] = value(agent._last_obs[row])
    shape = len(spans), 1 + max(last - first for _, first, last in spans)
    packed = {name: torch.zeros(shape) for name in ("rewards", "values", "advantages", "returns")}
    mask, bootstrap = torch.zeros(shape, dtype=torch.bool), torch.zeros(len(spans))
    for n, (row, first, last) in enumerate(spans):
        width, part = last - first + 1, slice(first, last + 1)
        mask[n, :width] = True
        packed["rewards"][n, :width] = torch.as_tensor(rewards[part, row])
        for name in ("values", "advantages", "returns"):
            packed[name][n, :width] = torch.as_tensor(getattr(buffer, name)[part, row])
        bootstrap[n] = after.get((last, row), 0.0)
    ended = {last - first + 1 for row, first, last in spans if (last, row) not in after}
    assert len(raw.cut) > 5
    assert len(ended) > 1
    advantages, returns = generalised_advantages(
        packed["rewards"], packed["values"], mask, gamma=0.9, lam=0.8, bootstrap=bootstrap
    )
    torch.testing.assert_close(packed["advantages"], advantages, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed["returns"], returns, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_no_file_is_written_unless_a_folder_is_given(tmp_path, monkeypatch, capsys, masked):
    """Stable-Baselines3 by itself leaves an empty folder in the system's temporary one."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    _agent(_policy(), masked, n_epochs=1, verbose=1).learn(64)
    assert "total_timesteps" in capsys.readouterr().out
    assert not list(temporary.iterdir())
    _agent(_policy(), masked, n_epochs=1, tensorboard_log=str(tmp_path / "board")).learn(64)
    assert list((tmp_path / "board").rglob("events*"))
    assert not list(temporary.iterdir())


def test_the_policy_itself_is_trained_and_stays_without_dropout():
    policy = TransformerPolicy(make_model(dropout=0.0))
    before = copy.deepcopy(policy.state_dict())
    agent = _agent(policy, masked=False, n_epochs=1, ent_coef=0.01)
    agent.learn(64)
    assert agent.policy.features_extractor.language_model is policy
    changed = {n for n, value in policy.state_dict().items() if not torch.equal(before[n], value)}
    assert {"value_head.weight", "model.transformer.wte.weight"} <= changed
    assert all(torch.isfinite(value).all() for value in policy.state_dict().values())
    assert not policy.model.training


@pytest.mark.parametrize("masked", [False, True])
def test_what_stable_baselines3_saves_it_loads(tmp_path, masked):
    """From a folder, which is all of the language model that its file names."""
    policy = _policy()
    policy.save_pretrained(tmp_path / "start")
    agent = _agent(str(tmp_path / "start"), masked, n_epochs=1)
    agent.learn(64)
    agent.save(tmp_path / "agent.zip")
    again = type(agent).load(tmp_path / "agent.zip")
    observations = agent.get_env().reset()
    given = {"action_masks": np.ones((16, 11), dtype=bool)} if masked else {}
    expected, _ = agent.predict(observations, deterministic=True, **given)
    assert expected.tolist() == again.predict(observations, deterministic=True, **given)[0].tolist()
    for name, value in agent.policy.state_dict().items():
        assert torch.equal(value, again.policy.state_dict()[name]), name
    agent.policy.save(tmp_path / "policy.zip")
    alone = type(agent.policy).load(tmp_path / "policy.zip")
    assert expected.tolist() == alone.predict(observations, deterministic=True, **given)[0].tolist()


@pytest.mark.parametrize("obs_mode", ["tokens", "dict"])
def test_single_environments_and_other_algorithms_take_it(obs_mode):
    env = gym.make("TextGym/Alphabet-v0", obs_mode=obs_mode)
    policy = TransformerPolicy(make_model())
    agent = A2C(
        TextActorCriticPolicy,
        env,
        n_steps=16,
        policy_kwargs=text_policy_kwargs(policy, env.unwrapped),
        device="cpu",
    )
    agent.set_logger(quiet_logger())
    agent.learn(32)
    action, _ = agent.predict(env.reset(seed=0)[0], deterministic=True)
    assert env.unwrapped.action_masks()[int(action)]


def test_changing_masks_need_the_algorithm_that_asks_for_them():
    with pytest.raises(ValueError, match="masked=True"):
        make_ppo(_policy(), _envs(constraints=CHOICES))


def test_another_vocabulary_and_other_kinds_of_action_are_refused():
    envs = make_toy("Bandit", rows=2)
    with pytest.raises(ValueError, match="appends tokens of the language model's own"):
        make_ppo(_policy(), envs)
    with pytest.raises(ValueError, match="Discrete"):
        make_ppo(_policy(), make_toy("Alphabet-Choose", rows=2), masked=True)
    with pytest.raises(ValueError, match="temperature"):
        make_ppo(_policy(), _envs(), temperature=0.0)


def test_without_sb3_contrib_the_message_says_how_to_get_it(monkeypatch):
    """And the plain algorithm is there all the same."""
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    monkeypatch.setattr(sb3, "ppo", sb3.ppo)  # put back afterwards, as the next line is
    monkeypatch.delitem(sys.modules, "agents.bridges.sb3.ppo")
    alone = importlib.import_module("agents.bridges.sb3.ppo")
    with pytest.raises(ModuleNotFoundError, match=r"textgym\[baselines\]"):
        alone.make_ppo(_policy(), _envs(), masked=True)
    assert isinstance(alone.make_ppo(_policy(), _envs()), PPO)
