"""What decides a result besides its settings: the code, the data, and what lies at named paths.

A name of a result that leaves one of them out gives back the result of something else. So names are
hashes of all of them, and what is hashed is written beside, part by part, so that a run that begins
anew can say why.

Simplification: of the code of others the versions count, and of a module that is named as
``module:attribute`` its own file alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
import re
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgym.files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "checkpoint_home",
    "code_version",
    "content_hash",
    "json_hash",
    "named_contents",
    "other_contents",
    "shape_of",
    "weights_hash",
]

_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "vaderSentiment")
_PACKAGES = ("textgym", "reward_models", "agents")
_LOADED = ("_name_or_path", "transformers_version")
_RECORD = "made_from.json"
_LOCATION = re.compile(r"(?P<module>[A-Za-z_][\w.]*):[A-Za-z_][\w.]*")
_WORDS = frozenset(
    {"split", "train_split", "test_split", "env", "device", "backend", "autoreset_mode"}
    | {"obs_mode", "action_kind", "render_mode"}
)
_DIGITS = 16  # bytes of a hash


def code_version() -> dict[str, str]:
    """Returns the versions of the code: of the package, of its sources, and of the libraries.

    ``source`` is a hash of all modules of the three packages, because a version number stays while
    the code below it is edited.
    """
    digest, root = hashlib.blake2b(digest_size=8), Path(__file__).parents[1]
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    versions = {name: _version(name) for name in ("textgym", *_LIBRARIES)}
    return {"source": digest.hexdigest(), "python": platform.python_version(), **versions}


def content_hash(path: Path) -> str:
    """Returns 32 hexadecimal digits of a file, or of a folder's files, hidden ones left out.

    Raises:
        OSError: If one cannot be read.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, _hasher).hexdigest()
    digest = _hasher()
    for below in sorted(path.rglob("*")):
        name = below.relative_to(path)
        if below.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()}\0{content_hash(below)}".encode())
    return digest.hexdigest()


def named_contents(settings: Any) -> dict[str, str]:
    """Hashes what lies at each path, and behind each ``module:attribute``, that settings name.

    Args:
        settings: JSON values; each text in them, at any depth, may be such a name, also before a
            question mark, as in ``data.csv?prompt=question``, and what a text holds as JSON. What
            fields such as ``split`` hold are words, even where a folder is called alike.

    Returns:
        The hashes by those texts; of one that names nothing that is there, there is none.
    """
    found: dict[str, str] = {}
    for text in _texts(settings):
        path = _path_of(text) or _path_of(text.partition("?")[0])
        if path is not None:
            found[text] = content_hash(path)
    return found


def other_contents(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Says which of the contents that a run was begun with are others now; empty if none is.

    Args:
        before: What ``named_contents`` gave when it was begun.
        now: What it gives today; what is new, or gone, is no other content.
    """
    return " and ".join(name for name, found in now.items() if before.get(name, found) != found)


def json_hash(value: Any) -> str:
    """Returns 32 hexadecimal digits of a value that JSON can hold, whatever the order of keys."""
    return _hasher(json.dumps(value, sort_keys=True).encode()).hexdigest()


def weights_hash(model: Any) -> str:
    """Returns 32 hexadecimal digits of a ``torch.nn.Module``'s weights and of their names."""
    import torch

    digest = _hasher()
    for name, weight in model.state_dict().items():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        # As bytes, since numpy has no bfloat16.
        digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def shape_of(config: Any) -> Any:
    """What a configuration of transformers says of a model, but for where it was loaded from."""
    if isinstance(config, dict):
        return {name: shape_of(value) for name, value in config.items() if name not in _LOADED}
    return [shape_of(value) for value in config] if isinstance(config, list) else config


def checkpoint_home(checkpoints: Path, decides: Mapping[str, str]) -> tuple[Path, str]:
    """Names the folder of a run's checkpoints by all that decides its weights.

    Args:
        checkpoints: Where such folders lie; it and the folder are made if need be.
        decides: A hash of each thing that decides, by what to call it in a sentence.

    Returns:
        The folder, and a line about why there is none to go on from where only those of other runs
        are there; empty if there is nothing to say.
    """
    home = checkpoints / json_hash(dict(decides))[:_DIGITS]
    if home.is_dir():
        return home, ""
    said = ""
    for record in sorted(checkpoints.glob(f"*/{_RECORD}")):
        before = json.loads(record.read_text(encoding="utf-8"))
        changed = [name for name in decides if before.get(name) != decides[name]]
        said = (
            f"{record.parent} has checkpoints of a run with other {' and other '.join(changed)}: "
            "this one begins anew"
        )
    write_json(home / _RECORD, dict(decides))
    return home, said


def _hasher(data: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=_DIGITS)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _texts(value: Any) -> Iterator[str]:
    """All texts in JSON values, but for names of fields and for what ``_WORDS`` hold."""
    if isinstance(value, str):
        yield value
        if value.lstrip().startswith(("{", "[")):
            with suppress(ValueError, RecursionError):
                yield from _texts(json.loads(value))
    inside: Iterable[Any] = ()
    if isinstance(value, dict):
        inside = [one for name, one in value.items() if name not in _WORDS]
    elif isinstance(value, list | tuple):
        inside = value
    for one in inside:
        yield from _texts(one)


def _path_of(text: str) -> Path | None:
    """The file or folder that a text names, itself or as a module's; None if it names nothing."""
    try:
        if text and Path(text).exists() and not _is_around(Path(text)):
            return Path(text)
        match = _LOCATION.fullmatch(text)
        spec = importlib.util.find_spec(match["module"]) if match else None
    except (OSError, ValueError, ImportError):  # too long for a name, or no module
        return None
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _is_around(path: Path) -> bool:
    """Whether a text such as "/" or ".." happens to be a folder; "." may be meant, of a model."""
    return Path.cwd().is_relative_to(path.resolve()) and not (path / "config.json").is_file()
