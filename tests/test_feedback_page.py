"""FEEDBACK.md can be followed: each of its commands runs, in its order."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from agents.models.loading import save_model
from agents.sft import SFTConfig, make_language_model
from reward_models.preferences import PreferenceStore
from tests.commands import ENVIRONMENT, ROOT, run_commands
from tests.programs import require_modules
from tests.running_page import enter, labelling
from textgym.tokenizers import load_tokenizer

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


def test_there_is_one_test_for_every_other_command():
    """What is in ``sh`` blocks runs below: so many commands of each name."""
    names = [words[0] for words in others()]
    assert sorted(names) == sorted(
        ["label"] * 4 + ["compare", "evaluate", "loop", "loop", "simulate"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_other_question_is_asked_and_answered(number, tmp_path):
    """The page's own texts are ranked, rated and marked by a stand-in at the page's address."""
    write = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.M | re.S)[1]
    subprocess.run(["/bin/bash", "-c", write.split("textgym label ")[0]], cwd=tmp_path, check=True)
    words = placed([words for words in others() if words[0] == "label"][number], tmp_path)
    with labelling(*words[1:]) as (_, line):
        answer_all(line, "length")
    with PreferenceStore(tmp_path / "texts.sqlite") as store:
        assert len(store.judgements()) > 1


@pytest.mark.slow
def test_policies_are_compared_and_evaluated_as_written(policies):
    """Two policies write, a stand-in judges, and the first command says what it thinks."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8765)) == 0:
            pytest.skip("something listens on 8765, where the command as it is written serves")
    compare, evaluate = (placed(one("compare"), policies), placed(one("evaluate"), policies))
    label = placed([words for words in others() if words[0] == "label"][3], policies)
    (asked,) = run_commands(tuple(compare))
    assert "0 of 200 pairs are answered" in asked.stdout, asked.stderr
    with labelling(*label[1:]) as (_, line):
        answer_all(line, "length")
    (said,) = run_commands(tuple(compare))
    assert re.search(r"quickstart/policy: [+-]\d\.\d\d \(", said.stdout), said.stdout + said.stderr
    with running(evaluate) as process:
        answer_all(line_with("#token=", process), "length")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "people: rank" in out


@pytest.mark.slow
def test_the_loop_goes_round_by_answers_from_its_page(policies):
    """It waits, prints how people answer, and goes on by itself once they have."""
    first, trial = (placed(words, policies) for words in others() if words[0] == "loop")
    with running(first) as process:
        for said in process.stdout:
            _, found, label = said.partition("textgym label ")
            if found:
                with labelling(*shlex.split(label)) as (_, line):
                    answer_all(line, "length")
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 0, err
    assert len((policies / "runs/loop/report.md").read_text().splitlines()) == 2 + 4
    (done,) = run_commands(tuple(trial))
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    start, *_, last = (row[1].split()[0] for row in rows[2:])
    assert float(last) > float(start) + 0.1, done.stdout


@pytest.fixture
def policies(tmp_path):
    """A folder with two policies where a quickstart would have put them."""
    tokenizer = load_tokenizer("reviews-4096")
    for seed, name in enumerate(("language_model", "policy")):
        model = make_language_model(SFTConfig(layers=1, width=16, heads=2, seed=seed), tokenizer)
        save_model(model, tmp_path / "runs" / "quickstart" / name, tokenizer)
    return tmp_path


def others():
    """The words of each command in ``sh`` blocks, without the program's name."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


def one(name):
    (found,) = (words for words in others() if words[0] == name)
    return found


def placed(words, folder):
    """With the page's files in a folder of their own."""
    return [re.sub(r"(^|=)(runs/|texts\.)", rf"\g<1>{folder}/\2", word) for word in words]


def answer_all(line, truth):
    """A stand-in answers all that a page asks, by the command of the page."""
    name, _, *words = one("simulate")
    link = re.search(r"http://\S+#token=[\w-]+", line)[0]
    words[words.index("--truth") + 1] = truth
    (said,) = run_commands((name, link, *words))
    assert said.returncode == 0, said.stderr


@contextmanager
def running(words):
    """A command of ``textgym`` that goes on while others run; no browser opens."""
    with subprocess.Popen(
        [sys.executable, "-m", "textgym", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ
        | ENVIRONMENT
        | {"PYTHONUNBUFFERED": "1", "BROWSER": "true", "COLUMNS": "400"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_with(text, process):
    """The first line of what a command prints that has a text in it."""
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(process.stderr.read())
