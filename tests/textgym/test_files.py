"""Whole or absent: what a reader finds after any interruption of a writer."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from textgym.files import (
    LOCK_FILE,
    FolderInUseError,
    atomic_file,
    atomic_folder,
    checkpoint_folder,
    exclusive_folder,
    files_of_folder,
    last_checkpoint,
    prune,
    write_json,
)


def test_a_folder_appears_whole(tmp_path):
    with atomic_folder(tmp_path / "a" / "model") as folder:
        (folder / "weights").write_text("1")
        assert not (tmp_path / "a" / "model").exists()
    assert (tmp_path / "a" / "model" / "weights").read_text() == "1"


def test_a_failure_leaves_the_old_one_and_no_rubbish(tmp_path):
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("old")

    def fail():
        with atomic_folder(tmp_path / "model") as folder:
            (folder / "weights").write_text("new")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        fail()
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_new_one_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    """The disk fails between the two renames."""
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("old")
    rename = Path.replace

    def fail(self, target):
        if self.name.endswith(".writing"):
            raise OSError("disk")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk"), atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("new")
    assert (tmp_path / "model" / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_kill_between_the_renames_left_is_put_back(tmp_path):
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("old")
    (tmp_path / "model").replace(tmp_path / ".model.0123456789abcdef.former")
    with pytest.raises(RuntimeError, match="disk"), atomic_folder(tmp_path / "model"):
        raise RuntimeError("disk")
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_a_kill_during_a_save_leaves_the_last_good_checkpoint(tmp_path):
    """SIGKILL while the second checkpoint is being written."""
    code = f"""
import time
from pathlib import Path
from textgym.files import atomic_folder, checkpoint_folder
for step in (1, 2):
    with atomic_folder(checkpoint_folder(Path({str(tmp_path)!r}), step)) as folder:
        (folder / "state").write_text(str(step))
        if step == 2:
            print("writing", flush=True)
            time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    last = last_checkpoint(tmp_path)
    assert last == tmp_path / "checkpoint-1"
    assert (last / "state").read_text() == "1"


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    """By number, not by name or time; one whose last file is cut off is passed over."""
    assert last_checkpoint(tmp_path / "nowhere") is None
    for step in (9, 100, 20):
        checkpoint_folder(tmp_path, step).mkdir()
        write_json(checkpoint_folder(tmp_path, step) / "last.json", {"step": step})
        time.sleep(0.01)
    (tmp_path / "checkpoint-x").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-100"
    (tmp_path / "checkpoint-100" / "last.json").write_text('{"st')
    assert last_checkpoint(tmp_path, "last.json") == tmp_path / "checkpoint-20"
    (tmp_path / "checkpoint-20" / "last.json").unlink()
    assert last_checkpoint(tmp_path, "last.json") == tmp_path / "checkpoint-9"


def test_pruning_keeps_the_newest(tmp_path):
    for step in (5, 10, 15):
        checkpoint_folder(tmp_path, step).mkdir()
    prune(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-15"]
    prune(tmp_path, keep=5)
    prune(tmp_path / "of a run whose first is still to be written", keep=2)
    assert len(list(tmp_path.iterdir())) == 2


def test_files_take_their_places_in_a_folder_again_and_again(tmp_path):
    """A folder among them stopped the second time, and so a run that was killed after the first."""

    def write(number):
        with files_of_folder(tmp_path) as folder:
            (folder / "file").write_text(number)
            (folder / "folder").mkdir()
            (folder / "folder" / number).write_text(number)

    (tmp_path / "other").write_text("stays")
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "inside").write_text("gone")
    for number in "12":
        write(number)
    with pytest.raises(FileNotFoundError):
        write("no such/3")
    found = {
        str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()
    }
    assert found == {"other": "stays", "file": "2", "folder/2": "2"}


def test_json_is_replaced_in_one_piece_and_nan_is_refused(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_two_writers_of_one_folder_or_file_never_mix(tmp_path):
    """With a name in common, the second would empty what the first is filling."""
    with atomic_folder(tmp_path / "model") as first:
        (first / "a").write_text("first")
        with atomic_folder(tmp_path / "model") as second:
            (second / "b").write_text("second")
        assert [path.name for path in (tmp_path / "model").iterdir()] == ["b"]
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["a"]
    with atomic_file(tmp_path / "note") as first:
        first.write_text("first")
        with atomic_file(tmp_path / "note") as second:
            second.write_text("second")
        assert (tmp_path / "note").read_text() == "second"
    assert (tmp_path / "note").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "note"]


def test_many_writers_of_one_folder_leave_one_of_them_whole(tmp_path):
    def write(number):
        for _ in range(10):
            with atomic_folder(tmp_path / "model") as folder:
                for name in ("a", "b"):
                    (folder / name).write_text(str(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    assert len({path.read_text() for path in (tmp_path / "model").iterdir()}) == 1


HOLDER = """
import sys, time
from pathlib import Path
from textgym.files import atomic_file, exclusive_folder
with exclusive_folder(Path(sys.argv[1])), atomic_file(Path(sys.argv[1]) / "deep" / "note") as note:
    note.write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_one_run_s_until_that_ends_or_is_killed(tmp_path):
    """A SIGKILL leaves no lock, and what was half-written is tidied away."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(FolderInUseError) as refused, exclusive_folder(tmp_path / "run"):
        pytest.fail("two at once")
    assert str(refused.value).startswith(f"{tmp_path / 'run'} is being written by another run: ")
    assert "\n" not in str(refused.value)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(list((tmp_path / "run" / "deep").iterdir())) == 1
    with exclusive_folder(tmp_path / "run"):
        assert list((tmp_path / "run" / "deep").iterdir()) == []


def test_a_lock_puts_back_what_a_killed_writer_moved_aside(tmp_path):
    """Whoever opens the run next finds the former policy, not none."""
    (tmp_path / ".policy.0123456789abcdef.former").mkdir()
    (tmp_path / ".policy.0123456789abcdef.former" / "weights").write_text("old")
    (tmp_path / ".mine.writing").write_text("of somebody else")
    with exclusive_folder(tmp_path):
        pass
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {LOCK_FILE, "policy", ".mine.writing"}
    assert (tmp_path / "policy" / "weights").read_text() == "old"


def test_a_run_that_wrote_nothing_leaves_no_folder_behind(tmp_path):
    with pytest.raises(ValueError, match="no data"), exclusive_folder(tmp_path / "a" / "run"):
        raise ValueError("no data")
    assert list((tmp_path / "a").iterdir()) == []
    (tmp_path / "mine").mkdir()
    with exclusive_folder(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir()
