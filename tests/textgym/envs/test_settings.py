"""Objects among an environment's arguments, and what is copied of them."""

import copy
from pathlib import Path

from textgym.envs.settings import Handle, Settings, hold, release


def reward(prompts, completions, **columns):
    return [0.0] * len(prompts)


def test_objects_are_held_and_names_are_not():
    """Within lists and dictionaries too, in arguments that may hold objects, and in no others."""
    kwargs = {
        "task": "Alphabet",
        "tokenizer": Path("a"),
        "reward": [[reward, 1.0], ["length", {"clip": reward}]],
        "device": object(),
    }
    held = hold(kwargs)
    assert (held["task"], held["tokenizer"]) == ("Alphabet", Path("a"))
    assert held["device"] is kwargs["device"]
    (first, weight), (name, nested) = held["reward"]
    assert isinstance(first, Handle)
    assert isinstance(nested["clip"], Handle)
    assert (weight, name) == (1.0, "length")
    assert release(held) == kwargs
    assert hold(held)["reward"][0][0] is first


def test_a_copy_of_a_handle_is_the_handle():
    held = hold({"reward": reward})
    assert copy.deepcopy(held)["reward"] is held["reward"]
    assert repr(held["reward"]) == "Handle(function)"
    assert Settings.of({"task": "Alphabet", **held}).reward is reward


def test_infos_show_masks_on_request_and_under_constraints():
    shows = {
        name: Settings(task="Alphabet", **kwargs).shows_mask
        for name, kwargs in {
            "neither": {},
            "request": {"emit_mask": True},
            "constraints": {"constraints": {"min_tokens": 1}},
        }.items()
    }
    assert shows == {"neither": False, "request": True, "constraints": True}
