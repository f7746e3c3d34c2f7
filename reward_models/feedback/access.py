"""Who may come in: tokens in a file that only its owner reads, and sessions signed with them.

The owner's token lets in whoever holds it under any pseudonym, and shows the overview. Where
annotators are named, each has a token as well, which is good for that name alone. A session is a
signed cookie, so that it outlives a restart of the server; with it goes a token against forgery,
which another site's page cannot know.

Simplification: a session ends with its time, or for all when the access file is removed; there is
no way to end a single one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import stat
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["MAX_NAME", "Access", "AccessError", "Session", "write_privately"]

MAX_NAME = 64
"""How many characters a pseudonym has at most."""

_TOKEN_BYTES = 32
_SECONDS = 30 * 24 * 3600.0  # a session lasts a month
_PRIVATE = stat.S_IRUSR | stat.S_IWUSR
_FILE = "no access file of textgym"


class AccessError(RuntimeError):
    """The access file cannot be used; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody who came in.

    Attributes:
        annotator: The pseudonym.
        owner: Whether by the owner's token.
        until: When it ends, in seconds since 1970 UTC.
        number: Makes it different from every other.
    """

    annotator: str
    owner: bool
    until: float
    number: str


class Access:
    """The tokens of one study, and what is signed with them."""

    def __init__(self, owner: str, annotators: Mapping[str, str]) -> None:
        """Takes the tokens.

        Args:
            owner: The owner's.
            annotators: Each named annotator's, by pseudonym.

        Raises:
            AccessError: If a token is missing or too short to be secret.
        """
        for name, token in {"the owner": owner, **annotators}.items():
            if len(token) < _TOKEN_BYTES:
                raise AccessError(f"the token of {name} is shorter than {_TOKEN_BYTES} characters")
        self.owner = owner
        self.annotators = dict(annotators)
        self._key = hashlib.blake2b(owner.encode(), person=b"textgym session"[:16]).digest()

    @classmethod
    def of_file(cls, path: Path, annotators: Iterable[str] = ()) -> Access:
        """Reads the tokens of a file, and makes what is missing: the file, and annotators' tokens.

        Args:
            path: The file; it is made so that nobody but its owner can read it.
            annotators: The pseudonyms that must have a token.

        Raises:
            AccessError: If others can read the file, or it is none of ours.
        """
        if path.exists():
            if path.stat().st_mode & 0o077:
                raise AccessError(
                    f"others can read the tokens in {path}: remove it, and new ones are made"
                )
            stored = _read(path)
        else:
            stored = {"owner": secrets.token_urlsafe(_TOKEN_BYTES), "annotators": {}}
        known = stored["annotators"]
        missing = [name for name in annotators if name not in known]
        known |= {name: secrets.token_urlsafe(_TOKEN_BYTES) for name in missing}
        if missing or not path.exists():
            write_privately(path, json.dumps(stored, indent=2) + "\n")
        return cls(stored["owner"], known)

    def enter(self, token: str, annotator: str) -> Session | None:
        """Lets somebody in.

        Args:
            token: The owner's, or that of an annotator.
            annotator: The pseudonym; may be empty for an annotator's own token.

        Returns:
            The session, or None if the token is wrong, or is another's.

        Raises:
            ValueError: If the token is the owner's and the pseudonym is none.
        """
        given = token.encode("utf-8", "replace")
        # Every token is compared, so that the time says nothing of which one was near.
        names = [
            name
            for name, known in self.annotators.items()
            if hmac.compare_digest(given, known.encode())
        ]
        if hmac.compare_digest(given, self.owner.encode()):
            if not annotator.strip() or len(annotator) > MAX_NAME or not annotator.isprintable():
                raise ValueError(f"a pseudonym has 1 to {MAX_NAME} characters on one line")
            return self._session(annotator.strip(), owner=True)
        if names and annotator in ("", names[0]):
            return self._session(names[0], owner=False)
        return None

    @property
    def cookie_name(self) -> str:
        """What a session's cookie is called: another name in each study.

        A browser sends a host's cookies to all its ports, and of two with one name keeps the last.
        """
        return f"textgym_{self._sign('name', '')[:16]}"

    def cookie(self, session: Session) -> str:
        """Writes a session down, signed."""
        written = json.dumps(asdict(session)).encode()
        content = base64.urlsafe_b64encode(written).decode().rstrip("=")
        return f"{content}.{self._sign('session', content)}"

    def session(self, cookie: str) -> Session | None:
        """Reads a session; None if it was not signed here, or is over."""
        content, _, signature = cookie.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("session", content).encode()):
            return None
        try:
            session = Session(**json.loads(base64.urlsafe_b64decode(content + "==")))
        except (binascii.Error, TypeError, ValueError):
            return None
        return session if session.until > time.time() else None

    def forgery_token(self, session: Session) -> str:
        """What whoever posts in a session shows besides its cookie."""
        return self._sign("forgery", self.cookie(session))

    def _session(self, annotator: str, *, owner: bool) -> Session:
        return Session(
            annotator=annotator,
            owner=owner,
            until=time.time() + _SECONDS,
            number=secrets.token_hex(8),
        )

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def write_privately(path: Path, text: str) -> None:
    """Writes a file that only its owner reads, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AccessError(f"{path} is {_FILE} ({error}): name another by --access") from error
    if not isinstance(stored, dict) or not isinstance(stored.get("annotators"), dict):
        raise AccessError(f"{path} is {_FILE}: name another by --access")
    tokens = (stored.get("owner"), *stored["annotators"].values())
    if not all(isinstance(token, str) for token in tokens):
        raise AccessError(f"{path} is {_FILE}: name another by --access")
    return stored
