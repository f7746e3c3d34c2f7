"""One text at a time."""

import copy
import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from hypothesis import given
from hypothesis import strategies as st

import textgym
from textgym import TextEnv
from textgym.tasks.toys import bandit_score
from textgym.types import StopReason

A, B, C, D = 3, 4, 5, 6
PAD, BOS, EOS = 0, 1, 2


def count(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


def play(env, actions, **options):
    env.reset(seed=0, options=options)
    return [env.step(action) for action in actions]


def test_an_episode_from_prompt_to_score():
    env = TextEnv(task="Alphabet")
    observation, info = env.reset(options={"example_id": 0})
    assert observation.tolist() == [BOS, A, 0, 0, 0, 0, 0, 0]
    whose = {"example_id": 0, "prompt_length": 2}
    assert whose == info
    assert env.step(B)[1:] == (0.0, False, False, whose)
    observation, *_ = env.step(C)
    assert observation.tolist() == [BOS, A, B, C, 0, 0, 0, 0]
    env.step(D)
    observation, reward, terminated, truncated, info = env.step(EOS)
    assert observation.tolist() == [BOS, A, B, C, D, EOS, 0, 0]
    assert (reward, terminated, truncated) == (1.0, True, False)
    expected = {"stop_reason": StopReason.END_OF_TEXT, "score": 1.0, "completion_length": 4}
    assert whose | expected == info
    assert env.text() == ("a", "bcd")


def test_the_allowance_is_an_end_and_not_a_truncation():
    """SB3 adds the value of the next state to a truncated step; beside a score, it counts twice."""
    steps = play(TextEnv(task="Alphabet"), [B] * 6)
    _, _, terminated, truncated, info = steps[-1]
    assert (terminated, truncated) == (True, False)
    assert info["stop_reason"] == StopReason.LENGTH


def test_values_have_the_types_that_checkers_want():
    """``np.False_`` is not False for SB3's and Gymnasium's checkers."""
    for _, reward, terminated, truncated, info in play(TextEnv(task="Bandit"), [A]):
        assert (float, bool, bool) == (type(reward), type(terminated), type(truncated))
        assert {int, float} == {type(value) for value in info.values()}


def test_an_illegal_action_changes_nothing_and_uses_allowance():
    env = TextEnv(task="Alphabet", completion_tokens=2)
    first, second = play(env, [PAD, BOS], example_id=0)
    assert [BOS, A, 0, 0] == first[0].tolist() == second[0].tolist()
    assert (first[2], second[2]) == (False, True)
    assert {"stop_reason": 2, "score": 0.0, "completion_length": 0}.items() <= second[4].items()


@pytest.mark.parametrize("action", [PAD, BOS])
def test_an_illegal_action_raises_on_request_and_changes_nothing(action):
    env = TextEnv(task="Alphabet", invalid_action="raise")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=f"action {action} is illegal"):
        env.step(action)
    assert env.step(B)[0].tolist().count(B) == 1
    assert env._row.steps == 1


@pytest.mark.parametrize("action", [-1, 11, 1 << 40])
def test_an_action_outside_the_space_always_raises(action):
    env = TextEnv(task="Alphabet")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"action {action} is not in 0\.\.10"):
        env.step(action)


@pytest.mark.parametrize("action", [1.0, np.float32(1), [1, 2], "b", None, True])
def test_what_is_no_integer_is_no_action(action):
    env = TextEnv(task="Alphabet")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="an action is one integer"):
        env.step(action)


@pytest.mark.parametrize("action", [B, np.int64(B), np.int32(B), np.array(B), np.array([B])])
def test_integers_of_any_kind_are_actions(action):
    assert _completion_after(action) == "b"


def _completion_after(action):
    env = TextEnv(task="Alphabet")
    play(env, [action])
    return env.text()[1]


def test_an_episode_that_is_over_wants_a_reset():
    env = TextEnv(task="Bandit")
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before step"):
        env.step(A)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
        env.text()
    play(env, [A])
    with pytest.raises(ResetNeeded, match="there is no running episode"):
        env.step(A)


def test_the_mask_forbids_what_no_text_may_contain():
    env = TextEnv(task="Bandit", emit_mask=True)
    _, info = env.reset(seed=0)
    expected = [False, False, True, True, True, True, True]
    assert expected == env.action_masks().tolist()
    assert np.bool_ == env.action_masks().dtype
    assert np.int8 == info["action_mask"].dtype
    assert expected == info["action_mask"].astype(bool).tolist()
    *_, last = env.step(env.action_space.sample(info["action_mask"]))
    assert "action_mask" in last


def test_without_the_wish_no_info_has_a_mask():
    env = TextEnv(task="Bandit")
    assert "action_mask" not in env.reset(seed=0)[1] | env.step(A)[4]


def test_the_observation_as_a_dictionary():
    env = TextEnv(task="Alphabet", obs_mode="dict")
    observation = play(env, [B], example_id=0)[0][0]
    assert observation["tokens"].tolist() == [BOS, A, B, 0, 0, 0, 0, 0]
    assert observation["attention_mask"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert observation["prompt_mask"].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert observation in env.observation_space


@given(st.lists(st.integers(0, 10), min_size=1, max_size=6))
def test_dense_rewards_add_up_to_the_score(actions):
    """Potential differences: the sum is what a sparse reward pays at the end."""
    dense, sparse = (TextEnv(task="Alphabet", dense=wish) for wish in (True, False))
    pads = [PAD] * 6
    for env in (dense, sparse):
        env.reset(seed=1)
    totals = []
    for env in (dense, sparse):
        total = 0.0
        for action in [*actions, *pads]:
            _, reward, terminated, _, info = env.step(action)
            total += reward
            if terminated:
                break
        totals.append(total)
        assert abs(total - info["score"]) < 1e-12
    assert abs(totals[0] - totals[1]) < 1e-12


def test_a_dense_reward_is_what_the_token_adds():
    steps = play(TextEnv(task="Alphabet", dense=True, reward=count), [B, PAD, C, EOS])
    assert [step[1] for step in steps] == [1.0, 0.0, 1.0, 0.0]
    assert steps[-1][4]["score"] == 2.0


def test_the_empty_completion_s_potential_is_zero_whatever_the_reward_says():
    def base(prompts, completions, **columns):
        return [7.0 + len(text) for text in completions]

    steps = play(TextEnv(task="Alphabet", dense=True, reward=base), [B, EOS])
    assert [step[1] for step in steps] == [8.0, 0.0]


def test_examples_are_drawn_by_the_environment_s_own_generator():
    env = TextEnv(task="Alphabet")
    np.random.seed(0)  # noqa: NPY002 - the claim is that it does not matter
    first = [env.reset(seed=5)[1]["example_id"]] + [env.reset()[1]["example_id"] for _ in range(9)]
    np.random.seed(1)  # noqa: NPY002
    again = [env.reset(seed=5)[1]["example_id"]] + [env.reset()[1]["example_id"] for _ in range(9)]
    assert first == again
    assert len(set(first)) > 1


def test_a_chosen_example_draws_nothing():
    env = TextEnv(task="Alphabet")
    env.reset(seed=5)
    expected = env.reset()[1]["example_id"]
    env.reset(seed=5)
    assert env.reset(options={"example_id": 3})[1]["example_id"] == 3
    assert expected == env.reset()[1]["example_id"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"example_id": 8}, "split 'train' of Alphabet has examples 0 to 7"),
        ({"example_id": -1}, "example_id -1 does not exist"),
        ({"exampel_id": 1}, r"unknown options \['exampel_id'\]; known: example_id, prompt"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TextEnv(task="Alphabet").reset(options=options)


@pytest.mark.parametrize("number", [1.0, "1", True])
def test_an_example_is_chosen_by_an_integer(number):
    with pytest.raises(TypeError, match="example_id must be an integer"):
        TextEnv(task="Alphabet").reset(options={"example_id": number})


def test_what_a_caller_does_to_an_observation_changes_nothing():
    env = TextEnv(task="Alphabet")
    observation, _ = env.reset(options={"example_id": 0})
    observation[:] = 9
    kept, *_ = env.step(B)
    snapshot = kept.copy()
    env.step(C)
    assert [BOS, A, B, 0, 0, 0, 0, 0] == snapshot.tolist() == kept.tolist()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"obs_mode": "text"}, r"unknown obs_mode 'text'; known: \('tokens', 'dict'\)"),
        ({"invalid_action": "ignore"}, "unknown invalid_action 'ignore'"),
        ({"render_mode": "svg"}, "unknown render_mode 'svg'"),
        (
            {"action_kind": "write"},
            "unknown action_kind 'write'; known: .'append', 'choose', 'edit'",
        ),
        ({"max_actions": 3}, "max_actions is for choices and edits"),
        ({"action_kind": "choose", "num_choices": 1}, "num_choices must be at least 2"),
        ({"prompt_tokens": 0}, "prompt_tokens must be a positive integer"),
        ({"completion_tokens": 1.5}, "completion_tokens must be a positive integer"),
        ({"split": "dev"}, "unknown split 'dev' of Alphabet; known: train"),
        ({"tokenizer": "gpt2"}, "unknown tokenizer 'gpt2'; known: "),
        ({"reward": "vadr"}, "unknown reward 'vadr'; known: "),
        ({"task": "Alphabeth"}, "unknown task 'Alphabeth'; known: "),
    ],
)
def test_an_unknown_choice_lists_the_known_ones(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TextEnv(**{"task": "Alphabet", **kwargs})


def test_an_unknown_argument_is_an_error():
    """TorchRL probes environments with ``frameskip`` and waits for this very error."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip'"):
        TextEnv(task="Alphabet", frameskip=1)
    with pytest.raises(TypeError, match=r"argument 'rewrad' .*\(did you mean reward\?\)"):
        TextEnv(task="Alphabet", rewrad="vader")
    with pytest.raises(ValueError, match=r"unknown reward 'vadr'.*\(did you mean vader\?\)"):
        TextEnv(task="Alphabet", reward="vadr")


def test_the_task_s_sizes_can_be_overridden():
    env = TextEnv(task="Alphabet", prompt_tokens=1, completion_tokens=3)
    assert env.observation_space.shape == (4,)
    observation, info = env.reset(seed=0)
    assert observation.tolist() == [BOS, 0, 0, 0]
    assert info["prompt_length"] == 1
    assert (env.prompt_tokens, env.completion_tokens) == (1, 3)


def test_objects_are_accepted_where_names_are():
    env = TextEnv(
        task=textgym.get_task("Bandit"),
        tokenizer=textgym.load_tokenizer("characters:abcd"),
        reward=bandit_score,
    )
    assert play(env, [A])[0][1] == 1.0
    assert env.task.name == "Bandit"
    assert env.tokenizer.vocab_size == 7
    assert env.num_examples == 1


class Heavy:
    """A reward that must not be copied, as a model of gigabytes."""

    def __call__(self, prompts, completions, **columns):
        return [0.5] * len(completions)

    def __deepcopy__(self, memo):
        raise AssertionError("the reward was copied")


def scaled(model, factor):
    return lambda *batch, **columns: [factor * score for score in model(*batch, **columns)]


@pytest.mark.parametrize(
    ("kwargs", "score"),
    [
        ({"reward": Heavy()}, 0.5),
        ({"reward": [[Heavy(), 2.0]]}, 1.0),
        ({"reward": scaled, "reward_kwargs": {"model": Heavy(), "factor": 3.0}}, 1.5),
    ],
)
def test_a_spec_does_not_copy_objects(kwargs, score):
    """Every wrapper's spec copies the arguments deeply, and a reward model would go with them."""
    env = gym.wrappers.TimeLimit(gym.make("TextGym/Bandit-v0", **kwargs), 5)
    again = gym.make(copy.deepcopy(env.spec))
    again.reset(seed=0)
    assert again.step(A)[1] == score


def test_an_environment_is_made_again_from_its_json():
    env = gym.make("TextGym/Bandit-v0", reward=[["textgym.tasks.toys:bandit_score", 2.0]])
    text = env.spec.to_json()
    json.loads(text)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(text))
    again.reset(seed=0)
    assert again.step(A)[1] == 2.0


def test_an_environment_travels_in_the_middle_of_an_episode():
    env = TextEnv(task="Alphabet")
    play(env, [B])
    copy_ = pickle.loads(pickle.dumps(env))  # noqa: S301 - made on the line
    assert env.text() == copy_.text()
    assert env.step(C)[0].tolist() == copy_.step(C)[0].tolist()
    assert env.reset()[1] == copy_.reset()[1]


def test_a_failing_reward_leaves_the_text_as_it_was():
    """A run may be resumed after a reward server's failure; the episode must not be half done."""
    down = [True]

    def server(prompts, completions, **columns):
        if down[0]:
            raise ConnectionError("down")
        return [1.0] * len(completions)

    env = TextEnv(task="Bandit", reward=server)
    env.reset(seed=0)
    with pytest.raises(textgym.RewardError, match="'server' raised ConnectionError: down; row 0"):
        env.step(A)
    down[0] = False
    assert env.step(A)[1] == 1.0


def test_a_column_reaches_the_reward():
    def by_label(prompts, completions, *, label, reference):
        assert all(text.startswith(" ") for text in reference)
        return [float(value) for value in label]

    env = TextEnv(task="Sentiment", reward=by_label)
    for example_id in range(5):
        label = env.task.examples("train")[example_id].columns["label"]
        assert float(label) == play(env, [EOS], example_id=example_id)[0][1]


@pytest.mark.parametrize("mode", ["ansi", "human"])
def test_an_episode_can_be_watched(mode, capsys):
    env = TextEnv(task="Bandit", render_mode=mode)
    play(env, [A])
    frame, printed = env.render(), capsys.readouterr().out
    if mode == "ansi":
        assert frame == "\x1b[2m\x1b[0m\x1b[1ma\x1b[0m [+1.000]"
        assert printed == ""
    else:
        assert frame is None
        assert printed.count("\n") == 2
        assert printed.endswith("\x1b[1ma\x1b[0m [+1.000]\n")


def test_frames_are_collected():
    env = gym.make("TextGym/Alphabet-v0", render_mode="ansi_list")
    env.reset(seed=0)
    env.step(B)
    assert len(env.render()) == 2
