"""Views of the same episode: nothing is lost, and the batch shows what the single shows."""

import json
import pickle
import string

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from tests.textgym.tiles import Tiles
from textgym import TextEnv, TextVectorEnv, wrappers
from textgym.testing import check_vector_env
from textgym.testing.rolls import equal
from textgym.wrappers.views import make_text_view

MODES = ["NextStep", "SameStep", "Disabled"]
WRAPPED = [
    ("DictObservation", {}),
    ("TextObservation", {"max_length": 3}),
    ("ActionMaskObservation", {"preset": "rllib"}),
    ("OneHotObservation", {}),
]
# Wrapping is the point, and Gymnasium's checker would rather see a bare environment from an id.
is_wrapped = pytest.mark.filterwarnings(
    "ignore:.*(is different from the unwrapped version|alternative render modes)"
)


def make(name="DictObservation", /, *, task="Alphabet", **kwargs):
    return getattr(wrappers, name)(TextEnv(task=task, emit_mask=True), **kwargs)


def make_batch(mode, backend="numpy", **kwargs):
    return TextVectorEnv(
        task="Alphabet", num_envs=3, autoreset_mode=mode, backend=backend, emit_mask=True, **kwargs
    )


@is_wrapped
@pytest.mark.parametrize(("name", "kwargs"), WRAPPED)
def test_gymnasium_accepts_it(name, kwargs):
    check_env(make(name, **kwargs))


@pytest.mark.parametrize(("name", "kwargs"), [WRAPPED[0], *WRAPPED[2:]])
def test_stable_baselines3_accepts_it(name, kwargs):
    """It has no use for texts, which are the one space of ours that it cannot read."""
    check_env_for_sb3(make(name, **kwargs))


@pytest.mark.parametrize(
    ("name", "kwargs"), [*WRAPPED, ("TextObservation", {"charset": "abc", "max_length": 9})]
)
def test_a_spec_goes_to_json_and_rebuilds_the_wrapper(name, kwargs):
    """Without recorded arguments Gymnasium could not make the environment again."""
    env = getattr(wrappers, name)(gym.make("TextGym/Alphabet-v0"), **kwargs)
    text = env.spec.to_json()
    again = gym.make(EnvSpec.from_json(text))
    assert json.loads(text)["additional_wrappers"][0]["name"] == name
    assert env.spec == again.spec
    check_environments_match(env, again, num_steps=20, seed=3, info_comparison="equivalence")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize(("name", "kwargs"), WRAPPED)
def test_a_wrapped_batch_is_a_batch_of_wrapped_singles(name, kwargs, backend, mode):
    """Bit for bit, the final observations of the rows that ended included."""
    envs = getattr(wrappers.vector, name)(make_batch(mode, backend), **kwargs)
    check_vector_env(envs, steps=25, single=lambda: make(name, **kwargs))


@pytest.mark.parametrize("name", [name for name, _ in WRAPPED])
def test_it_travels_by_pickle(name):
    """A batch's wrapper hands attributes on, which must not be asked of a half-made copy."""
    single = make(name)
    envs = getattr(wrappers.vector, name)(make_batch("NextStep"))
    for original in (single, envs):
        copy = pickle.loads(pickle.dumps(original))  # noqa: S301 - made above
        np.testing.assert_equal(original.reset(seed=1)[0], copy.reset(seed=1)[0])


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_one_hot_vectors_have_a_one_for_each_place_and_candidate(backend):
    """Eight places of eleven ids, and the candidates behind them by the same ids."""
    for task in ("TextGym/Alphabet-v0", "TextGym/Alphabet-Choose-v0"):
        env = gym.make(task)
        ids, _ = env.reset(seed=0)
        single = wrappers.OneHotObservation(env)
        envs = gym.make_vec(task, num_envs=2, backend=backend)
        batch = np.asarray(wrappers.vector.OneHotObservation(envs).reset(seed=0)[0])
        shown, _ = single.reset(seed=0)
        assert ((2, 11 * len(ids)), np.float32) == (batch.shape, batch.dtype)
        assert len(ids) * 11 == len(shown)
        assert [place * 11 + token for place, token in enumerate(ids)] == np.flatnonzero(
            shown
        ).tolist()
        np.testing.assert_array_equal(shown, batch[0])


def test_one_hot_vectors_are_of_tokens_alone():
    with pytest.raises(ValueError, match=r"OneHotObservation shows one array.*'tokens'"):
        wrappers.OneHotObservation(TextEnv(task="Alphabet", obs_mode="dict"))
    with pytest.raises(ValueError, match=r"DictObservation reads tokens, and .* hold none"):
        wrappers.DictObservation(make("OneHotObservation"))


def test_a_wrapped_batch_hands_on_what_agents_ask_for():
    envs = wrappers.vector.DictObservation(make_batch("SameStep"))
    envs.reset(seed=0)
    np.testing.assert_array_equal(envs.unwrapped.action_masks(), envs.action_masks())
    assert envs.unwrapped.texts() == envs.texts()
    assert envs.autoreset_mode == envs.metadata["autoreset_mode"]
    assert envs.device == "cpu"
    cart_poles = gym.make_vec("CartPole-v1", vectorization_mode="sync")
    assert not hasattr(wrappers.vector.batches.Batch(cart_poles), "action_masks")


def test_a_batch_that_does_not_say_when_it_resets_is_refused():
    envs = make_batch("NextStep")
    envs.metadata = {**envs.metadata, "autoreset_mode": "NextStep"}
    with pytest.raises(ValueError, match=r"DictObservation must know when .* resets"):
        wrappers.vector.DictObservation(envs)


@pytest.mark.parametrize("mode", MODES)
def test_the_dictionary_is_the_environment_s_own(mode):
    """So a user who has an id alone misses nothing."""
    views = wrappers.vector.DictObservation(make_batch(mode))
    own = make_batch(mode, obs_mode="dict")
    assert own.observation_space == views.observation_space
    assert equal(own.reset(seed=4), views.reset(seed=4))
    for actions in np.random.default_rng(0).integers(2, 11, (12, 3)):
        expected = own.step(actions)
        assert equal(expected, views.step(actions))
        ended = expected[2]
        if mode == "Disabled" and ended.any():
            left, right = (envs.reset(options={"reset_mask": ended}) for envs in (own, views))
            assert equal(left, right)


def test_a_dictionary_is_not_viewed_again():
    with pytest.raises(ValueError, match="a dictionary already, with 'tokens'"):
        wrappers.DictObservation(TextEnv(task="Alphabet", obs_mode="dict"))


def test_texts_are_what_the_environment_says():
    env = make("TextObservation")
    observation, _ = env.reset(options={"example_id": 1})
    assert observation == {"prompt": "b", "completion": ""}
    for action, completion in ((5, "c"), (6, "cd"), (2, "cd")):
        observation = env.step(action)[0]
        assert observation == {"prompt": "b", "completion": completion}


def test_a_text_keeps_within_its_space():
    """Characters that the space lacks are replaced, and what is too long keeps its end."""
    env = wrappers.TextObservation(TextEnv(task="Alphabet"), charset="abcxyz", max_length=2)
    env.reset(options={"example_id": 7})
    for action, completion in ((3, "a"), (6, "a\ufffd"), (5, "\ufffdc")):
        observation = env.step(action)[0]
        assert observation == {"prompt": "\ufffd", "completion": completion}
        assert observation in env.observation_space
    assert env.unwrapped.text() == ("h", "adc")


def test_only_what_is_printable_is_taken_for_ascii_that_can_be_shown():
    """With all of ASCII among the characters, and without the space."""
    every, most = (make_text_view(charset, 9) for charset in (None, string.printable[:-6]))
    assert every.fit("it's ~ok") == most.fit("it's ~ok").replace("\ufffd", " ") == "it's ~ok"
    assert most.fit("a b") == "a\ufffdb"  # a space is not among them
    assert every.fit("a\x1bb\n") == "a\ufffdb\n"


def test_common_characters_are_shown_as_they_are():
    space = make("TextObservation").observation_space["completion"]
    assert "“Très bon”, dit-il:\n\t— 5 € … œuvre, Ελλάς, Москва" in space
    assert "" in space
    assert "\x1b" not in space
    assert "映" not in space


def test_a_length_of_nothing_is_refused():
    with pytest.raises(ValueError, match="max_length must be positive, got 0"):
        make("TextObservation", max_length=0)


def test_final_texts_are_objects_of_the_rows_that_ended():
    """The batch holds the next episode's texts by then."""
    envs = wrappers.vector.TextObservation(make_batch("SameStep"))
    envs.reset(seed=0, options={"example_id": np.array([0, 1, 2])})
    envs.step(np.array([3, 4, 5]))
    observation, *_, infos = envs.step(np.array([2, 3, 2]))
    assert infos["final_obs"].tolist() == [
        {"prompt": "a", "completion": "a"},
        None,
        {"prompt": "c", "completion": "c"},
    ]
    assert observation["completion"] == ("", "ba", "")


@pytest.mark.parametrize(
    ("wrap", "finding"),
    [
        (lambda: wrappers.DictObservation(gym.make("CartPole-v1")), "needs a TextEnv or TextVec"),
        (lambda: wrappers.TextObservation(Tiles()), "TextObservation needs a TextEnv .* got Tiles"),
        (
            lambda: wrappers.vector.TextObservation(SyncVectorEnv([make])),
            "got SyncVectorEnv; in a SyncVectorEnv or AsyncVectorEnv wrap each single",
        ),
        (
            lambda: wrappers.DictObservation(make("TextObservation")),
            "DictObservation reads tokens, and the observations of .* hold none",
        ),
    ],
)
def test_what_cannot_be_viewed_is_refused_at_once(wrap, finding):
    with pytest.raises(ValueError, match=finding):
        wrap()


def test_wrappers_go_on_top_of_each_other():
    """Masks around a dictionary, as TorchRL takes it."""
    env = wrappers.ActionMaskObservation(make("DictObservation"))
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert observation["observation"].keys() == {"tokens", "attention_mask", "prompt_mask"}


def test_every_name_has_a_twin():
    twins = {name for name in wrappers.__all__ if name[0].isupper()} - {"Trajectory"}
    assert twins == set(wrappers.vector.__all__)
