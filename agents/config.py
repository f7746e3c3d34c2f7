"""The settings that every learner has which collects texts."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from agents.maths.distributions import Sampling
from textgym.messages import did_you_mean, shown
from textgym.pretrained.precision import Bfloat16  # noqa: TC001 - fields are checked by it

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "BUILT_IN",
    "LearnerConfig",
    "Scoring",
    "require_dual_clip",
    "require_engine_address",
    "require_field_types",
    "require_group_size",
    "require_whole_groups",
]

BUILT_IN = "builtin"
"""The engine that is the policy itself."""

_SEEDS = 2**63  # torch's
_SMALLEST_GROUP = 2
_KINDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How a reward is asked about finished texts.

    Attributes:
        workers: How many calls are made at once, in threads, while the next texts are written; with
            0 the writer waits for each call.
        retries: How often a call that failed is made again.
    """

    workers: int = 0
    retries: int = 0

    @classmethod
    def of(cls, config: LearnerConfig) -> Scoring:
        """As a learner's settings have it."""
        return cls(workers=config.reward_workers, retries=config.reward_retries)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """Settings of every learner that collects texts."""

    iterations: int = 36
    """Collections and updates of a whole run, over which the learning rate falls. More learn
    longer, and more slowly towards the end."""
    episodes: int | None = None
    """Texts in a collection, of all processes together; None takes one a row. More make a gradient
    less noisy, and an iteration longer."""
    epochs: int = 1
    """Passes over one collection. More use it better, and move further from where it was made."""
    minibatches: int = 1
    """Updates in a pass. More of them are smaller and noisier."""
    learning_rate: float | None = None
    """Highest step size of Adam; None for what suits so many weights that learn, from 4e-4 of a few
    million to 3e-6 of a billion. Higher learns faster until the KL divergence jumps."""
    final_rate: float = 0.1
    """What is left of the learning rate at the end, as a fraction. Higher keeps moving."""
    warmup: int = 0
    """First iterations over which the learning rate rises in equal steps. More spare a policy large
    steps while Adam knows little of its gradients."""
    weight_decay: float = 0.0
    """AdamW's: the share, times the learning rate, by which a step shrinks all weights that learn.
    Higher holds them, or adapters, nearer to 0."""
    adam_beta1: float = 0.9
    """How much of the average gradient a step keeps. Higher steps more smoothly."""
    adam_beta2: float = 0.999
    """How much of the average square of the gradient a step keeps. Higher scales steps by a longer
    past."""
    max_gradient_norm: float | None = 1.0
    """Longer gradients are scaled down to this, a policy's and its critic's each by itself; None
    leaves them. Higher trusts odd batches."""
    temperature: float = 1.0
    """Divides the logits in the sampler, the update and the reference alike. Higher explores."""
    top_k: int | None = None
    """Only so many of the likeliest tokens can be drawn; None for all. Higher explores."""
    top_p: float | None = None
    """Only the likeliest tokens of so much probability can be drawn; None for all. Higher
    explores."""
    micro_batch_tokens: int = 4096
    """Tokens in one forward pass, padding included. It changes memory and speed, not the gradient:
    raise it on a GPU, lower it when memory runs out."""
    shard: bool = False
    """Cut weights, gradients, moments, critic and reference over the processes, each of which then
    keeps a part of them and one whole policy to write with. It changes memory and time, not what is
    learned; of one process alone it changes nothing."""
    offload: bool = False
    """With shard, keep a GPU's part of weights, gradients, moments and reference on the host, where
    Adam then steps; weights come to the GPU layer by layer. It takes less of the GPU's memory and
    more time; on a CPU, and without shard, it changes nothing."""
    checkpoint_in_parts: bool = False
    """With shard, let each process write its own part of weights and moments, so that a checkpoint
    needs a whole copy nowhere and takes less time; textgym export makes an ordinary folder of its
    policy. Adapters are small, and always whole."""
    gradient_checkpointing: bool = False
    """Keep what goes into each layer alone, and compute the layer again for its gradient. It
    changes memory and time, not the gradient: an update takes about a third longer, and
    the activations of one layer instead of all."""
    bf16: Bfloat16 = False
    """Sample with bfloat16 weights, and run the update's and the reference's forward passes in
    bfloat16; the weights that learn stay float32. It is faster on some machines and slower on
    others: auto tries for a second."""
    importance_cap: float | None = None
    """Weigh what was drawn by its probability in the update over that in the sampler, at most this
    and at least 1, where the two differ: in bfloat16, or with another engine. None does not, but is
    2 with another engine. Higher corrects more, and is noisier."""
    engine: str = BUILT_IN
    """Who writes the texts: builtin, or the address of a vLLM server that has been started for it,
    such as http://localhost:8000; LEARNERS.md says how. Texts of one fixed set of legal tokens
    alone."""
    engine_folder: str | None = None
    """Where weights are put for the server to read, under a path that both know; None for a
    temporary folder of this machine."""
    engine_timeout: float = 600.0
    """Seconds that the server may take for one text, or to read weights. More waits longer for a
    slow one, and for a dead one."""
    reward_workers: int = 0
    """Calls of the reward at once, in threads, while the next texts are written; 0 waits for each.
    They share out as many texts as there are rows. More suit an endpoint that takes several
    requests; a reward has to stand being called in a thread."""
    reward_retries: int = 0
    """How often a call of the reward that failed is made again, after 1, 2, 4 ... seconds; 0 ends
    the iteration. More survives longer outages, and says later what is wrong."""
    seed: int = 0
    """Of the sampler, the minibatches and the order of the prompts."""

    def __post_init__(self) -> None:
        """Checks types and ranges.

        Raises:
            TypeError: If a setting is of another type.
            ValueError: If a setting is out of its range.
        """
        require_field_types(self)
        if not 0 <= self.seed < _SEEDS:
            raise ValueError(f"seed must be in [0, 2**63), got {self.seed}")
        whole = ("iterations", "epochs", "minibatches", "micro_batch_tokens", "episodes")
        self._hold((*whole, "importance_cap"), lambda x: x >= 1, "at least 1")
        self._hold(
            ("learning_rate", "max_gradient_norm", "engine_timeout"), lambda x: x > 0, "above 0"
        )
        self._hold(
            ("warmup", "weight_decay", "reward_workers", "reward_retries"),
            lambda x: x >= 0,
            "at least 0",
        )
        self._hold(("adam_beta1", "adam_beta2"), lambda x: 0 <= x < 1, "in [0, 1)")
        self._hold(("final_rate",), lambda x: 0 <= x <= 1, "in [0, 1]")
        require_engine_address(self.engine)
        _ = self.sampling

    def _hold(self, names: Sequence[str], holds: Callable[[float], bool], said: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise ValueError(f"{name} must be {said}, got {value}")

    @property
    def sampling(self) -> Sampling:
        """How actions are drawn."""
        return Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)

    @property
    def updates_on_policy(self) -> bool:
        """Whether the policy that learns is always the one that acted, rounding apart.

        It is where an iteration makes a single update. In bfloat16, to evaluate the rollout before
        that update would be the same forward pass twice.
        """
        return self.epochs * self.minibatches == 1

    def num_texts(self, rows: int) -> int:
        """How many texts an iteration has.

        Args:
            rows: How many are written at once, by all processes together.

        Raises:
            ValueError: If they are fewer than rows or minibatches.
        """
        texts = self.episodes or rows
        if texts < max(self.minibatches, rows):
            raise ValueError(
                f"an iteration has {texts} texts, fewer than its {self.minibatches} minibatches or "
                f"its {rows} rows: raise episodes, or lower minibatches or num_envs"
            )
        return texts


def require_field_types(settings: Any) -> None:
    """Requires that every field of a dataclass is what its annotation says.

    Args:
        settings: Of fields that are numbers, texts, switches or one of given words, or ``None``
            as well; fields of other kinds are not looked at.

    Raises:
        TypeError: If a value is of another type.
        ValueError: If a number is not finite, or a word is none of the given ones.
    """
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        _require(field.name, getattr(settings, field.name), hints[field.name])


def _require(name: str, value: Any, hint: Any) -> None:
    kinds = [hint] if get_origin(hint) is Literal else list(get_args(hint)) or [hint]
    may_miss = NoneType in kinds
    kind = next(each for each in kinds if each is not NoneType)
    if value is None and may_miss:
        return
    words = [word for each in kinds if get_origin(each) is Literal for word in get_args(each)]
    if get_origin(kind) is Literal or (words and isinstance(value, str)):
        if value in words:
            return
        known = ["True", "False", *words] if kind is bool else words
        near = did_you_mean(str(value), known)
        raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}{near}")
    if kind not in _KINDS:
        return
    wanted = f"{name} must be {_KINDS[kind]}{' or None' if may_miss else ''}, got {shown(value)}"
    # A whole number is a number as well, and True is neither.
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(wanted)
    if kind is float and not math.isfinite(value):
        raise ValueError(wanted)


def require_engine_address(engine: str) -> None:
    """Requires the built-in engine, or the address of a server, without a path or a secret in it.

    Raises:
        ValueError: If it is neither.
    """
    parts = urlsplit(engine)
    if engine != BUILT_IN and (
        parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/")
    ):
        raise ValueError(
            f"engine {engine!r} is no address: give {BUILT_IN}, or one such as "
            "http://localhost:8000"
        )
    if parts.username or parts.password or parts.query:
        raise ValueError(
            "the engine's address holds a user name, a password or a query: put the key into the "
            "variable VLLM_API_KEY"
        )


def require_group_size(group: int) -> None:
    """Requires at least two completions of a prompt.

    Raises:
        ValueError: If there are fewer.
    """
    if group < _SMALLEST_GROUP:
        raise ValueError(f"group_size must be at least {_SMALLEST_GROUP}, got {group}")


def require_whole_groups(episodes: int, group: int) -> None:
    """Requires that an iteration's texts are whole groups.

    Raises:
        ValueError: If they are not.
    """
    if episodes % group:
        raise ValueError(
            f"{episodes} texts an iteration are no whole groups of {group}: make episodes, or "
            "num_envs where it is not set, a multiple of that"
        )


def require_dual_clip(bound: float | None) -> None:
    """Requires a bound of ratios that leaves those near 1 alone.

    Raises:
        ValueError: If it is not above 1.
    """
    if bound is not None and not bound > 1:
        raise ValueError(f"dual_clip must be above 1, got {bound}")
