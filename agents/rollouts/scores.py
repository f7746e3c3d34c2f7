"""Scores of finished texts, asked for a phase at a time instead of in each step of the environment.

Texts end one by one, and a reward that reads many at once is fastest with many: a judge behind an
endpoint, a model on a GPU. So the environment hands finished texts over, and they are scored in one
call as soon as there are as many as rows, and the rest at the end; or, with workers, in as many
calls beside each other while the next texts are written. What a text is paid, and where, does not
depend on it, since a reward gives a text the same score whatever its batch. Which texts are in a
call depends on nothing but the texts, so that a run that goes on is the run that was stopped.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from textgym.envs.episodes import Finished
from textgym.rewards import RewardError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from agents.config import Scoring
    from agents.rollouts.recorder import Recorder
    from textgym.envs.vector import TextVectorEnv

__all__ = ["LateScores"]

_Scores: TypeAlias = "tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]]]"
_FIRST_WAIT = 1.0  # seconds before a call is made again; each later one waits twice as long


class LateScores:
    """Finished texts of one collection, and their scores; used as a context manager.

    Attributes:
        applies: Whether texts are scored late at all; not where a score is no matter of one text
            alone, or somebody looks on.
        seconds: How long the writer has waited for scores so far.
    """

    def __init__(self, envs: TextVectorEnv, recorder: Recorder, scoring: Scoring) -> None:
        """Prepares to be handed texts.

        Args:
            envs: Where they are finished.
            recorder: Is told their scores.
            scoring: How the reward is asked.
        """
        self._envs, self._recorder, self._scoring = envs, recorder, scoring
        self._pool = ThreadPoolExecutor(scoring.workers) if scoring.workers else None
        self._waiting: list[Finished] = []  # not asked about yet
        self._episodes: list[npt.NDArray[np.int64]] = []  # whose they are
        self._asked: list[tuple[npt.NDArray[np.int64], Future[_Scores]]] = []
        self.applies = envs.can_score_later and envs.render_mode is None
        self.seconds = 0.0

    def __enter__(self) -> Self:
        """Has finished texts handed over."""
        self._envs.score_later(self._waiting.append if self.applies else None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Has the environment score by itself again; no call is begun any more."""
        self._envs.score_later(None)
        if self._pool is not None:
            self._pool.shutdown(wait=error is None, cancel_futures=True)

    def owe(self, episodes: npt.NDArray[np.int64]) -> None:
        """Notes whose texts a step has finished, and asks once there are as many as rows.

        Args:
            episodes: The numbers of the episodes, ``(n,)``, in the order of their rows.

        Raises:
            RewardError: If the reward has failed.
        """
        self._episodes.append(episodes)
        if sum(map(len, self._episodes)) >= self._envs.num_envs:
            self._ask()

    def settle(self) -> None:
        """Asks about what is left, waits for all scores and tells them in the order of the texts.

        Raises:
            RewardError: If the reward fails.
        """
        if self._episodes:
            self._ask()
        start = time.perf_counter()
        for episodes, answer in self._asked:
            self._recorder.pay(episodes, *answer.result())
        self._asked.clear()
        self.seconds += time.perf_counter() - start

    def _ask(self) -> None:
        texts, episodes = Finished.join(self._waiting), np.concatenate(self._episodes)
        self._waiting.clear()
        self._episodes.clear()
        for _, answer in self._asked:
            if answer.done():
                answer.result()  # a reward that has failed ends the collection here
        parts = np.array_split(np.arange(len(episodes)), max(1, self._scoring.workers))
        for part in parts if len(episodes) else ():
            if not len(part):
                continue
            some = texts.take(slice(int(part[0]), int(part[-1]) + 1))
            self._asked.append((episodes[part], self._answer(some)))

    def _answer(self, texts: Finished) -> Future[_Scores]:
        """What a worker will have said; without workers, what was said at once."""
        if self._pool is not None:
            return self._pool.submit(self._scores, texts)
        start, answer = time.perf_counter(), Future[_Scores]()
        answer.set_result(self._scores(texts))
        self.seconds += time.perf_counter() - start
        return answer

    @torch.no_grad()  # which is of a thread
    def _scores(self, texts: Finished) -> _Scores:
        wait = _FIRST_WAIT
        for _ in range(self._scoring.retries):
            try:
                return self._envs.scores_of(texts)
            except RewardError:
                time.sleep(wait)
                wait *= 2
        return self._envs.scores_of(texts)
