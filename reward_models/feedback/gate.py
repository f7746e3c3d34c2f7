"""What stands before every route: whose page asks, for which host; and what our pages may do.

A server on this machine alone is still within reach of every page that a browser on it shows. So a
request names a host that is ours, against names that lead elsewhere by and by; whoever posts comes
from a page of ours; and our pages run no script and load nothing but our own files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Addresses", "Gate", "origin_of"]

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_READING = ("GET", "HEAD")
_PORTS = {"http": 80, "https": 443}  # which a browser does not name


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """By which names people reach the page.

    Attributes:
        hosts: As a browser names them, with the port where it is not the scheme's own.
        origins: The same with the scheme.
    """

    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, port: int, urls: Sequence[str] = ()) -> Addresses:
        """The names of this machine, and others.

        Args:
            port: Where the server listens.
            urls: Further addresses, such as ``https://label.example.org``.

        Raises:
            ValueError: If one is no address of that form.
        """
        local = [f"http://{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")]
        origins = frozenset(origin_of(url) for url in (*local, *urls))
        hosts = frozenset(origin.partition("://")[2] for origin in origins)
        return cls(hosts=hosts, origins=origins)


def origin_of(url: str) -> str:
    """Writes an address as a browser does: small ASCII letters, no port that is the scheme's own.

    Args:
        url: Such as ``https://label.example.org/``.

    Raises:
        ValueError: If it is no address of a page at a server's root.
    """
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port
        name = f"[{name}]" if ":" in name else name.encode("idna").decode()
    except ValueError:  # such as a port that is no number
        parts, name, port = urlsplit(""), "", None
    beside = "@" in parts.netloc, parts.path.strip("/"), parts.query, parts.fragment
    if parts.scheme not in _PORTS or not name or any(beside):
        raise ValueError(f"{url} is no address of a page: write it as https://label.example.org")
    shown = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{name}{shown}"


class Gate:
    """Refuses requests that no page of ours makes, and sends the headers that keep ours in."""

    def __init__(self, app: ASGIApp, addresses: Addresses) -> None:
        self._app = app
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        wrong = self._wrong(scope["method"], Headers(scope=scope))
        app = JSONResponse({"error": wrong}, status_code=403) if wrong else self._app
        await app(scope, receive, send_with_headers)

    def _wrong(self, method: str, headers: Headers) -> str:
        """What is wrong with a request, in a sentence; empty if nothing is."""
        if headers.getlist("host") != [headers.get("host", "")] or (
            headers.get("host", "").lower() not in self._addresses.hosts
        ):
            return "this host is not one that the page is served for"
        origins = headers.getlist("origin")
        if not origins and method in _READING:
            return ""
        if len(origins) != 1 or origins[0].lower() not in self._addresses.origins:
            return "this comes from a page of another origin"
        return ""
