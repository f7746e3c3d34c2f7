"""Wrappers around conversations: what was replied is nowhere taken for the agent's."""

import dataclasses
import json

import gymnasium as gym
import numpy as np
import pytest

import textgym
from tests.textgym.envs.test_conversations import Parrot
from textgym import TextEnv, TextVectorEnv, Trajectory, wrappers
from textgym.recording.trajectories import Turn, read_trajectories
from textgym.testing import check_vector_env

PAD, BOS, EOS = 0, 1, 2
A, B, C, D = 3, 4, 5, 6
MODES = ["NextStep", "SameStep", "Disabled"]

# The parrot doubles each turn, and leaves after the third: "a", then "b" (bb) "c" (cc) "d".
TALK = [B, EOS, C, EOS, D, EOS]
TURNS = (
    Turn(role="assistant", text="b", ids=(B, EOS)),
    Turn(role="user", text="bb", ids=(B, B)),
    Turn(role="assistant", text="c", ids=(C, EOS)),
    Turn(role="user", text="cc", ids=(C, C)),
    Turn(role="assistant", text="d", ids=(D, EOS)),
)
RECORDED = Trajectory(
    prompt="a",
    completion="b\nc\nd",
    prompt_ids=(BOS, A),
    completion_ids=(B, EOS, C, EOS, D, EOS),
    actions=(B, EOS, C, EOS, D, EOS),
    rewards=(0.0, 0.0, 0.0, 0.0, 0.0, 3.05),
    score=3.05,
    stop_reason=1,
    truncated=False,
    example_id=0,
    columns={"left": 2},
    turns=TURNS,
)


def make(**kwargs):
    return TextEnv(task=Parrot(), **kwargs)


def make_batch(rows=2, **kwargs):
    return TextVectorEnv(task=Parrot(), num_envs=rows, **kwargs)


def play(env, actions):
    env.reset(options={"example_id": 0})
    return [env.step(action) for action in actions]


def play_batch(envs, rows):
    """Each row its own actions; the shorter ones wait, with whatever action."""
    envs.reset(options={"example_id": 0})
    length = max(map(len, rows))
    table = [row + [A] * (length - len(row)) for row in rows]
    return [envs.step(np.array(column)) for column in zip(*table, strict=True)]


def test_a_conversation_is_recorded_turn_by_turn(tmp_path):
    play(wrappers.RecordTrajectories(make(), tmp_path / "x"), TALK)
    assert read_trajectories(tmp_path / "x") == [RECORDED]
    (line,) = (tmp_path / "x").read_text().splitlines()
    assert json.loads(line)["turns"][1] == {"role": "user", "text": "bb", "ids": [B, B]}


def test_what_wrote_nothing_is_in_no_turn(tmp_path):
    """An illegal action, and a conversation that is cut before its first word."""
    env = gym.wrappers.TimeLimit(make(), 3)
    recorder = wrappers.RecordTrajectories(env, tmp_path / "x")
    play(recorder, [B, PAD, EOS]), play(recorder, [PAD, PAD, PAD])
    one, two = read_trajectories(tmp_path / "x")
    assert (one.completion, one.turns, one.score) == ("b", TURNS[:2], None)
    assert (two.completion, two.completion_ids, two.turns) == ("", (), ())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("obs_mode", ["tokens", "dict"])
def test_a_batch_records_what_its_singles_do(tmp_path, mode, backend, obs_mode):
    """One row ends long before the other, and is overwritten by its next episode or not."""
    envs = make_batch(autoreset_mode=mode, backend=backend, obs_mode=obs_mode)
    play_batch(wrappers.vector.RecordTrajectories(envs, tmp_path / "x"), [TALK, [EOS, EOS, EOS]])
    short, long = read_trajectories(tmp_path / "x")[:2]
    if mode == "SameStep":
        # The second row goes on with another prompt, and says "aaa" to it, which ends nothing.
        assert len(read_trajectories(tmp_path / "x")) == 2
    assert short.turns == tuple(Turn(role="assistant", text="", ids=(EOS,)) for _ in range(3))
    assert (short.completion, short.score) == ("\n\n", pytest.approx(3.02))
    # Rewards have the batch's precision.
    assert long.rewards == tuple(map(pytest.approx, RECORDED.rewards))
    assert dataclasses.replace(long, rewards=RECORDED.rewards) == RECORDED


def test_recorded_conversations_are_scored_again(tmp_path):
    """By the reward that they had, by another, and by one that reads the agent's ids alone."""
    play(wrappers.RecordTrajectories(make(), tmp_path / "x"), TALK)
    recorded = textgym.read_trajectories(tmp_path / "x")
    assert textgym.rescore(recorded, Parrot().reward) == [3.05]
    assert textgym.rescore(recorded, lambda prompts, texts, **_: [len(t) for t in texts]) == [5.0]

    def number_of_ids(completion_ids, **columns):
        return [float(len(ids)) for ids in completion_ids]

    assert textgym.rescore(recorded, number_of_ids) == [6.0]


# Of 6 ids of the agent's, 3 are ends of text; its pairs all differ. A parrot's words would count
# for it: "bb" and "cc" repeat what was there.
SHARES = [(TALK, 1, 2 / 6), (TALK, 2, 0.0), ([B, EOS, B, EOS, EOS], 2, 0.5)]


@pytest.mark.parametrize(("actions", "n", "share"), SHARES)
def test_only_the_agent_s_own_words_are_repetition(actions, n, share):
    """No pair reaches over a reply: "b" and its end twice are one pair twice, and no other."""
    steps = play(wrappers.RepetitionTerm(make(), weight=1.0, n=n), actions)
    assert steps[-1][2]
    assert steps[-1][4]["reward_terms"]["repetition"] == pytest.approx(share)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_batch_measures_the_repetition_of_its_singles(mode, backend):
    envs = wrappers.vector.RepetitionTerm(
        make_batch(autoreset_mode=mode, backend=backend), weight=1.0, n=2
    )
    *_, (_, _, _, _, infos) = play_batch(envs, [[B, EOS, B, EOS, EOS], [A, B, C, D, EOS]])
    infos = infos.get("final_info", infos)
    terms, marked = infos["reward_terms"], infos["_reward_terms"]
    # Four letters and their end leave no room for a reply, so both rows end here.
    assert marked.tolist() == [True, True]
    assert terms["repetition"].tolist() == [0.5, 0.0]


def test_a_dictionary_says_whose_a_token_is():
    env = wrappers.DictObservation(make())
    first, _ = env.reset(options={"example_id": 0})
    assert first["prompt_mask"].tolist() == [1, 1, *[0] * 10]
    seen = [env.step(action)[0] for action in (B, EOS, C)][-1]
    assert seen["tokens"].tolist() == [BOS, A, B, EOS, B, B, C, *[PAD] * 5]
    assert seen["prompt_mask"].tolist() == [1, 1, 0, 0, 1, 1, 0, *[0] * 5]
    assert seen["attention_mask"].tolist() == [1] * 7 + [0] * 5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["append", "choose"])
def test_a_batch_of_dictionaries_is_a_batch_of_singles(mode, kind):
    """In each row, also in what it ended with; and each is what ``obs_mode="dict"`` shows."""
    kwargs = {"action_kind": kind} | ({"num_choices": 4} if kind == "choose" else {})
    check_vector_env(
        wrappers.vector.DictObservation(make_batch(3, autoreset_mode=mode, **kwargs)),
        steps=40,
        single=lambda: wrappers.DictObservation(make(**kwargs)),
    )
    check_vector_env(
        make_batch(3, autoreset_mode=mode, obs_mode="dict", **kwargs),
        steps=40,
        single=lambda: wrappers.DictObservation(make(**kwargs)),
    )


def test_tensors_say_whose_a_token_is():
    envs = wrappers.vector.DictObservation(make_batch(backend="torch", autoreset_mode="SameStep"))
    *_, (seen, _, _, _, infos) = play_batch(envs, [[EOS, EOS, EOS], [B, EOS, C]])
    assert seen["prompt_mask"].tolist() == [[1, 1, *[0] * 10], [1, 1, 0, 0, 1, 1, *[0] * 6]]
    assert infos["final_obs"]["prompt_mask"][0].tolist() == [1, 1, *[0] * 10]
    assert infos["final_obs"]["attention_mask"][0].tolist() == [1] * 5 + [0] * 7


def test_the_last_text_of_a_row_is_the_agent_s_turns():
    """With autoreset in the same step it is read from tokens, replies among them."""
    envs = wrappers.vector.TextObservation(make_batch(autoreset_mode="SameStep"))
    *_, (_, _, _, _, infos) = play_batch(envs, [TALK, [A]])
    assert infos["final_obs"][0] == {"prompt": "a", "completion": "b\nc\nd"}


def test_whose_a_token_is_can_be_read_and_not_written():
    env, envs = make(), make_batch()
    with pytest.raises(gym.error.ResetNeeded, match="no step has been taken yet"):
        envs.authored_at_end  # noqa: B018 - reading it is what fails
    play(env, [B, EOS]), play_batch(envs, [[B, EOS], [A]])
    assert env.authored.tolist() == envs.authored[0].tolist() == [0, 0, 1, 1, *[0] * 8]
    assert [array.tolist() for array in envs.get_attr("authored")] == envs.authored.tolist()
    for array in (env.authored, envs.authored, envs.authored_at_end):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
