"""Masks in the hands of the libraries that they are for, each by its own masked way to act.

Every library acts in words of which a constraint allows three, so that what is legal depends on
what is written: an agent that does not read the mask, or reads it wrongly, soon does what is
illegal. Each test is skipped where its library is not installed; ENVIRONMENTS.md says which
versions were run.
"""

import logging

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from textgym.wrappers import ActionMaskObservation

WORDS = ("abc", "bad", "cab")
COUNT = len("abcdefgh") + 3


def make(preset):
    """An environment that fails at the first illegal action."""
    env = gym.make(
        "TextGym/Alphabet-v0", constraints={"choices": list(WORDS)}, invalid_action="raise"
    )
    if preset == "rllib":  # whose own networks take no integers
        env = gym.wrappers.DtypeObservation(env, np.float32)
    return ActionMaskObservation(env, preset)


@pytest.mark.parametrize("preset", ["torchrl", "tianshou", "rllib"])
def test_an_agent_that_reads_no_mask_is_noticed(preset):
    env = make(preset)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(20)]
    with pytest.raises(ValueError, match="is illegal"):
        list(map(env.step, actions))


@pytest.fixture
def torchrl_env():
    pytest.importorskip("torchrl")
    from torchrl.envs import GymWrapper, TransformedEnv
    from torchrl.envs.transforms import ActionMask

    env = TransformedEnv(GymWrapper(make("torchrl"), categorical_action_encoding=True))
    env.append_transform(ActionMask())
    env.set_seed(0)
    return env


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the library's own
def test_torchrl_draws_what_its_mask_allows(torchrl_env):
    from torchrl.envs.utils import check_env_specs

    check_env_specs(torchrl_env)
    rollout = torchrl_env.rollout(60, break_when_any_done=False)
    masks, actions = rollout["action_mask"], rollout["action"]
    assert tuple(masks.shape) == (60, COUNT)
    assert masks.dtype == torch.bool
    assert masks.gather(-1, actions[:, None]).all()
    assert rollout["next", "done"].sum() >= 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the library's own
@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_torchrl_takes_batches_to_their_ends(mode):
    """It takes the keys of the first infos for those of all, and died at the first end."""
    pytest.importorskip("torchrl")
    from torchrl.envs import GymWrapper

    batch = {"num_envs": 3, "autoreset_mode": mode}
    envs = gym.make_vec("TextGym/Alphabet-v0", **batch)
    env = GymWrapper(envs, categorical_action_encoding=True)
    env.set_seed(0)
    rollout = env.rollout(30, break_when_any_done=False)
    assert tuple(rollout.shape) == (3, 30)
    assert rollout["next", "done"].sum() >= 3 * 30 // 6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the library's own
def test_torchrl_s_masked_policy_learns_by_ppo(torchrl_env):
    from tensordict.nn import TensorDictModule
    from torchrl.modules import MaskedCategorical, ProbabilisticActor, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

    torch.manual_seed(0)

    class Embedded(nn.Module):
        def __init__(self, outputs):
            super().__init__()
            self.net = nn.Sequential(nn.Embedding(COUNT, 8), nn.Flatten(-2), nn.LazyLinear(outputs))

        def forward(self, tokens):
            return self.net(tokens)

    actor = ProbabilisticActor(
        TensorDictModule(Embedded(COUNT), in_keys=["observation"], out_keys=["logits"]),
        in_keys={"logits": "logits", "mask": "action_mask"},
        out_keys=["action"],
        distribution_class=MaskedCategorical,
        return_log_prob=True,
        spec=torchrl_env.action_spec,
    )
    critic = ValueOperator(Embedded(1), in_keys=["observation"])
    with torch.no_grad():
        rollout = torchrl_env.rollout(60, actor, break_when_any_done=False)
        critic(rollout[:1].clone())
    assert rollout["action_mask"].gather(-1, rollout["action"][:, None]).all()
    loss = ClipPPOLoss(actor, critic)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    GAE(gamma=1.0, lmbda=0.95, value_network=critic)(rollout)
    before = [parameter.detach().clone() for parameter in actor.parameters()]
    for _ in range(3):
        values = loss(rollout)
        total = values["loss_objective"] + values["loss_critic"] + values["loss_entropy"]
        assert torch.isfinite(total)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert any((a != b).any() for a, b in zip(before, actor.parameters(), strict=True))
    with torch.no_grad():
        again = torchrl_env.rollout(30, actor, break_when_any_done=False)
    assert again["action_mask"].gather(-1, again["action"][:, None]).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the library's own
@pytest.mark.parametrize("kind", ["DummyVectorEnv", "SubprocVectorEnv"])
def test_tianshou_s_masked_random_policy_acts(kind):
    """Its ShmemVectorEnv is left out: it stores views of what the next step writes over."""
    pytest.importorskip("tianshou")
    import tianshou.env
    from tianshou.algorithm.random import MARLRandomDiscreteMaskedOffPolicyAlgorithm
    from tianshou.data import Collector, VectorReplayBuffer

    np.random.seed(0)  # noqa: NPY002 - where the library draws
    envs = getattr(tianshou.env, kind)([lambda: make("tianshou") for _ in range(2)])
    policy = MARLRandomDiscreteMaskedOffPolicyAlgorithm(action_space=envs.action_space[0])
    buffer = VectorReplayBuffer(100, 2)
    collected = Collector(policy, envs, buffer).collect(n_episode=10, reset_before_collect=True)
    assert collected.n_collected_episodes >= 10
    batch = buffer.sample(0)[0]
    assert batch.obs.mask[np.arange(len(batch)), batch.act].all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the library's own
def test_tianshou_s_dqn_learns_from_masked_observations():
    pytest.importorskip("tianshou")
    from tianshou.algorithm import DQN
    from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.utils.torch_utils import policy_within_training_step

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - where the library draws

    class Values(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Embedding(COUNT, 8), nn.Flatten(-2), nn.LazyLinear(COUNT))

        def forward(self, obs, state=None, info=None):
            return self.net(torch.as_tensor(obs)), state

    envs = DummyVectorEnv([lambda: make("tianshou") for _ in range(2)])
    model = Values()
    model(np.zeros((1, 8), dtype=np.int64))
    policy = DiscreteQLearningPolicy(
        model=model,
        action_space=envs.action_space[0],
        observation_space=envs.observation_space[0],
        eps_training=0.5,
    )
    algorithm = DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-2), target_update_freq=5)
    buffer = VectorReplayBuffer(200, 2)
    collector = Collector(algorithm, envs, buffer, exploration_noise=True)
    with policy_within_training_step(policy):
        collector.collect(n_step=60, reset_before_collect=True)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        for _ in range(3):
            algorithm.update(buffer=buffer, sample_size=32)
        collector.collect(n_step=20)
    assert any((a != b).any() for a, b in zip(before, model.parameters(), strict=True))
    batch = buffer.sample(0)[0]
    assert batch.obs.mask[np.arange(len(batch)), batch.act].all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the library's own
def test_rllib_s_masking_module_learns_by_ppo(tmp_path, monkeypatch):
    pytest.importorskip("ray.rllib")
    import ray
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.rllib.examples.rl_modules.classes.action_masking_rlm import ActionMaskingTorchRLModule
    from ray.tune.registry import register_env

    # What the library would keep at home belongs to the test.
    monkeypatch.setenv("HOME", str(tmp_path))
    register_env("masked-alphabet", lambda _: make("rllib"))
    config = (
        PPOConfig()
        .environment("masked-alphabet")
        .env_runners(num_env_runners=0)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=ActionMaskingTorchRLModule))
        .training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=1)
        .debugging(seed=0, log_level=logging.getLevelName(logging.ERROR))
    )
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        algorithm = config.build_algo()
        for _ in range(2):
            result = algorithm.train()
        algorithm.stop()
    finally:
        ray.shutdown()
    assert result["env_runners"]["num_episodes"] >= 10
    assert np.isfinite(result["learners"]["default_policy"]["total_loss"])
