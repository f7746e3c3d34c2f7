"""Recording: what is in a line, that finished episodes survive, and that rows do not mix."""

import dataclasses
import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from textgym import Example, TextEnv, TextVectorEnv, wrappers
from textgym.recording.trajectories import Trajectory, Turn, _as_dict, read_trajectories
from textgym.testing import check_vector_env
from textgym.wrappers import LengthTerm, RecordTrajectories

MODES = ["NextStep", "SameStep", "Disabled"]
END, A, B, C = 2, 3, 4, 5


class Notes:
    """Two prompts, one of which is too long, with columns of all sorts."""

    name = "Notes"
    prompt_tokens, completion_tokens = 3, 4
    tokenizer, reward = "characters:abc", "textgym.tasks.toys:bandit_score"
    splits = ("train",)

    def examples(self, split):
        return [
            Example(prompt=prompt, columns={"label": np.int64(number), "model": object()})
            for number, prompt in enumerate(["a", "abcb"])
        ]


def by_label(prompts, completions, *, label, **columns):
    """Many digits, which depend on prompt, completion and column."""
    return [
        (sum(map(ord, prompt + "/" + text)) + number) / 997
        for prompt, text, number in zip(prompts, completions, label, strict=True)
    ]


def make_env(path, reward=by_label, **kwargs):
    return RecordTrajectories(TextEnv(task=Notes(), reward=reward, **kwargs), path)


def play(env, actions, **reset):
    env.reset(**reset)
    for action in actions:
        env.step(action)


def test_a_line_says_all_that_happened(tmp_path):
    path = tmp_path / "new folder" / "episodes.jsonl"
    env = LengthTerm(TextEnv(task=Notes(), reward=by_label), -0.5)
    play(RecordTrajectories(env, path), [B, C, END], seed=5, options={"example_id": 1})
    score = (sum(map(ord, "abcb/bc")) + 1) / 997
    assert read_trajectories(path) == [
        Trajectory(
            prompt="abcb",
            completion="bc",
            # The beginning of text, and the end of a prompt that is too long.
            prompt_ids=(1, C, B),
            completion_ids=(B, C, END),
            actions=(B, C, END),
            rewards=(0.0, 0.0, score - 1.5),
            score=score,
            stop_reason=1,
            truncated=False,
            example_id=1,
            columns={"label": 1},
            seed=5,
            reward_terms={"score": score, "length": 3.0},
        )
    ]


def test_an_illegal_action_is_recorded_though_it_wrote_nothing(tmp_path):
    play(make_env(tmp_path / "x"), [0, B, 1, A], options={"example_id": 0})
    (trajectory,) = read_trajectories(tmp_path / "x")
    assert trajectory.actions == (0, B, 1, A)
    assert trajectory.completion_ids == (B, A)
    assert trajectory.stop_reason == 2


def test_only_what_ended_is_recorded_and_only_a_seeded_episode_has_a_seed(tmp_path):
    env = make_env(tmp_path / "x")
    play(env, [B], seed=1)
    play(env, [B, END], seed=2)
    play(env, [END])
    assert [
        (trajectory.seed, len(trajectory.actions))
        for trajectory in read_trajectories(tmp_path / "x")
    ] == [(2, 2), (None, 1)]


def test_a_seed_and_the_actions_repeat_an_episode(tmp_path):
    """What a line is for, besides being scored anew."""
    play(make_env(tmp_path / "x"), [A, 0, END], seed=7)
    (expected,) = read_trajectories(tmp_path / "x")
    play(make_env(tmp_path / "y"), expected.actions, seed=expected.seed)
    assert [expected] == read_trajectories(tmp_path / "y")


def test_a_cut_episode_has_no_score(tmp_path):
    env = gym.wrappers.TimeLimit(TextEnv(task=Notes(), reward=by_label), 2)
    play(RecordTrajectories(env, tmp_path / "x"), [B, C])
    (trajectory,) = read_trajectories(tmp_path / "x")
    assert (trajectory.truncated, trajectory.score, trajectory.stop_reason) == (True, None, None)
    assert trajectory.completion == "bc"


def test_a_line_is_there_when_its_step_returns(tmp_path):
    """A crash right after loses nothing: the file is read while the environment lives."""
    env = make_env(tmp_path / "x")
    for count in (1, 2, 3):
        play(env, [END])
        assert len(read_trajectories(tmp_path / "x")) == count


def test_a_file_is_continued(tmp_path):
    for _ in range(2):
        play(make_env(tmp_path / "x"), [END])
    assert len(read_trajectories(tmp_path / "x")) == 2


def test_actions_of_two_parts_are_pairs(tmp_path):
    """As a kind of environment whose actions are a place and a token has them."""

    class Pairs(gym.ActionWrapper):
        action_space = gym.spaces.MultiDiscrete([7, 6])

        def action(self, action):
            return int(action[1])

    env = RecordTrajectories(Pairs(TextEnv(task=Notes(), reward=by_label)), tmp_path / "x")
    play(env, [np.array([1, B]), np.array([0, END])])
    assert read_trajectories(tmp_path / "x")[0].actions == ((1, B), (0, END))


def test_a_line_is_plain_json(tmp_path):
    """For whoever reads it without this package."""
    play(make_env(tmp_path / "x"), [B, END], options={"example_id": 0})
    (line,) = (tmp_path / "x").read_text().splitlines()
    assert json.loads(line)["completion_ids"] == [B, END]


@pytest.mark.filterwarnings(
    "ignore:.*(is different from the unwrapped version|alternative render modes)"
)
def test_the_checkers_accept_it(tmp_path):
    check_env(make_env(tmp_path / "x"))
    check_env_for_sb3(make_env(tmp_path / "x"))


def test_a_spec_goes_to_json_and_rebuilds_the_wrapper(tmp_path):
    """A path is a string by then."""
    env = RecordTrajectories(gym.make("TextGym/Bandit-v0"), tmp_path / "x")
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert env.spec == again.spec
    for made in (env, again):
        play(made, [A])
    assert len(read_trajectories(tmp_path / "x")) == 2


def make_batch(mode, backend="numpy", **kwargs):
    return TextVectorEnv(
        task=Notes(),
        reward=by_label,
        num_envs=3,
        autoreset_mode=mode,
        backend=backend,
        max_episode_steps=3,
        **kwargs,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("obs_mode", ["tokens", "dict"])
def test_rows_are_recorded_as_single_environments_are(tmp_path, mode, backend, obs_mode):
    """Each row's episodes, whatever happens in the others; rewards at the batch's precision."""
    envs = make_batch(mode, backend, obs_mode=obs_mode)
    envs = wrappers.vector.RecordTrajectories(envs, tmp_path / "batch")
    singles = []
    for row in range(3):
        env = gym.wrappers.TimeLimit(TextEnv(task=Notes(), reward=by_label, obs_mode=obs_mode), 3)
        singles.append(RecordTrajectories(env, tmp_path / f"row {row}"))
        singles[-1].reset(seed=10 + row)
    envs.reset(seed=10)
    waits = np.zeros(3, dtype=bool)
    for actions in np.random.default_rng(3).integers(0, 6, (25, 3)):
        _, _, terminated, truncated, _ = envs.step(actions)
        ended = np.asarray(terminated) | np.asarray(truncated)
        for row, env in enumerate(singles):
            if waits[row]:
                env.reset()
            else:
                _, _, *over, _ = env.step(actions[row])
                assert any(over) == ended[row]
                if any(over) and mode != "NextStep":
                    env.reset()
        waits = ended if mode == "NextStep" else waits
        if mode == "Disabled" and ended.any():
            envs.reset(options={"reset_mask": ended})

    together = read_trajectories(tmp_path / "batch")
    assert len(together) > 10
    alone = [
        trajectory for row in range(3) for trajectory in read_trajectories(tmp_path / f"row {row}")
    ]

    def sortable(trajectories):
        return sorted(
            (
                trajectory.seed or 0,
                trajectory.example_id,
                trajectory.actions,
                trajectory.prompt_ids,
                trajectory.completion,
                trajectory.completion_ids,
                [round(reward, 5) for reward in trajectory.rewards],
                trajectory.score or -1.0,
                trajectory.stop_reason or 0,
                trajectory.columns["label"],
            )
            for trajectory in trajectories
        )

    assert sortable(alone) == sortable(together)


@pytest.mark.parametrize("mode", MODES)
def test_recording_changes_nothing(tmp_path, mode):
    check_vector_env(
        wrappers.vector.RecordTrajectories(make_batch(mode, emit_mask=True), tmp_path / "x"),
        steps=25,
        single=lambda: gym.wrappers.TimeLimit(
            TextEnv(task=Notes(), reward=by_label, emit_mask=True), 3
        ),
    )


def test_terms_of_a_batch_are_recorded(tmp_path):
    envs = wrappers.vector.LengthTerm(make_batch("SameStep"), -1.0)
    envs = wrappers.vector.RecordTrajectories(envs, tmp_path / "x")
    envs.reset(seed=0, options={"example_id": 0})
    envs.step(np.array([END, A, A]))
    (trajectory,) = read_trajectories(tmp_path / "x")
    score = sum(map(ord, "a/")) / 997
    assert trajectory.reward_terms == {"score": score, "length": 1.0}
    assert trajectory.rewards == (score - 1.0,)


def test_a_row_that_is_reset_on_the_way_starts_anew(tmp_path):
    envs = wrappers.vector.RecordTrajectories(make_batch("Disabled"), tmp_path / "x")
    envs.reset(seed=0)
    envs.step(np.array([A, A, A]))
    envs.reset(options={"reset_mask": np.array([True, False, False])})
    envs.step(np.array([END, END, B]))
    trajectories = read_trajectories(tmp_path / "x")
    assert [(t.actions, t.seed) for t in trajectories] == [((END,), None), ((A, END), 1)]


def test_a_batch_whose_tokens_are_out_of_sight_is_refused(tmp_path):
    envs = wrappers.vector.TextObservation(make_batch("NextStep"))
    with pytest.raises(ValueError, match="RecordTrajectories reads tokens, and the observations"):
        wrappers.vector.RecordTrajectories(envs, tmp_path / "x")


def test_an_episode_that_is_turned_back_has_more_steps_than_its_allowance(tmp_path):
    """All of them are in its line, as nobody told the wrapper."""
    inner = make_batch("Disabled")
    envs = wrappers.vector.RecordTrajectories(inner, tmp_path / "x")
    envs.reset(seed=0)
    start = inner.save_state()
    for _ in range(3):
        envs.step(np.array([A, B, A]))
        envs.step(np.array([B, C, A]))
        inner.restore_state(start)
    envs.step(np.array([END, END, END]))
    for row, trajectory in enumerate(read_trajectories(tmp_path / "x")):
        assert trajectory.actions == (*[[A, B], [B, C], [A, A]][row] * 3, END)
        assert trajectory.completion == ""


def test_a_line_is_what_the_dataclass_says():
    """Of a conversation as well, whose turns are dataclasses."""
    turn = Turn(role="assistant", text="a", ids=(3,))
    trajectory = Trajectory(
        prompt="p",
        completion="a",
        prompt_ids=(1,),
        completion_ids=(3,),
        actions=(3, (1, 2)),
        rewards=(0.5, 1.0),
        score=None,
        stop_reason=None,
        truncated=True,
        example_id=-1,
        columns={"label": [1]},
        turns=(turn, turn),
    )
    assert json.dumps(dataclasses.asdict(trajectory)) == json.dumps(_as_dict(trajectory))
