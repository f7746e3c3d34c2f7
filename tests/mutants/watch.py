"""What each test calls and how long it takes, noted while tests run without a planted error."""

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any

import pytest

__all__ = ["Chosen", "Seen", "Watcher", "asked_of"]

STARTS = {"_execute_child", "_launch"}
"""The functions of ``subprocess`` and ``multiprocessing`` that start a process."""


@dataclass
class Seen:
    """What was noted of all tests.

    Attributes:
        seconds: How long each test that passed took, by its id.
        failed: The ids of those that did not.
        entered: By ``module:line`` of a function's first line, the tests that entered it.
        everywhere: Such functions that were entered while no test ran, or by what many tests share.
        opaque: Tests that start a process, in which nothing can be seen.
        modules: What had been imported at the end.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    entered: dict[str, list[str]] = field(default_factory=dict)
    everywhere: list[str] = field(default_factory=list)
    opaque: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)


class Watcher:
    """A plugin of pytest that notes it, of modules in a folder."""

    def __init__(self, root: Path, modules: set[str]):
        self._places = {str(root / module): module for module in modules}
        self._seen = Seen()
        self._entered: dict[str, set[str]] = defaultdict(set)
        self._opaque: set[str] = set()
        self._holders = [""]  # who is to be told; "" for all
        self._failed: set[str] = set()

    def record(self) -> dict[str, Any]:
        """All that was noted, as JSON has it."""
        self._seen.everywhere = sorted(p for p, who in self._entered.items() if "" in who)
        self._seen.entered = {place: sorted(who) for place, who in self._entered.items()}
        self._seen.opaque = sorted(self._opaque)
        self._seen.failed = sorted(self._failed)
        self._seen.modules = list(sys.modules)
        return asdict(self._seen)

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Python's own hook: something was called."""
        if event != "call":
            return
        code = frame.f_code
        module = self._places.get(code.co_filename)
        if module is not None:
            self._entered[f"{module}:{code.co_firstlineno}"].add(self._holders[-1])
        elif code.co_name in STARTS:
            self._opaque.add(self._holders[-1])

    def pytest_sessionstart(self) -> None:
        self._begin()

    def _begin(self) -> None:
        if self._places:
            threading.setprofile(self)
            sys.setprofile(self)

    def pytest_sessionfinish(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._holders.append(item.nodeid)
        self._begin()  # a test may have watched for itself, and ended it
        start = time.perf_counter()
        result = yield
        if item.nodeid not in self._failed:
            self._seen.seconds[item.nodeid] = time.perf_counter() - start
        self._holders.pop()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """What a fixture of several tests does is done for all of them."""
        self._holders.append(self._holders[-1] if fixturedef.scope == "function" else "")
        result = yield
        self._holders.pop()
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)


class Chosen:
    """A plugin of pytest that runs some tests alone, in the order in which they are given."""

    def __init__(self, tests: list[str]):
        self._order = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._order),
            key=lambda item: self._order[item.nodeid],
        )


def asked_of(seen: Seen, module: str, first: int, given: list[str]) -> list[list[str]]:
    """The tests that may notice an error in a function, by where they are given, the quick first.

    Args:
        seen: What was noted.
        module: The function's file.
        first: Its first line; 0 for what is done when the module is imported.
        given: Files or folders of tests; a group for each that has any.
    """
    place = f"{module}:{first}"
    asked = [test for test in seen.seconds if test not in seen.failed]
    if first != 0 and place not in seen.everywhere and "" not in seen.opaque:
        may = {*seen.entered.get(place, []), *seen.opaque}
        asked = [test for test in asked if test in may]
    asked.sort(key=lambda test: seen.seconds[test])
    files = {test: PurePosixPath(test.partition("::")[0]) for test in asked}
    groups = ([test for test in asked if files[test].is_relative_to(path)] for path in given)
    return [group for group in groups if group]
