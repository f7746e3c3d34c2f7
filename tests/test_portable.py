"""What ``make portable`` runs, and that it says what fails under what."""

from tests.portable import main, possible

ON_AVX2 = """
import os
import pytest

def test_of_registers():
    assert os.environ.get("ATEN_CPU_CAPABILITY") != "avx2"

def test_of_threads():
    assert os.environ["OMP_NUM_THREADS"] == "1"
"""


def test_a_processor_does_what_it_can():
    everywhere = {"one thread", "two threads", "beside a load"}
    narrow = everywhere | {"torch as on AVX2", "oneDNN as on AVX2"}
    assert possible("DEFAULT").keys() == everywhere
    assert possible("AVX2").keys() == narrow
    assert possible("AVX512").keys() == narrow | {"oneDNN without AMX"}


def test_what_fails_under_which_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr("tests.portable.os.cpu_count", lambda: 1)
    file = tmp_path / "test_narrow.py"
    file.write_text(ON_AVX2)
    alone = ["-p", "no:cacheprovider", "-c", "/dev/null", str(file)]
    chosen = {
        "torch as on AVX2": (None, {"ATEN_CPU_CAPABILITY": "avx2"}),
        "beside a load": (None, {}),
    }
    monkeypatch.setattr("tests.portable.COMBINATIONS", chosen)
    assert main(alone)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("torch as on AVX2: 1 failed, 1 passed")
    assert "test_of_registers" in lines[1]
    assert lines[2].startswith("beside a load: 2 passed")
