"""What stands in a text and is none of it: markup, control characters, addresses."""

from __future__ import annotations

import re
from html.parser import HTMLParser

__all__ = ["without_addresses", "without_boilerplate", "without_controls", "without_markup"]

_UNSHOWN = frozenset({"script", "style", "template", "noscript", "head", "svg"})
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "br",
        "caption",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "html",
        "li",
        "main",
        "nav",
        "ol",
        "option",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
_INLINE = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "b",
        "bdi",
        "bdo",
        "big",
        "button",
        "center",
        "cite",
        "code",
        "data",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "iframe",
        "img",
        "input",
        "ins",
        "kbd",
        "label",
        "link",
        "mark",
        "meta",
        "object",
        "param",
        "q",
        "s",
        "samp",
        "select",
        "small",
        "source",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "textarea",
        "time",
        "title",
        "tt",
        "u",
        "var",
        "video",
        "wbr",
    ]
)
_TAGS = _BLOCKS | _INLINE | _UNSHOWN
_MAYBE_MARKUP = re.compile(r"<[!/?a-zA-Z]|&(?:#\d+|#[xX][\da-fA-F]+|[a-zA-Z]+\d*);")
# Unicode's category Cc but for line ends and tabs; marks of direction, and of byte order.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]+"
)
_ADDRESS = re.compile(r"\(?\b(?:https?://|ftp://|www\.)[^\s<>\"']*[^\s<>\"'.,;:!?)\]]\)?")
_FURNITURE = re.compile(
    r"^\W*(?:"
    r"(?:we|this (?:web)?site) uses? cookies\b.*|accept(?: all)? cookies|cookie (?:policy|settings)"
    r"|privacy policy|terms (?:of (?:use|service)|and conditions)|all rights reserved\W*"
    r"|(?:copyright|\(c\)|©) ?(?:\(c\)|©)? ?\d{4}\b.{0,80}"
    r"|(?:share|follow us) on (?:facebook|twitter|x|whatsapp|linkedin|instagram)"
    r"|(?:sign|log) ?(?:in|up|out)|subscribe(?: now)?|(?:skip|jump) to (?:main )?content"
    r"|(?:click here|read more|load more|show more)|(?:advertisement|sponsored)"
    r")\W*$",
    re.IGNORECASE,
)


class _Shown(HTMLParser):
    """Collects what a page shows; a tag that HTML does not know is text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - HTMLParser's
        if tag not in _TAGS:
            self.handle_data(self.get_starttag_text() or "")
        elif tag in _UNSHOWN:
            self._hidden.append(tag)
        elif tag in _BLOCKS:
            self.handle_data("\n")

    def handle_startendtag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag not in _TAGS:
            self.handle_data(self.get_starttag_text() or "")
        elif tag in _BLOCKS:
            self.handle_data("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]
        elif tag in _BLOCKS:
            self.handle_data("\n")
        elif tag not in _TAGS:
            self.handle_data(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def without_markup(text: str) -> str:
    """What an HTML page shows: no tags, scripts, styles or comments, entities read.

    A text without anything that looks like markup stays to the letter, and so do a lone ``<`` and
    tags that HTML does not know. Where an element ends a line, so does the text.
    """
    if not _MAYBE_MARKUP.search(text):
        return text
    shown = _Shown()
    shown.feed(text)
    shown.close()
    return "".join(shown.parts)


def without_controls(text: str) -> str:
    """Takes out control characters but line ends and tabs, and marks of writing direction."""
    return _CONTROLS.sub("", text)


def without_boilerplate(text: str) -> str:
    """Takes out lines that say nothing but what web pages say around a text."""
    lines = text.split("\n")
    kept = [line for line in lines if not _FURNITURE.match(line)]
    return text if len(kept) == len(lines) else "\n".join(kept)


def without_addresses(text: str, by: str = "") -> str:
    """Takes out web addresses.

    Args:
        text: The text.
        by: What takes their place.
    """
    return _ADDRESS.sub(by.replace("\\", r"\\"), text)
