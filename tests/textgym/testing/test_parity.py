"""A batch against its singles: a sound one passes, and each difference is found and placed."""

import gymnasium as gym
import numpy as np
import pytest

from textgym import TextEnv, TextVectorEnv
from textgym.testing import check_vector_env


class Sound(TextVectorEnv):
    """A batch that can be made unlike its singles in one place."""

    def __init__(self, **kwargs):
        super().__init__(task="Alphabet", num_envs=3, **kwargs)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("obs_mode", ["tokens", "dict"])
def test_a_batch_of_its_singles_passes(mode, backend, obs_mode):
    kwargs = {"emit_mask": True, "obs_mode": obs_mode}
    check_vector_env(
        Sound(autoreset_mode=mode, backend=backend, max_episode_steps=4, **kwargs),
        steps=40,
        single=lambda: gym.wrappers.TimeLimit(TextEnv(task="Alphabet", **kwargs), 4),
    )


def altered(name, change, mode="NextStep", when=lambda infos: True):
    """A batch one of whose returned values is changed; infos can say in which steps."""

    class Altered(Sound):
        def __init__(self):
            super().__init__(autoreset_mode=mode, emit_mask=True)

        def step(self, actions):
            names = ("observation", "reward", "terminated", "truncated", "infos")
            returned = dict(zip(names, super().step(actions), strict=True))
            if when(returned["infos"]):
                returned[name] = change(returned[name])
            return tuple(returned.values())

    return Altered


def without(key):
    return lambda infos: {k: v for k, v in infos.items() if k not in (key, f"_{key}")}


def scored(infos):
    return "score" in infos


def last_place_padded(infos):
    final = infos["final_obs"].copy()
    for row in np.flatnonzero(infos["_final_obs"]):
        final[row] = np.append(final[row][:-1], 9)
    return {**infos, "final_obs": final}


def with_final_info(infos):
    score = infos["final_info"]["score"] + 1
    return {**infos, "final_info": {**infos["final_info"], "score": score}}


class PaddingAllowed(Sound):
    """Its masks allow the padding, and its infos do not."""

    def __init__(self):
        super().__init__(emit_mask=True)

    def action_masks(self):
        return super().action_masks() | (np.arange(11) == 0)


class OtherSeeds(Sound):
    """Gives row i the seed 2 * seed + i, which is as good as any until it is compared."""

    def __init__(self):
        super().__init__(emit_mask=True)

    def reset(self, *, seed=None, options=None):
        doubled = [seed * 2 + row for row in range(3)] if isinstance(seed, int) else seed
        return super().reset(seed=doubled, options=options)


class RestartingAtZero(Sound):
    """Draws in partial resets from generators of its own."""

    def __init__(self):
        super().__init__(autoreset_mode="Disabled", emit_mask=True)

    def reset(self, *, seed=None, options=None):
        seeds = seed if options is None else [0, 0, 0]
        return super().reset(seed=seeds, options=options)


@pytest.mark.parametrize(
    ("broken", "finding"),
    [
        (altered("observation", lambda o: np.roll(o, 1, axis=1)), "step 0: observation of row 0"),
        (altered("observation", lambda o: o.astype(np.int32)), r"int32 of shape \(8,\), but int64"),
        (altered("reward", lambda r: r * 2, when=scored), r"reward of row \d is 0.5, but 0.25"),
        (altered("terminated", np.zeros_like), r"terminated of row \d is False, but True"),
        (altered("truncated", np.ones_like), "truncated of row 0 is True, but False alone"),
        (altered("infos", without("score"), when=scored), "infos have the keys"),
        (
            altered("infos", lambda i: {**i, "_score": ~i["_score"]}, when=scored),
            r"infos\['score'\] is marked for",
        ),
        (
            altered("infos", lambda i: {**i, "score": i["score"] + 1}, when=scored),
            r"infos\['score'\] of row \d is 1\.",
        ),
        (
            altered("infos", lambda i: {**i, "score": i["score"].astype("f")}, when=scored),
            r"infos\['score'\] of row \d is float32",
        ),
        (
            altered("infos", last_place_padded, "SameStep", lambda infos: "final_obs" in infos),
            r"infos\['final_obs'\] of row \d is",
        ),
        (
            altered("infos", with_final_info, "SameStep", lambda infos: "final_obs" in infos),
            r"infos\['final_info'\]\['score'\] of row \d is 1\.",
        ),
        (PaddingAllowed, r"action_masks\(\) of row 0 is \[ True"),
        (OtherSeeds, r"after reset\(seed\): observation of row 0 is"),
        (RestartingAtZero, r"after reset\(reset_mask\): "),
    ],
)
def test_a_batch_that_is_not_of_its_singles_is_found_out(broken, finding):
    """Each difference alone, and the message says where it is."""
    with pytest.raises(AssertionError, match=finding):
        check_vector_env(broken(), single=lambda: TextEnv(task="Alphabet", emit_mask=True))


def test_other_spaces_are_found_out():
    with pytest.raises(AssertionError, match=r"single_observation_space is .*, but .* alone"):
        check_vector_env(Sound(), single=lambda: TextEnv(task="Alphabet", completion_tokens=3))
