"""Heavy packages replaced by stand-ins, where something of ours is only described.

A config stands beside its consumer, and the module of a learner imports torch. A help or a listing
needs nothing of it but names, annotations and docstrings. So while one is made, what takes seconds
to import is not imported: its modules are empty, and whatever they are asked for is a class, which
can be subclassed, called, indexed, and used as a decorator.

Simplification: a module that computes with such a package while it is imported fails, where naming
what is in the package works.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

__all__ = ["HEAVY", "OURS", "stand_ins"]

HEAVY = (
    "accelerate",
    "datasets",
    "matplotlib",
    "pandas",
    "peft",
    "safetensors",
    "sb3_contrib",
    "scipy",
    "sklearn",
    "stable_baselines3",
    "tensorboard",
    "torch",
    "transformers",
)
"""The packages that take long to import, and what imports one of them."""

OURS = ("agents", "reward_models", "textgym")
"""The packages that are known to bear stand-ins."""


@contextmanager
def stand_ins(packages: Collection[str] = HEAVY) -> Iterator[None]:
    """Inside, stand-ins are imported in the place of packages; behind it, nothing is left of them.

    Modules of ours that were imported inside are forgotten at the end, so that whoever needs one
    later gets a whole one. What is kept of them must be plain values.

    Nothing is replaced if one of the packages is imported already: the seconds are spent, and real
    packages that import each other would be given stand-ins.

    Args:
        packages: What is replaced, where it is installed.
    """
    if not sys.modules.keys().isdisjoint(packages):
        yield
        return
    installed = [name for name in packages if find_spec(name) is not None]
    finder, before = _Finder(installed), dict(sys.modules)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        new = [name for name, module in sys.modules.items() if before.get(name) is not module]
        for name in new:
            if _package(name) in {*installed, *OURS}:
                _forget(name)


class _Finder(MetaPathFinder, Loader):
    """Finds a stand-in for each module of some packages."""

    def __init__(self, packages: Collection[str]) -> None:
        self._packages = packages

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - a finder's signature
        target: ModuleType | None = None,  # noqa: ARG002 - as above
    ) -> ModuleSpec | None:
        """Says where a module comes from: from here, if it is one of the packages'."""
        if _package(fullname) not in self._packages:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Makes an empty module."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leaves it empty."""


class _Module(ModuleType):
    """The stand-in of a module."""

    def __getattr__(self, name: str) -> Any:
        made = _made(self.__name__, name)
        setattr(self, name, made)
        return made


class _StandIn(type):
    """The class of all that a stand-in's module is asked for, each of which is a class itself."""

    def __getattr__(cls, name: str) -> Any:
        made = _made(f"{cls.__module__}.{cls.__name__}", name)
        setattr(cls, name, made)
        return made

    def __getitem__(cls, _: Any) -> Any:
        return cls


def _made(owner: str, name: str) -> Any:
    """What stands for an attribute of a module or of another stand-in."""
    if name.startswith("__"):  # Python asks for many of these, and goes by whether they are there
        raise AttributeError(f"{owner} is replaced by a stand-in, which has no {name}")
    return _StandIn(name, (), {"__module__": owner, "__new__": _called})


def _called(cls: _StandIn, *arguments: Any, **_: Any) -> Any:
    """A decorator's call gives back what it decorates, and every other one the stand-in again."""
    only = arguments[0] if len(arguments) == 1 else None
    return only if isinstance(only, FunctionType | type) else cls


def _forget(name: str) -> None:
    """Undoes a module's import."""
    module = sys.modules.pop(name)
    parent, _, child = name.rpartition(".")
    # A package that stays would go on giving its module away.
    if parent in sys.modules and vars(sys.modules[parent]).get(child) is module:
        delattr(sys.modules[parent], child)


def _package(module: str) -> str:
    return module.partition(".")[0]
