"""Phrases of a user interface, to be translated."""

import importlib.util

import pytest

from textgym.data.language_packs import PACKS, load_phrases
from textgym.data.prose import key_of
from textgym.tasks import get_task, translation
from textgym.tasks.translation import Translation
from textgym.tokenizers import load_tokenizer

INSTALLED = [code for code, pack in PACKS.items() if pack.is_installed()]
needs_all = pytest.mark.skipif(
    len(INSTALLED) < len(PACKS), reason="not all three language packs are installed"
)


@needs_all
@pytest.mark.parametrize(
    ("code", "language"), [("fr", "French"), ("de", "German"), ("es", "Spanish")]
)
def test_a_prompt_is_a_phrase_and_the_reference_its_translation(code, language):
    task = Translation(code)
    assert task.name == f"Translation{language}"
    assert get_task(task.name) == task
    pairs = {pair.english: pair.translation for pair in load_phrases(code)}
    for split in task.splits:
        for example in task.examples(split):
            english = example.columns["source"]
            assert example.prompt == f"English: {english}\n{language}:"
            assert example.columns["reference"] == f" {pairs[english]}"
            assert example.columns["language"] == code


@needs_all
def test_a_phrase_is_in_one_split_whatever_the_language():
    homes = {}
    for code in PACKS:
        for split in Translation(code).splits:
            for example in Translation(code).examples(split):
                key = key_of(example.columns["source"])
                assert homes.setdefault(key, split) == split


@needs_all
@pytest.mark.parametrize("code", PACKS)
def test_nearly_all_texts_fit(code):
    task = Translation(code)
    tokenizer = load_tokenizer(task.tokenizer)
    examples = [example for split in task.splits for example in task.examples(split)]
    prompts = tokenizer.encode_batch([example.prompt for example in examples])
    wanted = tokenizer.encode_batch([example.columns["reference"] for example in examples])
    assert sum(len(ids) < task.prompt_tokens for ids in prompts) > 0.97 * len(examples)
    assert sum(len(ids) < task.completion_tokens for ids in wanted) > 0.94 * len(examples)


def test_an_unknown_language_lists_the_known_ones():
    with pytest.raises(ValueError, match="'it' of Translation; known: fr, de, es"):
        Translation("it")


def test_a_missing_pack_says_how_to_get_it(monkeypatch):
    translation._examples.cache_clear()
    load_phrases.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match='pip install "jupyterlab-language-pack-de-DE"'):
        get_task("TranslationGerman").examples("train")
