"""What an environment is about: examples, and how they become states, texts and scores.

``build_world`` makes it from settings: it resolves names, loads what they name and makes the rules.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from textgym import rewards
from textgym.dynamics.moves import Moves
from textgym.dynamics.states import Rules, lay_out
from textgym.envs.prompts import Prompts
from textgym.messages import listed, require_text, shown
from textgym.recording.turns import split_turns
from textgym.tasks import get_task
from textgym.tokenizers import decode_rows, legal_ids, load_tokenizer
from textgym.types import Conversation, Example, StopReason, Task, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.constraints import Constraint
    from textgym.dynamics.states import State
    from textgym.envs.settings import Settings
    from textgym.proposing.drafts import Drafter
    from textgym.proposing.proposals import Proposer
    from textgym.rewards import Scorer

__all__ = ["World", "build_world"]

_STATIC = frozenset({"forbid", "allow"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What an environment's settings resolve to.

    Attributes:
        settings: What was asked for.
        task: The task.
        tokenizer: The tokenizer.
        reward: The checked reward.
        examples: The examples of the split.
        rules: The rules, with numpy arrays.
        prompts: Encodes prompts, and keeps what it has encoded.
        proposer: Proposes candidates; ``None`` unless something is chosen.
        drafter: Makes drafts; ``None`` unless something is edited.
        constraint: Follows a completion; ``None`` where the rules say it all.
    """

    settings: Settings
    task: Task
    tokenizer: Tokenizer
    reward: Scorer
    examples: Sequence[Example]
    rules: Rules
    prompts: Prompts
    proposer: Proposer | None = None
    drafter: Drafter | None = None
    constraint: Constraint | None = None

    @property
    def just_grows(self) -> bool:
        """Whether the usual step appends a token, shows the text, and has nothing else to do."""
        chosen = self.settings
        return (
            chosen.action_kind == "append"
            and self.constraint is None
            and not self.rules.converses
            and chosen.obs_mode == "tokens"
            and chosen.render_mode != "human"
            and not chosen.dense
        )

    @property
    def mask_is_fixed(self) -> bool:
        """Whether the same actions are legal in every state."""
        return self.settings.action_kind == "append" and self.constraint is None

    def moves(self, rules: Rules) -> Moves:
        """Makes the moves of this world under its rules, whose arrays may be on a device."""
        return Moves(self.settings.action_kind, rules, self.proposer, self.constraint)

    def observation_space(self) -> spaces.Space[Any]:
        """Makes the space of one row's observation."""
        last, shape = self.tokenizer.vocab_size - 1, (self.rules.width,)
        candidates = self.candidates_shape()
        if self.settings.obs_mode == "tokens":
            size = shape[0] + candidates[0] * candidates[1]
            return spaces.Box(0, last, (size,), np.int64)
        seen: dict[str, spaces.Space[Any]] = {
            "tokens": spaces.Box(0, last, shape, np.int64),
            "attention_mask": spaces.Box(0, 1, shape, np.int64),
            "prompt_mask": spaces.Box(0, 1, shape, np.int64),
        }
        if self.proposer is not None:
            size = candidates[0] * candidates[1]
            seen["candidates"] = spaces.Box(0, last, (size,), np.int64)
        return spaces.Dict(seen)

    def candidates_shape(self) -> tuple[int, int]:
        """Returns ``(K, L)``: how many candidates of how many ids; nothing without a proposer."""
        if self.proposer is None:
            return 0, 0
        return self.proposer.num_candidates + 1, self.proposer.num_tokens

    def action_space(self) -> spaces.Discrete | spaces.MultiDiscrete:
        """Makes the space of one row's action."""
        size = self.tokenizer.vocab_size
        if self.settings.action_kind == "edit":
            return spaces.MultiDiscrete([self.rules.width, size])
        return spaces.Discrete(size if self.proposer is None else self.candidates_shape()[0])

    def action_sizes(self) -> npt.NDArray[np.int64]:
        """Returns how many values an action has, ``(1,)``, or each of its parts, ``(2,)``."""
        space = self.action_space()
        return space.nvec if isinstance(space, spaces.MultiDiscrete) else np.array([space.n])

    def example_id(self, number: Any) -> int:
        """Checks a number that a caller chose an example by.

        Raises:
            TypeError: If it is no integer.
            ValueError: If there is no such example.
        """
        if isinstance(number, bool | np.bool_) or not isinstance(number, int | np.integer):
            raise TypeError(f"example_id must be an integer, got {number!r}")
        if not 0 <= number < len(self.examples):
            raise ValueError(
                f"example_id {number} does not exist; split {self.settings.split!r} of "
                f"{self.task.name} has examples 0 to {len(self.examples) - 1}"
            )
        return int(number)

    def example_of(self, prompt: Any) -> Example:
        """Makes an example of a caller's own prompt; the task's columns are ``None`` in it.

        Raises:
            TypeError: If it is no text.
        """
        if not isinstance(prompt, str):
            raise TypeError(f"a prompt must be a text, got {shown(prompt)}")
        return Example(prompt=prompt, columns=dict.fromkeys(self.examples[0].columns))

    def start(
        self,
        examples: Sequence[Example],
        numbers: npt.NDArray[np.int64],
        generators: Sequence[np.random.Generator],
    ) -> State:
        """Makes the states that examples start in, one row each, as numpy arrays.

        Args:
            examples: N of them.
            numbers: Their numbers in the split, ``(N,)``; -1 for a caller's own prompt.
            generators: One a row, if there is a drafter, which draws from its row's alone.

        Raises:
            ValueError: If a prompt cannot be encoded.
        """
        if self.drafter is None and numbers.min() >= 0:
            return self.prompts.start(numbers)
        ids = self.prompts.encode([example.prompt for example in examples])
        if self.drafter is None:
            return lay_out(ids, self.rules)
        return lay_out(ids, self.rules, self.drafter.draft(examples, generators))

    def completions(self, state: State) -> list[str]:
        """Decodes what the agent wrote in each row, for a state of numpy arrays.

        Its turns in a conversation are joined by line breaks.
        """
        if state.authored is not None:
            return ["\n".join(self.agent_turns(state, row)) for row in range(len(state.tokens))]
        return decode_rows(self.tokenizer, state.tokens, state.prompt_length)

    def turns(self, state: State, row: int) -> list[tuple[bool, str]]:
        """Decodes what stands after a row's prompt in a conversation, turn by turn.

        Returns:
            Whether the agent wrote it, and the text.
        """
        if state.authored is None:
            raise ValueError("only a conversation has turns")
        text = slice(int(state.prompt_length[row]), int(state.length[row]))
        ids, authored = state.tokens[row, text], state.authored[row, text]
        turns = split_turns(ids, authored, self.rules.eos_id)
        return [(by_agent, self.tokenizer.decode(ids)) for by_agent, ids in turns]

    def agent_turns(self, state: State, row: int) -> list[str]:
        """Decodes the agent's turns in a row of a conversation."""
        return [text for by_agent, text in self.turns(state, row) if by_agent]

    def completion_lengths(self, state: State) -> npt.NDArray[np.int64]:
        """Counts the tokens of each completion, ``(N,)``; replies are none of them."""
        if state.authored is not None:
            return np.asarray(state.authored.sum(1))
        return np.asarray(state.length - state.prompt_length)

    def answer(self, state: State, examples: Sequence[Example]) -> State:
        """Lets the other side reply in rows whose turn has just ended, for numpy arrays.

        A row goes on if there is a reply, room for it and for another action, and allowance. Where
        only the room or the allowance is missing, the text is finished by its length.

        Args:
            state: The rows.
            examples: What each started with.

        Raises:
            TypeError: If a reply is no text.
            ValueError: If it is no valid one.
        """
        tokens, length, reason = state.tokens.copy(), state.length.copy(), state.stop_reason.copy()
        for row, example in enumerate(examples):
            text = self.task.reply(example, self.agent_turns(state, row))  # type: ignore[attr-defined] # a Conversation's
            if text is None:
                continue
            require_text(text, f"the reply of {self.task.name}")
            ids = self.tokenizer.encode(text)
            stop = length[row] + len(ids)
            room = stop - state.prompt_length[row] < self.rules.completion_tokens
            if room and state.steps[row] < self.rules.max_actions:
                tokens[row, length[row] : stop] = ids
                length[row], reason[row] = stop, int(StopReason.RUNNING)
            else:
                reason[row] = int(StopReason.LENGTH)
        return dataclasses.replace(state, tokens=tokens, length=length, stop_reason=reason)

    def written(self, state: State) -> list[list[int]]:
        """Returns the ids that the agent wrote in each row, for a state of numpy arrays."""
        if state.authored is not None:
            return [t[a == 1].tolist() for t, a in zip(state.tokens, state.authored, strict=True)]
        spans = zip(state.tokens, state.prompt_length, state.length, strict=True)
        return [tokens[start:stop].tolist() for tokens, start, stop in spans]

    def ids_read(self, state: State) -> list[list[int]] | None:
        """Returns what ``written`` does, if the reward reads it."""
        return self.written(state) if self.reward.reads_ids else None

    def score(
        self,
        examples: Sequence[Example],
        completions: Sequence[str],
        ids: Sequence[list[int]] | None,
    ) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]]]:
        """Scores a batch of completions in one call.

        Args:
            examples: What each started with.
            completions: The texts.
            ids: What ``ids_read`` gave for them.

        Returns:
            The scores, ``(n,)``, and, if the reward is made of others, what each of these gave by
            name, each ``(n,)`` and without its weight.

        Raises:
            RewardError: If the reward fails; see ``textgym.rewards``.
        """
        columns: dict[str, list[Any]] = {
            key: [example.columns[key] for example in examples] for key in examples[0].columns
        }
        if ids is not None:
            columns["completion_ids"] = list(ids)
        prompts = [example.prompt for example in examples]
        total, terms = self.reward.terms(prompts, completions, **columns)
        scores = np.array(total, dtype=np.float64)
        return scores, {name: np.array(values) for name, values in terms.items()}


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
    rules, constraint = _constrain(rules, tokenizer, settings, examples)
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
            f"{task.name} has the columns: {listed(example.columns)}"
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
    rules: Rules, tokenizer: Tokenizer, settings: Settings, examples: Sequence[Example]
) -> tuple[Rules, Constraint | None]:
    """Puts what never changes into the rules, and leaves the rest to a constraint."""
    spec = settings.constraints
    if spec is None:
        return rules, None
    from textgym.constraints import choices_of_column, compile_constraints

    spec = choices_of_column(spec, examples)
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
