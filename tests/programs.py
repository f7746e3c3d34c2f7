"""What some tests need beside this repository: skipped where it is missing, failed in CI's run."""

import os
from importlib.util import find_spec

import pytest

_REQUIRED = "TEXTGYM_REQUIRE_PROGRAMS"  # set by .ci/run, where nothing may be missing


def require(found, what):
    """Gives what was found; what was not is said, with how to get it.

    Args:
        found: A path, or whatever else is true where it is there.
        what: How to get it, as ``apt-get install chromium``.
    """
    if found:
        return found
    said = f"something is missing: {what}"
    if os.environ.get(_REQUIRED):
        pytest.fail(said)
    return pytest.skip(said, allow_module_level=True)


def require_modules(*names, extra):
    """The same for Python's modules, by the extra of ``pyproject.toml`` that brings them."""
    missing = [name for name in names if find_spec(name) is None]
    require(not missing, f"pip install 'textgym[{extra}]' (for {', '.join(missing)})")
