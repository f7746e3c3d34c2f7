"""A policy's folder brings its tokenizer and its heads into an environment, and must fit it."""

import json

import pytest
import torch

from agents.models.loading import load_model
from agents.models.policy import TransformerPolicy
from textgym.cli.parsing import CommandError
from textgym.cli.policy.policies import environment_arguments, make_envs, make_policy, one_line
from textgym.cli.policy.train import PPOTraining, train_ppo
from textgym.tokenizers import CharacterTokenizer, load_tokenizer

SMALL = "scratch:gpt2?layers=1&width=16&heads=2"


@pytest.fixture
def folder(tmp_path):
    """A policy of Alphabet, whose value head has learned something."""
    tokenizer = CharacterTokenizer("abcdefgh")
    policy = TransformerPolicy(load_model(SMALL, tokenizer)[0])
    torch.nn.init.normal_(policy.value_head.weight)
    policy.save_pretrained(tmp_path / "policy", tokenizer)
    return str(tmp_path / "policy")


def test_the_tokenizer_is_the_policy_s_unless_one_is_named(folder):
    assert environment_arguments('{"split": "train"}', folder) == {
        "tokenizer": folder,
        "split": "train",
    }
    assert load_tokenizer(folder).alphabet == "abcdefgh"
    named = '{"tokenizer": "characters:ab"}'
    assert environment_arguments(named, folder) == {"tokenizer": "characters:ab"}
    assert environment_arguments("{}", SMALL) == {}
    assert environment_arguments("{}", "smollm2") == {"tokenizer": "smollm2"}


def test_heads_come_along_where_they_read_the_same_trunk(folder):
    """Bandit's own tokenizer has seven ids, the policy's eleven."""
    envs = make_envs(
        "TextGym/Bandit-v0", environment_arguments("{}", folder), num_envs=2, device="cpu"
    )
    kept = TransformerPolicy.from_pretrained(folder).value_head.weight
    assert torch.equal(make_policy(folder, envs, device="cpu").value_head.weight, kept)
    with_critic = make_policy(folder, envs, device="cpu", critic=True)
    assert not with_critic.value_head.weight.any()


def test_a_critic_comes_along(folder, tmp_path):
    envs = make_envs("TextGym/Alphabet-v0", {}, num_envs=2, device="cpu")
    policy = make_policy(folder, envs, device="cpu", critic=True)
    for tensor in (policy.value_head.weight, policy.critic.transformer.wpe.weight):
        torch.nn.init.normal_(tensor)
    policy.save_pretrained(tmp_path / "both", envs.tokenizer)
    again = make_policy(str(tmp_path / "both"), envs, device="cpu", critic=True)
    for name, value in policy.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_critic_that_begins_may_have_fewer_layers_and_keeps_them(tmp_path):
    envs = make_envs("TextGym/Alphabet-v0", {}, num_envs=2, device="cpu")
    line = "scratch:gpt2?layers=2&width=16&heads=2"
    policy = make_policy(line, envs, device="cpu", critic=True, critic_layers=1)
    policy.save_pretrained(tmp_path / "both", envs.tokenizer)
    again = make_policy(str(tmp_path / "both"), envs, device="cpu", critic=True)
    for each in (policy, again):
        assert each.model.config.num_hidden_layers == 2
        assert each.critic.config.num_hidden_layers == 1


def test_a_tokenizer_that_is_not_the_policy_s_is_refused_in_one_line(folder, tmp_path):
    other = json.dumps({"tokenizer": "characters:abcd"})
    config = PPOTraining(
        env="TextGym/Bandit-v0", policy=folder, out=tmp_path / "out", env_kwargs=other
    )
    with pytest.raises(CommandError, match="of 7 ids, is not the one that came with") as caught:
        train_ppo(config)
    assert "\n" not in str(caught.value)


def test_texts_are_shown_on_one_line():
    assert one_line("a\nb", "c", letters=None) == "a\\nb|c"
    assert one_line("abcd", "efgh", letters=2) == "...cd|ef..."
