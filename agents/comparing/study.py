"""What is compared: a study, frozen and saved as JSON, and the cells that it is made of.

A cell is one reward, one agent and one seed. Its settings are plain JSON and hold all that decides
its result, so that it can be run anywhere, in any order, and again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from textgym.files import write_json
from textgym.messages import did_you_mean
from textgym.provenance import named_contents, other_contents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["BEST_OF_N", "CONTROLS", "GOLD", "STUDY_FILE", "Cell", "Study", "named", "read_study"]

STUDY_FILE = "study.json"
_CONTENTS_FILE = "contents.json"  # hashes of the files, folders and modules that it names
BEST_OF_N = "best-of-n"
GOLD = "gold"
CONTROLS: Mapping[str, Any] = {"constant": "constant", "length": "length"}
"""What stands beside the rewards of every study, with the gold itself: a floor, and a canary."""

_POSITIVE = ("seeds", "tokens", "prompts", "num_envs", "snapshots", "threads")
_FEWEST_DRAWS = 2
_SHOWN = 60  # letters of a setting in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The same start, prompts and budget for every reward, agent and seed."""

    env: str
    """The environment's id, such as TextGym/Sentiment-v0."""
    rewards: Mapping[str, Any]
    """What is compared: a reward, as ``textgym.rewards.resolve`` takes it in JSON, by its name."""
    gold: Any = None
    """The reward that nothing but its own row is trained on, and that all are judged by; None takes
    the task's own."""
    agents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What optimises, by its name: ``{"agent": KIND, "settings": {...}}``, where the kind is ppo,
    grpo, rloo, reinforce, dpo or ``module:attribute``. Best of n is always there: it is cheap."""
    policy: str = "scratch:gpt2?layers=2&width=32&heads=4"
    """Who all start from, as ``agents.models.loading.load_model`` takes it."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """More arguments of the environment, but its reward and its split."""
    train_split: str = "train"
    """Where learners take prompts from."""
    test_split: str | None = None
    """Where everything is measured; None takes ``test`` where the task has it, else the former."""
    seeds: int = 5
    """How many times each pair of reward and agent is run. Fewer than three have no interval."""
    tokens: int = 20_000
    """Tokens that a learner may write while it learns. More optimise further, and take longer."""
    prompts: int = 64
    """Test prompts, one text each at every measurement. More measure more finely."""
    draws: int = 32
    """Completions of a prompt that best of n chooses from. More reach a higher KL."""
    num_envs: int = 64
    """Rows that are written at once."""
    snapshots: int = 6
    """Measurements on the way, the start apart, evenly over the root of the tokens."""
    temperature: float = 1.0
    """Of all sampling."""
    kl_budget: float | None = None
    """A learner that leaves so many nats behind has failed; None lets it go anywhere."""
    seconds: float | None = None
    """A cell that takes longer has failed; None waits."""
    threads: int = 1
    """Of each cell. Another number may round otherwise."""

    def __post_init__(self) -> None:
        """Checks what can be checked without loading anything.

        Raises:
            ValueError: If a setting is out of its range, or a name is taken.
        """
        for name in _POSITIVE:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value}")
        if self.draws < _FEWEST_DRAWS:
            raise ValueError(f"draws must be at least {_FEWEST_DRAWS}, got {self.draws}")
        for name in ("temperature", "kl_budget", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        self._check_names()

    def _check_names(self) -> None:
        if not self.rewards:
            raise ValueError("rewards is empty: name one reward at least")
        for name, spec in self.rewards.items():
            if name == GOLD or (name in CONTROLS and spec != CONTROLS[name]):
                raise ValueError(f"the reward {name} stands beside all others: choose another name")
        for name, agent in self.agents.items():
            if name != BEST_OF_N and "agent" not in agent:
                raise ValueError(f'the agent {name} needs {{"agent": KIND}}, got {dict(agent)}')
        for word, why in (("reward", "rewards"), ("split", "train_split and test_split")):
            if word in self.env_kwargs:
                raise ValueError(f"env_kwargs has {word}, which the study sets: give {why}")

    @property
    def conditions(self) -> dict[str, Any]:
        """All rewards by name: those compared, then the constant, the length, and the gold."""
        return {**self.rewards, **CONTROLS, GOLD: self.gold}

    @property
    def learners(self) -> dict[str, Mapping[str, Any]]:
        """The agents that train, by name."""
        return {name: agent for name, agent in self.agents.items() if name != BEST_OF_N}

    def cells(self) -> list[Cell]:
        """All cells, the cheap ones first, then seed by seed, so that early tables are fair."""
        every = range(self.seeds)
        cheap = [
            Cell(self, reward, BEST_OF_N, seed) for seed in every for reward in self.conditions
        ]
        trained = [
            Cell(self, reward, agent, seed)
            for seed in every
            for agent in self.learners
            for reward in self.conditions
        ]
        return cheap + trained

    def as_json(self) -> dict[str, Any]:
        """All settings as JSON has them.

        Raises:
            ValueError: If one is no JSON, such as a reward that is a function.
        """
        try:
            return json.loads(json.dumps(asdict(self), allow_nan=False))  # type: ignore[no-any-return] # it is an object
        except TypeError as error:
            raise ValueError(
                f"a study is JSON, and this one is not ({error}): name rewards and agents by "
                '"module:attribute"'
            ) from error

    def save(self, folder: Path) -> None:
        """Writes ``study.json``, or finds the same one there, of the same files and modules.

        Raises:
            ValueError: If there is another.
        """
        path, mine = folder / STUDY_FILE, self.as_json()
        contents = named_contents(mine)
        if path.is_file():
            before = read_study(folder).as_json()
            for name, value in mine.items():
                if before[name] != value:
                    raise ValueError(
                        f"{folder} holds a study with {name} {_short(before[name])}, not "
                        f"{_short(value)}: give the same, or another folder"
                    )
            record = folder / _CONTENTS_FILE
            others = other_contents(
                json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}, contents
            )
            if others:
                raise ValueError(
                    f"{folder} holds a study of other contents of {others}: give what it was begun "
                    "with, or another folder"
                )
            return
        write_json(folder / _CONTENTS_FILE, contents)
        write_json(path, mine)


@dataclass(frozen=True, slots=True)
class Cell:
    """One reward, optimised by one agent, once.

    Attributes:
        study: What it belongs to.
        reward: The reward's name.
        agent: The agent's name.
        seed: From 0.
    """

    study: Study
    reward: str
    agent: str
    seed: int

    @property
    def name(self) -> str:
        """Its folder's name below ``cells/``; unlike names stay unlike."""
        return "__".join((_safe(self.reward), _safe(self.agent), f"seed-{self.seed}"))

    def as_json(self) -> dict[str, Any]:
        """All that decides its result."""
        return {
            "study": self.study.as_json(),
            "reward": self.reward,
            "agent": self.agent,
            "seed": self.seed,
        }

    @classmethod
    def of_json(cls, given: Mapping[str, Any]) -> Cell:
        """Reads what ``as_json`` gave."""
        return cls(Study(**given["study"]), given["reward"], given["agent"], given["seed"])


def read_study(folder: Path) -> Study:
    """Reads a saved study.

    Args:
        folder: The study's, or its ``study.json``, or such a file of anybody's.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, or has settings that do not exist.
    """
    path = folder / STUDY_FILE if folder.is_dir() else folder
    if not path.is_file():
        raise FileNotFoundError(f"there is no study in {folder}: {path} is missing")
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error})") from error
    if not isinstance(given, dict):
        raise ValueError(f"{path} must hold an object of settings")  # noqa: TRY004 - the file is wrong
    known = [each.name for each in fields(Study)]
    for name in given:
        if name not in known:
            raise ValueError(f"{path} has no setting {name}{did_you_mean(name, known)}")
    for name in ("env", "rewards"):
        if name not in given:
            raise ValueError(f"{path} lacks {name}")
    return Study(**given)


def named(specs: Sequence[str]) -> dict[str, Any]:
    """Rewards from a command's words: a name or ``module:attribute``, or ``NAME=SPEC``.

    Args:
        specs: The words; a spec that begins with a bracket is read as JSON.

    Raises:
        ValueError: If one is no JSON, or two have one name.
    """
    found: dict[str, Any] = {}
    for word in specs:
        name, separator, spec = word.partition("=")
        if not separator or name[:1] in "{[":
            name, spec = word, word
        if spec[:1] in ("{", "["):
            try:
                found[name] = json.loads(spec)
            except ValueError as error:
                raise ValueError(f"the reward {name} is no JSON ({error})") from error
            continue
        if name in found:
            raise ValueError(f"the reward {name} is named twice: give one of them as NAME=REWARD")
        found[name] = spec
    return found


def _safe(name: str) -> str:
    """A name that may be a file's, with a few letters of its hash where something was replaced."""
    plain = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in name)[
        :_SHOWN
    ]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
