"""Many texts at once: what a batch adds to a single text."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv

import textgym
from textgym import TextVectorEnv
from textgym.types import StopReason

A, B, C, D = 3, 4, 5, 6
PAD, BOS, EOS = 0, 1, 2
MODES = ["NextStep", "SameStep", "Disabled"]


def make(num_envs=3, **kwargs):
    return TextVectorEnv(**{"task": "Alphabet", "num_envs": num_envs, **kwargs})


def start(envs, example_id=(0, 1, 2), **options):
    return envs.reset(seed=0, options={"example_id": np.array(example_id), **options})


def count(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


def test_rows_that_finish_together_are_scored_in_one_call():
    """A reward model is fast in batches only."""
    calls = []

    def scored(prompts, completions, **columns):
        calls.append((list(prompts), list(completions)))
        return [1.0, 2.0][: len(completions)]

    envs = make(reward=scored, autoreset_mode="SameStep")
    start(envs)
    envs.step(np.array([B, B, B]))
    rewards = envs.step(np.array([EOS, C, EOS]))[1]
    assert calls == [(["a", "c"], ["b", "b"])]
    assert rewards.tolist() == [1.0, 0.0, 2.0]


def test_nothing_is_scored_where_nothing_ends():
    def fail(prompts, completions, **columns):
        raise AssertionError("nobody asked")

    envs = make(reward=fail)
    start(envs)
    for _ in range(5):
        envs.step(np.array([B, C, D]))
    with pytest.raises(textgym.RewardError, match="nobody asked"):
        envs.step(np.array([B, C, D]))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_finished_row_is_frozen_when_autoreset_is_disabled(backend):
    """An agent steps the whole batch until the last row is done; the others must wait in peace."""
    envs = make(autoreset_mode="Disabled", backend=backend)
    start(envs)
    envs.step(np.array([EOS, B, B]))
    before = envs.dynamics_state.tokens[0].tolist()
    for action in (C, PAD, 10_000):
        observation, rewards, terminated, truncated, infos = envs.step(np.array([action, B, B]))
        assert before == observation[0].tolist()
        assert rewards.tolist() == [0.0, 0.0, 0.0]
        assert terminated.tolist() == [True, False, False]
        assert not truncated.any()
        assert infos.keys() == {"example_id", "_example_id", "prompt_length", "_prompt_length"}
    assert envs.dynamics_state.steps.tolist() == [1, 4, 4]


def test_a_frozen_row_starts_again_when_it_is_reset():
    envs = make(autoreset_mode="Disabled")
    start(envs)
    kept = envs.step(np.array([EOS, B, B]))[0]
    mask = np.array([True, False, False])
    observation, infos = envs.reset(options={"reset_mask": mask, "example_id": 7})
    assert observation[0].tolist() == [BOS, 10, 0, 0, 0, 0, 0, 0]
    assert kept[1:].tolist() == observation[1:].tolist()
    assert infos["example_id"].tolist() == [7, 0, 0]
    assert infos["_example_id"].tolist() == [True, False, False]
    assert envs.step(np.array([B, B, B]))[2].tolist() == [False, False, False]


def test_the_first_reset_is_for_every_row():
    envs = make()
    with pytest.raises(ResetNeeded, match="the first reset must start every row"):
        envs.reset(options={"reset_mask": np.array([True, False, True])})
    for act in (lambda: envs.step([B, B, B]), envs.action_masks, envs.texts):
        with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
            act()


def test_a_next_step_reset_ignores_its_action_and_pays_nothing():
    envs = make(autoreset_mode="NextStep", invalid_action="raise")
    start(envs)
    envs.step(np.array([EOS, B, B]))
    observation, rewards, terminated, _, infos = envs.step(np.array([10_000, B, B]))
    assert observation[0, 2:].tolist() == [0] * 6
    assert (rewards[0], terminated[0]) == (0.0, False)
    assert envs.unwrapped.ended_rows.tolist() == [False] * 3
    assert infos["_example_id"].all()


def test_a_same_step_reset_keeps_the_final_observation_and_info():
    envs = make(autoreset_mode="SameStep")
    start(envs)
    envs.step(np.array([B, B, B]))
    observation, rewards, terminated, _, infos = envs.step(np.array([EOS, B, EOS]))
    assert infos["final_obs"][0].tolist() == [BOS, A, B, EOS, 0, 0, 0, 0]
    assert infos["final_obs"][1] is None
    assert infos["_final_obs"].tolist() == [True, False, True]
    assert infos["final_info"]["score"].tolist() == rewards.tolist() == [0.25, 0.0, 0.0]
    assert infos["final_info"]["stop_reason"].tolist() == [StopReason.END_OF_TEXT, 0, 1]
    assert terminated.tolist() == [True, False, True]
    assert observation[:, 2:].any(axis=1).tolist() == [False, True, False]
    assert infos["final_info"]["_example_id"].tolist() == [True, False, True]
    assert infos["_example_id"].all()


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_every_info_says_whose_text_each_row_shows(mode, backend):
    """TorchRL takes the keys of the first infos for those of all; what ended has its own."""
    envs = make(autoreset_mode=mode, backend=backend, completion_tokens=3)
    _, infos = envs.reset(seed=3)
    examples = envs.examples
    for step in range(12):
        prompts = envs.texts()[0]
        assert infos["_example_id"].all()
        assert prompts == [examples[number].prompt for number in infos["example_id"]]
        assert [1 + len(prompt) for prompt in prompts] == infos["prompt_length"].tolist()
        infos["example_id"][:] = infos["prompt_length"][:] = 99  # what is told is the caller's
        infos = envs.step(np.array([B, C, EOS if step % 2 else B]))[-1]
        if "final_info" in infos:
            rows, final = np.flatnonzero(infos["_final_info"]), infos["final_info"]
            assert infos["_final_info"].tolist() == final["_example_id"].tolist()
            ended = [examples[final["example_id"][row]].prompt for row in rows]
            assert [prompts[row] for row in rows] == ended


def test_an_outside_limit_truncates_and_pays_no_score():
    envs = make(autoreset_mode="Disabled", max_episode_steps=2)
    start(envs)
    envs.step(np.array([B, B, B]))
    _, rewards, terminated, truncated, infos = envs.step(np.array([C, EOS, B]))
    assert rewards.tolist() == [0.0, 0.0, 0.0]
    assert terminated.tolist() == [False, True, False]
    assert truncated.tolist() == [True, True, True]
    assert infos["_score"].tolist() == [False, True, False]
    later = envs.step(np.array([D, D, D]))
    assert later[2].tolist() == [False, True, False]
    assert later[3].tolist() == [True, True, True]


def test_an_action_that_raises_changes_no_row():
    envs = make(invalid_action="raise")
    start(envs)
    before = envs.dynamics_state.tokens.copy()
    with pytest.raises(ValueError, match="row 1: action 0 is illegal"):
        envs.step(np.array([B, PAD, B]))
    with pytest.raises(ValueError, match=r"row 2: action 11 is not in 0\.\.10"):
        envs.step(np.array([B, B, 11]))
    assert before.tolist() == envs.dynamics_state.tokens.tolist()


def test_a_failing_reward_changes_no_row():
    down = [True]

    def server(prompts, completions, **columns):
        if down[0]:
            raise ConnectionError("down")
        return [1.0] * len(completions)

    envs = make(reward=server, dense=True)
    start(envs)
    with pytest.raises(textgym.RewardError, match="down"):
        envs.step(np.array([B, B, EOS]))
    down[0] = False
    assert envs.step(np.array([B, B, EOS]))[1].tolist() == [1.0, 1.0, 1.0]
    assert envs.dynamics_state.length.tolist() == [3, 3, 3]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize(
    "actions", [[1.0, 1.0, 1.0], [True, True, True], [B, B], B, [[B, B, B]], [[B], [B], [B]]]
)
def test_what_is_no_row_of_integers_is_no_action(backend, actions):
    envs = make(backend=backend)
    start(envs)
    with pytest.raises(ValueError, match="actions must be 3 integers, got "):
        envs.step(np.array(actions))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("convert", [list, np.int32, np.uint8, torch.tensor])
def test_actions_of_any_integer_kind_are_taken(backend, convert):
    envs = make(backend=backend)
    start(envs)
    envs.step(convert([B, C, D]))
    assert envs.texts() == (["a", "b", "c"], ["b", "c", "d"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reset_mask": np.array([True, False])}, "must be 3 booleans"),
        ({"reset_mask": np.array([1, 0, 1])}, "must be 3 booleans, .* got int64"),
        ({"reset_mask": np.zeros(3, bool)}, "at least one of them True"),
        ({"example_id": np.array([1, 2])}, "must be one integer or 3"),
        ({"example_id": 8}, "Alphabet has examples 0 to 7"),
        ({"mask": 1}, r"unknown options \['mask'\]; known: example_id, group, prompt, reset_mask"),
    ],
)
def test_options_that_mean_nothing_are_refused_before_anything_changes(options, message):
    envs = make()
    start(envs)
    before = [generator.bit_generator.state for generator in envs.np_random]
    with pytest.raises(ValueError, match=message):
        envs.reset(seed=9, options=options)
    assert before == [generator.bit_generator.state for generator in envs.np_random]


def test_masks_and_examples_may_be_tensors():
    envs = make(backend="torch")
    start(envs)
    mask = torch.tensor([False, True, False])
    options = {"reset_mask": mask, "example_id": torch.tensor([0, 5, 0])}
    _, infos = envs.reset(options=options)
    assert infos["example_id"].tolist() == [0, 5, 0]
    assert list(options) == ["reset_mask", "example_id"]
    assert mask.tolist() == [False, True, False]


def test_seeds_are_counted_up_or_listed():
    envs = make()
    counted = envs.reset(seed=7)[1]["example_id"]
    assert envs.np_random_seed == (7, 8, 9)
    assert counted.tolist() == envs.reset(seed=[7, 8, 9])[1]["example_id"].tolist()
    envs.reset(seed=[None, 5, None])
    assert envs.np_random_seed == (7, 5, 9)
    with pytest.raises(ValueError, match="seeds must be 3"):
        envs.reset(seed=[1, 2])


def test_an_unseeded_environment_draws_differently_each_time():
    draws = {tuple(make(num_envs=16).reset()[1]["example_id"]) for _ in range(4)}
    assert len(draws) == 4


@pytest.mark.parametrize("mode", MODES)
def test_the_mode_is_told_as_gymnasium_and_torchrl_read_it(mode):
    envs = make(autoreset_mode=mode)
    assert envs.autoreset_mode is envs.metadata["autoreset_mode"] is AutoresetMode(mode)
    assert make(autoreset_mode=AutoresetMode(mode)).autoreset_mode is AutoresetMode(mode)
    assert VectorEnv in type(envs).__bases__


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"autoreset_mode": "Never"},
            "unknown autoreset_mode 'Never'; known: NextStep, SameStep, Disabled",
        ),
        ({"num_envs": 0}, "num_envs must be a positive integer, got 0"),
        ({"max_episode_steps": 0}, "max_episode_steps must be a positive integer"),
        ({"backend": "jax"}, "unknown backend 'jax'; known: numpy, torch"),
        ({"device": "cuda"}, "backend='numpy' has no device 'cuda'; use backend='torch'"),
    ],
)
def test_an_unknown_choice_says_what_is_known(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


def test_the_torch_backend_returns_tensors_to_the_policy():
    envs = make(backend="torch", obs_mode="dict", emit_mask=True, autoreset_mode="SameStep")
    assert envs.metadata["torch"]
    assert envs.device == torch.device("cpu")
    observation, infos = start(envs)
    assert {torch.int64} == {value.dtype for value in observation.values()}
    assert infos["action_mask"].dtype == torch.int8
    observation, rewards, terminated, truncated, infos = envs.step(torch.tensor([EOS, B, B]))
    assert (torch.float32, torch.bool, torch.bool) == (
        rewards.dtype,
        terminated.dtype,
        truncated.dtype,
    )
    assert infos["final_obs"]["tokens"][0].tolist() == [BOS, A, EOS, 0, 0, 0, 0, 0]
    assert isinstance(infos["final_info"]["score"], np.ndarray)
    assert envs.action_masks().dtype == torch.bool


def test_gymnasium_converts_the_torch_backend_to_numpy():
    pytest.importorskip("array_api_compat", reason="gymnasium[array-api] is not installed")
    envs = gym.wrappers.vector.ArrayConversion(
        make(backend="torch", emit_mask=True, autoreset_mode="SameStep"),
        env_xp=torch,
        target_xp=np,
    )
    start(envs)
    observation, rewards, *_, infos = envs.step(np.array([EOS, B, B]))
    assert {np.ndarray} == {type(value) for value in (observation, rewards, infos["action_mask"])}
    assert infos["final_info"]["completion_length"].tolist() == [1, 0, 0]


def test_the_state_can_be_read_and_not_written():
    envs = make()
    start(envs)
    state = envs.dynamics_state
    assert state.prompt_length.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="read-only"):
        state.tokens[0, 0] = 9
    envs.step(np.array([B, B, B]))
    assert state.length.tolist() == [2, 2, 2]
    assert envs.dynamics_state.length.tolist() == [3, 3, 3]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_what_a_caller_writes_changes_nothing(backend):
    """The observation, the masks and the infos belong to whoever got them."""
    envs, untouched = (make(backend=backend, emit_mask=True) for _ in range(2))
    for each in (envs, untouched):
        start(each)
    for action in (B, C, EOS, B):
        returned = envs.step(np.array([action] * 3))
        expected = untouched.step(np.array([action] * 3))
        assert expected[0].tolist() == returned[0].tolist()
        assert expected[4].keys() == returned[4].keys()
        for value in (*returned[:4], *returned[4].values(), envs.action_masks()):
            value[:] = 1
    assert untouched.action_masks().tolist() == envs.action_masks().tolist()


def test_the_batch_has_the_properties_that_agents_read():
    envs = make(split="train", completion_tokens=4)
    assert envs.task.name == "Alphabet"
    assert envs.tokenizer.vocab_size == 11
    assert (envs.prompt_tokens, envs.completion_tokens, envs.num_examples) == (2, 4, 8)
    assert envs.device == "cpu"
    assert not callable(getattr(envs, "state", None))


def test_a_batch_travels_in_the_middle_of_its_episodes():
    for backend in ("numpy", "torch"):
        envs = make(backend=backend)
        start(envs)
        envs.step(np.array([B, C, EOS]))
        copy = pickle.loads(pickle.dumps(envs))  # noqa: S301 - made on the line
        for action in (C, D):
            expected, actual = (each.step(np.array([action] * 3)) for each in (envs, copy))
            assert expected[0].tolist() == actual[0].tolist()


def test_a_batch_can_be_watched(capsys):
    envs = make(num_envs=2, render_mode="ansi", autoreset_mode="Disabled")
    start(envs, example_id=(0, 1))
    envs.step(np.array([B, EOS]))
    frames = envs.render()
    assert frames == ("\x1b[2ma\x1b[0m\x1b[1mb\x1b[0m", "\x1b[2mb\x1b[0m\x1b[1m\x1b[0m [+0.000]")
    assert capsys.readouterr().out == ""
    envs = make(num_envs=2, render_mode="human")
    start(envs, example_id=(0, 1))
    assert (
        capsys.readouterr().out == "\x1b[2ma\x1b[0m\x1b[1m\x1b[0m\n\x1b[2mb\x1b[0m\x1b[1m\x1b[0m\n"
    )
    assert envs.render() is None


class Heavy:
    """A reward that must not be copied, as a model of gigabytes."""

    __call__ = staticmethod(count)

    def __deepcopy__(self, memo):
        raise AssertionError("the reward was copied")


def test_make_vec_makes_a_batch_again_from_its_spec():
    envs = gym.make_vec(
        "TextGym/Alphabet-v0",
        num_envs=2,
        reward=Heavy(),
        max_episode_steps=3,
        autoreset_mode=AutoresetMode.SAME_STEP,
        backend="torch",
        device=torch.device("cpu"),
    )
    again = gym.make_vec(envs.spec)
    assert again.num_envs == 2
    assert again.autoreset_mode is AutoresetMode.SAME_STEP
    for each in (envs, again):
        each.reset(seed=0)
        assert each.step(np.array([EOS, B]))[2].tolist() == [True, False]
    assert isinstance(envs, TextVectorEnv)
    assert isinstance(again, TextVectorEnv)


def test_an_unknown_mode_of_resetting_lists_the_known():
    message = r"unknown autoreset_mode 'disabled'; known: NextStep, .*\(did you mean Disabled\?\)"
    with pytest.raises(ValueError, match=message):
        TextVectorEnv(task="Alphabet", autoreset_mode="disabled")
