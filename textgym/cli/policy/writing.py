"""Texts of a policy one piece after the other: each is written down before the next is played.

So however many are asked for, memory holds a few hundred, and what was written before a stop stays.
A row whose text ends takes the next one of its piece. A text's random numbers belong to its number;
on a CPU they are those of a single batch of all, but where drafts are edited.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console

from agents.rollouts.collect import collect
from agents.training.guards import GuardError, explained_memory
from textgym.cli.console import bar
from textgym.cli.parsing import CommandError
from textgym.cli.policy.policies import one_line
from textgym.recording.turns import own_turns, split_turns
from textgym.rewards import RewardError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

    import numpy.typing as npt

    from agents.maths.distributions import Sampling
    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from textgym.cli.console import Bar
    from textgym.envs.vector import TextVectorEnv

__all__ = ["Text", "Writer", "play", "writer"]

_TURNS = 4  # texts of a piece, a row


class Text(NamedTuple):
    """What was written after a prompt."""

    prompt: str
    completion: str
    score: float
    """NaN where an outside limit cut the text off."""


def play(
    envs: TextVectorEnv,
    policy: TransformerPolicy,
    example_ids: Sequence[int],
    *,
    sampling: Sampling,
    generator: torch.Generator,
) -> Iterator[list[Text]]:
    """Writes a text for each example, in order, piece by piece.

    Args:
        envs: As ``collect`` takes it, of at most as many rows as there are examples.
        policy: Who writes.
        example_ids: What to start from.
        sampling: How actions are drawn.
        generator: The sampler's.

    Yields:
        The texts of a piece.

    Raises:
        ValueError: As ``collect``.
        GuardError: If memory runs out.
        RewardError: If the reward fails.
    """
    # None is smaller than there are rows.
    pieces = max(1, len(example_ids) // (_TURNS * envs.num_envs))
    for piece in np.array_split(np.asarray(example_ids), pieces):
        ids = piece.tolist()
        with explained_memory("--num-envs"):
            rollout = collect(envs, policy, sampling=sampling, generator=generator, example_ids=ids)
        prompts = [envs.examples[number].prompt for number in ids]
        written = zip(prompts, _completions(envs, rollout), rollout.scores.tolist(), strict=True)
        yield [Text(*each) for each in written]


def _completions(envs: TextVectorEnv, rollout: Rollout) -> list[str]:
    """What the agent wrote, as ``envs.texts`` says it of the rows that it holds."""
    tokenizer = envs.tokenizer
    if not envs.converses:
        return tokenizer.decode_batch(rollout.completions())
    starts, ends = rollout.prompt_lengths.tolist(), rollout.lengths.tolist()
    rows = zip(rollout.tokens.cpu().numpy(), _authored(rollout), starts, ends, strict=True)
    cut = [(tokens[start:end], own[start:end]) for tokens, own, start, end in rows]
    turns = [own_turns(split_turns(*each, tokenizer.eos_id)) for each in cut]
    return ["\n".join(map(tokenizer.decode, row)) for row in turns]


def _authored(rollout: Rollout) -> npt.NDArray[np.int64]:
    """1 where the agent wrote, and not the other side of a conversation, ``(E, L)``."""
    acted, first = rollout.mask.long(), rollout.places + 1
    width = acted
    if rollout.candidates is not None:
        at = rollout.actions[..., None, None].expand(-1, -1, 1, rollout.candidates.shape[-1])
        chosen = rollout.candidates.gather(2, at).squeeze(2)
        width = acted * (chosen != rollout.pad_id).sum(dim=-1)
    edges = F.pad(torch.zeros_like(rollout.tokens), (0, 1))
    behind = (first + width).clamp(max=edges.shape[1] - 1)  # a phrase is cut where the room ends
    edges = edges.scatter_add(1, first, acted).scatter_add(1, behind, -acted)
    authored: npt.NDArray[np.int64] = edges.cumsum(dim=1)[:, :-1].cpu().numpy()
    return authored


@dataclass(slots=True, kw_only=True)
class Writer:
    """Prints texts, or writes them into a file, and knows how many there are.

    Attributes:
        total: How many there will be.
        console: Where to print.
        file: Where to write instead; ``None`` to print.
        scored: Whether their scores mean something.
        bar: Shows how far they are.
        scores: Of the texts so far.
    """

    total: int
    console: Console
    file: TextIO | None
    scored: bool
    bar: Bar
    scores: list[float] = field(default_factory=list)

    def add(self, texts: Sequence[Text]) -> None:
        """Writes texts down, so that a stop does not lose them."""
        if self.file is None:
            for text in texts:
                self._print(text)
        else:
            self.file.write("".join(map(self._as_json, texts)))
            self.file.flush()
        self.scores += [text.score for text in texts]
        self.bar.update(len(self.scores), self.total)
        if self.file is not None and not self.console.is_terminal:  # there a bar says it
            self.console.print(f"{len(self.scores):,} of {self.total:,} texts", highlight=False)

    def say_end(self) -> None:
        """Says where the texts are, and what they were worth."""
        if self.file is not None:
            said = f"{len(self.scores):,} texts in {self.file.name}"
            self.console.print(said, highlight=False, markup=False, soft_wrap=True)
        if self.scored:
            self.console.print(f"mean score {np.mean(self.scores):.3f}", highlight=False)

    def kept(self) -> str:
        """What of the texts is kept, where they end early."""
        where = "were printed" if self.file is None else f"are in {self.file.name}"
        return f"{len(self.scores):,} of {self.total:,} texts {where}"

    def _print(self, text: Text) -> None:
        score = f"   ({text.score:.3f})" if self.scored else ""
        line = f"{one_line(text.prompt, text.completion, letters=None)}{score}"
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _as_json(self, text: Text) -> str:
        line: dict[str, str | float | None] = {"prompt": text.prompt, "completion": text.completion}
        if self.scored:
            line["score"] = None if np.isnan(text.score) else text.score
        return json.dumps(line, ensure_ascii=False) + "\n"


@contextmanager
def writer(total: int, console: Console, out: Path | None, *, scored: bool) -> Iterator[Writer]:
    """Opens what texts are written into, shows how far they are, and says what a stop keeps.

    Args:
        total: How many texts there will be.
        console: Where to print.
        out: A file that is not there yet; ``None`` to print the texts.
        scored: Whether their scores mean something.

    Yields:
        What writes them down.

    Raises:
        CommandError: If memory runs out, the file cannot be written, or something does not fit.
        RewardError: If the reward fails.
        KeyboardInterrupt: If somebody stops it.
    """
    shown = Console(stderr=True, quiet=out is None and console.is_terminal)
    with _opened(out) as file, bar("Texts", shown) as progress:
        result = Writer(total=total, console=console, file=file, scored=scored, bar=progress)
        try:
            yield result
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(result.kept()) from stop
        except RewardError as error:
            raise RewardError(f"{error}; {result.kept()}") from error
        except (ValueError, GuardError, OSError) as error:
            said = " ".join(str(error).split()).replace("num_envs, then episodes", "--rows")
            raise CommandError(f"{said}; {result.kept()}") from error


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO | None]:
    """Makes a file that is not there yet."""
    if out is None:
        yield None
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        file = out.open("x", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--out {out} cannot be written: {error.strerror or error}") from error
    with file:
        yield file
