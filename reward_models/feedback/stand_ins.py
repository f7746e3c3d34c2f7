"""Simulated annotators at the page's own routes: they come in, are shown texts, and vote.

So all that lies between a person and the store can be tried with a known truth: leases, sides,
repeats, several people at once. A vote whose acknowledgement was lost is sent again under the same
key, and stored once.

Simplification: they answer as fast as the server lets them, and never undo.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reward_models.preferences.annotators import SimulatedAnnotator

__all__ = ["Client", "PageError", "answer_at_page"]

_BUSY = 503  # the database cannot be reached, and the same vote may be sent again
_CONTRADICTED = 409  # the pair was answered in another tab
_OK = 200
_LONGEST_WAIT = 2.0
_AT_THE_DOOR = 2.0  # seconds of patience where nothing was said yet that could be lost
_PAIRS = ("compare", "edits")


class PageError(RuntimeError):
    """The page refuses; the message says what it said."""


class Client(Protocol):
    """What an HTTP client is asked for: httpx2's ``Client``, or a test's."""

    def get(self, url: str) -> Any:
        """Reads a route."""

    def post(self, url: str, *, json: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        """Posts JSON to a route."""


def answer_at_page(
    client: Client,
    origin: str,
    token: str,
    annotator: SimulatedAnnotator,
    *,
    most: int | None = None,
    patience: float = 30.0,
    on_answer: Callable[[int], None] = lambda _: None,
) -> int:
    """Answers what the page hands out, until nothing is left.

    Args:
        client: Keeps cookies, and knows the page's address.
        origin: The page's own, such as ``http://127.0.0.1:8765``.
        token: The access file's, or the annotator's own.
        annotator: Who answers, under its name.
        most: After how many answers to stop; None for no bound.
        patience: How long a server that fails after it has let them in is asked again, in seconds.
        on_answer: Is told after each answer how many it has given here.

    Returns:
        How many answers were given.

    Raises:
        PageError: If the page refuses, or stays out of reach for longer than the patience.
    """
    headers = {"Origin": origin}

    def post(route: str, body: Mapping[str, Any], patience: float = patience) -> Any:
        return _asked(lambda: client.post(route, json=body, headers=headers), patience)

    who = {"token": token, "annotator": annotator.name}
    entered = _content(post("/api/session", who, min(patience, _AT_THE_DOOR)))
    headers["X-CSRF-Token"] = entered["csrf"]
    turn = _content(_asked(lambda: client.get("/api/next"), patience))
    given = 0
    while turn["item"] is not None and (most is None or given < most):
        item = turn["item"]
        said = _said_of(annotator, item, turn["progress"]["answered"])
        vote = {"lease": item["lease"], "key": item["lease"], **said}
        response = post("/api/vote", vote)
        if response.status_code == _CONTRADICTED:
            turn = _content(_asked(lambda: client.get("/api/next"), patience))
            if turn["item"] is not None and turn["item"]["lease"] == item["lease"]:
                _content(response)  # it would be shown for ever
            continue
        turn = _content(response)
        given += 1
        on_answer(given)
    return given


def _said_of(
    annotator: SimulatedAnnotator, item: Mapping[str, Any], answered: int
) -> dict[str, Any]:
    """What somebody says of an item, as a vote has it.

    Raises:
        PageError: If the page asks for something else.
    """
    question, prompt = item["question"], item["prompt"]
    if question in _PAIRS:
        return {"answer": annotator.choose(prompt, item["left"], item["right"], answered)}
    if question == "rank":
        return {"said": annotator.rank(prompt, item["texts"], answered)}
    if question == "rate":
        return {"said": annotator.rate(prompt, item["texts"][0], answered)}
    if question == "spans":
        return {"said": annotator.mark(prompt, item["texts"][0], answered)}
    raise PageError(f"the page asks to {question}, which simulated annotators have not learned")


def _asked(ask: Callable[[], Any], patience: float) -> Any:
    """Asks until there is an answer that is not "busy", waiting longer each time."""
    deadline, wait = time.monotonic() + patience, 0.05
    while True:
        try:
            response = ask()
        except Exception as error:
            # Clients have exceptions of their own for a connection that is lost or refused.
            if time.monotonic() > deadline or not type(error).__module__.startswith("http"):
                raise
        else:
            if response.status_code != _BUSY or time.monotonic() > deadline:
                return response
        time.sleep(wait)
        wait = min(_LONGEST_WAIT, 2 * wait)


def _content(response: Any) -> Any:
    try:
        said = response.json()
    except ValueError as error:
        raise PageError(
            f"this is no page of textgym label: it answers {response.status_code}, and no JSON"
        ) from error
    if response.status_code != _OK:
        raise PageError(f"the page refuses ({response.status_code}): {said.get('error', said)}")
    return said
