"""Rewards that are known by name in this process, and what is known about them."""

import gymnasium as gym
import pytest

import textgym
from textgym.rewards import RewardInfo, describe, known_rewards, registry, resolve


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


def score(reward, **columns):
    return resolve(reward)(["p", "q"], ["a", "bb"], **columns)


def test_a_registered_function_is_a_reward_by_name():
    @textgym.register_reward("size")
    def size(prompts, completions, **columns):
        return [float(len(text)) for text in completions]

    assert "size" in known_rewards()
    assert score([["size", 2.0]]) == [2.0, 4.0]
    env = gym.make("textgym:TextGym/Bandit-v0", reward="size")
    env.reset(seed=0)
    assert env.step(3)[1] == 1.0
    assert size([""], ["abc"]) == [3.0]


def test_a_registered_class_or_factory_makes_a_reward_of_its_settings():
    @textgym.register_reward("power")
    class Power:
        def __init__(self, exponent=1):
            self.exponent = exponent

        def __call__(self, prompts, completions, **columns):
            return [float(len(text) ** self.exponent) for text in completions]

    @textgym.register_reward("constant_of")
    @describe(is_factory=True)
    def constant_of(value=7.0):
        return lambda prompts, completions, **columns: [value] * len(completions)

    assert score("power") == [1.0, 2.0]
    assert score({"power": {"exponent": 3}}) == [1.0, 8.0]
    assert score("constant_of") == [7.0, 7.0]
    assert score({"constant_of": {"value": 1}}) == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"'power' cannot be made: .*'exp'; it takes exponent"):
        resolve("power", {"exp": 3})


def test_a_name_can_be_defined_again_where_it_was_defined_but_not_elsewhere():
    """A notebook's cell is run more than once."""

    def define(value):
        @textgym.register_reward("mine")
        def mine(prompts, completions, **columns):
            return [value] * len(completions)

    define(1.0)
    define(2.0)
    assert score("mine") == [2.0, 2.0]
    with pytest.raises(
        ValueError, match=r"there is a reward 'mine' already, .*choose another name"
    ):

        @textgym.register_reward("mine")
        def other(prompts, completions, **columns):
            return [0.0] * len(completions)


def test_a_listed_name_is_taken():
    with pytest.raises(ValueError, match=r"reward 'length' already, reward_models.metrics:length"):
        textgym.register_reward("length")(lambda prompts, completions, **columns: [])


@pytest.mark.parametrize("name", ["", "a:b"])
def test_a_name_is_a_word(name):
    with pytest.raises(ValueError, match=r"a reward's name is a word without a colon"):
        textgym.register_reward(name)


def test_an_unknown_name_lists_the_registered_ones():
    textgym.register_reward("my_own")(lambda prompts, completions, **columns: [])
    with pytest.raises(ValueError, match=r"unknown reward 'my_won'; known: .*my_own"):
        resolve("my_won")


def test_what_nobody_described_is_read_from_the_signature():
    def compared(prompts, completions, *, reference, weight=1.0, **columns):
        return [0.0] * len(completions)

    assert registry.info_of(compared) == RewardInfo(reads=("reference",))
    assert registry.info_of(max) == RewardInfo()


def test_what_is_needed_is_looked_for_and_not_imported():
    assert describe(needs=["json"])(lambda: None).reward_info.installed
    assert not describe(needs=["json", "a_package_that_is_lost"])(lambda: 0).reward_info.installed
