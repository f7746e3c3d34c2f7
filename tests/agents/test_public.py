"""Where the names of this room are found."""

import importlib
import inspect
import pkgutil

import pytest

import agents

MODULES = sorted(module.name for module in pkgutil.walk_packages(agents.__path__, "agents."))


@pytest.mark.parametrize("name", MODULES)
def test_a_name_has_one_door(name):
    """A module lists what it defines, and nothing that another one lists as well."""
    module = importlib.import_module(name)
    listed = {key: getattr(module, key) for key in getattr(module, "__all__", ())}
    made = {
        key for key, value in listed.items() if inspect.isroutine(value) or inspect.isclass(value)
    }
    assert [key for key in made if listed[key].__module__ != name] == []
