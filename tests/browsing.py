"""A study in a real browser: who looks at it, what they press, and texts that mean harm."""

import socket
import threading
from contextlib import contextmanager

from reward_models.preferences import (
    Handout,
    HandoutConfig,
    PreferenceStore,
    WorkItem,
    make_sheets,
)

OWNER, ANNA, BEN = "o" * 43, "a" * 43, "b" * 43
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 375, "height": 812}
HOSTILE = [
    "<script>document.title = 'run'</script>",
    "</script><script>document.title = 'run'</script>",
    "\"'><img src=x onerror=\"document.title = 'run'\"><svg onload=\"document.title = 'run'\">",
    "<a href=\"javascript:document.title = 'run'\">link</a> [link](javascript:alert(1))",
    "<style>* { display: none }</style><iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "\u202egnp.exe\u202c \u2066one\u2069 \0 \x1b[31m \ufeff\u200b",
    "line\nbreak\r\n\ttab  two spaces\n```python\nif a < b:\n    `c`\n```\n**b** # no\n# yes",
    "x" * 1_000_000,
    "` ** ` ".join("*`#" for _ in range(3000)),
    "```a\n" * 20_000,
    "```\n```\n" * 10_000,
]
MANY_WORDS = ["w " * 150_000, "blanks behind" + " " * 100_000]
"""Slow to lay out, so that they are tried where a word is a part of the page, and nowhere else."""
MOST_PARTS = 6100
"""Elements that a page has at most of three texts, each with 2,000 marks and no more."""


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Site:
    """A study that is served, and the people who look at it."""

    def __init__(self, browser, store, handout, clock, home):
        self.browser, self.store, self.handout = browser, store, handout
        self.clock, self.home, self.contexts, self.wrong = clock, home, [], []

    def person(self, token, annotator="", **settings):
        """A browser of somebody's own, with the page open."""
        context = self.browser.new_context(**{"viewport": WIDE, **settings})
        context.set_default_timeout(30_000)
        self.contexts.append(context)
        return self.tab(context, f"/#token={token}&annotator={annotator}")

    def tab(self, context, path="/"):
        page = context.new_page()
        page.on("dialog", lambda dialog: (self.wrong.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._said)
        page.goto(self.home + path)
        return page

    def _said(self, message):
        """Keeps errors, but for the browser's own remarks on what a server refuses."""
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.wrong.append(message.text)


@contextmanager
def served(browser, path, given, question="compare", **config):
    """A study of pairs, or of texts for another question, that is served while this is open."""
    import uvicorn

    from reward_models.feedback.access import Access
    from reward_models.feedback.application import Study, make_application
    from reward_models.feedback.gate import Addresses

    with PreferenceStore(path) as store, socket.socket() as listening:
        clock = Clock()
        settings = HandoutConfig(**{"repeat_every": 0, "lease_seconds": 60.0, **config})
        handout = Handout(store, settings, question=question, clock=clock)
        if question in ("compare", "edits"):
            store.add_pairs(given)
            names = [pair.pair_id for pair in given]
        else:
            sheets = make_sheets(given, question)
            store.add_sheets(sheets)
            names = [sheet.sheet_id for sheet in sheets]
        handout.fill(
            [
                WorkItem(subject=name, rank=n, chosen_by="random", question=question)
                for n, name in enumerate(names)
            ]
        )
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        application = make_application(
            Study(store=store, handout=handout, rubric="Which one is kinder?"),
            Access(OWNER, {"anna": ANNA, "ben": BEN}),
            Addresses.of(port),
        )
        server = uvicorn.Server(uvicorn.Config(application, lifespan="off", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        site = Site(browser, store, handout, clock, f"http://127.0.0.1:{port}")
        try:
            yield site
        finally:
            for context in site.contexts:
                context.close()
            server.should_exit = True
            thread.join()


def says(page, text):
    from playwright.sync_api import expect

    expect(page.locator("#status")).to_contain_text(text, timeout=30_000)


def shows(page, prompt):
    from playwright.sync_api import expect

    expect(page.locator("#prompt")).to_have_text(prompt, timeout=30_000)


def press(page, key, said):
    page.keyboard.press(key)
    says(page, said)
