"""What a run needs to go on as if it had never stopped.

Checkpoints are in safetensors and JSON. Weights and moments are written and read one by one, so
neither takes memory for a second copy of them. The reference never changes: a run writes it once,
and its later checkpoints hold the same files, by a link where the file system has those. Weights
and moments that are cut may also be written in parts, see ``agents.models.parts``.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar, cast

import torch
from safetensors import SafetensorError

from agents.models.parts import parts_in, save_in_parts
from agents.models.policy import TransformerPolicy
from agents.models.sharding import copy_over, is_cut, whole, whole_weights
from agents.rollouts.checks import require_batch
from agents.training.changes import changed_settings
from agents.training.distributed import fingerprint
from agents.training.tensor_file import TensorFile, Waiting, write_tensors
from textgym.files import atomic_folder, write_json
from textgym.pretrained.adapters import has_adapters
from textgym.pretrained.part_files import PARTS, PartFiles, write_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from agents.config import LearnerConfig
    from agents.rollouts.rollout import Rollout
    from agents.training.distributed import Processes
    from agents.training.randomness import RandomState
    from textgym.envs.vector import TextVectorEnv

__all__ = [
    "Resumable",
    "WrittenReference",
    "load_learner",
    "restore_learner",
    "save_learner",
    "save_policy",
]

_LearnerT = TypeVar("_LearnerT", bound="Resumable")

_TENSORS, _RECORD = "state.safetensors", "state.json"
_POLICY, _REFERENCE = "policy", "reference"  # where the models are
_MOMENTS = "moments"  # where they are in parts, if they are
_OF_MODELS = "model.", "critic."  # how the names of their weights begin
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
        in_parts = _in_parts(learner, learner.policy)
        _write_policy(learner.policy, learner, _under(temporary, _POLICY), in_parts=in_parts)
        _write_reference(learner, _under(temporary, _REFERENCE))
        write_tensors(_under(temporary, _TENSORS), _tensors(learner))
        if in_parts:
            _write_moments(learner, temporary)
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
        kept = _Kept(folder)
        reference = _reference(folder, learner) if with_reference else None
        states = {name: kept.read(f"generator.{name}") for name in learner.random.generators}
    _restore_weights(learner, folder, kept)
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


def _tensors(learner: Resumable) -> Iterator[Waiting]:
    """What is written beside the models, and their parts: generators, what learns, its moments."""
    kept = {f"generator.{name}": g.get_state() for name, g in learner.random.generators.items()}
    in_parts = _in_parts(learner, learner.policy)
    for name, parameter in _trained(learner.policy).items():
        if not (in_parts and name.startswith(_OF_MODELS)):
            kept[f"policy.{name}"] = parameter
    for name, moment in _moments(learner).items():
        if not (in_parts and is_cut(moment)):
            kept[f"optimizer.{name}"] = moment
    for name, tensor in kept.items():
        yield Waiting(name, tensor.shape, tensor.dtype, partial(whole, tensor.detach()))


def _moments(learner: Resumable) -> dict[str, torch.Tensor]:
    """What the optimiser keeps, by the names of the parameter and of what it is."""
    trained, state = _trained(learner.policy), learner.optimizer.state
    return {f"{n}.{key}": value for n, p in trained.items() for key, value in state[p].items()}


def _in_parts(learner: Resumable, policy: TransformerPolicy) -> bool:
    """Whether a policy's weights are written in parts; adapters are small."""
    wanted = learner.processes.sharded and learner.config.checkpoint_in_parts
    return wanted and not has_adapters(policy.model)


def _write_moments(learner: Resumable, folder: Path | None) -> None:
    """Writes moments in parts; to be called in all processes, of which the main one knows where.

    Raises:
        ValueError: If what another process wrote is not where the main one looks; in all.
    """
    there = cast("Path", learner.processes.as_main(folder))
    cut = {name: each for name, each in _moments(learner).items() if is_cut(each)}
    write_parts(cut, there / _MOMENTS)
    with learner.processes.together():
        for place in () if folder is None else (there / _MOMENTS, *there.rglob(PARTS)):
            PartFiles(place)


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


def _write_policy(
    policy: TransformerPolicy, learner: Resumable, folder: Path | None, *, in_parts: bool = False
) -> None:
    """Writes a policy, whose weights may be cut; the reference needs no tokenizer of its own."""
    tokenizer = learner.envs.tokenizer if policy is learner.policy else None
    weights, processes = None, learner.processes
    if in_parts:
        there = cast("Path", processes.as_main(folder))
        save_in_parts(policy, there, tokenizer, is_main=processes.is_main)
    elif processes.sharded:
        weights = whole_weights(policy, keep=processes.is_main)
    if folder is not None and not in_parts:
        policy.save_pretrained(folder, tokenizer, weights=weights)


def _write_reference(learner: Resumable, folder: Path | None) -> None:
    """Writes the reference, or takes over the files where it was written before."""
    reference, before = learner.reference, learner.written_reference
    if reference is None:
        return
    is_there = before is not None and before.folder.is_dir()
    is_same = before is not None and is_there and before.weights == fingerprint(reference)
    if learner.processes.sharded:
        is_same = all(learner.processes.exchange(is_same))
    if before is None or not is_same:
        _write_policy(reference, learner, folder, in_parts=_in_parts(learner, reference))
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


class _Kept:
    """The tensors of a checkpoint by name, whether they are whole in one file or in parts.

    Attributes:
        shapes: Of all of them, by name.
        is_in_parts: Whether weights are; those that are frozen are then among them.
    """

    def __init__(self, folder: Path) -> None:
        """Reads what there is, and no numbers; it raises what the readers of files do."""
        self._file = TensorFile(folder / _TENSORS)
        self._parts = {f"policy.{n}": files for n, files in parts_in(folder / _POLICY).items()}
        self.is_in_parts = bool(self._parts)
        if (folder / _MOMENTS).is_dir():
            self._parts["optimizer."] = PartFiles(folder / _MOMENTS)
        self.shapes = dict(self._file.shapes)
        for prefix, files in self._parts.items():
            self.shapes |= {prefix + name: shape for name, shape in files.shapes.items()}

    def under(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """The shapes of those whose names begin so, by the rest of their names."""
        every = self.shapes.items()
        return {name.removeprefix(prefix): x for name, x in every if name.startswith(prefix)}

    def read(self, name: str) -> torch.Tensor:
        """One that is whole in any case, on the host."""
        return self._file.read(name)

    def read_into(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Reads into tensors in place; of those that are cut the own part alone is kept."""
        for prefix, files in self._parts.items():
            own = {name.removeprefix(prefix): each for name, each in tensors.items()}
            files.read_into({name: own[name] for name in own.keys() & files.shapes.keys()})
        for name in tensors.keys() & self._file.shapes.keys():
            copy_over(tensors[name], self._file.read(name))


def _restore_weights(learner: Resumable, folder: Path, kept: _Kept) -> None:
    """Restores policy and moments in place."""
    trained, state = _trained(learner.policy), learner.optimizer.state
    spared = learner.policy.state_dict().keys() - trained.keys() if kept.is_in_parts else ()
    shapes = {(n, shape) for n, shape in kept.under("policy.").items() if n not in spared}
    expected = {(name, tuple(p.shape)) for name, p in trained.items()}
    if shapes != expected:
        differs = min(shapes ^ expected)[0]
        raise ValueError(f"checkpoint {folder} is one of another model: {differs} differs")
    state.clear()  # what had no moments then has none again
    into: dict[str, torch.Tensor] = {f"policy.{name}": p for name, p in trained.items()}
    for name, parameter in trained.items():
        prefix = f"optimizer.{name}."
        for key in kept.under(prefix):
            if key == "step":  # Adam counts on the host
                state[parameter][key] = kept.read(prefix + key)
            else:
                into[prefix + key] = state[parameter][key] = torch.zeros_like(parameter)
    kept.read_into(into)


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
