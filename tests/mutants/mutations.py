"""The small errors that a module can have: each an edit of its source in one place.

Left alone are texts, annotations, decorators, what is imported for types alone, and the messages of
errors: what they say is asked of them elsewhere, or by no test at all.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = ["Mutant", "mutants_of"]

Span = tuple[int, int]
Edit = tuple[int, int, bytes]

COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
OPERATORS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
_PAIRS = (
    *(("sum", "mean"), ("min", "max"), ("amin", "amax"), ("argmin", "argmax"), ("any", "all")),
    *(("minimum", "maximum"), ("zeros", "ones"), ("zeros_like", "ones_like"), ("append", "extend")),
    *(("floor", "ceil"), ("cumsum", "cumprod"), ("exp", "expm1"), ("log", "log1p")),
)
NAMES = {name: other for pair in _PAIRS for name, other in (pair, pair[::-1])}
DROPPED = {
    *("abs", "clamp", "clone", "copy", "cumsum", "detach", "double", "exp", "flip", "float"),
    *("log", "rsqrt", "sort", "sqrt", "square", "squeeze"),
}
SYMMETRIC = {"isinstance", "min", "max", "minimum", "maximum", "equal", "isclose", "allclose"}
"""Calls whose first two arguments may change places, or must not."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A module with one error in it.

    Attributes:
        module: The file, from the root, as posix has it.
        function: The dotted name of the class or function that holds it; "" at the module's level.
        first: The line where that function's code begins, as Python counts it; 0 where no function
            holds it, and so whoever imports the module may notice.
        line: The first line that is changed.
        before: The changed lines, without indentation and joined.
        after: What stands there instead.
        source: The whole module, with the error.
    """

    module: str
    function: str
    first: int
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is known by, wherever in the module it stands."""
        return self.module, self.function, self.before, self.after


def mutants_of(module: str, source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines, none of them twice."""
    finder = _Finder(source)
    found: dict[str, Mutant] = {}
    for statement in ast.parse(source).body:
        finder.found.clear()
        finder.walk(statement, "", 0)
        start, end = finder.lines_of(statement)
        for function, first, edits in finder.found:
            text, shift = finder.text, 0
            for begin, stop, new in sorted(edits, reverse=True):
                text = text[:begin] + new + text[stop:]
                shift += len(new) - (stop - begin)
            mutated = text.decode()
            if mutated == source or mutated in found:
                continue
            if not _is_python(text[start : end + shift]):
                continue
            line, before, after = _difference(source, mutated)
            found[mutated] = Mutant(
                module=module,
                function=function,
                first=first,
                line=line,
                before=before,
                after=after,
                source=mutated,
            )
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _is_python(statement: bytes) -> bool:
    try:
        ast.parse(statement)
    except (SyntaxError, ValueError):
        return False
    return True


def _difference(source: str, mutated: str) -> tuple[int, str, str]:
    """The first line that differs, and the lines from there to the last one, before and after."""
    old, new = source.splitlines(), mutated.splitlines()
    start = next(i for i, both in enumerate(zip(old, new, strict=False)) if both[0] != both[1])
    most = min(len(old), len(new)) - start
    end = 0
    while end < most and old[-1 - end] == new[-1 - end]:
        end += 1
    before, after = (
        " ".join(line.strip() for line in lines[start : len(lines) - end]) for lines in (old, new)
    )
    return start + 1, before, after


def _is_left_alone(node: ast.AST) -> bool:
    is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return is_for_types or isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom)


def _but_for_types(node: ast.AST) -> list[ast.AST]:
    annotation = getattr(node, "annotation", None)
    return [child for child in ast.iter_child_nodes(node) if child is not annotation]


def _has_mutants(test: ast.expr) -> bool:
    """Whether a condition is turned round by a mutant of its own."""
    return isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp)


class _Finder:
    """Collects ``(function, first line, edits)`` of a module."""

    def __init__(self, source: str):
        self.text = source.encode()
        self.found: list[tuple[str, int, list[Edit]]] = []
        starts = [0]
        for line in self.text.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts

    def walk(self, node: ast.AST, function: str, first: int) -> None:
        """Looks at a node and at what is in it, and notes who holds it."""
        if _is_left_alone(node):
            return
        for edits in self._edits(node):
            self.found.append((function, first, edits))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                self.walk(default, function, first)
            begin = min(line.lineno for line in (node, *node.decorator_list))
            for child in node.body:
                self.walk(child, f"{function}.{node.name}".lstrip("."), begin)
        elif isinstance(node, ast.ClassDef):
            for child in node.body:
                self.walk(child, f"{function}.{node.name}".lstrip("."), first)
        elif not isinstance(node, ast.Raise):
            for part in _but_for_types(node):
                self.walk(part, function, first)

    def lines_of(self, statement: ast.stmt) -> Span:
        """Where the lines of a statement of the module begin and end, its decorators included."""
        begins: list[Any] = [statement, *getattr(statement, "decorator_list", [])]
        first = min(node.lineno for node in begins)
        return self._starts[first - 1], self._starts[statement.end_lineno or 0]

    def _span(self, node: Any) -> Span:
        first, last = self._starts[node.lineno - 1], self._starts[node.end_lineno - 1]
        return first + node.col_offset, last + node.end_col_offset

    def _of(self, node: ast.AST) -> bytes:
        start, end = self._span(node)
        return self.text[start:end]

    def _whole(self, node: ast.AST, new: bytes | str) -> list[Edit]:
        return [(*self._span(node), new if isinstance(new, bytes) else new.encode())]

    def _between(self, left: ast.AST, right: ast.AST, old: str, new: str) -> list[Edit]:
        """The operator between two nodes, whatever brackets stand around it."""
        start, end = self._span(left)[1], self._span(right)[0]
        at = self.text.index(old.encode(), start, end)
        return [(at, at + len(old), new.encode())]

    def _edits(self, node: ast.AST) -> Iterator[list[Edit]]:
        match node:
            case ast.Constant():
                yield from self._of_constant(node)
            case ast.Compare():
                operands = [node.left, *node.comparators]
                for (left, right), operator in zip(pairwise(operands), node.ops, strict=True):
                    yield self._between(left, right, *COMPARISONS[type(operator)])
            case ast.BinOp() if type(node.op) in OPERATORS:
                yield self._between(node.left, node.right, *OPERATORS[type(node.op)])
            case ast.AugAssign() if type(node.op) in OPERATORS:
                old, new = OPERATORS[type(node.op)]
                yield self._between(node.target, node.value, f"{old}=", f"{new}=")
            case ast.BoolOp():
                words = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
                gaps = (self._between(*both, *words) for both in pairwise(node.values))
                yield [edit for gap in gaps for edit in gap]
            case ast.UnaryOp():
                yield self._whole(node, self._of(node.operand))
            case ast.IfExp() if not _has_mutants(node.test):
                parts = self._of(node.orelse), self._of(node.test), self._of(node.body)
                yield self._whole(node, b"%b if %b else %b" % parts)
            case ast.Call():
                yield from self._of_call(node)
            case _:
                yield from self._of_statement(node)

    def _of_constant(self, node: ast.Constant) -> Iterator[list[Edit]]:
        match node.value:
            case bool():
                yield self._whole(node, str(not node.value))
            case int():
                yield self._whole(node, str(node.value + 1))
            case float():
                yield self._whole(node, repr(2 * node.value or 1.0))

    def _of_statement(self, node: ast.AST) -> Iterator[list[Edit]]:
        """What is done is left out; what is asked is asked the other way round."""
        match node:
            case ast.Raise() | ast.Expr(value=ast.Call() | ast.Await()):
                yield self._whole(node, "pass")
            case ast.If(test=test) | ast.While(test=test) if not _has_mutants(test):
                yield self._whole(test, b"not (%b)" % self._of(test))
            case ast.Break():
                yield self._whole(node, "pass")
            case ast.Continue():
                yield self._whole(node, "pass")

    def _of_call(self, node: ast.Call) -> Iterator[list[Edit]]:
        function = node.func
        name = getattr(function, "attr", getattr(function, "id", ""))
        if name in NAMES:
            end = self._span(function)[1]
            yield [(end - len(name), end, NAMES[name].encode())]
        if isinstance(function, ast.Attribute) and name in DROPPED:
            is_module = isinstance(function.value, ast.Name) and function.value.id == "torch"
            if not is_module:
                yield self._whole(node, self._of(function.value))
        for keyword in node.keywords:
            if keyword.arg is not None:
                yield self._without(keyword)
        first, second = ([*node.args, None, None])[:2]
        if first is not None and second is not None and name not in SYMMETRIC:
            yield [(*self._span(first), self._of(second)), (*self._span(second), self._of(first))]
        if name == "where" and len(node.args) == 3:
            _, yes, no = node.args
            yield [(*self._span(yes), self._of(no)), (*self._span(no), self._of(yes))]

    def _without(self, keyword: ast.keyword) -> list[Edit]:
        """Takes a keyword argument out, and one comma, behind it or else before it."""
        start, end = self._span(keyword)
        behind = self.text[end:].lstrip()
        if behind.startswith(b","):
            return [(start, len(self.text) - len(behind[1:].lstrip(b" ")), b"")]
        before = self.text[:start].rstrip()
        return [(len(before) - before.endswith(b","), end, b"")]
