"""``textgym label``: one command, a page on this machine alone, and an end that loses nothing."""

import json
import queue
import re
import signal
import stat
import threading
from pathlib import Path

import filelock
import pytest

from reward_models.preferences import Answer, Pair, PreferenceStore, Provenance
from tests.commands import run_commands
from tests.programs import require_modules
from tests.running_page import enter, labelling
from textgym.cli.feedback import label as module
from textgym.cli.feedback.label import LabelConfig, label
from textgym.cli.parsing import CommandError

require_modules("starlette", "uvicorn", extra="feedback")
require_modules("httpx2", extra="judge")


def test_a_file_of_texts_is_on_the_page_in_one_command(tmp_path):
    texts = tmp_path / "texts.jsonl"
    rows = [{"prompt": f"p{n // 2}", "completion": f"text {n}"} for n in range(4)]
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with labelling(str(texts), "--annotator", "anna", "--annotators", "ben") as (process, line):
        client, token = enter(line)
        turn = client.get("/api/next").json()
        assert turn["progress"] == {"answered": 0, "remaining": 2, "can_undo": False}
        vote = {"lease": turn["item"]["lease"], "answer": "left", "key": "k"}
        assert client.post("/api/vote", json=vote).status_code == 200
        port = int(re.search(r":(\d+)/", line)[1])
        if Path("/proc/net/tcp").exists():
            # Addresses as the kernel writes them: 127.0.0.1, and the state of who listens.
            rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
            listening = [row.split()[1] for row in rows if row.split()[3] == "0A"]
            ours = [each for each in listening if each.endswith(f":{port:04X}")]
            assert ours == [f"0100007F:{port:04X}"]
        access = tmp_path / "texts.access.json"
        assert stat.S_IMODE(access.stat().st_mode) == 0o600
        stored = json.loads(access.read_text())
        assert stored["owner"] == token
        assert f"ben: http://127.0.0.1:{port}/#token={stored['annotators']['ben']}" in (
            process.stdout.readline()
        )
        client.close()
        process.send_signal(signal.SIGINT)
        said, wrong = process.communicate(timeout=60)
    assert (process.returncode, wrong) == (0, "")
    assert "the same command goes on from here" in said
    with PreferenceStore(tmp_path / "texts.sqlite") as store:
        assert [answer.annotator for answer in store.answers()] == ["anna"]


def test_bad_rows_of_a_strangers_file_are_left_out_and_counted(tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"q": "p", "left": "x", "right": "y"}\n{"q": 1, "left": 2, "right": "y"}\n{')
    columns = ("--columns", "prompt=q,a=left,b=right")
    with labelling(str(pairs), *columns, "--annotator", "me", "--skip-bad-rows") as (page, line):
        assert line.startswith("left out: 2 rows that cannot be read; the first: ")
        client, _ = enter(page.stdout.readline())
        assert client.get("/api/next").json()["progress"]["remaining"] == 1
        client.close()


def test_a_store_that_programs_have_answered_is_asked_of_people(tmp_path):
    """The quickstart's, for one: what scripts said of a pair is no person's answer."""
    path = tmp_path / "preferences.sqlite"
    with PreferenceStore(path) as store:
        store.add_pairs(
            [
                Pair(pair_id=str(n), prompt="p", a=f"x{n}", b=f"y{n}", split=split)
                for n, split in enumerate(["train", "train", "held_out"])
            ]
        )
        store.record_answers([Answer(pair_id="0", annotator="simulated 0", answer="a")])
    with labelling(str(path), "--annotator", "me", "--split", "train") as (_, line):
        client, _ = enter(line)
        assert client.get("/api/next").json()["progress"]["remaining"] == 2
        client.close()


@pytest.mark.parametrize(("question", "said"), [("rate", 5), ("rank", [1, 0]), ("spans", [])])
def test_another_question_is_asked_of_a_store_s_pairs(tmp_path, question, said):
    """Of each text of its pairs, or of those of one prompt together; the pairs stay as they are."""
    path = tmp_path / "preferences.sqlite"
    origin = Provenance(pair_id="1", side="b", policy="w", checkpoint="c", prompt="p1!", seed=5)
    with PreferenceStore(path) as store:
        store.add_pairs(
            [Pair(pair_id=str(n), prompt=f"p{n}", a="x", b="y") for n in range(2)], [origin]
        )
    arguments = [str(path), "--annotator", "me", "--question", question]
    with labelling(*arguments) as (_, line):
        client, _ = enter(line)
        turn = client.get("/api/next").json()
        assert turn["progress"]["remaining"] == (2 if question == "rank" else 4)
        assert turn["item"]["question"] == question
        vote = {"lease": turn["item"]["lease"], "said": said, "key": "k"}
        assert client.post("/api/vote", json=vote).status_code == 200
        client.close()
    with PreferenceStore(path) as store:
        assert len(store.judgements(question)) == 1
        assert store.answers() == []
        (said,) = store.sheet_provenance()
        (sheet,) = [sheet for sheet in store.sheets() if sheet.sheet_id == said.sheet_id]
        assert (sheet.prompt, sheet.texts[said.place]) == ("p1", "y")
        assert (said.policy, said.checkpoint, said.prompt, said.seed) == ("w", "c", "p1!", 5)
    export = ("reward", "export", "--store", str(path), "--out", str(tmp_path / "said.jsonl"))
    (result,) = run_commands((*export, "--question", question))
    assert result.stdout.startswith("1 answers in "), result.stderr
    assert "left out: 0 skip" in result.stdout


def test_known_answers_are_still_known_when_the_store_is_asked_by_its_own_name(tmp_path):
    """The file says which answers are known, and whoever goes on from the store has no file."""
    texts, where = tmp_path / "texts.jsonl", tmp_path / "texts.sqlite"
    rows = [{"prompt": "p", "a": f"a{n}", "b": f"b{n}", "known": "a" if n else ""} for n in (0, 1)]
    texts.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    known = []
    with PreferenceStore(where) as store:
        for source in (texts, where):
            study = module._study(LabelConfig(source=str(source)), store, None)
            known.append({item.subject: item.expected for item in study.handout.items()})
    assert known[0] == known[1]
    assert sum(answer is None for answer in known[0].values()) == 1


def test_a_start_that_fails_takes_no_file_of_another_away(tmp_path, monkeypatch):
    """Another command comes while the first is about to fail, and has a page before or after it."""
    texts = tmp_path / "pairs.jsonl"
    texts.write_text('{"a": "x", "b": "y"}\n')
    came, there = queue.SimpleQueue(), []

    class Lock(filelock.FileLock):
        def acquire(self, *given, **named):
            if threading.current_thread() is not threading.main_thread():
                came.put("waits")
            return super().acquire(*given, **named)

    def served(study, *_):
        there.append(texts.with_suffix(".sqlite").exists())
        came.put("serves")

    study_of, others = module._study, []

    def meanwhile(config, *rest):
        if config.split and not others:
            others.append(threading.Thread(target=label, args=(LabelConfig(source=str(texts)),)))
            others[0].start()
            came.get(timeout=60)
        return study_of(config, *rest)

    monkeypatch.setattr("reward_models.feedback.serving.serve", served)
    monkeypatch.setattr(module, "_study", meanwhile)
    monkeypatch.setattr(filelock, "FileLock", Lock)
    with pytest.raises(CommandError, match="no pairs of the split test"):
        label(LabelConfig(source=str(texts), split="test"))
    others[0].join(timeout=60)
    assert there == [True]
    with PreferenceStore(texts.with_suffix(".sqlite")) as store:
        assert len(store.pairs()) == 1
    assert texts.with_suffix(".access.json").exists()


def test_what_is_wrong_is_one_line(tmp_path):
    texts = tmp_path / "pairs.jsonl"
    texts.write_text('{"a": "x", "b": "y"}\n')
    (tmp_path / "other.txt").write_text("x")
    (tmp_path / "same.jsonl").write_text('{"a": "x", "b": "x"}\n')
    open_file = tmp_path / "open.json"
    open_file.write_text("{}")
    open_file.chmod(0o644)
    wrong = {
        ("no.sqlite",): "there is no store",
        (str(texts), "--question", "rate", "--rule", "even"): "chooses pairs",
        (str(texts), "--question", "rank", "--texts", "1"): "from 2 to 9",
        (str(tmp_path / "other.txt"),): "nothing to compare",
        (str(tmp_path / "same.jsonl"),): "two equal texts",
        (str(tmp_path / "no.jsonl"),): "no.jsonl",
        (str(texts), "--host", "0.0.0.0"): "lets other machines in",  # noqa: S104 - refused here
        (str(texts), "--rule", "even"): "needs a reward",
        (str(texts), "--rule", "disagreement", "--reward", "length"): "an ensemble of two",
        (str(texts), "--answers", "0"): "--answers must be at least 1, got 0",
        (str(texts), "--known-every", "1"): "known_every must be 0 for none, or above 1",
        (str(texts), "--split", "test"): "no pairs of the split test",
        (str(texts), "--access", str(open_file)): "others can read",
        (str(texts), "--urls", "label"): "no address of a page",
        (str(texts), "--host", "203.0.113.1", "--urls", "http://x.org"): "cannot be listened on",
        (): "SOURCE is required",
    }
    there = set(tmp_path.iterdir())
    results = run_commands(*(("label", *arguments) for arguments in wrong))
    for result, said in zip(results, wrong.values(), strict=True):
        assert result.returncode in (1, 2)
        assert said.lower() in result.stderr.lower(), result
        assert result.stderr.count("\n") == 1, result.stderr
    # What cannot be listened on is known once the pairs are there, which are kept.
    assert set(tmp_path.iterdir()) - there == {
        texts.with_suffix(".sqlite"),
        tmp_path / "pairs.access.json",
    }
