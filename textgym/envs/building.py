"""From settings to a world: names are resolved, what they name is loaded, the rules are made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym import rewards
from textgym.dynamics.states import Rules
from textgym.envs.prompts import Prompts
from textgym.envs.world import World
from textgym.messages import shown
from textgym.tasks import get_task
from textgym.tokenizers import legal_ids, load_tokenizer
from textgym.types import Conversation, Task, Tokenizer

if TYPE_CHECKING:
    from textgym.constraints.compiling import Constraint
    from textgym.envs.settings import Settings
    from textgym.rewards import Scorer
    from textgym.types import Example

__all__ = ["build_world"]

_STATIC = frozenset({"forbid", "allow"})


def build_world(settings: Settings) -> World:
    """Resolves names, loads what they name, and makes the rules.

    Raises:
        TypeError: If a task or a tokenizer is something else.
        ValueError: If a name is unknown, the split is empty or a size does not fit.
        ModuleNotFoundError: If a package is missing; the message says how to get it.
    """
    task = get_task(str(settings.task)) if isinstance(settings.task, str | Path) else settings.task
    _require_parts("task", task, Task)
    named = task.tokenizer if settings.tokenizer is None else settings.tokenizer
    tokenizer = load_tokenizer(named) if isinstance(named, str | Path) else named
    _require_parts("tokenizer", tokenizer, Tokenizer)
    reward = rewards.resolve(
        task.reward if settings.reward is None else settings.reward, settings.reward_kwargs
    )
    examples = task.examples(settings.split)
    if not examples:
        raise ValueError(f"split {settings.split!r} of {task.name} has no examples")
    _require_columns(reward, examples[0], settings.split, task)
    rules = _rules(task, tokenizer, settings)
    rules, constraint = _constrain(rules, tokenizer, settings)
    proposer, drafter = None, None
    if settings.action_kind == "choose":
        from textgym.proposing.proposals import resolve_proposer

        proposer = resolve_proposer(
            settings.proposer,
            settings.num_choices - 1,
            tokenizer,
            task,
            examples,
            settings.proposer_kwargs,
        )
    elif settings.action_kind == "edit":
        from textgym.proposing.drafts import resolve_drafter

        drafter = resolve_drafter(
            settings.drafter,
            tokenizer,
            task,
            rules.prompt_tokens,
            rules.completion_tokens,
            settings.drafter_kwargs,
        )
    return World(
        settings=settings,
        task=task,
        tokenizer=tokenizer,
        reward=reward,
        examples=examples,
        rules=rules,
        prompts=Prompts(examples, tokenizer, rules),
        proposer=proposer,
        drafter=drafter,
        constraint=constraint,
    )


def _require_parts(what: str, given: Any, protocol: Any) -> None:
    """Refuses an object that lacks what the protocol of a task or a tokenizer asks for."""
    if isinstance(given, type):
        raise TypeError(f"the {what} {given.__name__} is a class; give an instance of it")
    names = [name for name in vars(protocol) if not name.startswith("_")]
    missing = [name for name in names if not hasattr(given, name)]
    if missing:
        raise TypeError(
            f"a {what} is a name, a path or an object with the attributes of "
            f"textgym.types.{protocol.__name__}; {shown(given)} lacks {', '.join(missing)}"
        )


def _require_columns(reward: Scorer, example: Example, split: str, task: Task) -> None:
    """Refuses a reward that would fail at the end of the first episode."""
    missing = [name for name in reward.reads if name not in example.columns]
    if missing:
        raise ValueError(
            f"reward {reward.name!r} reads the column {missing[0]!r}, but split {split!r} of "
            f"{task.name} has the columns: {', '.join(example.columns) or 'none'}"
        )


def _rules(task: Task, tokenizer: Tokenizer, settings: Settings) -> Rules:
    pad, bos, eos = tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id
    if eos in (*tokenizer.forbidden_ids, pad):
        raise ValueError(
            f"the tokenizer forbids its own end-of-text id {eos}, so no text could end"
        )
    if settings.action_kind == "edit" and bos == eos:
        raise ValueError(
            f"the tokenizer begins and ends a text with the same id {eos}, but an edit inserts by "
            "the one and stops by the other; use a tokenizer with two ids"
        )
    completion_tokens = settings.completion_tokens or task.completion_tokens
    return Rules(
        prompt_tokens=settings.prompt_tokens or task.prompt_tokens,
        completion_tokens=completion_tokens,
        max_actions=settings.max_actions or completion_tokens,
        pad_id=pad,
        bos_id=bos,
        eos_id=eos,
        legal=legal_ids(tokenizer),
        converses=isinstance(task, Conversation) and settings.action_kind != "edit",
    )


def _constrain(
    rules: Rules, tokenizer: Tokenizer, settings: Settings
) -> tuple[Rules, Constraint | None]:
    """Puts what never changes into the rules, and leaves the rest to a constraint."""
    spec = settings.constraints
    if spec is None:
        return rules, None
    from textgym.constraints.compiling import compile_constraints

    constraint = compile_constraints(spec, tokenizer, rules.legal, rules.completion_tokens)
    if set(spec) <= _STATIC:
        legal = constraint.mask(constraint.start(1), np.zeros(1, dtype=np.int64))[0]
        if settings.action_kind != "append":
            # Candidate 0 and the edit that stops are there in every state, whatever is forbidden.
            legal[rules.eos_id] = True
        return dataclasses.replace(rules, legal=legal), None
    if settings.action_kind == "edit" or rules.converses:
        raise ValueError(
            f"constraints {sorted(set(spec) - _STATIC)} follow one text that grows, but an edit "
            "changes it anywhere and a conversation has several; known for both: "
            f"{sorted(_STATIC)}"
        )
    return rules, constraint
