"""What is fuzzed: everything that reads what a stranger wrote, and what has to be read again.

A subject may refuse an input in one line that somebody reads; all else is unhandled.
"""

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from hypothesis import strategies as st

from reward_models.preferences import (
    Preference,
    Ranking,
    Rating,
    read_answers,
    read_preferences,
    write_preferences,
)
from reward_models.preferences.formats import parsed_rows
from tests.fuzz import inputs
from textgym.constraints import compile_constraints
from textgym.data import read_rows, read_text
from textgym.data.tables import parse_columns
from textgym.envs.single import TextEnv
from textgym.recording.trajectories import Trajectory, TrajectoryFile, Turn, read_trajectories
from textgym.rewards import resolve
from textgym.tasks.files import FileTask, task_from_path
from textgym.tokenizers import legal_ids, load_tokenizer

__all__ = ["SUBJECTS", "Subject"]

FOLDER = Path(tempfile.mkdtemp(prefix="textgym-fuzz-"))
REFUSALS = (ValueError, FileNotFoundError, ModuleNotFoundError)


@dataclass(frozen=True)
class Subject:
    """One thing that is fuzzed.

    Attributes:
        name: What it is called, a word or two.
        inputs: What is tried.
        use: Does something with one; raises for what it refuses.
        refusals: The errors that are answers, not accidents.
    """

    name: str
    inputs: st.SearchStrategy
    use: Callable[[Any], object]
    refusals: tuple[type[Exception], ...] = REFUSALS

    def fault(self, value: Any) -> str:
        """What went wrong with an input that should not have; empty if nothing."""
        try:
            self.use(value)
        except self.refusals as error:
            said = str(error)
            broken = [c for c in ("\n", "\r") if c in said]
            if broken or len(said) > 2000 or not said:
                return f"{type(error).__name__} of {len(said)} letters: {said[:80]!r}"
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:80]!r}"
        return ""


def _path(suffix, data):
    path = FOLDER / f"data{suffix}"
    path.write_bytes(data)
    return str(path)


def _rows(suffix):
    def use(data):
        name, bad = _path(suffix, data), []
        try:
            rows = read_rows(name, on_bad=bad.append)
        except ValueError as error:
            rows = None
            _single([error])
        _single(bad)
        # What is read without leaving anything out is the same, or one of those errors.
        if bad:
            _raises(lambda: read_rows(name), str(bad[0]))
        elif rows is not None:
            assert len(read_rows(name)) == len(rows), "a row is missing"

    return use


def _single(errors):
    for error in errors:
        assert "\n" not in str(error), f"of several lines: {error}"


def _raises(call, expected):
    said = "nothing"
    try:
        call()
    except ValueError as error:
        said = str(error)
    assert said == expected, f"{said} instead of {expected}"


def _parquet(rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.write_table(pa.Table.from_pylist(rows), FOLDER / "data.parquet")
    except Exception:
        return
    data = (FOLDER / "data.parquet").read_bytes()
    _use_preferences(_path(".parquet", data))


def _use_preferences(name):
    """With and without leaving rows out; what is read without is what is read with."""
    skipped = _tried(lambda: read_preferences(name, skip_bad=True))
    strict = _tried(lambda: read_preferences(name))
    if isinstance(strict, ValueError):
        _single([strict])
    elif not isinstance(skipped, ValueError):
        assert strict.items == skipped.items, "rows are missing"
    _tried(lambda: read_answers(name, skip_bad=True))


def _tried(call):
    try:
        return call()
    except ValueError as error:
        _single([error])
        return error


def _preferences(rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    _use_preferences(_path(".jsonl", lines.encode()))


def _table(rows):
    lines = inputs._delimited(rows, ",").encode("utf-8", "surrogatepass")
    _use_preferences(_path(".csv", lines))


def _renamed(given):
    columns, rows = given
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    list(parsed_rows(_path(".jsonl", lines.encode()), parse_columns(columns), lambda _: None))


def _task(data):
    name = _path(".jsonl", data)
    task = task_from_path(name)
    assert isinstance(task, FileTask)
    for split in task.splits:
        for example in task.examples(split):
            example.prompt.encode("utf-8")


def _prompts(data):
    read_text(_path(".txt", data))


def _samples(data):
    from textgym.cli.reward.best_of_n import read_samples  # brings torch

    read_samples(_path(".jsonl", data))


def _episodes(data):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a tail that a crash left is told so
        read_trajectories(_path(".jsonl", data))


def _written(items):
    """What is written is read as it was."""
    path = FOLDER / "written.jsonl"
    write_preferences(items, path)
    read = [item for _, row in parsed_rows(str(path)) for item in row]
    assert _told(items) == _told(read), "it is read otherwise"


def _told(items):
    return [replace(i, pair_id="") if isinstance(i, Preference) else i for i in items]


def _recorded(trajectories):
    path = FOLDER / "episodes.jsonl"
    path.unlink(missing_ok=True)
    TrajectoryFile(path).append(trajectories)
    assert trajectories == read_trajectories(path), "it is read otherwise"


def _environment(kwargs):
    # Of the class itself: Gymnasium's make would answer some of it first.
    env = TextEnv("Alphabet", **kwargs)
    try:
        env.reset(seed=0)
        env.step(env.action_space.sample())
    finally:
        env.close()


def _reward(spec):
    scorer = resolve(spec)
    scores = scorer(["a", "b"], ["c d", ""])
    assert len(scores) == 2
    assert all(math.isfinite(score) for score in scores)


_TOKENIZER = load_tokenizer("characters:abcdefgh")


def _constraint(spec):
    constraint = compile_constraints(spec, _TOKENIZER, legal_ids(_TOKENIZER), 6)
    del constraint


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
WHO = st.sampled_from(["", "ann"])
FINITE = st.floats(allow_nan=False, allow_infinity=False)
ITEMS = st.one_of(
    st.lists(
        st.builds(
            Preference, pair_id=st.just("1"), prompt=TEXT, chosen=TEXT, rejected=TEXT,
            annotator=WHO, strength=st.none() | st.integers(1, 4), subset=TEXT,
            probability=st.floats(0.5, 1), margin=FINITE, implicit=st.booleans(),
        ),
        min_size=1, max_size=3,
    ),
    st.lists(st.builds(Rating, prompt=TEXT, completion=TEXT, rating=FINITE, annotator=WHO),
             min_size=1, max_size=3),
    st.lists(
        st.lists(TEXT, min_size=2, max_size=3, unique=True).map(
            lambda found: Ranking(prompt="", completions=tuple(found), places=len(found) - 1)
        ),
        min_size=1, max_size=3,
    ),
)  # fmt: skip
IDS = st.lists(st.integers(0, 9), max_size=3).map(tuple)
EPISODES = st.lists(
    st.builds(
        Trajectory,
        prompt=TEXT,
        completion=TEXT,
        prompt_ids=IDS,
        completion_ids=IDS,
        actions=IDS | st.just(((1, 2),)),
        rewards=st.lists(FINITE, max_size=3).map(tuple),
        score=st.none() | FINITE,
        stop_reason=st.none() | st.integers(0, 3),
        truncated=st.booleans(),
        example_id=st.integers(-1, 9),
        columns=st.dictionaries(TEXT, TEXT | st.integers() | st.none(), max_size=2),
        turns=st.lists(st.builds(Turn, role=st.just("user"), text=TEXT, ids=IDS), max_size=2).map(
            tuple
        ),
    ),
    min_size=1,
    max_size=3,
)
COLUMNS = st.sampled_from(
    ["chosen=a,rejected=b", "prompt=a.b,completion=c,rating=d", "a", "a=b,a=c", "prompt=prompt.0"]
) | st.text("abc=,. ", max_size=10)
LISTED = st.lists(inputs.ROWS, min_size=1, max_size=4)
KINDS = (*REFUSALS, TypeError, gym.error.Error)

SUBJECTS = (
    *(
        Subject(f"rows of {suffix}", inputs.file_of(suffix), _rows(suffix))
        for suffix in inputs.FILES
        if suffix != ".parquet"
    ),
    Subject(
        "damaged Parquet",
        st.binary(max_size=40).map(lambda b: b"PAR1" + b + b"PAR1"),
        _rows(".parquet"),
    ),
    Subject("Parquet", LISTED, _parquet),
    Subject("preferences", LISTED, _preferences),
    Subject("preferences in CSV", LISTED, _table),
    Subject("--columns", st.tuples(COLUMNS, LISTED), _renamed),
    Subject("task of a file", inputs.file_of(".jsonl"), _task),
    Subject("prompts", inputs.file_of(".csv"), _prompts),
    Subject("samples for best of n", inputs.file_of(".jsonl"), _samples),
    Subject("recorded episodes", inputs.file_of(".jsonl"), _episodes),
    Subject("written preferences", ITEMS, _written),
    Subject("written episodes", EPISODES, _recorded),
    Subject("environment", inputs.KWARGS, _environment, KINDS),
    Subject("reward", inputs.REWARDS, _reward, KINDS),
    Subject("constraint", inputs.LIMITS, _constraint),
)
"""Every subject; their names are those of CONTRIBUTING.md's table."""

np.seterr(all="ignore")
