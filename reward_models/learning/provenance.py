"""Where a trained model comes from: its settings, its data's hash, the code that made it."""

from __future__ import annotations

import hashlib
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reward_models.preferences.formats import data_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reward_models.preferences.rankings import Item

__all__ = ["code_version", "provenance"]

_LIBRARIES = ("torch", "transformers", "numpy")


def provenance(
    config: Mapping[str, Any], train: Sequence[Item], evaluation: Sequence[Item], start: str
) -> dict[str, Any]:
    """Collects what is needed to make a model again, or to see that it was made otherwise.

    Args:
        config: The settings, as JSON values.
        train: What it learned from.
        evaluation: What it was measured on.
        start: Hash of the first weights, the data as the model reads it, and the settings.

    Returns:
        JSON values. No time and no machine's name, so that equal runs give equal files.
    """
    return {
        "config": dict(config),
        "start": start,
        "data": {"items": len(train), "hash": data_hash(train)},
        "held_out": {"items": len(evaluation), "hash": data_hash(evaluation)},
        "code": code_version(),
    }


def code_version() -> dict[str, str]:
    """Returns the versions of the code: of the package, of its sources, and of the libraries.

    ``source`` is a hash of the modules of ``reward_models``, because a version number stays while
    the code below it is edited.
    """
    digest = hashlib.blake2b(digest_size=8)
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    try:
        version = metadata.version("textgym")
    except metadata.PackageNotFoundError:
        version = "not installed"
    return {
        "textgym": version,
        "source": digest.hexdigest(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _LIBRARIES},
    }
