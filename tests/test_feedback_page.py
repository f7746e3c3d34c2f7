"""FEEDBACK.md can be followed: each of its commands runs, in its order."""

import re
import shlex
import signal
import subprocess

from tests.commands import ROOT, run_commands
from tests.programs import require_modules
from tests.running_page import enter, labelling

require_modules("starlette", "uvicorn", extra="feedback")
require_modules("httpx2", extra="judge")

PAGE = (ROOT / "FEEDBACK.md").read_text(encoding="utf-8")


def test_the_five_minutes_are_as_written(tmp_path):
    """A person who follows them ends with a file of as many answers as there are pairs."""
    install, write, export = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.M | re.S)
    assert install == "pip install 'textgym[feedback]'\n"
    texts, command = write.split("textgym label ")
    subprocess.run(["/bin/bash", "-c", texts], cwd=tmp_path, check=True)
    words = [str(tmp_path / word) if "." in word else word for word in shlex.split(command)]
    with labelling(*words) as (process, line):
        client, _ = enter(line)
        turn = client.get("/api/next").json()
        pairs = turn["progress"]["remaining"]
        while turn["item"]:
            vote = {"lease": turn["item"]["lease"], "answer": "left", "key": "k"}
            turn = client.post("/api/vote", json=vote).json()
        client.close()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    words = [str(tmp_path / w) if "." in w else w for w in shlex.split(export)[1:]]
    (said,) = run_commands(tuple(words))
    assert (said.returncode, pairs) == (0, 4), said.stderr
    assert said.stdout.startswith("4 answers in ")
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 4


def test_the_keys_on_the_page_are_those_of_the_script():
    folder = ROOT / "reward_models/feedback/static"
    script = "".join(
        (folder / name).read_text(encoding="utf-8") for name in ("page.js", "sheets.js")
    )
    keys = re.findall(r"<kbd>([a-z])</kbd>", PAGE)
    assert {"t", "b", "s", "u", "n", "g", "x"} == set(keys)
    assert [key for key in keys if f'"{key}"' not in script and f" {key}:" not in script] == []
