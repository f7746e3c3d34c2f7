"""The routes of the page, as a Starlette application; the package says what each takes and gives.

Each request is one or two transactions of the store, in a thread of its own; nothing is remembered
here between two requests, so several servers may serve one store.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from reward_models.feedback.gate import Addresses, Gate
from reward_models.feedback.overview import public_name, summarise
from reward_models.preferences.databases import StoreError
from reward_models.preferences.exchange import judgement_lines
from reward_models.preferences.formats import preference_lines
from reward_models.preferences.leases import ConflictError, Lease, SheetVote, Vote
from reward_models.preferences.pairs import Pair

if TYPE_CHECKING:
    from starlette.requests import Request

    from reward_models.feedback.access import Access, Session
    from reward_models.preferences.handout import Handout
    from reward_models.preferences.store import PreferenceStore

__all__ = ["MAX_BODY", "MAX_NOTE", "Study", "make_application"]

MAX_BODY = 64 * 1024
"""How many bytes a body has at most; nothing that people say of a pair is longer."""
MAX_NOTE = 4000
"""How many characters a note has at most."""

_MAX_KEY = 200
_ANSWERS = ("left", "right", "tie", "both_bad", "skip")
_STRENGTHS = (1, 2, 3, 4)
_MONTH = 30 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is asked, and where the answers go.

    Attributes:
        store: The pairs and answers.
        handout: Who gets which.
        rubric: What annotators are told to look at, as plain text.
        title: The name of the study, on the page.
    """

    store: PreferenceStore
    handout: Handout
    rubric: str
    title: str = "Which text is better?"


def make_application(study: Study, access: Access, addresses: Addresses) -> Starlette:
    """Makes the application.

    Args:
        study: What is asked.
        access: Who may come in.
        addresses: By which names people reach it.
    """
    pages = _Pages(study, access)
    static = StaticFiles(packages=[("reward_models.feedback", "static")])
    return Starlette(
        routes=[
            Route("/", pages.page),
            Route("/api/session", pages.enter, methods=["POST"]),
            Route("/api/session", pages.session),
            Route("/api/next", pages.next),
            Route("/api/vote", pages.vote, methods=["POST"]),
            Route("/api/undo", pages.undo, methods=["POST"]),
            Route("/api/adjudicate", pages.adjudicate, methods=["POST"]),
            Route("/overview", pages.overview),
            Route("/export.jsonl", pages.export),
            Mount("/static", static),
        ],
        middleware=[Middleware(Gate, addresses=addresses)],
        exception_handlers={
            HTTPException: _refused,
            ConflictError: _contradicted,
            StoreError: _failed,
        },
    )


class _Pages:
    """The routes, over one study."""

    def __init__(self, study: Study, access: Access) -> None:
        self._study = study
        self._handout = study.handout
        self._access = access
        self._templates = Environment(
            loader=PackageLoader("reward_models.feedback", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    async def page(self, _: Request) -> Response:
        """The page itself; it holds no text of any pair."""
        return self._render("page.html", rubric=self._study.rubric, title=self._study.title)

    async def enter(self, request: Request) -> Response:
        """Gives a session for a token."""
        body = await _body(request)
        token, annotator = _text(body, "token"), _text(body, "annotator")
        try:
            session = self._access.enter(token, annotator)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        if session is None:
            raise HTTPException(403, "this token is not known, or is another annotator's")
        response = self._described(session)
        response.set_cookie(
            self._access.cookie_name,
            self._access.cookie(session),
            max_age=_MONTH,
            httponly=True,
            samesite="strict",
            secure=request.headers.get("origin", "").startswith("https:"),
        )
        return response

    async def session(self, request: Request) -> Response:
        """Says who one is."""
        return self._described(self._session(request))

    async def next(self, request: Request) -> Response:
        """Hands out a pair."""
        annotator = self._session(request).annotator
        lease = await run_in_threadpool(self._handout.next, annotator)
        return await self._turn(annotator, lease)

    async def vote(self, request: Request) -> Response:
        """Stores an answer and hands out the next pair."""
        session = self._poster(request)
        body = await _body(request)
        read = _sheet_vote if "said" in body else _vote
        vote = read(body, session.annotator)
        try:
            lease = await run_in_threadpool(self._handout.answer, vote)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return await self._turn(session.annotator, lease)

    async def undo(self, request: Request) -> Response:
        """Takes the last answer back and hands its pair out again."""
        session = self._poster(request)
        key = _text(await _body(request), "key", _MAX_KEY, empty=False)
        lease = await run_in_threadpool(self._handout.undo, session.annotator, key)
        return await self._turn(session.annotator, lease)

    async def adjudicate(self, request: Request) -> Response:
        """Hands out what people disagree about."""
        session = self._owner(self._poster(request))
        name = _text(await _body(request), "subject", empty=False)
        items = await run_in_threadpool(self._handout.items)
        subject = next((item.subject for item in items if public_name(item.subject) == name), "")
        lease = await run_in_threadpool(self._handout.assign, subject, session.annotator)
        return await self._turn(session.annotator, lease)

    async def overview(self, request: Request) -> Response:
        """Counts, agreement, who did what, and disagreements."""
        session = self._owner(self._session(request))
        summary = await run_in_threadpool(summarise, self._study.store, self._handout)
        token = self._access.forgery_token(session)
        return self._render("overview.html", title=self._study.title, csrf=token, **summary)

    async def export(self, request: Request) -> Response:
        """The answers, as ``textgym reward train`` reads them."""
        self._owner(self._session(request))
        lines = await run_in_threadpool(self._lines)
        headers = {"Content-Disposition": 'attachment; filename="preferences.jsonl"'}
        return PlainTextResponse(lines, headers=headers)

    def _lines(self) -> str:
        question = self._handout.question
        if question in ("rank", "rate", "spans"):
            return judgement_lines(self._study.store, question)
        return preference_lines(self._study.store.preferences())

    async def _turn(self, annotator: str, lease: Lease | None) -> Response:
        progress = await run_in_threadpool(self._handout.progress, annotator)
        return JSONResponse(
            {
                "item": None if lease is None else _shown(lease),
                "progress": {
                    "answered": progress.answered,
                    "remaining": progress.remaining,
                    "can_undo": progress.can_undo,
                },
            }
        )

    def _render(self, name: str, **values: Any) -> Response:
        return HTMLResponse(self._templates.get_template(name).render(**values))

    def _described(self, session: Session) -> Response:
        return JSONResponse(
            {
                "annotator": session.annotator,
                "owner": session.owner,
                "csrf": self._access.forgery_token(session),
            }
        )

    def _session(self, request: Request) -> Session:
        cookie = request.cookies.get(self._access.cookie_name, "")
        session = self._access.session(cookie)
        if session is None:
            raise HTTPException(403, "there is no session: come in by the link with the token")
        return session

    def _poster(self, request: Request) -> Session:
        """The session of one who posts, and shows its token against forgery."""
        session = self._session(request)
        given = request.headers.get("x-csrf-token", "").encode()
        if not hmac.compare_digest(given, self._access.forgery_token(session).encode()):
            raise HTTPException(403, "the token against forgery is missing or wrong: reload")
        return session

    def _owner(self, session: Session) -> Session:
        if not session.owner:
            raise HTTPException(403, "only the owner of the study sees this")
        return session


def _shown(lease: Lease) -> dict[str, Any]:
    """What a page may know of a lease: the texts, and a name that says nothing of them."""
    known = {"lease": lease.lease, "question": lease.question, "prompt": lease.subject.prompt}
    if not isinstance(lease.subject, Pair):
        return {**known, "texts": [lease.sheet.texts[number] for number in lease.order]}
    left, right = (lease.pair.a, lease.pair.b)
    if lease.shown_left == "b":
        left, right = right, left
    return {**known, "left": left, "right": right}


def _vote(body: dict[str, Any], annotator: str) -> Vote:
    answer, strength = body.get("answer"), body.get("strength")
    if answer not in _ANSWERS:
        raise HTTPException(422, f"the answer is one of {', '.join(_ANSWERS)}")
    if strength is not None and (isinstance(strength, bool) or strength not in _STRENGTHS):
        raise HTTPException(422, "strength is 1, 2, 3, 4 or nothing")
    return Vote(
        lease=_text(body, "lease", _MAX_KEY, empty=False),
        annotator=annotator,
        answer=answer,
        key=_text(body, "key", _MAX_KEY, empty=False),
        strength=strength if answer in ("left", "right") else None,
        note=_text(body, "note", MAX_NOTE),
    )


def _sheet_vote(body: dict[str, Any], annotator: str) -> SheetVote:
    """What is said of a sheet; whether it answers the question, the handout knows."""
    return SheetVote(
        lease=_text(body, "lease", _MAX_KEY, empty=False),
        annotator=annotator,
        said=body["said"],
        key=_text(body, "key", _MAX_KEY, empty=False),
        note=_text(body, "note", MAX_NOTE),
    )


def _text(body: dict[str, Any], name: str, most: int = MAX_NOTE, *, empty: bool = True) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > most or not (value or empty):
        raise HTTPException(422, f"{name} is a text of {0 if empty else 1} to {most} characters")
    return value.encode("utf-8", "replace").decode()  # half a character is a question mark


async def _body(request: Request) -> dict[str, Any]:
    """Reads a body of JSON, as much as may be."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(422, "the body is no application/json")
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > MAX_BODY:
            raise HTTPException(413, f"the body has more than {MAX_BODY} bytes")
    try:
        body = json.loads(bytes(read))
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, "the body is no JSON") from error
    if not isinstance(body, dict):
        raise HTTPException(422, "the body is no object")
    return body


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it was registered for this class
    return JSONResponse({"error": error.detail}, status_code=error.status_code)


async def _contradicted(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=409)


async def _failed(_: Request, __: Exception) -> Response:
    """What the database says may name files, and is for the one who runs the server."""
    return JSONResponse(
        {"error": "the answers cannot be kept at the moment: try again"}, status_code=503
    )
