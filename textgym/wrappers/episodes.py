"""Episodes that are being recorded, until they are lines of a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.recording.trajectories import Trajectory, TrajectoryFile, Turn
from textgym.wrappers.layout import find_layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from gymnasium import spaces

    from textgym.recording.trajectories import Action
    from textgym.types import Example

__all__ = ["Draft", "Recorder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An episode on its way.

    Attributes:
        example: Its example.
        example_id: The example's number; -1 if the prompt is a caller's own.
        prompt_length: How many places the prompt takes.
        seed: What its reset was seeded with, if it was.
        actions: What has been done so far.
        rewards: What it paid.
    """

    example: Example
    example_id: int
    prompt_length: int
    seed: int | None
    actions: list[Action] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)

    def note(self, action: npt.NDArray[Any], reward: float) -> None:
        """Adds a step; the action is ``()``, or ``(parts,)`` of ``MultiDiscrete``."""
        self.actions.append(tuple(action.tolist()) if action.ndim else int(action))
        self.rewards.append(reward)


class Recorder:
    """Makes trajectories of drafts, and writes them down.

    Attributes:
        layout: Where observations hold tokens.
    """

    def __init__(self, env: Any, space: spaces.Space[Any], path: str | Path, wrapper: str) -> None:
        """Opens the file.

        Args:
            env: A single or a vector environment of this package, however wrapped.
            space: The space of one observation.
            path: The file.
            wrapper: Who records, for messages.

        Raises:
            ValueError: If there are no tokens to be read.
        """
        self.layout = find_layout(env, space, wrapper)
        self._env = env.unwrapped
        self._file = TrajectoryFile(path)

    def begin(self, example_id: int, prompt_length: int, prompt: str, seed: int | None) -> Draft:
        """Makes the draft of an episode.

        Args:
            example_id: The number of its example; -1 if the prompt is a caller's own.
            prompt_length: How many places the prompt takes.
            prompt: The prompt's text.
            seed: What its reset was seeded with, if it was.
        """
        inner = self._env
        return Draft(
            example=inner.examples[example_id] if example_id >= 0 else inner.example_of(prompt),
            example_id=example_id,
            prompt_length=prompt_length,
            seed=None if seed is None else int(seed),
        )

    def finish(
        self,
        draft: Draft,
        tokens: npt.NDArray[np.int64],
        info: Mapping[str, Any],
        authored: npt.NDArray[np.int64] | None,
    ) -> Trajectory:
        """Makes a trajectory.

        Args:
            draft: The episode.
            tokens: The text it ended with, ``(T,)``.
            info: The info of its last step. Without a score the episode was cut.
            authored: 1 where the agent wrote, ``(T,)``; ``None`` where nobody replies.
        """
        prompt_ids, _ = self.layout.split(tokens, draft.prompt_length)
        parts = self.layout.turns(tokens, draft.prompt_length, authored)
        turns = [
            Turn(
                role="assistant" if mine else "user",
                text=self._env.tokenizer.decode(ids),
                ids=tuple(ids),
            )
            for mine, ids in parts
        ]
        own = [turn for turn in turns if turn.role == "assistant"]
        finished = "score" in info
        return Trajectory(
            prompt=draft.example.prompt,
            completion="\n".join(turn.text for turn in own),
            prompt_ids=tuple(prompt_ids),
            completion_ids=tuple(token for turn in own for token in turn.ids),
            actions=tuple(draft.actions),
            rewards=tuple(draft.rewards),
            score=float(info["score"]) if finished else None,
            stop_reason=int(info["stop_reason"]) if finished else None,
            truncated=not finished,
            example_id=draft.example_id,
            columns=_plain(draft.example.columns),
            seed=draft.seed,
            reward_terms={
                name: float(value) for name, value in info.get("reward_terms", {}).items()
            },
            turns=() if authored is None else tuple(turns),
        )

    def write(self, trajectories: Sequence[Trajectory]) -> None:
        """Appends trajectories to the file."""
        self._file.append(trajectories)


def _plain(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns that JSON has; numpy's numbers become Python's."""
    plain = {}
    for name, column in columns.items():
        value = column.item() if isinstance(column, np.generic) else column
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            continue
        plain[name] = value
    return plain
