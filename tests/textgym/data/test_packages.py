"""Packages are found without running their code, and missed by name."""

import importlib.util
import sys

import pytest

from textgym.data.packages import Package

ABSENT = Package(module="a_package_that_nobody_has", pip="a-package==1.2")


def make(tmp_path, monkeypatch):
    folder = tmp_path / "made_up_data"
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('it was imported')")
    (folder / "sub" / "rows.txt").write_text("one")
    monkeypatch.syspath_prepend(tmp_path)
    return Package(module="made_up_data", pip="made-up-data"), folder


def test_a_package_is_found_and_not_imported(tmp_path, monkeypatch):
    package, folder = make(tmp_path, monkeypatch)
    assert package.is_installed()
    assert package.folder("the test") == folder
    assert package.file("the test", "sub", "rows.txt").read_text() == "one"
    assert "made_up_data" not in sys.modules


def test_a_missing_package_says_who_wants_it_and_how_to_get_it():
    assert not ABSENT.is_installed()
    with pytest.raises(
        ModuleNotFoundError, match=r"the test needs .*pip install \"a-package==1\.2"
    ):
        ABSENT.folder("the test")


def test_a_missing_file_says_that_the_version_is_wrong(tmp_path, monkeypatch):
    package, _ = make(tmp_path, monkeypatch)
    with pytest.raises(FileNotFoundError, match="the test reads another version of it"):
        package.file("the test", "rows.txt")


def test_a_module_without_a_folder_is_no_package_of_data(tmp_path, monkeypatch):
    (tmp_path / "made_up_module.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    package = Package(module="made_up_module", pip="made-up-module")
    with pytest.raises(ModuleNotFoundError, match="made_up_module"):
        package.folder("the test")
