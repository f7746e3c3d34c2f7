"""Abstracts of papers with summaries by aspect."""

import importlib.util
import json
import sys

import pytest

from textgym.data.aclsum import ACLSUM, ASPECTS, load_aclsum

needs_aclsum = pytest.mark.skipif(not ACLSUM.is_installed(), reason="aclsum is not installed")


@pytest.fixture(autouse=True)
def _no_cache():
    load_aclsum.cache_clear()
    yield
    load_aclsum.cache_clear()


def test_a_paper_is_its_abstract_and_three_sentences(tmp_path, monkeypatch):
    """On made-up rows in the package's format, with its spaces around every sign."""
    folder = tmp_path / "aclsum" / "dataset"
    folder.mkdir(parents=True)
    (tmp_path / "aclsum" / "__init__.py").write_text("1 / 0")
    row = {
        "summary": {"outcome": "It works .", "challenge": "It  is hard.", "approach": "We try."},
        "sentences": {
            "abstract": ['We count goats ( by hand ) , " twice " .', "It 's 5 % better . 1"],
            "introduction": ["Goats are many ."],
        },
    }
    (folder / "val.jsonl").write_text(json.dumps(row) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    (paper,) = load_aclsum("validation")
    assert paper.abstract == 'We count goats (by hand), "twice". It\'s 5% better.'
    assert paper.summaries == (
        ("challenge", "It is hard."),
        ("approach", "We try."),
        ("outcome", "It works."),
    )


@needs_aclsum
def test_the_package_has_its_250_papers():
    papers = {split: load_aclsum(split) for split in ("train", "validation", "test")}
    assert {split: len(rows) for split, rows in papers.items()} == {
        "train": 100,
        "validation": 50,
        "test": 100,
    }
    for rows in papers.values():
        for paper in rows:
            assert [aspect for aspect, _ in paper.summaries] == list(ASPECTS)
            assert all(summary for _, summary in paper.summaries)
    assert "aclsum" not in sys.modules


def test_an_unknown_split_lists_the_known_ones():
    with pytest.raises(ValueError, match="'dev' of aclsum; known: train, validation, test"):
        load_aclsum("dev")


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install \"aclsum==0\.1\.2\""):
        load_aclsum("train")


def test_another_version_says_which_is_needed(tmp_path, monkeypatch):
    (tmp_path / "aclsum").mkdir()
    (tmp_path / "aclsum" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"aclsum==0\.1\.2"):
        load_aclsum("train")
