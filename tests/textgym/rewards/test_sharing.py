"""One reward for equal arguments, and another wherever anything differs that may decide it."""

from pathlib import Path

import pytest

from textgym.rewards import describe, resolve
from textgym.rewards.sharing import make_shared


class Reward:
    def __call__(self, prompts, completions, **columns):
        return [0.0 for _ in completions]


@describe(is_factory=True, is_shared=True)
def make_large(path="", weight=1.0, more=None):
    return Reward()


@describe(is_factory=True, is_shared=True)
def make_another(path=""):
    return Reward()


@describe(is_factory=True)
def make_small(path=""):
    return Reward()


def test_equal_arguments_have_one_reward():
    held = make_shared(make_large, {"path": "a", "more": {"x": [1, 2], "y": 3}})
    assert held is make_shared(make_large, {"more": {"y": 3, "x": [1, 2]}, "path": Path("a")})
    assert resolve(make_large, {}).function is not resolve(make_small, {}).function


@pytest.mark.parametrize(
    ("factory", "kwargs"),
    [
        (make_large, {"path": "b"}),
        (make_large, {"path": "a", "weight": 2.0}),
        (make_large, {"path": "a", "more": {"x": {1, 2}}}),
        (make_another, {"path": "a"}),
        (make_small, {"path": "a"}),
    ],
)
def test_whatever_differs_is_made_by_itself(factory, kwargs):
    held = make_shared(make_large, {"path": "a"})
    assert held is not make_shared(factory, kwargs)


def test_only_what_says_so_is_shared():
    assert make_shared(make_small, {}) is not make_shared(make_small, {})
    unwritable = {"more": object()}
    assert make_shared(make_large, unwritable) is not make_shared(make_large, unwritable)


def test_a_file_that_was_written_since_is_read_anew(tmp_path, monkeypatch):
    """Below its folders as well, where an ensemble keeps its members."""
    member = tmp_path / "members" / "0" / "model.safetensors"
    member.parent.mkdir(parents=True)
    member.write_text("weights")
    (tmp_path / "config.json").write_text("{}")
    held = make_shared(make_large, {"path": str(tmp_path)})
    assert held is make_shared(make_large, {"path": str(tmp_path)})
    member.write_text("more weights")
    again = make_shared(make_large, {"path": str(tmp_path)})
    assert again is not held
    (tmp_path / "elsewhere").mkdir()
    relative = make_shared(make_large, {"path": "runs"})
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert relative is not make_shared(make_large, {"path": "runs"})
