"""Phrases and their translations out of message catalogues."""

import importlib.util
import struct
import sys

import pytest

from textgym.data.language_packs import LANGUAGES, PACKS, load_phrases

HEADER = ("", "Content-Type: text/plain; charset=UTF-8\n")


@pytest.fixture(autouse=True)
def _no_cache():
    load_phrases.cache_clear()
    yield
    load_phrases.cache_clear()


def catalogue(messages):
    """Writes the bytes of a GNU ``.mo`` file: a table of lengths and places, then the strings."""
    rows = sorted([HEADER, *messages])
    start, strings, tables = 28 + 16 * len(rows), b"", ([], [])
    for side in (0, 1):
        for row in rows:
            text = row[side].encode()
            tables[side].append(struct.pack("<2I", len(text), start + len(strings)))
            strings += text + b"\0"
    places = struct.pack("<7I", 0x950412DE, 0, len(rows), 28, 28 + 8 * len(rows), 0, 0)
    return places + b"".join(tables[0]) + b"".join(tables[1]) + strings


def phrases_of(tmp_path, monkeypatch, *messages):
    folder = tmp_path / "jupyterlab_language_pack_fr_FR" / "locale" / "fr_FR" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (tmp_path / "jupyterlab_language_pack_fr_FR" / "__init__.py").write_text("1 / 0")
    (folder / "goats.mo").write_bytes(catalogue(messages))
    monkeypatch.syspath_prepend(tmp_path)
    return [(pair.english, pair.translation) for pair in load_phrases("fr")]


def test_a_phrase_is_read_with_its_translation(tmp_path, monkeypatch):
    pairs = phrases_of(
        tmp_path,
        monkeypatch,
        ("Open the gate", "Ouvrir le portail"),
        ("menu\x04Feed the  goats…", "Nourrir les chèvres…"),
    )
    assert pairs == [
        ("Feed the goats…", "Nourrir les chèvres…"),
        ("Open the gate", "Ouvrir le portail"),
    ]


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("Open gate", "Ouvrir le portail"),
        ("Open the gate", ""),
        ("Open the gate", "open the gate"),
        ("Open the gate %s", "Ouvrir le portail %s"),
        ("Open the gate %1", "Ouvrir le portail %1"),
        ("Open the gate in percent", "Ouvrir le portail en %"),
        ("Open the {gate} now", "Ouvrir le {gate} vite"),
        ("Open the <b>gate</b>", "Ouvrir le <b>portail</b>"),
        ("Open the `gate` now", "Ouvrir le `gate` vite"),
        ("Open the openGate now", "Ouvrir le openGate vite"),
        ("See http://goats.example for goats", "Voir http://goats.example pour les chèvres"),
        ("Open 1 2 3 4 5 6 7 8 9 10", "Ouvrir 1 2 3 4 5 6 7 8 9 10"),
        ("Open " * 31, "Ouvrir " * 31),
        ("One goat of many\0%s goats of many", "Une chèvre\0%s chèvres"),
    ],
)
def test_what_is_no_phrase_is_left_out(english, french, tmp_path, monkeypatch):
    assert phrases_of(tmp_path, monkeypatch, (english, french)) == []


@pytest.mark.parametrize(("language", "least"), [("fr", 1500), ("de", 350), ("es", 350)])
def test_the_packs_have_their_phrases(language, least):
    if not PACKS[language].is_installed():
        pytest.skip(f"{PACKS[language].pip} is not installed")
    pairs = load_phrases(language)
    assert len(pairs) > least
    for pair in pairs:
        assert 3 <= len(pair.english.split()) <= 30
        assert pair.english != pair.translation
        assert not set("{}<>`") & set(pair.english + pair.translation)
    assert PACKS[language].module not in sys.modules


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_missing_pack_says_how_to_get_it(language, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    wanted = rf"pip install \"jupyterlab-language-pack-{language}-{language.upper()}\""
    with pytest.raises(ModuleNotFoundError, match=wanted):
        load_phrases(language)


def test_a_pack_without_catalogues_says_so(tmp_path, monkeypatch):
    (tmp_path / "jupyterlab_language_pack_es_ES").mkdir()
    (tmp_path / "jupyterlab_language_pack_es_ES" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no \.mo files.*language-pack-es-ES"):
        load_phrases("es")


def test_an_unknown_language_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown language 'it'; known: fr, de, es"):
        load_phrases("it")
