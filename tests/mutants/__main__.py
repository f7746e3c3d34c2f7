"""Plants small errors into copies of the house, and fails where no test notices one.

``python -m tests.mutants --help``. What was found is kept in ``runs/mutants``, so that a run that
was stopped goes on; it is forgotten where the module or the tests have changed since.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.mutants.mutations import Mutant, mutants_of
from tests.mutants.trial import copy_house, outcomes, warm, watch
from tests.mutants.watch import Seen

__all__ = ["Argued", "Room", "main", "read_argued", "read_rooms", "sampled"]

ROOT = Path(__file__).parents[2]
HERE = "tests/mutants"


@dataclass(frozen=True)
class Room:
    """Modules, and the tests that are asked of an error in one of them."""

    name: str
    modules: list[str]
    tests: list[str]
    most: int | None = None

    def mutants(self, root: Path) -> list[Mutant]:
        """All of its modules' mutants."""
        paths = (path for given in self.modules for path in _python_files(root / given))
        named = ((path.relative_to(root).as_posix(), path) for path in paths)
        return [m for name, path in named for m in mutants_of(name, path.read_text("utf-8"))]


@dataclass(frozen=True)
class Argued:
    """A line of which some mutants are no errors, and why."""

    module: str
    function: str
    line: str
    mutants: list[str]
    reason: str

    @property
    def keys(self) -> list[tuple[str, str, str, str]]:
        """The mutants, as ``Mutant.key`` has them."""
        return [(self.module, self.function, self.line, after) for after in self.mutants]


def read_rooms(path: Path) -> list[Room]:
    """The table of rooms."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Room(name, **settings) for name, settings in table.items()]


def read_argued(path: Path) -> list[Argued]:
    """The list of mutants that are no errors."""
    if not path.is_file():
        return []
    return [Argued(**e) for e in tomllib.loads(path.read_text(encoding="utf-8")).get("argued", [])]


def sampled(mutants: list[Mutant], most: int | None, seed: int) -> list[Mutant]:
    """At most so many, drawn so that a change of one module draws few others in the rest."""
    if most is None or most >= len(mutants):
        return mutants
    drawn = sorted(mutants, key=lambda m: hashlib.sha256(repr((seed, *m.key)).encode()).digest())
    kept = {id(mutant) for mutant in drawn[:most]}
    return [mutant for mutant in mutants if id(mutant) in kept]


def _python_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _tests_digest(root: Path, room: Room) -> str:
    """Of the tests that are asked; helpers beside them count by their own files' tests alone."""
    paths = (path for given in room.tests for path in _python_files(root / given))
    return _digest(*(path.read_text(encoding="utf-8") for path in paths))


class _Results:
    """Outcomes by a mutated module and its tests, a line each in a file."""

    def __init__(self, path: Path, tests: str, *, trusted: bool):
        """Reads them.

        Args:
            path: The file.
            tests: The digest of the tests that are asked now.
            trusted: Whether what other tests have noticed counts as noticed.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._tests = path, tests
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        entries = (json.loads(line) for line in lines if line.endswith("}"))
        self._known = {
            entry["mutant"]: entry["outcome"]
            for entry in entries
            if entry["tests"] == tests or (trusted and entry["outcome"] != "survived")
        }

    @staticmethod
    def _key(mutant: Mutant) -> str:
        return _digest(mutant.module, mutant.source)

    def get(self, mutant: Mutant) -> str | None:
        return self._known.get(self._key(mutant))

    def add(self, mutant: Mutant, outcome: str) -> None:
        entry = {"mutant": self._key(mutant), "tests": self._tests, "outcome": outcome}
        with self._path.open("a", encoding="utf-8") as lines:
            # A line that was not written to its end must not spoil this one.
            lines.write("\n" + json.dumps(entry))


def _watched(root: Path, room: Room, copy: Path, known: Path) -> Seen:
    """What the room's tests call, from an earlier run where nothing has changed since."""
    modules = [path for given in room.modules for path in _python_files(root / given)]
    sources = [path.read_text(encoding="utf-8") for path in modules]
    path = known / f"seen-{_digest(room.name, *sources, _tests_digest(root, room))}.json"
    if path.is_file():
        return Seen(**json.loads(path.read_text(encoding="utf-8")))
    names = {path.relative_to(root).as_posix() for path in modules}
    seen = watch(copy, room.tests, names)
    path.write_text(json.dumps(asdict(seen)), encoding="utf-8")
    return seen


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants ARGS=...", description=__doc__)
    parser.add_argument("--room", action="append", help="one of rooms.toml; may be repeated")
    parser.add_argument("--module", help="only modules whose path contains this")
    parser.add_argument("--most", type=int, help="mutants a room; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="which are drawn")
    parser.add_argument("--jobs", type=int, default=1, help="mutants tried at once")
    parser.add_argument("--argued", action="store_true", help="try those that are argued as well")
    parser.add_argument(
        "--survivors", action="store_true", help="not what a test has noticed before tests changed"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: list[str] | None = None, out: TextIO | None = None) -> int:
    """Runs the command; 0 if every survivor is argued, and every argument is of a survivor."""
    given = _arguments(words)
    console = Console(file=out, width=None if out is None else 200, soft_wrap=True)
    root = given.root.resolve()
    rooms = read_rooms(root / HERE / "rooms.toml")
    unknown = set(given.room or ()) - {room.name for room in rooms}
    if unknown:
        console.print(f"no room {', '.join(sorted(unknown))}; known: {[r.name for r in rooms]}")
        return 2
    chosen = [room for room in rooms if not given.room or room.name in given.room]
    entries = read_argued(root / HERE / "argued.toml")
    argued = {key for entry in entries for key in entry.keys}
    made = {m.key for room in rooms for m in room.mutants(root)}
    gone = [key for key in sorted(argued) if key not in made]
    for module, function, line, after in gone:
        console.print(f"argued, but no mutant any more: {module} {function}", markup=False)
        console.print(f"  - {line}\n  + {after}", markup=False)
    is_clean = not gone
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [copy_house(root, Path(folder) / str(job)) for job in range(given.jobs)]
        for room in chosen:
            is_clean &= _try_room(room, copies, argued, given, console)
    return 0 if is_clean else 1


def _try_room(
    room: Room,
    copies: list[Path],
    argued: set[tuple[str, str, str, str]],
    given: argparse.Namespace,
    console: Console,
) -> bool:
    """Tries the mutants of a room and says what came of them; whether nothing is left to do."""
    root = given.root.resolve()
    known = root / "runs/mutants"
    tests = _tests_digest(root, room)
    results = _Results(known / "results.jsonl", tests, trusted=given.survivors)
    most = room.most if given.most is None else given.most or None
    mutants = [m for m in room.mutants(root) if (given.module or "") in m.module]
    mutants = sampled(mutants, most, given.seed)
    found = {id(mutant): results.get(mutant) for mutant in mutants}
    excused = [m for m in mutants if m.key in argued and not given.argued]
    skipped = {id(mutant) for mutant in excused}
    left = [m for m in mutants if found[id(m)] is None and id(m) not in skipped]
    if left:
        seen = _watched(root, room, copies[0], known)
        for test in seen.failed:
            console.print(f"left out, since it fails without any error: {test}", markup=False)
        warm(seen)
        with _bar(console) as bar:
            task = bar.add_task(room.name, total=len(left))
            for mutant, outcome in outcomes(left, seen, room.tests, copies):
                found[id(mutant)] = outcome
                results.add(mutant, outcome)
                bar.advance(task)
    tried = [mutant for mutant in mutants if id(mutant) not in skipped]
    return _report(room, [(m, found[id(m)] or "") for m in tried], excused, argued, console)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _report(
    room: Room,
    tried: list[tuple[Mutant, str]],
    excused: list[Mutant],
    argued: set[tuple[str, str, str, str]],
    console: Console,
) -> bool:
    survivors = [mutant for mutant, outcome in tried if outcome == "survived"]
    noticed = [m for m, outcome in tried if outcome != "survived" and m.key in argued]
    _show(console, "survived", (m for m in survivors if m.key not in argued))
    _show(console, "argued, but a test notices it", noticed)
    by_outcome = Counter(outcome for _, outcome in tried)
    count = len(tried) - sum(mutant.key in argued for mutant in survivors)
    caught = by_outcome["killed"] + by_outcome["timed out"]
    share = f"{caught / count:.1%}" if count else "nothing to notice"
    console.print(
        f"{room.name}: {share} of {count} noticed ({by_outcome['timed out']} by time), "
        f"{len(tried) + len(excused) - count} argued",
        markup=False,
    )
    return not noticed and all(mutant.key in argued for mutant in survivors)


def _show(console: Console, what: str, mutants: Iterable[Mutant]) -> None:
    for mutant in mutants:
        place = f"{mutant.module}:{mutant.line} {mutant.function}"
        console.print(f"{what}: {place}\n  - {mutant.before}\n  + {mutant.after}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
