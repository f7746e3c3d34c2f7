"""Going back, and branching: what comes after a snapshot is what came after it the first time."""

import dataclasses
import pickle

import numpy as np
import pytest

from textgym import TextEnv, TextVectorEnv
from textgym.envs.settings import Settings
from textgym.tasks.toys import Alphabet

A, B, C, D = 3, 4, 5, 6
EOS = 2


def roll(env, actions):
    """Steps, and resets where an episode is over; what each call returned."""
    results = []
    for action in actions:
        result = env.step(action)
        results.append(result)
        if result[2]:
            results.append(env.reset())
    return results


@pytest.mark.parametrize("kind", ["append", "choose", "edit"])
def test_a_text_goes_on_from_a_snapshot_as_it_did(kind):
    env = TextEnv(task="Alphabet", action_kind=kind, dense=True, obs_mode="dict")
    env.reset(seed=3)
    env.action_space.seed(1)
    actions = [env.action_space.sample() for _ in range(30)]
    roll(env, actions[:5])
    snapshot = pickle.loads(pickle.dumps(env.save_state()))  # noqa: S301 - made on the line
    expected = roll(env, actions[5:])
    env.reset(seed=99)
    env.restore_state(snapshot)
    np.testing.assert_equal(roll(env, actions[5:]), expected)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("kind", ["append", "choose", "edit"])
def test_a_batch_goes_on_from_a_snapshot_as_it_did(kind, backend):
    envs = TextVectorEnv(task="Alphabet", num_envs=3, action_kind=kind, dense=True, backend=backend)
    envs.reset(seed=3)
    envs.action_space.seed(1)
    actions = [envs.action_space.sample() for _ in range(30)]
    for action in actions[:5]:
        envs.step(action)
    snapshot = envs.save_state()
    expected = [envs.step(action) for action in actions[5:]]
    envs.reset(seed=99)
    envs.restore_state(snapshot)
    for step, action in zip(expected, actions[5:], strict=True):
        actual = envs.step(action)
        for left, right in zip(step[:4], actual[:4], strict=True):
            np.testing.assert_array_equal(np.asarray(left), np.asarray(right))
        np.testing.assert_equal(step[4], actual[4])


def test_a_fork_copies_texts_and_not_what_comes_by_chance():
    envs = TextVectorEnv(task="Alphabet", num_envs=3, autoreset_mode="Disabled")
    envs.reset(seed=0, options={"example_id": np.array([0, 1, 2])})
    envs.step(np.array([B, C, D]))
    observation = envs.fork([1, 1, 0])
    assert envs.texts() == (["b", "b", "a"], ["c", "c", "b"])
    np.testing.assert_array_equal(observation, envs.dynamics_state.tokens)
    _, rewards, terminated, *_ = envs.step(np.array([D, EOS, C]))
    assert terminated.tolist() == [False, True, False]
    assert rewards.tolist() == [0.0, 0.25, 0.0]
    assert envs.texts()[1] == ["cd", "c", "bc"]


@pytest.mark.parametrize("sources", [[0, 1], [0, 1, 3], [-1, 0, 1], [0.0, 1.0, 2.0]])
def test_a_fork_is_of_rows_that_exist(sources):
    envs = TextVectorEnv(task="Alphabet", num_envs=3)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="sources must be"):
        envs.fork(sources)


SHOWN_ONLY = {"obs_mode", "emit_mask", "invalid_action", "render_mode"}
"""What decides nothing of a text or what becomes of it: a snapshot fits whatever these are."""
READS_IT = {
    "num_choices": "choose",
    "proposer": "choose",
    "proposer_kwargs": "choose",
    "max_actions": "choose",
    "drafter": "edit",
    "drafter_kwargs": "edit",
}


class Answering(Alphabet):
    """Of the same name, but somebody replies."""

    def reply(self, example, turns):
        return None


class Reworded(Alphabet):
    """Of the same name and size, with other prompts."""

    def examples(self, split):
        return super().examples(split)[::-1]


def zero(prompts, completions, **columns):
    return [0.0] * len(completions)


OTHERS = [
    ({"task": Alphabet(name="Renamed")}, "its task is Alphabet, not Renamed"),
    ({"task": Answering()}, "its task is Alphabet, not Alphabet, which replies"),
    ({"task": Reworded()}, "its split is train, 8 examples #"),
    ({"action_kind": "choose"}, "its action_kind is append, not choose"),
    ({"tokenizer": "characters:hgfedcba"}, "its tokenizer is CharacterTokenizer of 11 ids #"),
    ({"reward": zero}, 'its reward is ".*", not ".*:zero"'),
    (
        {"reward_kwargs": {"variant": "rouge2"}},
        'its reward_kwargs is {}, not {"variant": "rouge2"}',
    ),
    ({"split": "test"}, "its split is train, 8 examples #(.*), not test, 8 examples #"),
    ({"prompt_tokens": 3}, r"its size is 2\+6 tokens, not 3\+6 tokens"),
    ({"completion_tokens": 5}, r"its size is 2\+6 tokens, not 2\+5 tokens; its max_actions is 6"),
    ({"max_actions": 4}, "its max_actions is 6, not 4"),
    ({"num_choices": 5}, "its candidates is 16 of 1, not 5 of 1"),
    ({"proposer": "list", "proposer_kwargs": {"phrases": ["a"] * 15}}, "its proposer is "),
    ({"drafter": "empty"}, "its drafter is "),
    ({"drafter_kwargs": {"rate": 0.5}}, "its drafter is "),
    ({"constraints": {"min_tokens": 2}}, 'its constraints is null, not {"min_tokens": 2}'),
    ({"constraints": {"forbid": ["a"]}}, 'its constraints is null, not {"forbid": \\["a"\\]}'),
    ({"dense": True}, "its dense is False, not True"),
]


class TwoSplits(Alphabet):
    splits = ("train", "test")

    def examples(self, split):
        return super().examples("train")


def kind_that_reads(other):
    """The arguments, and those of the environment that differs from it in nothing else."""
    readers = [kind for name, kind in READS_IT.items() if name in other]
    kind = {"action_kind": readers[0]} if readers else {}
    kind |= {"reward": "rouge", "reward_kwargs": {}} if "reward_kwargs" in other else {}
    task = {"task": TwoSplits() if "split" in other else Alphabet()}
    return task | kind | other, task | kind


@pytest.mark.parametrize(("other", "finding"), OTHERS)
def test_a_snapshot_of_another_world_is_refused(other, finding):
    """Another tokenizer was taken, and the text read differently; a constraint broke the step."""
    kwargs, base = kind_that_reads(other)
    for make, more in ((TextEnv, {}), (TextVectorEnv, {"num_envs": 2})):
        one, two = make(**base, **more), make(**kwargs, **more)
        for env in (one, two):
            env.reset(seed=0)
        before = two.save_state()
        with pytest.raises(ValueError, match=f"the snapshot is of another world: {finding}"):
            two.restore_state(one.save_state())
        np.testing.assert_equal(as_plain(two.save_state()), as_plain(before))


def as_plain(value):
    """Down to what can be compared."""
    if dataclasses.is_dataclass(value):
        return {f.name: as_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


def test_every_setting_changes_the_world_or_only_how_it_is_shown():
    varied = {name for other, _ in OTHERS for name in other}
    assert {field.name for field in dataclasses.fields(Settings)} == varied | SHOWN_ONLY


@pytest.mark.parametrize(
    "shown",
    [
        {"obs_mode": "dict"},
        {"emit_mask": True},
        {"invalid_action": "raise"},
        {"render_mode": "ansi"},
        {"task": Alphabet(), "tokenizer": "characters:abcdefgh", "completion_tokens": 6},
    ],
)
def test_a_snapshot_fits_where_the_world_is_only_shown_in_another_way(shown):
    """Or spelled out: what counts is what names come to."""
    for make, more in ((TextEnv, {}), (TextVectorEnv, {"num_envs": 2})):
        one, two = make(task="Alphabet", **more), make(**{"task": "Alphabet", **shown, **more})
        one.reset(seed=3)
        two.restore_state(one.save_state())
        texts = [env.text() if env.__class__ is TextEnv else env.texts() for env in (one, two)]
        assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("other", "finding"),
    [
        ({"num_envs": 3}, "its num_envs is 2, not 3"),
        ({"backend": "torch"}, "its backend is NumpyBackend on cpu, not TorchBackend on cpu"),
        ({"autoreset_mode": "SameStep"}, "its autoreset_mode is NextStep, not SameStep"),
        ({"max_episode_steps": 3}, "its max_episode_steps is None, not 3"),
    ],
)
def test_a_snapshot_of_another_batch_is_refused(other, finding):
    one, two = (TextVectorEnv(task="Alphabet", **{"num_envs": 2, **more}) for more in ({}, other))
    one.reset(seed=0)
    with pytest.raises(ValueError, match=f"the snapshot is of another world: {finding}$"):
        two.restore_state(one.save_state())


def test_what_is_no_snapshot_is_refused():
    """A batch's is none of a single text, and the other way round."""
    env, envs = TextEnv(task="Alphabet"), TextVectorEnv(task="Alphabet", num_envs=2)
    for one in (env, envs):
        one.reset(seed=0)
    for one, other in ((env, envs.save_state()), (envs, env.save_state()), (env, None)):
        with pytest.raises(
            TypeError, match=r"a snapshot is what save_state\(\) returned here, got"
        ):
            one.restore_state(other)


def test_going_back_does_not_turn_back_the_clock_of_the_reward():
    envs = TextVectorEnv(task="Alphabet", num_envs=2)
    envs.reset(seed=0)
    start = envs.save_state()
    envs.step(np.array([EOS, EOS]))
    seconds = envs.reward_seconds
    assert seconds > 0
    envs.restore_state(start)
    assert seconds == envs.reward_seconds


def test_a_fork_takes_along_what_the_last_step_left():
    """``final_obs`` is read by it, and rows had become copies of others without theirs."""
    envs = TextVectorEnv(task="Guess", num_envs=2, autoreset_mode="SameStep")
    envs.reset(seed=0, options={"example_id": np.array([0, 1])})
    for actions in ([3, 0], [EOS, 3]):
        envs.step(np.array(actions))
    before = envs.authored_at_end
    assert not np.array_equal(*before)
    envs.fork([1, 0])
    np.testing.assert_array_equal(before[::-1], envs.authored_at_end)


def test_a_group_starts_alike_and_groups_differ():
    """As grouped sampling wants it; drafts too are drawn once a group."""
    envs = TextVectorEnv(task="Alphabet", num_envs=8, action_kind="edit")
    observation, infos = envs.reset(seed=4, options={"group": 4})
    for first in (0, 4):
        assert (observation[first : first + 4] == observation[first]).all()
    assert (observation[0] != observation[4]).any()
    assert [infos["example_id"][0]] * 4 == infos["example_id"][:4].tolist()
    alone = TextEnv(task="Alphabet", action_kind="edit").reset(seed=4)[0]
    np.testing.assert_array_equal(alone, observation[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": 3}, "group must be a positive divisor of 4 rows, got 3"),
        ({"group": 2, "example_id": 1}, "a group starts with an example that is drawn"),
        ({"group": 2, "reset_mask": np.array([True, False, True, True])}, "groups of 2 rows"),
        ({"prompt": ["a", "b"]}, "prompt must be one text or 4, got"),
        ({"prompt": "a", "example_id": 1}, "two ways to start"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    envs = TextVectorEnv(task="Alphabet", num_envs=4)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        envs.reset(options=options)


def test_a_prompt_of_one_s_own_starts_an_episode_and_has_no_columns():
    seen = []

    def watch(prompts, completions, **columns):
        seen.append((list(prompts), columns))
        return [0.0] * len(prompts)

    env = TextEnv(task="Alphabet", reward=watch)
    observation, info = env.reset(options={"prompt": "h"})
    assert observation[:2].tolist() == [1, 10]
    assert info["example_id"] == -1
    env.step(EOS)
    envs = TextVectorEnv(task="Alphabet", num_envs=2, reward=watch)
    envs.reset(options={"prompt": ["h", "g"]})
    envs.step(np.array([EOS, EOS]))
    nothing = {"reference": [None]}
    assert seen == [(["h"], nothing), (["h", "g"], {"reference": [None, None]})]


def test_the_parts_of_a_weighted_reward_are_told():
    def one(prompts, completions, **columns):
        return [1.0] * len(prompts)

    def length(prompts, completions, **columns):
        return [float(len(text)) for text in completions]

    env = TextEnv(task="Alphabet", reward=[[one, 2.0], [length, -0.5], [one, 0.25]])
    env.reset(seed=0)
    env.step(A)
    _, reward, *_, info = env.step(EOS)
    assert reward == 1.75
    assert info["reward_terms"] == {"one": 1.0, "length": 1.0, "one 3": 1.0}


def test_a_forked_edit_shows_what_its_source_changed():
    envs = TextVectorEnv(
        task="Alphabet",
        action_kind="edit",
        num_envs=2,
        drafter_kwargs={"rate": 0.0},
        render_mode="ansi",
        autoreset_mode="SameStep",
    )
    envs.reset(options={"example_id": np.array([0, 1])})
    first = envs.render()
    envs.step(np.array([[3, 7], [2, 0]]))
    changed = envs.render()
    assert "\x1b[31;9mc\x1b[0m\x1b[32me\x1b[0m" in changed[0]
    envs.fork([1, 0])
    assert envs.render() == changed[::-1]
    envs.step(np.array([[0, EOS], [2, 3]]))
    assert "\x1b[31" not in envs.render()[0]
    assert "\x1b[31" not in first[0]
