"""The shipped checks: what keeps a contract passes, and each way to break it is found."""

import copy
import dataclasses
import math
from dataclasses import dataclass, field

import gymnasium as gym
import numpy as np
import pytest

from tests.textgym.tiles import Tiles, TilesBatch
from textgym import Example, TextVectorEnv
from textgym.tasks.toys import Alphabet
from textgym.testing import check_reward_function, check_task, check_vector_env
from textgym.tokenizers import CharacterTokenizer


class Sound(TextVectorEnv):
    """An environment that can be broken in one place."""

    def __init__(self, **kwargs):
        super().__init__(task="Alphabet", num_envs=3, **kwargs)


class NoMode(Sound):
    def __init__(self):
        super().__init__()
        self.metadata["autoreset_mode"] = "NextStep"


class OneBuffer(Sound):
    """Returns the same array each time, filled anew."""

    buffer = np.zeros((3, 8), dtype=np.int64)

    def step(self, actions):
        observation, *rest = super().step(actions)
        self.buffer[:] = observation
        return (self.buffer, *rest)


class OneGenerator(Sound):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=[seed] * 3 if isinstance(seed, int) else seed, options=options)


class Unseeded(Sound):
    def reset(self, *, seed=None, options=None):
        return super().reset(options=options)


class Popping(Sound):
    def reset(self, *, seed=None, options=None):
        given = {"reset_mask": options.pop("reset_mask")} if options else None
        return super().reset(seed=seed, options=given)


class ResettingAll(Sound):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


class IntegerRewards(Sound):
    def step(self, actions):
        observation, rewards, *rest = super().step(actions)
        return (observation, rewards.astype(int), *rest)


class ScalarInfos(Sound):
    def step(self, actions):
        *rest, infos = super().step(actions)
        return (*rest, {**infos, "mean": 0.5, "_mean": np.ones(3, bool)})


class UnmaskedInfos(Sound):
    def step(self, actions):
        *rest, infos = super().step(actions)
        return (*rest, {**infos, "mean": np.ones(3)})


class ForeignObservations(Sound):
    def reset(self, *, seed=None, options=None):
        observation, infos = super().reset(seed=seed, options=options)
        return observation + 100, infos


class PayingResets(Sound):
    def step(self, actions):
        observation, rewards, *rest = super().step(actions)
        return (observation, rewards + 1, *rest)


class Forgetful(Sound):
    """Resets in the same step, and does not keep what ended."""

    def __init__(self):
        super().__init__(autoreset_mode="SameStep")

    def step(self, actions):
        *rest, infos = super().step(actions)
        return (*rest, {key: value for key, value in infos.items() if "final" not in key})


class Hopeless(Sound):
    def action_masks(self):
        return super().action_masks() & np.array([[True], [False], [True]])


class WideMasks(Sound):
    def reset(self, *, seed=None, options=None):
        observation, infos = super().reset(seed=seed, options=options)
        every = np.ones(3, bool)
        return observation, {**infos, "action_mask": np.ones((3, 11)), "_action_mask": every}


class Wrapping(Sound):
    """Takes any number for one of the space, as a table does that is looked up from its end."""

    def step(self, actions):
        return super().step(actions % self.single_action_space.n)


class LookedUpTwice(Sound):
    """Refuses numbers below -2V only."""

    def step(self, actions):
        size = self.single_action_space.n
        return super().step(np.where(actions < -size, actions + 2 * size, actions))


class HalfDone(Sound):
    """Has stepped the first rows when it refuses the last."""

    def step(self, actions):
        if actions[-1] not in self.single_action_space:
            super().step(np.append(actions[:-1], 3))
        return super().step(actions)


class Shallow(Sound):
    """Its copies share its episodes with it."""

    def __deepcopy__(self, memo):
        return copy.copy(self)


class Reseeded(Sound):
    """Its pickle draws other examples from then on."""

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._draws.__init__(3, 8)


class TwoBuffers(Sound):
    """Writes into a view of what it shows; a copy of it writes into what nobody shows."""

    def __init__(self):
        super().__init__()
        self.shown = np.zeros((3, 8), dtype=np.int64)
        self.written = self.shown.reshape(-1)

    def step(self, actions):
        observation, *rest = super().step(actions)
        self.written[:] = observation.reshape(-1)
        return (self.shown.copy(), *rest)


class Unrestored(Sound):
    """Goes back to the texts, not to the generators."""

    def restore_state(self, snapshot):
        generators = self.save_state().generators
        super().restore_state(dataclasses.replace(snapshot, generators=generators))


class WornOut(Sound):
    """A snapshot is good for one time: it is what is stepped from then on."""

    def restore_state(self, snapshot):
        super().restore_state(snapshot)
        self._episodes = snapshot.episodes


class Unrepeatable(Sound):
    """Taking a snapshot draws."""

    def save_state(self):
        snapshot = super().save_state()
        for generator in self.np_random:
            generator.random()
        return snapshot


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_a_sound_environment_passes(mode):
    check_vector_env(Sound(autoreset_mode=mode))


@pytest.mark.parametrize(
    ("broken", "finding"),
    [
        (NoMode, r"metadata\['autoreset_mode'\] is 'NextStep', no enum"),
        (OneBuffer, "was written to by a later call"),
        (OneGenerator, r"seed=s and seed=\[s, s \+ 1, \.\.\.\] start differently"),
        (Unseeded, "two episodes from the same seed and actions differ"),
        (Popping, r"reset\(\) changes the caller's options"),
        (ResettingAll, r"reset\(\) changed row \d, which reset_mask leaves out"),
        (IntegerRewards, r"rewards are int64 of shape \(3,\)"),
        (ScalarInfos, r"infos\['mean'\] is a float, no array of 3 rows"),
        (UnmaskedInfos, r"infos\['mean'\] has no mask '_mean'"),
        (ForeignObservations, "an observation is not in observation_space"),
        (PayingResets, "the step that resets a row must pay 0"),
        (Forgetful, "an episode ended, and the infos have no 'final_obs'"),
        (Hopeless, "row 1 has no legal action"),
        (WideMasks, r"infos\['action_mask'\] is float64"),
        (Wrapping, r"the action -\d+ is outside the space, and taken"),
        (LookedUpTwice, r"the action -\d+ is outside the space, and taken"),
        (
            Shallow,
            "stepping a deep copy that was taken in the middle of episodes, after step 1, has",
        ),
        (Reseeded, "a pickle that is taken in the middle of episodes, after step 1, goes on in"),
        (TwoBuffers, "a deep copy that is taken in the middle of episodes, after step 1, goes on"),
        (
            Unrestored,
            "after going back to a snapshot that was taken in the middle of episodes, aft",
        ),
        (WornOut, "after going back to a snapshot that was taken in the middle of episodes, after"),
        (
            Unrepeatable,
            "a snapshot that was taken in the middle of episodes, after step 1, has cha",
        ),
        (HalfDone, "a step that raised, for an action outside the space, has changed something"),
    ],
)
def test_a_broken_environment_is_found_out(broken, finding):
    with pytest.raises(AssertionError, match=finding):
        check_vector_env(broken())


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_actions_of_several_parts_are_drawn_legally(mode):
    """The environment raises at an illegal action, and one in four draws would be one."""
    check_vector_env(TilesBatch(mode=mode, strict=True), single=Tiles)


class PlacesOnly(TilesBatch):
    def action_masks(self):
        return super().action_masks()[:, :3]


class NumberedMasks(TilesBatch):
    def action_masks(self):
        return super().action_masks().astype(np.int8)


class NoValue(TilesBatch):
    def action_masks(self):
        return super().action_masks() & (np.arange(7) < 3)


class StaleMasks(TilesBatch):
    """Its infos say what could have been done before the step."""

    def step(self, actions):
        before = self.action_masks().astype(np.int8)
        *rest, infos = super().step(actions)
        return (*rest, {**infos, "action_mask": before})


@pytest.mark.parametrize(
    ("broken", "finding"),
    [
        (PlacesOnly, r"action_masks\(\) returns the shape \(3, 3\), not \(3, 7\)"),
        (NumberedMasks, r"action_masks\(\) returns int8, not bool"),
        (NoValue, "row 0 has no legal action for part 1 of its action"),
        (StaleMasks, r"infos\['action_mask'\] and action_masks\(\) differ"),
    ],
)
def test_broken_masks_of_several_parts_are_found_out(broken, finding):
    with pytest.raises(AssertionError, match=finding):
        check_vector_env(broken())


class Pairs(TextVectorEnv):
    """Edits, which raise unless they are legal."""

    def __init__(self):
        super().__init__(
            task="Alphabet", action_kind="edit", num_envs=3, invalid_action="raise", max_actions=9
        )


class PartsAsPairs(Pairs):
    """Every place that is legal with every id that is."""

    def pair_masks(self, *, at_end=False):
        masks = self.action_masks()
        return masks[:, :8, None] & masks[:, None, 8:]


class LonelyPlaces(Pairs):
    """Allows places that no id goes with."""

    def pair_masks(self, *, at_end=False):
        return super().pair_masks() & (np.arange(8) == 3)[:, None]


class NumberedPairs(Pairs):
    def pair_masks(self, *, at_end=False):
        return super().pair_masks().astype(np.int8)


def test_actions_of_two_parts_are_drawn_by_pairs_where_they_are_known():
    check_vector_env(Pairs())


@pytest.mark.parametrize(
    ("broken", "finding"),
    [
        (PartsAsPairs, r"it raised ValueError: row \d: action \[\d \d\] is illegal"),
        (LonelyPlaces, r"allows \d for part 0 of row \d's action, and no pair in pair_masks\(\)"),
        (NumberedPairs, r"pair_masks\(\) returns int8 of shape \(3, 8, 11\), not bool of"),
    ],
)
def test_broken_pairs_are_found_out(broken, finding):
    with pytest.raises(AssertionError, match=finding):
        check_vector_env(broken())


def test_what_gymnasium_s_own_vector_environment_lacks():
    """And nothing else: so the check knows what a sound environment of another kind looks like."""
    envs = gym.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync")
    with pytest.raises(AssertionError) as caught:
        check_vector_env(envs)
    assert str(caught.value) == (
        "SyncVectorEnv breaks its contract: reset() changes the caller's options; a step that "
        "raised, for an action outside the space, has changed something"
    )


def length(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


def labelled(prompts, completions, *, label, **columns):
    return [float(value) for value in label]


def test_sound_rewards_pass():
    check_reward_function(length)
    check_reward_function(labelled, columns={"label": 1})


def first_differs(prompts, completions, **columns):
    return [float(row == 0) for row in range(len(completions))]


def no_columns(prompts, completions):
    return [0.0] * len(completions)


def one_score(prompts, completions, **columns):
    return [0.0]


def nan_if_empty(prompts, completions, **columns):
    return [0.0 if text else math.nan for text in completions]


def spelled(prompts, completions, **columns):
    return ["0.5"] * len(completions)


def changing(prompts, completions, **columns):
    completions[0] = ""
    return [0.0] * len(completions)


def make_counter():
    calls = iter(range(100))
    return lambda prompts, completions, **columns: [float(next(calls))] * len(completions)


@pytest.mark.parametrize(
    ("reward", "finding"),
    [
        (first_differs, "alone and 0.0 in a batch"),
        (no_columns, "unexpected keyword argument 'a_column_that_nobody_knows'"),
        (one_score, "1 scores for 7 completions"),
        (nan_if_empty, "the score of '' is nan"),
        (spelled, "the score of '.*' is '0.5'"),
        (changing, "it changes its arguments"),
        (make_counter(), "two equal calls differ"),
    ],
)
def test_a_broken_reward_is_found_out(reward, finding):
    with pytest.raises(AssertionError, match=finding):
        check_reward_function(reward)


@dataclass
class Notes:
    """A task that can be broken in one place."""

    name: str = "Notes"
    prompt_tokens: int = 3
    completion_tokens: int = 3
    tokenizer: str = "characters:ab"
    reward: str = "textgym.tasks.toys:bandit_score"
    splits: tuple = ("train", "test")
    texts: dict = field(default_factory=lambda: {"train": ["a", "ab"], "test": ["b"]})
    columns: dict = field(default_factory=dict)

    def examples(self, split):
        if split not in self.splits:
            raise ValueError(f"unknown split {split!r}; known: {', '.join(self.splits)}")
        return [
            Example(prompt=text, columns=self.columns.get(text, {"note": text}))
            for text in self.texts[split]
        ]


class Lenient(Notes):
    def examples(self, split):
        return super().examples(split if split in self.splits else "train")


class Terse(Notes):
    def examples(self, split):
        if split not in self.splits:
            raise ValueError("no")
        return super().examples(split)


class Shuffled(Notes):
    calls = 0

    def examples(self, split):
        self.calls += 1
        return super().examples(split)[:: (-1) ** self.calls]


def test_a_sound_task_passes():
    check_task(Notes())
    check_task(Notes(), CharacterTokenizer("abc"))


@pytest.mark.parametrize(
    ("task", "finding"),
    [
        (Notes(name=""), "name is empty"),
        (Notes(completion_tokens=0), "completion_tokens is 0"),
        (Notes(splits=()), "there are no splits"),
        (Notes(splits=("train", "train")), "a split is named twice"),
        (Notes(texts={"train": ["a"], "test": []}), "split 'test' has no examples"),
        (Notes(texts={"train": ["a"], "test": ["a"]}), "'a' is in 'train' and in 'test'"),
        (Notes(columns={"ab": {}}), "'ab' has other columns than the first"),
        (Notes(columns={key: {"prompts": 1} for key in ("a", "ab", "b")}), "hide a reward's own"),
        (Notes(texts={"train": ["q"], "test": ["b"]}), "'q' in 'q' is not in the alphabet"),
        (Lenient(), "an unknown split is no ValueError"),
        (Terse(), "does not list the known: no"),
        (Shuffled(), "split 'train' changes its order"),
    ],
)
def test_a_broken_task_is_found_out(task, finding):
    with pytest.raises(AssertionError, match=finding):
        check_task(task)


def test_what_lacks_an_attribute_is_no_task():
    with pytest.raises(AssertionError, match="object lacks an attribute of Task"):
        check_task(object())


def test_a_tokenizer_that_loses_text_is_found_out():
    class Upper(CharacterTokenizer):
        def decode(self, ids):
            return super().decode(ids).upper()

    with pytest.raises(AssertionError, match="the tokenizer gives 'a' back as 'A'"):
        check_task(Alphabet(), Upper("abcdefgh"))
