"""``textgym score`` and ``textgym rescore``: what given texts, or recorded ones, are worth."""

from __future__ import annotations

import json
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from scipy.stats import spearmanr

from textgym.cli.console import bar, chosen_device, require_new_file, say, use_quiet_transformers
from textgym.cli.parsing import CommandError
from textgym.cli.reward.naming import named_reward
from textgym.data.prose import read_text
from textgym.data.tables import SkippedRows, checked_rows, is_table, parse_columns, read_rows
from textgym.messages import listed
from textgym.recording.rescoring import rescore
from textgym.recording.trajectories import read_trajectories
from textgym.rewards import RewardError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TextIO

    from textgym.cli.console import Bar
    from textgym.data.tables import Row
    from textgym.recording.trajectories import Trajectory
    from textgym.rewards import Scorer

__all__ = ["RescoreConfig", "ScoreConfig", "rescore_trajectories", "score_texts"]

_TEXTS = ("completion", "text", "response", "answer", "output")
_ARGUMENTS = ("prompt", "prompts", "completions")  # a reward has them anyway
_AT_ONCE = 256
_LETTERS = 60
_FEWEST_TO_RANK = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """Score a file of texts by one or several rewards.

    The file is a table with a column of texts, and prompt and whatever else a reward reads beside
    it, or a plain file with a text in each line.
    """

    data: str
    """A table (.jsonl, .json, .csv, .tsv, .parquet, datasets:NAME), or a .txt file with a text in
    each line."""
    rewards: tuple[str, ...]
    """One or several: known names, "module:attribute", folders, or JSON such as
    '{"clip": {"reward": "vader", "low": 0}}'."""
    text_column: str | None = None
    """The column with the texts; None takes the first that is there of completion, text, response,
    answer and output."""
    columns: str | None = None
    """Which of a file's columns are which, as in prompt=question,completion=answer,reference=gold;
    a.b is what a holds under b."""
    skip_bad_rows: bool = False
    """Leave rows out that cannot be read, and say how many, instead of stopping at the first."""
    out: Path | None = None
    """Write each row with its scores into this file, as JSON Lines, instead of printing them. It
    must not be there yet."""
    device: str = "auto"
    """Where a model computes: cpu, cuda, or auto for cuda if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RescoreConfig:
    """Score recorded episodes by other rewards, beside what they were paid.

    The file is what ``textgym.wrappers.RecordTrajectories`` writes. An episode that was cut is
    scored as if its text had ended there.
    """

    data: Path
    """The file of recorded episodes."""
    rewards: tuple[str, ...]
    """One or several, as of textgym score."""
    out: Path | None = None
    """Write each episode's prompt, completion, score and new scores into this file, as JSON Lines,
    instead of printing them. It must not be there yet."""
    device: str = "auto"
    """Where a model computes: cpu, cuda, or auto for cuda if there is one."""


def score_texts(config: ScoreConfig, console: Console | None = None) -> None:
    """Scores texts, and prints or writes each with its scores.

    Args:
        config: Which texts and rewards.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If the texts or a reward cannot be had, or a column is missing.
        RewardError: If a reward fails; what was written before is kept.
    """
    console = console or Console()
    rewards = _rewards(config.rewards, config.out, config.device)
    skipped = SkippedRows() if config.skip_bad_rows else None
    try:
        named = parse_columns(config.columns)
        rows, texts = _read(config.data, config.text_column, named, skipped)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if skipped is not None:
        say(console, *skipped.notes)
    prompts = ["" if row.get("prompt") is None else row["prompt"] for row in rows]
    names = [name for name in rows[0] if name not in _ARGUMENTS]
    _require_columns(rewards, names, config.data)
    with _report(len(rows), rewards, config.out, console) as report:
        for start in range(0, len(rows), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            columns = {name: [row[name] for row in rows[part]] for name in names}
            scores = [each(prompts[part], texts[part], **columns) for each in rewards.values()]
            report.add(texts[part], rows[part], scores)
    report.say_end({})


def rescore_trajectories(config: RescoreConfig, console: Console | None = None) -> None:
    """Scores recorded episodes again.

    Args:
        config: Which episodes and rewards.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If the episodes or a reward cannot be had, or their columns differ.
        RewardError: If a reward fails; what was written before is kept.
    """
    console = console or Console()
    rewards = _rewards(config.rewards, config.out, config.device)
    try:
        episodes = read_trajectories(config.data)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if not episodes:
        raise CommandError(f"{config.data} holds no episode")
    _require_columns(rewards, list(episodes[0].columns), str(config.data))
    recorded = [episode.score for episode in episodes]
    with _report(len(episodes), rewards, config.out, console) as report:
        for start in range(0, len(episodes), _AT_ONCE):
            part = episodes[start : start + _AT_ONCE]
            try:
                scores = [rescore(part, each, batch_size=_AT_ONCE) for each in rewards.values()]
            except ValueError as error:
                raise CommandError(str(error)) from error
            report.add([each.completion for each in part], [_row(each) for each in part], scores)
    report.say_end(_beside(report.scores, recorded))


def _row(episode: Trajectory) -> dict[str, Any]:
    return {
        "prompt": episode.prompt,
        "completion": episode.completion,
        "score": episode.score,
        "example_id": episode.example_id,
    }


def _rewards(names: Sequence[str], out: Path | None, device: str) -> dict[str, Scorer]:
    """Makes the rewards, by what they are called in the words; checks first what costs nothing."""
    if not names or len(set(names)) < len(names):
        raise CommandError(f"--rewards {' '.join(names)}: name at least one, and each once")
    require_new_file(out)
    use_quiet_transformers()
    chosen = chosen_device(device)
    return {name: named_reward(name, chosen) for name in names}


def _read(
    name: str,
    column: str | None,
    columns: Mapping[str, str],
    skipped: SkippedRows | None = None,
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """Reads rows, and the texts among them.

    Raises:
        ValueError: If there are none, or one is no text; the message says where.
    """
    if Path(name).suffix.lower() == ".txt":
        lines = [line for line in read_text(Path(name)).split("\n") if line.strip()]
        if not lines:
            raise ValueError(f"{name} has no line with a text")
        return [{"completion": line} for line in lines], lines
    if not is_table(name):
        raise ValueError(
            f"{name} is no file of texts; give a table such as .jsonl, .json, .csv, .tsv or "
            ".parquet, datasets:NAME, or a .txt file with a text in each line"
        )
    rows = read_rows(name, columns=columns, on_bad=skipped)
    known = rows[0].values
    where = column or next((each for each in _TEXTS if each in known), None)
    if where is None or where not in known:
        asked = f"no column {column!r}" if column else f"none of the columns {', '.join(_TEXTS)}"
        raise ValueError(
            f"{name} has {asked}; it has {listed(known)}: name the one with the texts, "
            "--text-column NAME"
        )
    kept = [row.values for row in checked_rows(rows, lambda row: _check(row, where), skipped)]
    return kept, [values[where] for values in kept]


def _check(row: Row, where: str) -> None:
    """Requires texts.

    Raises:
        ValueError: If one is none.
    """
    for each in (where, "prompt"):
        value = row.values.get(each, "")
        if not isinstance(value, str) and (each == where or value is not None):
            raise ValueError(f"{row.place}: {each} must be a text, got {value!r:.80}")


def _require_columns(rewards: Mapping[str, Scorer], known: Sequence[str], where: str) -> None:
    """Refuses a reward that would fail at the first row."""
    for name, reward in rewards.items():
        missing = [column for column in reward.reads if column not in known]
        if missing:
            raise CommandError(
                f"reward {name} reads the column {missing[0]!r}, and {where} has {listed(known)}"
            )


@dataclass(slots=True, kw_only=True)
class _Report:
    """Prints rows with their scores, or writes them into a file, and knows all scores."""

    rewards: Sequence[str]
    console: Console
    file: TextIO | None
    bar: Bar
    total: int
    scores: dict[str, list[float]]

    def add(
        self,
        texts: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        scores: Sequence[Sequence[float]],
    ) -> None:
        """Takes some rows, and K rewards' scores of them, ``(K, n)``."""
        for name, given in zip(self.rewards, scores, strict=True):
            self.scores[name] += given
        for text, row, scored in zip(texts, rows, zip(*scores, strict=True), strict=True):
            if self.file is None:
                figures = "  ".join(f"{score:10.4f}" for score in scored)
                say(self.console, f"{figures}  {_brief(text)}")
            else:
                of_row = dict(zip(self.rewards, scored, strict=True))
                line = json.dumps({**row, "scores": of_row}, ensure_ascii=False, default=str)
                self.file.write(f"{line}\n")
        if self.file is not None:
            self.file.flush()
        self.bar.update(self.done, self.total)

    @property
    def done(self) -> int:
        """How many rows have their scores."""
        return len(self.scores[self.rewards[-1]])

    def say_end(self, notes: Mapping[str, str]) -> None:
        """Says each reward's figures, and where the rows are."""
        if self.file is not None:
            say(self.console, f"{self.done:,} texts in {self.file.name}")
        for name, given in self.scores.items():
            values = np.asarray(given)
            say(
                self.console,
                f"{name}: mean {values.mean():.4f}, standard deviation {values.std():.4f}, from "
                f"{values.min():.4f} to {values.max():.4f}{notes.get(name, '')}",
            )


@contextmanager
def _report(
    total: int, rewards: Mapping[str, Scorer], out: Path | None, console: Console
) -> Iterator[_Report]:
    """Opens what rows are written into; says of a reward that fails what is kept.

    Raises:
        CommandError: If the file cannot be written.
        RewardError: If a reward fails.
    """
    shown = Console(stderr=True, quiet=out is None and console.is_terminal)
    file = None if out is None else out.open("x", encoding="utf-8")
    with file or nullcontext(), bar("Texts", shown) as progress:
        report = _Report(
            rewards=list(rewards),
            console=console,
            file=file,
            bar=progress,
            total=total,
            scores={name: [] for name in rewards},
        )
        if out is None:
            say(console, f"{'  '.join(f'{_brief(name, 10):>10}' for name in rewards)}  text")
        try:
            yield report
        except RewardError as error:
            kept = "" if out is None else f"; {report.done:,} of {total:,} texts are in {out}"
            raise RewardError(f"{error}{kept}") from error


def _brief(text: str, letters: int = _LETTERS) -> str:
    """The beginning of a text, on one line."""
    line = text.replace("\n", "\\n")
    return line if len(line) <= letters else f"{line[: letters - 3]}..."


def _beside(
    scores: Mapping[str, Sequence[float]], recorded: Sequence[float | None]
) -> dict[str, str]:
    """How each reward ranks the episodes beside what they were paid, where they were paid."""
    paid = [number for number, score in enumerate(recorded) if score is not None]
    before = [recorded[number] for number in paid]
    notes = {}
    for name, given in scores.items():
        now = [given[number] for number in paid]
        if len(paid) < _FEWEST_TO_RANK or len(set(before)) == 1 or len(set(now)) == 1:
            notes[name] = "; no rank correlation with the recorded scores, of too few that differ"
        else:
            rank = float(spearmanr(before, now).statistic)
            notes[name] = f"; rank correlation with the {len(paid):,} recorded scores {rank:.3f}"
    return notes
