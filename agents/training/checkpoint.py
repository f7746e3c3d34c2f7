"""What a run needs to go on as if it had never stopped, or as if an iteration had never begun.

Checkpoints are in safetensors and JSON. Weights and moments are written and read one by one, so
neither takes memory for a second copy of them. The reference never changes: a run writes it once,
and its later checkpoints hold the same files, by a link where the file system has those.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar, cast

from safetensors import SafetensorError

from agents.models.policy import TransformerPolicy
from agents.models.sharding import copy_over, own_share, whole, whole_weights
from agents.rollouts.checks import require_batch
from agents.training.changes import changed_settings
from agents.training.distributed import fingerprint
from agents.training.guards import GuardError, explained_memory, save_failed_batch
from agents.training.tensor_file import TensorFile, Waiting, write_tensors
from textgym.files import atomic_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import torch

    from agents.config import LearnerConfig
    from agents.rollouts.rollout import Rollout
    from agents.training.distributed import Processes
    from agents.training.randomness import RandomState
    from textgym.envs.vector import TextVectorEnv

__all__ = [
    "Resumable",
    "Saves",
    "WrittenReference",
    "load_learner",
    "restore_learner",
    "save_learner",
    "save_policy",
    "undone_on_failure",
]

_LearnerT = TypeVar("_LearnerT", bound="Resumable")

_TENSORS, _RECORD = "state.safetensors", "state.json"
_POLICY, _REFERENCE = "policy", "reference"  # where the models are
_SAME = "give the same settings, or begin anew in another folder"


class WrittenReference(NamedTuple):
    """Where a learner's reference lies already."""

    folder: Path
    weights: int
    """The fingerprint of what was written."""


class Resumable(Protocol):
    """What a checkpoint, or a failed iteration, needs of a ``Learner``."""

    config_type: ClassVar[type[LearnerConfig]]
    iteration: int
    num_timesteps: int
    is_auto: bool
    is_whole: bool
    changes: list[str]
    collected: Rollout | None
    failure_folder: Path
    written_reference: WrittenReference | None

    @property
    def processes(self) -> Processes:
        """Who trains the same policy."""

    @property
    def policy(self) -> TransformerPolicy:
        """What learns."""

    @property
    def reference(self) -> TransformerPolicy | None:
        """What KL is measured against, if it has weights of its own."""

    @property
    def envs(self) -> TextVectorEnv:
        """Where the policy acts."""

    @property
    def config(self) -> LearnerConfig:
        """The settings."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Over the policy's parameters."""

    @property
    def random(self) -> RandomState:
        """The generators, and the prompts that wait."""

    def compute_in(self, *, bf16: bool) -> None:
        """Sets the precision of sampler and passes."""

    def record(self) -> dict[str, Any]:
        """What the algorithm remembers besides, as JSON holds it."""

    def recall(self, record: Mapping[str, Any]) -> None:
        """Takes over what ``record`` gave."""


def save_learner(learner: Resumable, folder: Path) -> None:
    """Writes weights, moments, generators and what else a learner remembers, whole or not at all.

    Args:
        learner: Whose adapters or weights are written as a folder that transformers loads.
        folder: An earlier checkpoint there is replaced.

    Raises:
        FileExistsError: If something else is there; it is left as it is.
    """
    with learner.processes.together() if learner.processes.sharded else nullcontext():
        _require_replaceable(folder)
    record = {
        "algorithm": type(learner).__name__,
        "iteration": learner.iteration,
        "num_timesteps": learner.num_timesteps,
        **learner.random.record(),
        "config": asdict(learner.config),
        **learner.record(),
    }
    with atomic_folder(folder) if learner.processes.is_main else nullcontext() as temporary:
        _write_policy(learner.policy, learner, _under(temporary, _POLICY))
        _write_reference(learner, _under(temporary, _REFERENCE))
        write_tensors(_under(temporary, _TENSORS), _tensors(learner))
        if temporary is not None:
            write_json(temporary / _RECORD, record)
    _remember_reference(learner, folder)


def restore_learner(learner: Resumable, folder: Path, *, with_reference: bool = True) -> None:
    """Puts a learner where ``save_learner`` was called, bit for bit.

    Args:
        learner: Of the same algorithm and model.
        folder: What ``save_learner`` wrote.
        with_reference: Whether the reference is to be read, too; not where it just was.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it was made by another algorithm or model, or with a setting that must stay,
            see ``agents.training.changes``, or is damaged; nothing has been changed then.
    """
    record = _read_record(folder, type(learner).__name__)
    try:
        config = asdict(learner.config)
        if learner.is_auto:
            config["bf16"] = record["config"]["bf16"]
        changes = changed_settings(record["config"], config)
    except ValueError as error:
        raise ValueError(f"checkpoint {folder} was {error}: {_SAME}") from error
    with _damage_explained(folder):
        tensors = TensorFile(folder / _TENSORS)
        reference = _reference(folder, learner) if with_reference else None
        states = {name: tensors.read(f"generator.{name}") for name in learner.random.generators}
    _restore_weights(learner, folder, tensors)
    learner.compute_in(bf16=config["bf16"])
    if learner.reference is not None and reference is not None:
        learner.reference.copy_weights(reference)
    _remember_reference(learner, folder)
    for name, generator in learner.random.generators.items():
        generator.set_state(states[name])
    learner.random.recall(record)
    learner.iteration, learner.num_timesteps = record["iteration"], record["num_timesteps"]
    learner.is_whole, learner.changes = True, changes
    learner.recall(record)


def load_learner(
    kind: type[_LearnerT],
    folder: Path,
    envs: Any,
    device: str | None = None,
    config: LearnerConfig | None = None,
) -> _LearnerT:
    """Makes a learner anew from a checkpoint.

    Args:
        kind: What it is.
        folder: What ``save_learner`` wrote.
        envs: The environment to go on in.
        device: Where to put the weights; ``None`` for where the environment is.
        config: What to go on with; ``None`` for the settings in the checkpoint.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it was made by another algorithm or with a setting that must stay, or is
            damaged.
    """
    record = _read_record(folder, kind.__name__)
    settings = kind.config_type(**record["config"]) if config is None else config
    require_batch(envs)

    def loaded(name: str) -> TransformerPolicy:
        there, tokenizer = device or str(envs.unwrapped.device), envs.unwrapped.tokenizer
        return TransformerPolicy.from_pretrained(folder / name, there, tokenizer=tokenizer)

    with _damage_explained(folder):
        policy = loaded(_POLICY)
        reference = loaded(_REFERENCE) if (folder / _REFERENCE).is_dir() else None
    learner = cast("_LearnerT", cast("Any", kind)(policy, envs, settings, reference=reference))
    restore_learner(learner, folder, with_reference=reference is None)
    return learner


@contextmanager
def undone_on_failure(learner: Resumable) -> Iterator[None]:
    """Goes back to before the iteration in a ``with`` block, if that fails.

    Prompts and draws come again. What the algorithm remembers is put back as well, unless weights
    have moved: they stay, and the learner is not whole.

    Args:
        learner: Whose iteration it is.

    Raises:
        GuardError: If an invariant of training is broken, or memory runs out; the message says
            which, and where the batch was saved.
    """
    draws, known = learner.random.before_iteration(), learner.record()
    learner.collected = None
    try:
        with explained_memory():
            yield
    except BaseException as error:
        learner.optimizer.zero_grad(set_to_none=True)  # of half a minibatch
        learner.random.go_back(draws)
        if learner.is_whole:
            learner.recall(known)
        if not isinstance(error, GuardError):
            raise
        number, where = learner.iteration + 1, ""
        if learner.collected is not None and learner.processes.is_main:
            path = learner.failure_folder / f"failed-batch-{number}.safetensors"
            save_failed_batch(learner.collected, path)
            where = f" (the batch is in {path})"
        raise type(error)(f"iteration {number}: {error}{where}") from error
    learner.is_whole = True


def _tensors(learner: Resumable) -> Iterator[Waiting]:
    """What is written beside the models: generators, what learns, and its moments."""
    kept = {f"generator.{name}": g.get_state() for name, g in learner.random.generators.items()}
    trained = _trained(learner.policy)
    kept |= {f"policy.{name}": parameter for name, parameter in trained.items()}
    for name, parameter in trained.items():
        for key, value in learner.optimizer.state.get(parameter, {}).items():
            kept[f"optimizer.{name}.{key}"] = value
    for name, tensor in kept.items():
        yield Waiting(name, tensor.shape, tensor.dtype, partial(whole, tensor.detach()))


class Saves:
    """When checkpoints are written: at once, or, of weights that are cut, when all can help."""

    def __init__(self) -> None:
        """Nobody has asked for one."""
        self._asked: list[Path] = []
        self._wait = False

    def ask(self, learner: Resumable, folder: Path) -> None:
        """Writes a checkpoint, or notes that a callback of the main process has asked for it."""
        if learner.processes.sharded and self._wait:
            self._asked.append(folder)
        elif learner.processes.sharded or learner.processes.is_main:
            save_learner(learner, folder)

    def make(self, learner: Resumable) -> None:
        """Writes what was asked for; to be called in all processes."""
        for folder in learner.processes.as_main(self._asked) if learner.processes.sharded else ():
            save_learner(learner, folder)
        self._asked = []

    @contextmanager
    def later(self, learner: Resumable) -> Iterator[None]:
        """Inside, where the main process alone is called back, saves wait until all can help."""
        self._wait = True
        try:
            yield
        finally:
            self._wait = False
        self.make(learner)


def save_policy(learner: Resumable, folder: Path) -> None:
    """Writes a learner's policy alone, whole or not at all.

    Where weights are cut, it has to be called in all processes.

    Args:
        learner: Whose.
        folder: Is replaced if it is there.
    """
    with atomic_folder(folder) if learner.processes.is_main else nullcontext() as temporary:
        _write_policy(learner.policy, learner, temporary)


def _under(folder: Path | None, name: str) -> Path | None:
    """Where the main process writes; ``None`` in another, which helps to put weights together."""
    return None if folder is None else folder / name


def _write_policy(policy: TransformerPolicy, learner: Resumable, folder: Path | None) -> None:
    """Writes a policy, whose weights may be cut; the reference needs no tokenizer of its own."""
    tokenizer = learner.envs.tokenizer if policy is learner.policy else None
    weights = None
    if learner.processes.sharded:
        weights = whole_weights(policy, keep=folder is not None)
    if folder is not None:
        policy.save_pretrained(folder, tokenizer, weights=weights)


def _write_reference(learner: Resumable, folder: Path | None) -> None:
    """Writes the reference, or takes over the files where it was written before."""
    if learner.reference is None:
        return
    before = learner.written_reference
    is_there = before is not None and before.folder.is_dir()
    is_same = before is not None and is_there and before.weights == fingerprint(learner.reference)
    if learner.processes.sharded:
        is_same = all(learner.processes.exchange(is_same))
    if before is None or not is_same:
        _write_policy(learner.reference, learner, folder)
    elif folder is not None:
        shutil.copytree(before.folder, folder, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _remember_reference(learner: Resumable, folder: Path) -> None:
    learner.written_reference = None
    if learner.reference is not None:
        there = folder / _REFERENCE
        learner.written_reference = WrittenReference(there, fingerprint(learner.reference))


def _restore_weights(learner: Resumable, folder: Path, tensors: TensorFile) -> None:
    """Restores policy and moments in place, one by one."""

    def under(prefix: str) -> dict[str, tuple[int, ...]]:
        shapes = tensors.shapes.items()
        return {k.removeprefix(prefix): v for k, v in shapes if k.startswith(prefix)}

    trained = _trained(learner.policy)
    shapes = set(under("policy.").items())
    expected = {(name, tuple(p.shape)) for name, p in trained.items()}
    if shapes != expected:
        differs = min(shapes ^ expected)[0]
        raise ValueError(f"checkpoint {folder} is one of another model: {differs} differs")
    learner.optimizer.state.clear()  # what had no moments then has none again
    for name, parameter in trained.items():
        copy_over(parameter, tensors.read(f"policy.{name}"))
        prefix = f"optimizer.{name}."
        moments = {key: tensors.read(prefix + key) for key in under(prefix)}
        if moments:
            learner.optimizer.state[parameter] = {  # Adam counts on the host
                key: value if key == "step" else own_share(value, parameter)
                for key, value in moments.items()
            }


def _trained(policy: TransformerPolicy) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in policy.named_parameters() if p.requires_grad}


def _reference(folder: Path, learner: Resumable) -> TransformerPolicy | None:
    if learner.reference is None:
        return None
    tokenizer = learner.envs.tokenizer
    return TransformerPolicy.from_pretrained(
        folder / _REFERENCE,
        "cpu",  # from where it is copied weight by weight
        tokenizer=tokenizer,
        attention="eager",  # it is read for its weights alone
    )


def _require_replaceable(folder: Path) -> None:
    """Requires that nothing but a checkpoint would be replaced.

    Raises:
        FileExistsError: If something else is there.
    """
    if folder.exists() and not (folder / _RECORD).is_file() and _has_something(folder):
        raise FileExistsError(
            f"{folder} is there and is no checkpoint, which alone would be replaced: name another "
            "folder"
        )


def _has_something(path: Path) -> bool:
    return not path.is_dir() or any(path.iterdir())


def _read_record(folder: Path, algorithm: str) -> dict[str, Any]:
    """Reads the record alone, to see whether a checkpoint fits before anything is changed."""
    path = folder / _RECORD
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint in {folder}: {_RECORD} is missing there")
    with _damage_explained(folder):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = {"algorithm", "config", "iteration", "num_timesteps"} - set(record)
        if missing:
            raise ValueError(f"{_RECORD} lacks {', '.join(sorted(missing))}")
    if record["algorithm"] != algorithm:
        raise ValueError(f"checkpoint {folder} is one of {record['algorithm']}, not {algorithm}")
    return record


@contextmanager
def _damage_explained(folder: Path) -> Iterator[None]:
    """Says which checkpoint cannot be read, and what to do.

    Raises:
        ValueError: Instead of what readers of files raise.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"checkpoint {folder} is damaged ({said}): remove it, and go on from the one before"
        ) from error
