"""The tests of what tests the tests: on a house of one module, whose errors are known."""

import io
import textwrap

import pytest

from tests.mutants.__main__ import ROOT, Argued, main, read_argued, read_rooms, sampled
from tests.mutants.mutations import mutants_of
from tests.mutants.watch import Seen, asked_of


def _after(source):
    """The changed lines of all mutants of a function's only line."""
    return {m.after for m in mutants_of("m.py", f"def f(x, y):\n    {source}\n")}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return x < y", {"return x <= y"}),
        ("return x is not (y)", {"return x is (y)"}),
        ("return x not in y", {"return x in y"}),
        ("return (x + (y))", {"return (x - (y))"}),
        ("return x // y", {"return x * y"}),
        ("return x and y", {"return x or y"}),
        ("return not x", {"return x"}),
        ("return -x", {"return x"}),
        ("return True", {"return False"}),
        ("return 3", {"return 4"}),
        ("return 0.5", {"return 1.0"}),
        ("return 0.0", {"return 1.0"}),
        ("return x if y else 'no'", {"return 'no' if y else x"}),
        ("return x if y is x else 'no'", {"return x if y is not x else 'no'"}),
        ("x += y", {"x -= y"}),
        ("x(y)", {"pass"}),
        ("x(y=y,)", {"pass", "x()"}),
        ("return x(y, dim=y)", {"return x(y)"}),
        ("return x(dim=y, key=x)", {"return x(key=x)", "return x(dim=y)"}),
        ("return x(x, y)", {"return x(y, x)"}),
        ("return max(x, y)", {"return min(x, y)"}),
        ("return x.sum()", {"return x.mean()"}),
        ("return x.detach()", {"return x"}),
        ("return f(x, 'a', 'b')", {"return f('a', x, 'b')"}),
        ("return where(x, y, z)", {"return where(y, x, z)", "return where(x, z, y)"}),
        ("raise ValueError(f'{x + 1} < 2')", {"pass"}),
        ("return 'x < 1'", set()),
        ("return f'{x < 1}'", set()),
        ("y: int | None = x", set()),
    ],
)
def test_the_mutants_of_a_line(line, expected):
    assert _after(line) == expected


def test_a_condition_without_a_comparison_is_asked_the_other_way_round():
    source = "def f(x):\n    if x.empty:\n        return x\n    return None\n"
    assert [m.after for m in mutants_of("m.py", source)] == ["if not (x.empty):"]


def test_a_mutant_knows_where_it_is():
    """Its function's code begins at the decorator; a class's field is nobody's code."""
    source = textwrap.dedent(
        """
        @frozen(kw_only=True)
        class A:
            size: int = 1

            @property
            def half(self) -> float:
                '''Half of 2.'''
                return self.size / 2  # not a third
        """
    )
    found = [(m.function, m.first, m.line, m.after) for m in mutants_of("m.py", source)]
    assert found == [
        ("A", 0, 4, "size: int = 2"),
        ("A.half", 6, 9, "return self.size * 2  # not a third"),
        ("A.half", 6, 9, "return self.size / 3  # not a third"),
    ]


def test_what_is_not_ascii_moves_no_edit():
    assert _after("return 'ß→', x < y") == {"return 'ß→', x <= y"}


def test_what_is_over_several_lines_is_shown_as_one():
    source = "VALUE = f(\n    1.5,\n    key=[\n        'a',\n    ],\n)\n"
    found = {(m.line, m.before, m.after) for m in mutants_of("m.py", source)}
    assert (3, "key=[ 'a', ],", "") in found


def test_a_larger_sample_holds_the_smaller_one_and_knows_no_other_line():
    source = "".join(f"A{number} = {number}\n" for number in range(40))
    mutants = mutants_of("m.py", source)
    few, more = (sampled(mutants, most, seed=3) for most in (10, 20))
    assert len(few) == 10
    assert {m.key for m in few} < {m.key for m in more}
    moved = sampled(mutants_of("m.py", f"B = 'b'\n{source}"), 10, seed=3)
    assert [m.key for m in moved] == [m.key for m in few]
    assert [m.key for m in sampled(mutants, 10, seed=4)] != [m.key for m in few]
    assert sampled(mutants, None, seed=3) == mutants


def test_tests_that_enter_a_function_are_asked_the_quick_ones_first():
    """Those of the first folder before the others, whose imports are then not needed."""
    seen = Seen(
        seconds={"a/t.py::slow": 2.0, "a/t.py::quick": 1.0, "b.py::x": 0.5, "b.py::y": 0.1}
        | {"a/t.py::broken": 0.1, "b.py::process": 3.0},
        failed=["a/t.py::broken"],
        entered={
            "m.py:3": ["b.py::x", "a/t.py::slow", "a/t.py::quick", "a/t.py::broken"],
            "m.py:9": ["", "b.py::x"],
        },
        everywhere=["m.py:9"],
        opaque=["b.py::process"],
    )
    first = ["a/t.py::quick", "a/t.py::slow"]
    every = [first, ["b.py::y", "b.py::x", "b.py::process"]]
    given = ["a", "c", "b.py"]
    assert asked_of(seen, "m.py", 3, given) == [first, ["b.py::x", "b.py::process"]]
    assert asked_of(seen, "m.py", 9, given) == every
    assert asked_of(seen, "m.py", 0, given) == every
    assert asked_of(seen, "m.py", 7, given) == [["b.py::process"]]


MODULE = "def size(x):\n    return x + 1\n\n\ndef other(x):\n    return x\n"
WEAK = "from textgym.m import size\n\ndef test_it_runs():\n    size(1)\n"
STRONG = "from textgym.m import size\n\ndef test_by_hand():\n    assert 3 == size(2)\n"
WAITS = "from textgym.m import size\n\ndef test_it_ends():\n    while size(2) != 3: pass\n"
ARGUED = """
[[argued]]
module = "textgym/m.py"
function = "size"
line = "return x + 1"
mutants = ["return x - 1", "return x + 2"]
reason = "a test of the list"
"""


@pytest.fixture
def house(tmp_path):
    """A house of one room, and what tries it."""
    root = tmp_path / "house"
    (root / "textgym").mkdir(parents=True)
    (root / "textgym/m.py").write_text(MODULE)
    (root / "tests/mutants").mkdir(parents=True)
    (root / "tests/mutants/rooms.toml").write_text(
        '["textgym"]\nmodules = ["textgym"]\ntests = ["tests/test_m.py"]\n'
    )
    (root / "pyproject.toml").write_text('[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n')

    def ask(test, argued="", *words):
        (root / "tests/test_m.py").write_text(test)
        (root / "tests/mutants/argued.toml").write_text(argued)
        out = io.StringIO()
        code = main(["--root", str(root), *words], out)
        assert (root / "textgym/m.py").read_text() == MODULE
        return code, out.getvalue()

    ask.root = root
    return ask


def test_a_weak_test_lets_errors_live_and_a_strong_one_none(house):
    code, said = house(WEAK)
    assert code == 1
    assert "survived: textgym/m.py:2 size\n  - return x + 1\n  + return x - 1\n" in said
    assert "textgym: 0.0% of 2 noticed" in said
    code, said = house(STRONG)
    assert code == 0
    assert "survived" not in said
    assert "textgym: 100.0% of 2 noticed" in said


def test_what_is_argued_may_live_and_must(house):
    """An argument for what a test does notice, or for what is no mutant any more, is too many."""
    code, said = house(WEAK, ARGUED)
    assert code == 0
    assert "textgym: nothing to notice of 0 noticed (0 by time), 2 argued" in said
    assert house(WEAK, ARGUED, "--argued")[0] == 0
    code, said = house(STRONG, ARGUED, "--argued")
    assert code == 1
    assert said.count("argued, but a test notices it: textgym/m.py:2 size") == 2
    code, said = house(STRONG, ARGUED.replace("+ 2", "+ 7"))
    assert code == 1
    assert "argued, but no mutant any more: textgym/m.py size\n  - return x + 1\n" in said


def test_a_run_goes_on_where_it_was_stopped(house, monkeypatch):
    """And starts anew where a test is another one."""
    house(WEAK)
    with monkeypatch.context() as patch:
        patch.setattr("tests.mutants.__main__.outcomes", None)
        assert house(WEAK)[0] == 1
    lines = house.root / "runs/mutants/results.jsonl"
    whole = lines.read_text()
    assert whole.count("survived") == 2
    lines.write_text(whole[:-12])  # stopped while the second was written
    assert house(WEAK)[0] == 1
    assert house(STRONG)[0] == 0


def test_after_a_better_test_survivors_alone_may_be_tried(house):
    """What was noticed once counts, though the tests are others now: here they notice nothing."""
    assert house(STRONG)[0] == 0
    assert house(WEAK, "", "--survivors")[0] == 0
    assert house(WEAK)[0] == 1
    assert house(STRONG + "\n", "", "--survivors")[0] == 0


def test_an_error_without_an_end_is_noticed_by_time(house, monkeypatch):
    monkeypatch.setattr("tests.mutants.trial.SLOWER", 1.0)
    monkeypatch.setattr("tests.mutants.trial.BESIDES", 0.5)
    code, said = house(WAITS)
    assert code == 0
    assert "textgym: 100.0% of 2 noticed (2 by time)" in said


def test_several_at_once_find_the_same(house):
    code, said = house(WEAK, "", "--jobs", "2")
    assert code == 1
    assert said.count("survived") == 2


def test_a_test_that_fails_anyway_says_nothing(house):
    code, said = house(STRONG + "\ndef test_broken():\n    assert size(2) == 4\n")
    assert code == 0
    assert "left out, since it fails without any error: tests/test_m.py::test_broken" in said


def test_a_room_that_is_not_there_is_named(house):
    code, said = house(WEAK, "", "--room", "attic")
    assert code == 2
    assert "no room attic; known: ['textgym']" in said


def test_every_argument_is_of_a_mutant_and_has_a_reason():
    """So that the list does not outlive the lines that it speaks of."""
    entries = read_argued(ROOT / "tests/mutants/argued.toml")
    keys = [key for entry in entries for key in entry.keys]
    sources = {entry.module: (ROOT / entry.module).read_text("utf-8") for entry in entries}
    made = {mutant.key for name in sources for mutant in mutants_of(name, sources[name])}
    assert [key for key in keys if key not in made] == []
    assert len(keys) == len(set(keys))
    assert all(len(entry.reason) > 20 for entry in entries)


def test_every_room_s_modules_and_tests_are_there():
    for room in read_rooms(ROOT / "tests/mutants/rooms.toml"):
        for path in (*room.modules, *room.tests):
            assert (ROOT / path).exists(), (room.name, path)


def test_an_argument_names_several_mutants_of_a_line():
    entry = Argued("m.py", "f", "x", ["y", "z"], "")
    assert entry.keys == [("m.py", "f", "x", "y"), ("m.py", "f", "x", "z")]
