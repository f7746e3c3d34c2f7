"""Automata over bytes: what they read, what they refuse, and what can still be reached on them."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from textgym.constraints import compile_constraints
from textgym.constraints.automata import DEAD, automaton_of_choices, distances
from textgym.tokenizers import legal_ids, load_tokenizer

needs_outlines = pytest.mark.skipif(
    find_spec("outlines_core") is None, reason="regex constraints need outlines-core"
)


def test_the_automaton_of_choices_reads_the_choices_and_nothing_else():
    automaton = automaton_of_choices(["été", "a", "ab"])
    for text in ("été", "a", "ab"):
        assert automaton.final[automaton.read(text)]
    for text in ("", "é", "ét"):
        assert not automaton.final[automaton.read(text)]
    for text in ("b", "abc", "étéa"):
        assert automaton.read(text) == DEAD


def test_distances_count_tokens_exactly():
    """A line of three states, and a token that stays in the middle one."""
    sources, targets = np.array([1, 2, 2]), np.array([2, 3, 2])
    reached = distances(sources, targets, np.arange(4) == 3, 3)
    assert np.argwhere(reached).tolist() == [[0, 3], [1, 2], [2, 1], [2, 2], [3, 1], [3, 2]]


@needs_outlines
@pytest.mark.parametrize("regex", ["(", "a)(b", "a)|(?:b", "^a", "a$", "(?=a)a", r"(a)\1", r"\ba"])
def test_an_invalid_regex_is_refused(regex):
    """The one with brackets that close first would be valid within a group."""
    tokenizer = load_tokenizer("characters:abc")
    with pytest.raises(ValueError, match="is invalid or matches no text"):
        compile_constraints({"regex": regex}, tokenizer, legal_ids(tokenizer), 4)


def test_a_regex_without_its_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "outlines_core", None)
    tokenizer = load_tokenizer("characters:abc")
    with pytest.raises(ModuleNotFoundError, match=r'pip install "textgym\[constraints\]"'):
        compile_constraints({"regex": "a"}, tokenizer, legal_ids(tokenizer), 4)
    compile_constraints({"choices": ["a"]}, tokenizer, legal_ids(tokenizer), 4)
