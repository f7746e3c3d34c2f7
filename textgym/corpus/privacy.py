"""Personal data, masked by what they are: addresses and numbers that have a form of their own.

Simplification: names and postal addresses have no such form and stay; what must not leave a house
needs a person's eyes.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["masked"]

_MAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b")
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
_NETWORK = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
# International, or grouped with a separator; a bare run of digits may be anything.
_TELEPHONE = re.compile(
    r"(?<![\w+])(?:\+\d{1,3}[ .-]?(?:\(\d+\)[ .-]?)?\d(?:[ .-]?\d){5,12}"
    r"|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4})\b"
)
_LEAST_ACCOUNT, _CHECKED = 15, 97


def masked(text: str) -> str:
    """Puts a word in brackets in the place of what tells who somebody is.

    Card and account numbers are masked if their check digits are right, so that other long numbers
    stay (ISO/IEC 7812, Luhn's; ISO 13616, modulo 97).
    """
    text = _MAIL.sub("[EMAIL]", text)
    text = _ACCOUNT.sub(_if(_is_account, "[ACCOUNT]"), text)
    text = _CARD.sub(_if(_is_card, "[CARD]"), text)
    text = _NETWORK.sub(_if(_is_network, "[IP]"), text)
    return _TELEPHONE.sub("[PHONE]", text)


def _if(is_one: Callable[[str], bool], mask: str) -> Callable[[re.Match[str]], str]:
    return lambda match: mask if is_one(match[0]) else match[0]


def _is_card(text: str) -> bool:
    digits = [int(character) for character in text if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[::-2]) + sum(doubled)) % 10 == 0 and any(digits)


def _is_account(text: str) -> bool:
    packed = text.replace(" ", "")
    if len(packed) < _LEAST_ACCOUNT:
        return False
    moved = packed[4:] + packed[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % _CHECKED == 1


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
