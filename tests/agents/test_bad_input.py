"""What learners are given by mistake: one line that says what is wrong and what to do."""

import json
import shutil

import gymnasium as gym
import numpy as np
import pytest
import torch
from transformers.utils import logging

from agents.dpo import DPO, DPOConfig
from agents.grpo import GRPO, GRPOConfig
from agents.models.loading import load_model
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.training.guards import GuardError, explained_memory
from agents.training.updates import Updates
from tests.agents.learners import toy_learner
from tests.agents.toys import make_model, make_toy
from textgym.rewards import RewardError

MADE = r'make one with gym.make_vec\(ID, num_envs=64, backend="torch", autoreset_mode="Disabled"\)'


def _one_line(caught):
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: gym.make_vec("CartPole-v1", num_envs=2),
        lambda: gym.make("CartPole-v1"),
        lambda: gym.make("TextGym/Alphabet-v0"),
        lambda: gym.make_vec("TextGym/Alphabet-v0", num_envs=2, vectorization_mode="sync"),
        lambda: "TextGym/Alphabet-v0",
        lambda: None,
    ],
    ids=["no texts", "no batch", "one text", "one by one", "an id", "nothing"],
)
def test_what_is_no_batch_of_texts_is_refused(make, policy):
    with pytest.raises(TypeError, match=MADE) as caught:
        PPO(policy, make())
    _one_line(caught)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backend": "numpy"}, 'has backend="numpy" and autoreset_mode="Disabled"'),
        ({"autoreset_mode": "NextStep"}, 'has backend="torch" and autoreset_mode="NextStep"'),
    ],
)
def test_an_environment_of_another_mode_says_which(settings, said, policy):
    given = {"num_envs": 8, "backend": "torch", "autoreset_mode": "Disabled"} | settings
    with pytest.raises(ValueError, match=said):
        PPO(policy, gym.make_vec("TextGym/Alphabet-v0", **given))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda envs: PPO(make_model(), envs), r"is no policy: make one with TransformerPolicy"),
        (lambda envs: PPO("smollm2", envs), "'smollm2' is no policy"),
        (lambda envs: TransformerPolicy((make_model(), None)), "is no model: give the first of"),
        (lambda envs: TransformerPolicy("smollm2"), "'smollm2' is no model"),
        (lambda envs: load_model("scratch:gpt2", envs), "is no tokenizer: give a name, a path"),
        (lambda envs: load_model(3, envs.tokenizer), "by a folder's path or a line, got 3"),
    ],
)
def test_what_is_no_policy_or_model_is_refused(make, said):
    with pytest.raises(TypeError, match=said) as caught:
        make(make_toy())
    _one_line(caught)


@pytest.mark.parametrize("config", [{"iterations": 3}, GRPOConfig(), PPOConfig])
def test_another_learner_s_settings_are_refused(config, policy):
    with pytest.raises(TypeError, match="PPO takes a PPOConfig, got ") as caught:
        PPO(policy, make_toy(), config)
    _one_line(caught)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"iterations": "3"}, TypeError, "iterations must be a whole number, got '3'"),
        ({"iterations": 1.5}, TypeError, "iterations must be a whole number, got 1.5"),
        ({"iterations": True}, TypeError, "iterations must be a whole number, got True"),
        ({"top_k": 2.5}, TypeError, "top_k must be a whole number or None, got 2.5"),
        ({"learning_rate": "1e-3"}, TypeError, "learning_rate must be a finite number or None"),
        ({"temperature": np.inf}, ValueError, "temperature must be a finite number, got inf"),
        ({"kl_coefficient": np.nan}, ValueError, "kl_coefficient must be a finite number, got nan"),
        ({"temperature": None}, TypeError, "temperature must be a finite number, got None"),
        ({"bf16": "yes"}, ValueError, "unknown bf16 'yes'; known: True, False, auto"),
        ({"kl_in": "los"}, ValueError, r"unknown kl_in 'los'; known: reward, loss \(did you mean"),
        ({"adam": "sgd"}, ValueError, "unknown adam 'sgd'; known: torch, tensorflow"),
        ({"adam_epsilon": 0.0}, ValueError, "adam_epsilon must be above 0, got 0.0"),
        ({"seed": -1}, ValueError, r"seed must be in \[0, 2\*\*63\), got -1"),
        ({"seed": 2**63}, ValueError, r"seed must be in \[0, 2\*\*63\)"),
    ],
)
def test_a_setting_of_another_kind_is_refused(settings, error, said):
    with pytest.raises(error, match=said):
        PPOConfig(**settings)


def test_a_whole_number_is_a_number():
    assert PPOConfig(learning_rate=1, kl_target=6).kl_target == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"total_timesteps": "100"}, "total_timesteps must be a number of actions, got '100'"),
        ({"callback": "eval"}, "a callback is an instance of"),
        ({"callback": [dict]}, "a callback is an instance of"),
    ],
)
def test_learn_refuses_what_it_cannot_read(arguments, said):
    learner = toy_learner()
    with pytest.raises(TypeError, match=said):
        learner.learn(**arguments)
    assert learner.iteration == 0


@pytest.mark.parametrize(
    ("observation", "masks", "said"),
    [
        (np.zeros(3), None, r"has the shape \(3,\), and those of this environment \(8,\)"),
        (np.zeros((0, 8)), None, r"has the shape \(0, 8\)"),
        (np.full((2, 8), 99), None, r"has ids outside 0\.\.10, which are the tokenizer's"),
        ({"tokens": np.zeros((2, 8))}, None, "the observation lacks prompt_mask"),
        (np.ones((2, 8)), np.ones((2, 2)), r"action_masks have the shape \(2, 2\), and must have"),
        (np.ones((2, 8)), np.zeros((2, 11)), "leave a text without a legal action"),
    ],
)
def test_predict_says_what_is_wrong_with_an_observation(observation, masks, said):
    with pytest.raises(ValueError, match=said):
        toy_learner().predict(observation, action_masks=masks)


def test_a_pair_takes_three_texts(policy):
    with pytest.raises(ValueError, match="pair 1 has 2 parts; it takes a prompt, the chosen"):
        DPO(policy, make_toy(), DPOConfig(), pairs=[("a", "b", "c"), ("a", "b")])


@pytest.fixture
def saved(tmp_path):
    learner = toy_learner(iterations=3)
    learner.step()
    learner.save(tmp_path / "checkpoint")
    return learner, tmp_path / "checkpoint"


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _without(path, name):
    path.write_text(
        json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != name})
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda c: _cut(c / "state.safetensors"), ""),
        (lambda c: (c / "state.safetensors").write_bytes(b""), ""),
        (lambda c: (c / "state.safetensors").unlink(), "No such file"),
        (lambda c: _cut(c / "state.json"), ""),
        (lambda c: (c / "state.json").write_text("[]"), "state.json lacks algorithm"),
        (lambda c: _without(c / "state.json", "iteration"), "state.json lacks iteration"),
        (lambda c: _cut(c / "reference" / "model.safetensors"), ""),
        (lambda c: shutil.rmtree(c / "reference"), "config.json is missing"),
    ],
    ids=["cut", "empty", "missing", "half", "list", "key", "reference", "none"],
)
def test_a_damaged_checkpoint_is_named_and_nothing_is_changed(damage, said, saved):
    learner, folder = saved
    damage(folder)
    before = {name: value.clone() for name, value in learner.policy.state_dict().items()}
    with pytest.raises(ValueError, match=r"is damaged .*: remove it, and go on from") as caught:
        learner.restore(folder)
    assert f"checkpoint {folder} is damaged" in str(caught.value)
    assert said in str(caught.value)
    _one_line(caught)
    assert all((value == before[name]).all() for name, value in learner.policy.state_dict().items())


def test_a_checkpoint_of_other_settings_says_how_they_differ(saved):
    _, folder = saved
    with pytest.raises(ValueError, match=r"with gamma 1\.0, not 0\.9 \(what is paid.*\): give"):
        toy_learner(iterations=9, gamma=0.9).restore(folder)
    with pytest.raises(ValueError, match="is one of PPO, not GRPO"):
        GRPO.load(folder, make_toy())
    with pytest.raises(TypeError, match=MADE):
        PPO.load(folder, gym.make("TextGym/Alphabet-v0"))


@pytest.mark.parametrize("name", ["model.safetensors", "value_head.safetensors"])
def test_a_damaged_policy_is_named(name, saved):
    _, folder = saved
    _cut(folder / "policy" / name)
    with pytest.raises(ValueError, match=r"cannot read .*policy") as caught:
        TransformerPolicy.from_pretrained(folder / "policy")
    _one_line(caught)


def test_a_damaged_model_is_named(saved):
    learner, folder = saved
    _cut(folder / "policy" / "model.safetensors")
    with pytest.raises(ValueError, match=r"cannot read a language model in .*policy"):
        load_model(folder / "policy", learner.envs.tokenizer)


def test_a_checkpoint_draws_no_bars(saved, capsys):
    """transformers' would tear the one of training, once a checkpoint."""
    learner, folder = saved
    logging.enable_progress_bar()
    learner.save(folder)
    PPO.load(folder, learner.envs)
    assert capsys.readouterr().err == ""
    assert logging.is_progress_bar_enabled()


def test_save_replaces_a_checkpoint_and_nothing_else(saved, tmp_path):
    """A folder of somebody's own would be lost, with all that is in it."""
    learner, folder = saved
    learner.save(folder)
    (tmp_path / "mine").mkdir()
    learner.save(tmp_path / "mine")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("one")
    (tmp_path / "file").write_text("two")
    for name in ("thesis", "file"):
        with pytest.raises(FileExistsError, match=f"{name} is there and is no checkpoint"):
            learner.save(tmp_path / name)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "one"
    assert (tmp_path / "file").read_text() == "two"


def test_an_update_that_fails_leaves_no_half_a_gradient(monkeypatch):
    """In the same process, the iteration that comes again is the one that would have come."""
    small = {"micro_batch_tokens": 16, "minibatches": 1}
    straight, other = toy_learner(**small), toy_learner(**small)
    straight.step()
    other.step()
    parts, backward = [], Updates.backward

    def fails(*args):
        parts.append(args)
        if len(parts) == 2:  # of several in the first minibatch
            raise RuntimeError("a defect")
        backward(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Updates, "backward", fails)
        with pytest.raises(RuntimeError, match="a defect"):
            other.step()
    assert other.is_whole
    expected, _ = straight.step()
    measured, _ = other.step()
    assert expected["gradient_norm"] == measured["gradient_norm"]
    assert expected["reward"] == measured["reward"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 60. GiB for an array"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB"),
    ],
    ids=["python", "cpu", "cuda", "cublas", "torch"],
)
def test_memory_that_runs_out_says_what_to_lower(error):
    with (
        pytest.raises(GuardError, match="out of memory: lower num_envs"),
        explained_memory("num_envs"),
    ):
        raise error


def test_a_reward_that_runs_out_of_memory_is_named():
    """Its own message says so, and no setting of the learner's is to blame."""
    said = "reward 'judge' raised OutOfMemoryError: CUDA out of memory"
    with pytest.raises(RewardError, match=said), explained_memory():
        raise RewardError(said)


def test_another_failure_is_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), explained_memory():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_that_lose_adams_steps_are_not_trained(dtype):
    """Eight steps at 3e-6 moved 4 % of the weights in bfloat16, without a word."""
    policy = TransformerPolicy(make_model().to(dtype))
    with pytest.raises(ValueError, match="load the model in float32 and set bf16=True"):
        PPO(policy, make_toy())
    policy.model.requires_grad_(requires_grad=False)
    PPO(policy, make_toy())
