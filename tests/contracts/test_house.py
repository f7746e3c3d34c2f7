"""What belongs into one room of the house alone, by the source itself."""

import ast
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = "textgym", "agents", "reward_models"
STATISTICS = Path("textgym/statistics")

# An interval's ends are quantiles of what was drawn, or a standard error times a quantile of a
# distribution, or come ready from a library. These names say so on whatever object they are found,
QUANTILES = {
    *("quantile", "nanquantile", "percentile", "nanpercentile", "quantiles", "mquantiles"),
    *("scoreatpercentile", "ppf", "isf", "inv_cdf", "ndtri", "ndtri_exp", "stdtrit", "erfinv"),
    *("betaincinv", "btdtri", "chdtri", "proportion_ci", "confidence_interval"),
}
# these, which have other meanings too (a bootstrapped value, an interval of updates), where a
# library of statistics is meant,
READY_MADE = {"bootstrap", "binomtest", "interval", "sem", "bayes_mvs", "tinterval"}
LIBRARIES = {"numpy", "scipy", "statistics", "torch", "pandas", "sklearn", "statsmodels", "arch"}
# and these numbers: the standard errors on either side of 90, 95 and 99 %.
FACTORS = 1.644854, 1.959964, 2.575829


class _Finder(ast.NodeVisitor):
    """Lists where a module makes an interval: by function, and by the name or number."""

    def __init__(self):
        self.found = set()
        self._function = ["<module>"]
        self._libraries = {}  # local name: the dotted name that it was imported as

    def visit_FunctionDef(self, node):
        self._function.append(node.name)
        self.generic_visit(node)
        self._function.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Import(self, node):
        for alias in node.names:
            local = alias.asname or alias.name.partition(".")[0]
            self._libraries[local] = alias.name if alias.asname else local

    def visit_ImportFrom(self, node):
        for alias in node.names:
            dotted = f"{node.module}.{alias.name}"
            self._libraries[alias.asname or alias.name] = dotted
            if alias.name in QUANTILES | READY_MADE and dotted.partition(".")[0] in LIBRARIES:
                self._add(dotted)

    def visit_Attribute(self, node):
        if node.attr in QUANTILES or (node.attr in READY_MADE and self._is_library(node.value)):
            self._add(ast.unparse(node))
        self.generic_visit(node)

    def visit_Constant(self, node):
        is_float = isinstance(node.value, float)
        if is_float and any(abs(abs(node.value) - factor) < 0.005 for factor in FACTORS):
            self._add(str(node.value))

    def _is_library(self, node):
        while isinstance(node, ast.Attribute | ast.Call):
            node = node.value if isinstance(node, ast.Attribute) else node.func
        dotted = self._libraries.get(node.id, "") if isinstance(node, ast.Name) else ""
        return dotted.partition(".")[0] in LIBRARIES

    def _add(self, what):
        self.found.add((self._function[1] if self._function[1:] else self._function[0], what))


def intervals_outside_statistics(root):
    """``(module, function, name)`` of each; what a method does is listed under the method.

    It does not see ends that are picked out of sorted values by hand.
    """
    found = set()
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        module = path.relative_to(root)
        if not module.is_relative_to(STATISTICS):
            finder = _Finder()
            finder.visit(ast.parse(path.read_text(encoding="utf-8")))
            found |= {(module.as_posix(), *place) for place in finder.found}
    return found


def test_no_interval_is_made_outside_statistics():
    """Two formulas of one interval drift apart: there were two of Wilson's, three bootstraps."""
    found = intervals_outside_statistics(ROOT)
    assert sorted(found) == []


@pytest.mark.parametrize(
    ("imports", "line"),
    [
        ("import numpy as np", "np.quantile(values, [0.025, 0.975])"),
        ("from numpy import percentile", "percentile(values, 97.5)"),
        ("", "values.quantile(0.975)"),
        ("from scipy.stats import norm", "norm.ppf(0.975) * values.std()"),
        ("from scipy import stats", "stats.t(9).interval(0.95)"),
        ("import scipy.stats", "scipy.stats.bootstrap((values,), max).confidence_interval"),
        ("from scipy.stats import bootstrap as draw", "draw((values,), max)"),
        ("from scipy.stats import binomtest", "binomtest(3, 5)"),
        ("from statistics import NormalDist", "NormalDist().inv_cdf(0.975)"),
        ("import torch", "torch.quantile(values, 0.975)"),
        ("", "values.mean() - 1.96 * values.std() / len(values) ** 0.5"),
    ],
)
def test_a_planted_interval_is_found(tmp_path, imports, line):
    """In a copy of a room, in its function, however it is imported."""
    shutil.copytree(ROOT / "agents/measuring", tmp_path / "agents/measuring")
    assert intervals_outside_statistics(tmp_path) == set()
    with (tmp_path / "agents/measuring/evaluation.py").open("a", encoding="utf-8") as module:
        module.write(f"\n\ndef planted(values):\n    {imports}\n    return {line}\n")
    found = {place[:2] for place in intervals_outside_statistics(tmp_path)}
    assert found == {("agents/measuring/evaluation.py", "planted")}


@pytest.mark.parametrize(
    "line", ["self.bootstrap(rollout)", "config.interval", "[1.9, 2.0]", "bootstrap = values"]
)
def test_what_is_called_alike_is_no_interval(tmp_path, line):
    """An advantage's bootstrapped value and a log's interval of updates."""
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents/module.py").write_text(f"def function(self, values):\n    {line}\n")
    assert intervals_outside_statistics(tmp_path) == set()


@pytest.mark.parametrize("path", sorted((ROOT / STATISTICS).glob("*.py")), ids=lambda p: p.stem)
def test_statistics_needs_numpy_and_scipy_alone(path):
    """So that each of the three packages may use it, on any machine."""
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.module.startswith("textgym.statistics"):
            roots.add(node.module.partition(".")[0])
    assert roots - sys.stdlib_module_names <= {"numpy", "scipy"}


def modules_that_call(root, name):
    """Those that call a function or class of this name, however it is qualified."""
    found = set()
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        if any(getattr(c.func, "attr", getattr(c.func, "id", "")) == name for c in calls):
            found.add(path.relative_to(root).as_posix())
    return found


def test_one_function_says_to_trainer_what_all_say():
    """A Trainer that somebody else sets up takes every GPU of a machine for itself."""
    expected = {"textgym/pretrained/training_arguments.py"}
    assert expected == modules_that_call(ROOT, "TrainingArguments")
