"""Docstrings as pairs of a description and its summary."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

from textgym.data import docstrings
from textgym.data.docstrings import DEFAULT_SOURCES, STDLIB, load_docstrings

PROSE = (
    "The gate keeps the goats out of the garden, and a bell rings when it is left open. "
    "It closes by itself after a minute, unless somebody has put a stone in front of it."
)


def pairs_of(tmp_path, monkeypatch, source, name="made_up_library"):
    """Reads the docstrings of a package that consists of one module."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    load_docstrings.cache_clear()
    return [(pair.head, pair.body) for pair in load_docstrings((name,))]


@pytest.mark.parametrize(
    "source",
    [
        '"""Keep the goats out.\n\n{prose}\n"""',
        "'''Keep the goats out.\n\n{prose}\n'''",
        '# A comment.\n\n"""Keep the goats out.\n\n{prose}\n"""',
        'def gate():\n    """Keep the goats out.\n\n    {prose}\n    """',
        'class Gate:  # of wood\n    r"""Keep the goats out.\n\n    {prose}\n    """',
        "if True:\n    async def gate(\n        a=1,\n    ) -> None:\n"
        '        """Keep the goats out.\n\n        {prose}\n        """',
        'def gate():\n    """Keep the\n    goats out.\n\n    {prose}\n\n    Args:\n    """',
        'def gate():\n    """Keep the goats out.\n\n    {prose}\n\n    >>> gate()\n    """',
        'def gate():\n    """Keep the goats out.\n\n    {prose}\n\n    Notes\n    -----\n    """',
        'def gate():\n    """Keep the ``goats`` out.\n\n    {prose} As in::\n\n      g()\n    """',
        'def gate():\n    """Keep the :class:`~goats` out.\n\n    {prose}\n\n    * One.\n    """',
    ],
)
def test_a_docstring_is_its_summary_and_its_prose(source, tmp_path, monkeypatch):
    pairs = pairs_of(tmp_path, monkeypatch, source.replace("{prose}", PROSE))
    assert pairs == [("Keep the goats out.", PROSE)]


@pytest.mark.parametrize(
    "docstring",
    [
        "Keep the goats out.",
        f"Keep out.\n\n{PROSE}",
        f"keep the goats out.\n\n{PROSE}",
        f"Keep the goats out\nArgs:\n  a: One.\n\n{PROSE}",
        "Keep the goats out.\n\nToo short to be summed up.",
        f"Keep the goats out.\n\nArgs:\n    a: {PROSE}",
        f"Keep the goats out.\n\n>>> gate()\n\n{PROSE}",
        f"Keep the goats out.\n\n:param a: {PROSE}",
        f"Keep the goats out.\n\nSee https://goats.example. {PROSE}",
        f"Keep the goats out.\n\n{PROSE * 10}",
        f"Keep the goats out.\n\n{PROSE} That is, keep the goats out!",
        "Keep the goats out.\n\n" + "A = [1, 2, 3] + 4 * (5 - 6) % 7; " * 10,
    ],
)
def test_a_docstring_without_a_summary_or_prose_is_left_out(docstring, tmp_path, monkeypatch):
    assert pairs_of(tmp_path, monkeypatch, f'"""{docstring}\n"""') == []


def test_of_near_copies_the_first_is_kept(tmp_path, monkeypatch):
    """Libraries copy docstrings; the copies would stand on both sides of a split."""
    pairs = pairs_of(
        tmp_path,
        monkeypatch,
        f'"""Keep the goats out.\n\n{PROSE}\n"""\n'
        f'def copy():\n    """Keep all of the sheep out.\n\n    {PROSE} And so on.\n    """\n'
        f'def twin():\n    """Keep the goats out.\n\n    Here is another text. {PROSE}\n    """\n',
    )
    assert pairs == [("Keep the goats out.", PROSE)]


def test_a_file_that_is_no_python_is_no_obstacle(tmp_path, monkeypatch):
    source = f'def {{{{ template }}}}:\n  """Keep the goats out.\n\n  {PROSE}\n  """'
    assert pairs_of(tmp_path, monkeypatch, source) == [("Keep the goats out.", PROSE)]


def test_the_head_is_not_in_the_body():
    """Or copying it would be a perfect summary."""
    for pair in load_docstrings():
        assert pair.head.rstrip(".").casefold() not in pair.body.casefold()


def test_the_default_sources_give_a_thousand_pairs_of_the_stated_lengths():
    pairs = load_docstrings()
    assert len(pairs) > 1000
    assert len({pair.head for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert 25 <= len(pair.body.split()) <= 300
        assert 3 <= len(pair.head.split()) <= 25
        assert pair.body == " ".join(pair.body.split())
        assert not any(mark in pair.body for mark in ("``", ">>>", "Args:", ":func:", "://"))


def test_the_quick_search_finds_what_a_full_parse_finds():
    """On one package of the standard library, every docstring that a parse finds."""
    folder = Path(importlib.util.find_spec("email").submodule_search_locations[0])
    for path in sorted(folder.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        nodes = ast.walk(ast.parse(source))
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        parsed = {
            docstring
            for node in nodes
            if isinstance(node, kinds)
            and (docstring := ast.get_docstring(node))
            # One in single quotes has no room for a summary and a description.
            and "\n" in docstring
        }
        assert parsed <= set(docstrings._docstrings(source))


def test_nothing_is_imported(tmp_path, monkeypatch):
    pairs_of(tmp_path, monkeypatch, f'"""Keep the goats out.\n\n{PROSE}\n"""\n1 / 0')
    assert "made_up_library" not in sys.modules


def test_a_missing_package_says_how_to_get_it():
    with pytest.raises(ModuleNotFoundError, match=r"docstrings needs .* pip install \"nobody_has"):
        load_docstrings(("nobody_has_this",))


def test_the_standard_library_comes_first():
    assert DEFAULT_SOURCES[0] == STDLIB
