"""``textgym label`` while it runs, and the first thing that its page does."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager

from tests.commands import ENVIRONMENT, ROOT


@contextmanager
def labelling(*arguments):
    """The running command, and the first line that it prints."""
    command = [sys.executable, "-W", "error::UserWarning", "-m", "textgym", "label", *arguments]
    with subprocess.Popen(
        [*command, "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield process, line
        finally:
            process.kill()


def enter(line):
    """What the link's page does first."""
    import httpx2

    url, token, name = re.search(r"(http://\S+)/#token=([\w-]+)&annotator=(\S+)", line).groups()
    client = httpx2.Client(base_url=url, headers={"Origin": url})
    said = client.post("/api/session", json={"token": token, "annotator": name}).json()
    client.headers["X-CSRF-Token"] = said["csrf"]
    return client, token
