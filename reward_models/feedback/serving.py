"""The server: one process on a socket of its own, until it is stopped."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn

from reward_models.feedback.application import make_application
from reward_models.feedback.gate import Addresses, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reward_models.feedback.access import Access
    from reward_models.feedback.application import Study

__all__ = ["Place", "ServingError", "serve"]

_BACKLOG = 128
_SECONDS_TO_END = 5  # for requests that run when the server is stopped


class ServingError(RuntimeError):
    """The server cannot start; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the page is served.

    Raises:
        ServingError: If other machines are let in and it is not said by which address, or that is
            none.

    Attributes:
        host: The address to listen on. Another than this machine's own needs ``urls``.
        port: The port; 0 for any that is free.
        urls: Further addresses by which people reach it, such as ``https://label.example.org``.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    urls: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not _is_loopback(self.host) and not self.urls:
            raise ServingError(
                f"{self.host} lets other machines in: say by which address people reach it, as in "
                f"--urls http://192.168.1.5:{self.port}"
            )
        try:
            for url in self.urls:
                origin_of(url)
        except ValueError as error:
            raise ServingError(str(error)) from error


def serve(
    study: Study, access: Access | None, place: Place, on_ready: Callable[[str], None]
) -> None:
    """Serves until the process is interrupted.

    Args:
        study: What is asked.
        access: Who may come in.
        place: Where.
        on_ready: Is called with the page's address once it can be opened.

    Raises:
        ServingError: If there is no token, or the address is taken or none of this machine's.
    """
    if access is None:
        raise ServingError(f"{place.host} needs a token: give an access file")
    listening = _listen(place)
    address, port = listening.getsockname()[:2]
    name = f"[{address}]" if ":" in address else address
    urls = [origin_of(url) for url in place.urls]
    urls += [origin_of(f"http://{name}:{port}")] if _is_loopback(address) else []
    addresses = Addresses.of(port, urls)
    config = uvicorn.Config(
        make_application(study, access, addresses),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=_SECONDS_TO_END,
    )
    server = _Server(config, lambda: on_ready(urls[0]))
    with listening:
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says when it has started."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, and says so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def _listen(place: Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((place.host, place.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        remedy = "name a free one by --port" if error.errno == errno.EADDRINUSE else "name another"
        raise ServingError(
            f"{place.host}:{place.port} cannot be listened on ({error.strerror}): {remedy}"
        ) from error
    return listening


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
