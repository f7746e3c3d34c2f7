"""Several turns in one episode: who wrote what, when it ends, and what is scored."""

from dataclasses import dataclass

import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from tests.contracts.test_native_batch import roll
from textgym import Conversation, Example, StopReason, TextEnv, TextVectorEnv, wrappers

A, B, C, D = 3, 4, 5, 6
PAD, BOS, EOS = 0, 1, 2


@dataclass(frozen=True)
class Parrot:
    """Says what the agent said, doubled, and leaves after the third turn."""

    name: str = "Parrot"
    prompt_tokens: int = 2
    completion_tokens: int = 10
    tokenizer: str = "characters:abcd"
    reward: str = "tests.textgym.envs.test_conversations:lines"
    splits: tuple = ("train",)

    def examples(self, split):
        return [Example(prompt=prompt, columns={"left": 2}) for prompt in "abcd"]

    def reply(self, example, turns):
        return None if len(turns) > example.columns["left"] else turns[-1] * 2


def lines(prompts, completions, **columns):
    """How many turns there were, and a little for each letter."""
    return [text.count("\n") + 1 + len(text) / 100 for text in completions]


def make(**kwargs):
    return TextEnv(task=Parrot(), **kwargs)


def play(env, actions):
    env.reset(options={"example_id": 0})
    return [env.step(action) for action in actions]


def test_a_reply_follows_the_end_of_a_turn_and_the_agent_goes_on():
    env = make(obs_mode="dict")
    steps = play(env, [B, EOS, C])
    assert steps[1][1:3] == (0.0, False)
    observation = steps[2][0]
    assert observation["tokens"].tolist() == [BOS, A, B, EOS, B, B, C, *[PAD] * 5]
    assert observation["prompt_mask"].tolist() == [1, 1, 0, 0, 1, 1, 0, *[0] * 5]
    assert observation["attention_mask"].tolist() == [1] * 7 + [0] * 5
    assert env.text() == ("a", "b\nc")


def test_the_reward_sees_the_agent_s_turns_and_is_paid_at_the_end_of_the_last():
    steps = play(make(), [B, EOS, EOS, EOS])
    assert [step[2] for step in steps] == [False, False, False, True]
    assert [step[1] for step in steps] == [0.0, 0.0, 0.0, 3.03]
    assert steps[-1][4] == {
        "example_id": 0,
        "prompt_length": 2,
        "stop_reason": StopReason.END_OF_TEXT,
        "score": 3.03,
        "completion_length": 4,
    }


@pytest.mark.parametrize(
    ("actions", "turns"), [([A, A, A, EOS], 1), ([A, EOS, A, A, A, A, A, A], 2)]
)
def test_a_reply_without_room_ends_the_text_by_its_length(actions, turns):
    """The room is ten: A A A and its end leave six, which the reply takes to the last."""
    env = make()
    steps = play(env, actions)
    assert steps[-1][2]
    assert not steps[-2][2]
    assert steps[-1][4]["stop_reason"] == StopReason.LENGTH
    assert env.text()[1].count("\n") + 1 == turns


def test_the_allowance_ends_it_too():
    env = make(action_kind="choose", num_choices=3, max_actions=2)
    env.reset(seed=0)
    assert not env.step(0)[2]
    _, _, terminated, _, info = env.step(0)
    assert terminated
    assert info["stop_reason"] == StopReason.LENGTH


@pytest.mark.parametrize("kind", ["append", "choose"])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("seed", range(4))
def test_a_batch_of_conversations_is_a_batch_of_singles(kind, mode, seed):
    kwargs = {"task": Parrot(), "action_kind": kind, "obs_mode": "dict"}
    kwargs |= {"num_choices": 4} if kind == "choose" else {}
    sync = SyncVectorEnv([lambda: TextEnv(**kwargs)] * 4, autoreset_mode=mode)
    native = TextVectorEnv(num_envs=4, autoreset_mode=mode, emit_mask=False, **kwargs)
    generator = np.random.default_rng(seed)
    size = int(native.single_action_space.n)
    end = EOS if kind == "append" else 0
    actions = generator.integers(0, size, (40, 4))
    actions = np.where(generator.random((40, 4)) < 0.4, end, actions)
    roll(sync, native, actions, seed)


def test_torch_tells_the_same_conversation():
    kwargs = {"task": Parrot(), "num_envs": 3, "obs_mode": "dict", "autoreset_mode": "SameStep"}
    one, two = TextVectorEnv(**kwargs), TextVectorEnv(backend="torch", **kwargs)
    one.reset(seed=0), two.reset(seed=0)
    generator = np.random.default_rng(1)
    for _ in range(40):
        action = np.where(generator.random(3) < 0.4, EOS, generator.integers(0, 7, 3))
        left, right = one.step(action), two.step(action)
        for key, value in left[0].items():
            np.testing.assert_array_equal(value, right[0][key].numpy())
        np.testing.assert_array_equal(left[1].astype(np.float32), right[1].numpy())
        assert one.texts() == two.texts()


def test_what_the_other_side_says_looks_like_the_prompt():
    env = make(render_mode="ansi")
    play(env, [B, EOS, C])
    assert env.render() == "\x1b[2ma\x1b[0m\x1b[1mb\x1b[0m\x1b[2mbb\x1b[0m\x1b[1mc\x1b[0m"


def test_an_edit_is_of_the_first_turn_alone():
    env = make(action_kind="edit")
    env.reset(seed=0)
    assert not env.converses
    assert env.step((0, EOS))[2]


def test_constraints_that_follow_one_text_are_refused():
    make(constraints={"forbid": ["d"]})
    with pytest.raises(ValueError, match="a conversation has several"):
        make(constraints={"min_tokens": 2})


def test_a_task_that_replies_is_a_conversation():
    assert isinstance(Parrot(), Conversation)


def test_what_asks_the_environment_wraps_a_conversation():
    texts = wrappers.TextObservation(make())
    texts.reset(options={"example_id": 0})
    for action in (B, EOS):
        texts.step(action)
    assert texts.step(C)[0] == {"prompt": "a", "completion": "b\nc"}
    lengths = wrappers.LengthTerm(make(), weight=1.0)
    lengths.reset(options={"example_id": 0})
    steps = [lengths.step(action) for action in (B, EOS, EOS, EOS)]
    assert steps[-1][4]["reward_terms"]["length"] == 4
