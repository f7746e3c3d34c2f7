"""How many answers a second the page stores, and how long an annotator waits, with 50 at once.

``python -m pytest tests/benchmarks/test_feedback_load.py -s``. Server, annotators and database run
on this machine, so the annotators' own work is in the figures. An answer is acknowledged when it
is on the disk; the response has the next pair.
"""

import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

import pytest

from reward_models.preferences import Pair, PreferenceStore
from tests.commands import ENVIRONMENT, ROOT
from tests.postgres import running_server
from tests.programs import require_modules

require_modules("starlette", "uvicorn", extra="feedback")

ANNOTATORS, SECONDS, PAIRS, TRIES = 50, 10, 20_000, 100


class Annotator:
    """Answers as fast as the server lets it, until the time is over."""

    def __init__(self, port, token, number):
        self.port, self.origin = port, f"http://127.0.0.1:{port}"
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.headers = {"Origin": self.origin, "Content-Type": "application/json"}
        said = self.ask("POST", "/api/session", {"token": token, "annotator": f"n{number}"})
        self.headers["X-CSRF-Token"] = said["csrf"]
        self.seconds = []

    def ask(self, method, path, body=None):
        """Asks, and once more over a new connection where the old one had been idle for too long.

        The server closes such a one after five seconds, which fifty people who come in one after
        another take on a slow machine. A vote that is sent again is the same vote.
        """
        sent = None if body is None else json.dumps(body)
        for left in reversed(range(TRIES)):
            try:
                self.connection.request(method, path, sent, self.headers)
                response = self.connection.getresponse()
                said = json.loads(response.read())
                break
            except ConnectionError:
                if not left:
                    raise
                self.connection.close()
                time.sleep(0.1)
        assert response.status == 200, said
        if "set-cookie" in response.headers:
            self.headers["Cookie"] = response.headers["set-cookie"].partition(";")[0]
        return said

    def work(self, until):
        turn = self.ask("GET", "/api/next")
        while time.monotonic() < until:
            vote = {"lease": turn["item"]["lease"], "answer": "left", "key": "k"}
            start = time.perf_counter()
            turn = self.ask("POST", "/api/vote", vote)
            self.seconds.append(time.perf_counter() - start)


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_fifty_annotators_at_once(kind, tmp_path):
    if kind == "SQLite":
        measure(kind, str(tmp_path / "votes.sqlite"), tmp_path)
    else:
        with running_server() as server:
            measure(kind, server.url(), tmp_path)


def measure(kind, url, folder):
    with PreferenceStore(url) as store:
        store.add_pairs(
            [
                Pair(pair_id=f"{n:06}", prompt="p" * 200, a="a" * 800, b="b" * 800)
                for n in range(PAIRS)
            ]
        )
    command = [sys.executable, "-m", "textgym", "label", url, "--port", "0", "--no-browser"]
    command += ["--access", str(folder / "access.json")]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | ENVIRONMENT
    )
    try:
        port, token = re.search(r":(\d+)/#token=([\w-]+)", server.stdout.readline()).groups()
        people = [Annotator(int(port), token, number) for number in range(ANNOTATORS)]
        until = time.monotonic() + SECONDS
        threads = [threading.Thread(target=each.work, args=(until,)) for each in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for each in people:
            each.connection.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=300)
    waits = sorted(second for each in people for second in each.seconds)
    with PreferenceStore(url) as store:
        answers = store.answers()
    assert len(answers) == len(waits)
    assert len({answer.pair_id for answer in answers if answer.round == 1}) == sum(
        answer.round == 1 for answer in answers
    ), "nobody was handed another's pair"
    middle, last = statistics.median(waits), waits[int(0.99 * len(waits))]
    print(
        f"\n{kind}: {len(waits) / SECONDS:.0f} answers a second; an answer waits {middle:.3f} s in "
        f"the middle, {last:.3f} s at the 99th percentile"
    )
