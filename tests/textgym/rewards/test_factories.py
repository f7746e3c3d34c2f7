"""What a "module:attribute" names, and what is said where it names nothing."""

import math

import pytest

from textgym.rewards.factories import (
    is_location,
    load_attribute,
    load_factory,
    missing_package,
)


@pytest.mark.parametrize(
    ("name", "expected"), [("math:pi", True), ("math", False), (":pi", False), ("math:", False)]
)
def test_a_location_has_a_module_and_an_attribute(name, expected):
    assert is_location(name) == expected


def test_an_attribute_may_be_one_of_an_attribute():
    assert load_attribute("thing", "x", "math:tau") == math.tau
    assert load_attribute("thing", "x", "pathlib:Path.cwd")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sqrt", r"unknown thing 'sqrt'; known: one, two; or give \"module:attribute\""),
        ("math:squirt", "thing 'math:squirt': the module 'math' has no 'squirt'"),
        ("math:pi", "thing 'math:pi' is a float, which cannot be called"),
    ],
)
def test_what_is_no_factory_says_why(name, message):
    assert load_factory("thing", "math:sqrt", ("one", "two")) is math.sqrt
    with pytest.raises(ValueError, match=message):
        load_factory("thing", name, ("one", "two"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(:\n", r"cannot be imported: SyntaxError: invalid syntax \(.*line 1\)$"),
        ("x = 1\nraise RuntimeError('no\\nserver')\n", r"RuntimeError: no server \(.*py:2\)$"),
        ("import sys\nsys.exit(3)\n", r"SystemExit: 3 \(.*:2\)$"),
        ("import a_module_that_is_lost\n", "needs the package 'a_module_that_is_lost'"),
    ],
)
def test_a_module_that_fails_while_it_is_imported_is_one_line(code, message, tmp_path, monkeypatch):
    """A stranger's file is imported for its reward: its mistakes ended in a stack trace."""
    name = f"failing_{len(code)}"
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises((ValueError, ModuleNotFoundError), match=message) as told:
        load_attribute("thing", f"{name}:f", f"{name}:f")
    assert "\n" not in str(told.value)


def test_what_is_no_module_s_name_is_refused():
    with pytest.raises(ValueError, match=r"'\.\./x' cannot be imported: TypeError"):
        load_attribute("thing", "../x:y", "../x:y")


@pytest.mark.parametrize(
    ("module", "how"),
    [("rouge_score.rouge", r'pip install "textgym\[metrics\]"'), ("a_module", "install a_module")],
)
def test_a_missing_package_says_how_to_get_it(module, how):
    """By an extra of this project, or by its own name."""
    error = missing_package("thing", "x", ModuleNotFoundError("no", name=module))
    with pytest.raises(ModuleNotFoundError, match=f"thing 'x' needs the package .*; {how}$"):
        raise error
    assert error.name == module
    with pytest.raises(ModuleNotFoundError, match="install a_module_that_is_lost"):
        load_attribute("thing", "x", "a_module_that_is_lost:f")
