"""English phrases and their translations, read from the language packs of JupyterLab.

The phrases are those of a user interface: menu entries, labels, help, messages. They are data that
the reader installs; nothing of them is in this package.
"""

from __future__ import annotations

import functools
import gettext
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from textgym.data.packages import Package

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LANGUAGES", "PACKS", "PhrasePair", "load_phrases"]

LANGUAGES: Mapping[str, str] = MappingProxyType({"fr": "French", "de": "German", "es": "Spanish"})
"""The languages by their codes."""

_LOCALES: Mapping[str, str] = MappingProxyType({"fr": "fr_FR", "de": "de_DE", "es": "es_ES"})

PACKS: Mapping[str, Package] = MappingProxyType(
    {
        code: Package(
            module=f"jupyterlab_language_pack_{locale}",
            pip=f"jupyterlab-language-pack-{locale.replace('_', '-')}",
        )
        for code, locale in _LOCALES.items()
    }
)
"""Each language's package; none of them has dependencies."""

_WORDS = (3, 30)
# Places to fill in, markup, code, addresses, and keys: what is copied, not translated.
_NO_PHRASE = re.compile(
    r"[<>{}`\\|=_@#$]|%[\w(%]|(?<!\d)(?<!\d )%|&\w+;|https?:|www\.|\w\.\w+\(|--\w|/\w+/"
    r"|\b[a-z]+[A-Z]"
)
_LETTERS = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class PhrasePair:
    """A phrase in two languages.

    Attributes:
        english: The phrase, 3 to 30 words separated by single spaces.
        translation: The same in the other language, 1 to 45 words.
    """

    english: str
    translation: str


class _Catalogue(gettext.GNUTranslations):
    """A message catalogue that lists what it holds; the library's looks up single messages."""

    _catalog: dict[Any, str]

    def pairs(self) -> Iterator[tuple[str, str]]:
        for source, target in self._catalog.items():
            # A plural is keyed by (singular, form), a context stands before the character 4.
            if isinstance(source, str):
                yield source.rpartition("\x04")[2], target


@functools.cache
def load_phrases(language: str) -> tuple[PhrasePair, ...]:
    """Returns the phrases of one language, sorted by the English.

    Left out are those with places to fill in, markup, code or addresses, those that are the same
    in both languages, and all but one translation of a phrase.

    Args:
        language: A code in ``LANGUAGES``.

    Raises:
        ValueError: If ``language`` is unknown; the message lists the known ones.
        ModuleNotFoundError: If the pack is missing; the message says how to get it.
        FileNotFoundError: If the pack has no catalogues.
    """
    if language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}; known: {', '.join(LANGUAGES)}")
    wanted_by = f"the translation into {LANGUAGES[language]}"
    folder = PACKS[language].folder(wanted_by) / "locale" / _LOCALES[language] / "LC_MESSAGES"
    paths = sorted(folder.glob("*.mo"))
    if not paths:
        raise FileNotFoundError(
            f"{folder} has no .mo files; {wanted_by} reads another version of the pack: "
            f'run pip install --upgrade "{PACKS[language].pip}"'
        )
    phrases: dict[str, str] = {}
    for path in paths:
        with path.open("rb") as file:
            for source, target in _Catalogue(file).pairs():
                english, translation = " ".join(source.split()), " ".join(target.split())
                if _is_phrase(english, translation):
                    phrases.setdefault(english, translation)
    return tuple(
        PhrasePair(english=english, translation=phrases[english]) for english in sorted(phrases)
    )


def _is_phrase(english: str, translation: str) -> bool:
    low, high = _WORDS
    if not low <= len(english.split()) <= high or not translation:
        return False
    if english.casefold() == translation.casefold() or len(translation.split()) > high * 3 // 2:
        return False
    return not any(
        _NO_PHRASE.search(text) or sum(map(str.isalpha, text)) < _LETTERS * len(text)
        for text in (english, translation)
    )
