"""Asks a chat model behind an OpenAI-compatible HTTP endpoint, and takes no for an answer.

One request, one text back. What passes by itself (429, 5xx, a connection that breaks or hangs) is
tried again, each time after a longer wait; everything else is one line that says what to do. The
key comes from an environment variable, is sent to the endpoint alone, and is in no message.

Simplifications: no streaming; redirects are not followed, because the key would go with them.
"""

from __future__ import annotations

import ipaddress
import json
import os
import random
import time
from collections.abc import Mapping  # noqa: TC003 - settings are read off the annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from textgym.ranges import COUNT, NOT_NEGATIVE, POSITIVE, Range, require_ranges

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    import httpx2

__all__ = ["EndpointConfig", "EndpointError", "ask", "chat_url", "open_client"]

_LONGEST_ANSWER = 1 << 20
_LONGEST_WAIT = 60.0
_SHOWN = 200
_OK, _TOO_MANY, _SERVER_ERRORS = 200, 429, 500
_REQUEST_TIMEOUT = 408
_NO_KEY = (401, 403)


class EndpointError(RuntimeError):
    """The endpoint cannot be asked, or gave no answer; the message is one line.

    Attributes:
        row: Which text of a batch was asked about, if that is known.
        status: What the endpoint answered with, or 0.
    """

    row: int | None = None
    status: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """Where a chat model is, and with how much patience it is asked."""

    url: str
    """Its address, such as ``http://localhost:8000/v1``."""
    model: str
    """The model's name, as the endpoint knows it."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; where it is not set, none is sent."""
    temperature: float = 0.0
    """How freely the model answers; at 0 most of them repeat themselves, and scores should."""
    max_tokens: int = 256
    """Most tokens of an answer. More leaves room to think aloud, and costs more."""
    timeout: float = 60.0
    """Seconds for one whole request. More waits longer for a slow model, and for a dead one."""
    retries: int = 4
    """How often a request that failed is sent again. More survives longer outages."""
    backoff: float = 1.0
    """Seconds before the first retry; each later one waits twice as long, up to a minute."""

    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """What each request holds besides, such as {"seed": 1}; None takes a field out, as in
    {"temperature": None, "max_tokens": None, "max_completion_tokens": 2000} for OpenAI's models
    that reason."""
    json_schema: bool = True
    """Ask for the form of the answer by response_format; an endpoint that refuses that is asked
    without. False never asks for it, which leaves the judge room to think aloud first."""

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If one is out of range, or extra_body is no object of JSON.
        """
        try:
            json.dumps(dict(self.extra_body), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"extra_body is no object of JSON: {error}") from error
        require_ranges(
            self,
            {
                **dict.fromkeys(("temperature", "backoff"), NOT_NEGATIVE),
                "max_tokens": COUNT,
                "timeout": POSITIVE,
                "retries": Range(0, COUNT.high),
            },
        )


def chat_url(url: str) -> str:
    """Returns where chats are posted to, from an endpoint's address with or without the path.

    Raises:
        ValueError: If it is no address of HTTP, or has a password in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no address; give one such as 'http://localhost:8000/v1'")
    if parts.username or parts.password or parts.query:
        raise ValueError(
            "the endpoint's address holds a user name, a password or a query; give the key in an "
            "environment variable, see api_key_env"
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path = f"{path or '/v1'}/chat/completions"
    return parts._replace(path=path).geturl()


def open_client(config: EndpointConfig) -> httpx2.Client:
    """Opens a client that sends the key; it is used as a context manager, by many threads.

    Raises:
        ModuleNotFoundError: If httpx2 is not installed; the message says how to get it.
        ValueError: If the address is none, or the key would travel without encryption.
    """
    try:
        import httpx2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'a judge over HTTP needs httpx2: pip install "textgym[judge]"', name="httpx2"
        ) from error

    key = os.environ.get(config.api_key_env, "").strip()
    url = urlsplit(chat_url(config.url))
    if key and url.scheme == "http" and not _is_local(url.hostname or ""):
        raise ValueError(
            f"the key in {config.api_key_env} would go to {url.hostname} without encryption: use "
            "https, or unset the variable"
        )
    if key and not (key.isascii() and key.isprintable()):
        raise ValueError(f"the key in {config.api_key_env} has characters that no key has")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx2.Client(headers=headers, timeout=config.timeout)


def ask(
    client: httpx2.Client,
    config: EndpointConfig,
    messages: Sequence[Mapping[str, str]],
    stop: threading.Event,
    schema: Mapping[str, Any] | None = None,
) -> str:
    """Sends a chat, and returns the answer's text.

    Args:
        client: What ``open_client`` gave.
        config: The same config.
        messages: The chat, each with ``role`` and ``content``.
        stop: Once it is set, nothing is tried again.
        schema: Of the JSON that the answer is to be, if the endpoint shall keep the model to it;
            sent where the config says so.

    Raises:
        EndpointError: If there is no answer after all retries, or trying again is no use.
    """
    body: dict[str, Any] = {
        "model": config.model,
        "messages": list(messages),
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
    }
    if schema is not None and config.json_schema:
        form = {"name": "answer", "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    body = {
        name: value for name, value in {**body, **config.extra_body}.items() if value is not None
    }
    trouble, wait = "", 0.0
    for attempt in range(config.retries + 1):
        if attempt:
            # A little at random, so that threads that failed together do not come back together.
            longer = config.backoff * 2.0 ** (attempt - 1) * (1 + random.random() / 4)  # noqa: S311
            if stop.wait(min(max(wait, longer), _LONGEST_WAIT)):
                break
        status, content, wait, trouble = _post(client, config, body)
        if status == _OK:
            return _text_of(content, config)
        if not trouble:
            refused = EndpointError(_refusal(status, content, config))
            refused.status = status
            raise refused
    raise EndpointError(
        f"{chat_url(config.url)} gave no answer in {config.retries + 1} attempts; the last one "
        f"ended with {trouble}. Is it running? A longer timeout or more retries may help"
    )


def _post(
    client: httpx2.Client, config: EndpointConfig, body: Mapping[str, Any]
) -> tuple[int, bytes, float, str]:
    """Sends a request once.

    Returns:
        The status, the content, how long the endpoint asks us to wait, and, where it is worth
        another attempt, what the trouble was.
    """
    import httpx2

    deadline = time.monotonic() + config.timeout
    content = b""
    try:
        with client.stream("POST", chat_url(config.url), json=body) as response:
            for part in response.iter_bytes():
                content += part
                if time.monotonic() > deadline:  # the client's own timeout is of each read
                    return 0, b"", 0.0, f"a timeout of {config.timeout:g} seconds"
                if len(content) > _LONGEST_ANSWER:
                    raise EndpointError(f"{chat_url(config.url)} sent more than a megabyte")
            status = int(response.status_code)
            wait = _retry_after(response.headers.get("retry-after", ""))
    except httpx2.TimeoutException:
        return 0, b"", 0.0, f"a timeout of {config.timeout:g} seconds"
    except httpx2.TransportError as error:
        return 0, b"", 0.0, f"{type(error).__name__} ({_one_line(str(error))})"
    except httpx2.DecodingError as error:
        raise EndpointError(f"{chat_url(config.url)} sent what cannot be decoded") from error
    passes = status in (_TOO_MANY, _REQUEST_TIMEOUT) or status >= _SERVER_ERRORS
    return status, content, wait, f"status {status}" if passes else ""


def _text_of(content: bytes, config: EndpointConfig) -> str:
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        text = None
    if not isinstance(text, str):
        raise EndpointError(
            f"{chat_url(config.url)} does not answer as a chat model does; it sent "
            f"{_one_line(content.decode(errors='replace'))!r}"
        )
    return text


def _refusal(status: int, content: bytes, config: EndpointConfig) -> str:
    url, name = chat_url(config.url), config.api_key_env
    if status in _NO_KEY:
        state = "was refused" if os.environ.get(name, "").strip() else "is not set"
        return f"{url} wants a key (status {status}): the one in the variable {name} {state}"
    # What it says may quote the request, but the key is in a header and in no body.
    said = _one_line(content.decode(errors="replace"))
    return f"{url} refused the model {config.model!r} with status {status}: {said!r}"


def _retry_after(value: str) -> float:
    """Seconds that a header asks for; its other form, a date, is not read."""
    try:
        return min(max(float(value), 0.0), _LONGEST_WAIT)
    except ValueError:
        return 0.0


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
