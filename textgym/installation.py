"""Whether the package ``agents`` that Python finds is the one that was installed with textgym.

openai-agents has the same import name, and its wheel brings an ``agents/__init__.py`` as ours does.
In one environment, the package that is installed last overwrites files of the other, and what is
imported afterwards is neither. Nothing is imported here, so that the check is cheap and holds in
front of a package that fails: it asks Python where ``agents`` is, and looks at that folder.

Simplification: other packages called ``agents`` are told from ours by their ``__init__.py`` alone,
so one over which ours was installed is not noticed.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = ["require_own_agents"]

_OUR_FIRST_LINE = b'"""The writer: '
_THEIR_MODULE = "guardrail.py"  # openai-agents has it beside its __init__.py, and we do not


def require_own_agents() -> None:
    """Requires that ``agents`` is textgym's, and that no other package lies in its folder.

    Raises:
        ModuleNotFoundError: If it is another package, or is missing; the message says what to do.
    """
    spec = importlib.util.find_spec("agents")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "textgym's package agents has no __init__.py, perhaps since another package called "
            "agents was uninstalled: install textgym again",
            name="agents",
        )
    init = Path(spec.origin)
    is_ours = init.read_bytes().startswith(_OUR_FIRST_LINE)
    if not is_ours or init.with_name(_THEIR_MODULE).exists():
        raise ModuleNotFoundError(
            f"another package called agents, such as openai-agents, is installed in place of "
            f"textgym's or over it, in {init.parent}: install textgym into a virtual environment "
            "of its own",
            name="agents",
        )
