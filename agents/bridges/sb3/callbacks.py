"""Stable-Baselines3's callbacks and logger around any learner of ours.

``drive`` runs a learner and calls the callbacks once an *iteration*, which is one collection and
its update, where Stable-Baselines3 calls them once an environment step. So everything that is
counted in calls is counted in iterations here:

* ``CheckpointCallback``: ``save_freq`` is in iterations. A checkpoint is a folder, without the
  ``.zip`` of its name, that ``learner.load`` reads; replay buffers and ``VecNormalize`` do not
  exist here, and asking for them saves nothing more.
* ``EvalCallback``: ``eval_freq`` is in iterations, and what it finds is logged in the iteration's
  own row; with ``StopTrainingOnNoModelImprovement``,
  ``StopTrainingOnRewardThreshold`` or your own behind it. Its environment may be one text, or many
  at once by ``agents.bridges.sb3.vec_env.TextVecEnv``.
* ``EveryNTimesteps``, ``LogEveryNTimesteps`` (with ``log_interval=None``): in tokens, looked at
  once an iteration.
* ``StopTrainingOnMaxEpisodes``: every text of an iteration is one episode; it counts them by row.
* ``ProgressBarCallback``: shows tokens (it needs tqdm); ``progress_bar=True`` is the bar of ours.
* ``CallbackList``, ``ConvertCallback``, lists and functions: as there.
* Your own: ``_on_step`` finds in ``self.locals`` the iteration's ``metrics`` and ``rollout``, and,
  one entry an episode, ``dones`` (all true), ``rewards`` (the returns) and ``infos``.
  ``self.model`` is a ``LearnerView``: what it does not have itself is the learner's.

What differs: when ``_on_step`` and ``_on_rollout_end`` are called, the update has been made, and an
iteration that a callback stops at is still logged. What does not work: callbacks that count on one
call an environment step, or on the rollout buffer of Stable-Baselines3.
"""

from __future__ import annotations

import warnings
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    ConvertCallback,
    ProgressBarCallback,
)

from agents.bridges.sb3.logger import quiet_logger, record_iteration
from agents.bridges.sb3.vec_env import TextVecEnv
from agents.training.loop import Steppable, run
from textgym.files import atomic_folder
from textgym.messages import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.type_aliases import MaybeCallback

    from agents.training.distributed import Processes
    from textgym.envs.vector import TextVectorEnv

__all__ = ["Drivable", "LearnerView", "as_callback", "drive"]

_KEPT_EPISODES = 100


class Drivable(Steppable, Protocol):
    """What a learner needs to have so that ``drive`` can run it."""

    @property
    def envs(self) -> TextVectorEnv:
        """Where it learns, with autoreset disabled."""

    def save(self, folder: Path) -> None:
        """Writes a checkpoint into ``folder``, which exists and is empty."""

    def predict(
        self, observation: Any, *, deterministic: bool = False
    ) -> tuple[npt.NDArray[np.int64], Any]:
        """Chooses actions for observations, one or a batch; returns them, and a state or None.

        Where it shall work with sb3-contrib's ``MaskableEvalCallback``, it takes ``action_masks``
        as well.
        """


class LearnerView:
    """What a callback sees as its ``model``; whatever is not here, it finds in the learner.

    Attributes:
        learner: The learner.
        logger: Where callbacks record.
        ep_info_buffer: Return ``r``, length ``l`` and time ``t`` of the last hundred episodes.
    """

    def __init__(self, learner: Drivable, logger: Logger) -> None:
        """Looks at a learner; nothing of it is changed."""
        self.learner = learner
        self.logger = logger
        self.ep_info_buffer: deque[dict[str, float]] = deque(maxlen=_KEPT_EPISODES)
        self._env = TextVecEnv(learner.envs)

    def __getattr__(self, name: str) -> Any:
        """Asks the learner."""
        if name.startswith("__") or name == "learner":
            raise AttributeError(name)
        return getattr(self.learner, name)

    @property
    def num_timesteps(self) -> int:
        """Tokens written so far."""
        return self.learner.num_timesteps

    @property
    def n_envs(self) -> int:
        """The number of rows."""
        return self._env.num_envs

    def get_env(self) -> TextVecEnv:
        """Returns the environment that the learner learns in; do not step it."""
        return self._env

    def get_vec_normalize_env(self) -> None:
        """Returns None: observations are tokens, and nothing normalises them."""
        return

    def predict(
        self,
        observation: Any,
        state: Any = None,  # noqa: ARG002 - Stable-Baselines3's signature
        episode_start: Any = None,  # noqa: ARG002 - as above
        deterministic: bool = False,
        **masks: Any,
    ) -> tuple[npt.NDArray[np.int64], Any]:
        """Chooses actions, as Stable-Baselines3's models do.

        Args:
            observation: One, or a batch.
            state: Ignored: an observation holds the whole text.
            episode_start: Ignored.
            deterministic: Whether to take the likeliest action.
            **masks: ``action_masks``, for a learner that takes it.
        """
        return self.learner.predict(observation, deterministic=deterministic, **masks)

    def save(self, path: str | Path) -> None:
        """Writes a checkpoint, whole or not at all.

        Args:
            path: A folder; a ``.zip`` at the end of its name is left out.
        """
        path = Path(path)
        folder = path.with_suffix("") if path.suffix == ".zip" else path
        processes = getattr(self.learner, "processes", None)
        if processes is not None and processes.sharded:  # it is written later, by all of them
            self.learner.save(folder)
            return
        with atomic_folder(folder) as temporary:
            self.learner.save(temporary)

    def dump_logs(self) -> None:
        """Writes what was recorded since the last time, if anything was."""
        if self.logger.name_to_value:
            self.logger.dump(self.num_timesteps)


def drive(
    learner: Drivable,
    total_timesteps: int,
    callback: MaybeCallback = None,
    logger: Logger | None = None,
    *,
    progress_bar: bool = False,
    log_interval: int | None = 1,
    processes: Processes | None = None,
) -> None:
    """Runs a learner until it has written so many tokens, or a callback stops it.

    Args:
        learner: What learns.
        total_timesteps: Its ``num_timesteps`` at the end, those that it begins with included; the
            last iteration is finished, so it may become a few more.
        callback: A callback of Stable-Baselines3, a list of them, or a function of ``locals`` and
            ``globals`` that returns whether to go on.
        logger: Of ``agents.bridges.sb3.logger.open_logger``, or of Stable-Baselines3's
            ``configure``; it is not closed. None logs nothing.
        progress_bar: Whether to draw a bar, where there is a terminal.
        log_interval: Iterations between two rows of the log; None leaves writing to callbacks.
        processes: Who trains this learner; the main one alone calls back, logs and draws, and
            decides for all whether to go on. ``None`` for this process alone.

    Raises:
        ValueError: If ``log_interval`` is not positive.
        RuntimeError: If an iteration leaves ``num_timesteps`` as it was.
    """
    listener = _Listener(learner, callback, logger, log_interval)
    run(learner, total_timesteps, listener, progress_bar=progress_bar, processes=processes)


class _Listener:
    """Callbacks and a logger of Stable-Baselines3 that are told of a run."""

    def __init__(
        self,
        learner: Drivable,
        callback: MaybeCallback,
        logger: Logger | None,
        log_interval: int | None,
    ) -> None:
        if log_interval is not None and log_interval < 1:
            raise ValueError(f"log_interval must be at least 1, got {log_interval}")
        self._callback, self._interval = as_callback(callback), log_interval
        self._view = LearnerView(learner, quiet_logger() if logger is None else logger)
        self._first = self._total = 0

    def begin(self, known: dict[str, Any]) -> None:
        self._first, self._total = self._view.num_timesteps, known["total_timesteps"]
        _initialise(self._callback, self._view)
        self._callback.on_training_start(known | {"self": self._view}, globals())

    def before_iteration(self) -> None:
        self._callback.on_rollout_start()

    def after_iteration(self, known: dict[str, Any]) -> bool:
        view, callback, tokens = self._view, self._callback, self._view.num_timesteps
        view.ep_info_buffer.extend(info["episode"] for info in known.get("infos", ()))
        new, seconds = tokens - self._first, known["seconds"]
        record_iteration(view.logger, known["metrics"], tokens=tokens, new=new, seconds=seconds)
        callback.update_locals(known)
        goes_on = callback.on_step()
        _correct_bars(callback, new)
        callback.on_rollout_end()
        last = not goes_on or tokens >= self._total
        if self._interval is not None and (last or known["iteration"] % self._interval == 0):
            view.dump_logs()
        return goes_on

    def end(self) -> None:
        self._callback.on_training_end()


def as_callback(callback: MaybeCallback) -> BaseCallback:
    """Makes one callback of what ``learn`` may be given.

    Raises:
        TypeError: If it is none, such as a class instead of an instance.
    """
    if callback is None:
        return CallbackList([])
    if isinstance(callback, list):
        return CallbackList([as_callback(each) for each in callback])
    if isinstance(callback, BaseCallback):
        return callback
    if isinstance(callback, type) or not callable(callback):
        raise TypeError(
            f"a callback is an instance of one of Stable-Baselines3's, a function or a list, got "
            f"{shown(callback)}"
        )
    return ConvertCallback(callback)


def _initialise(callback: BaseCallback, view: LearnerView) -> None:
    with warnings.catch_warnings():
        # Training is batched natively, and evaluation may well not be.
        warnings.filterwarnings("ignore", "Training and eval env are not of the same type")
        callback.init_callback(view)  # type: ignore[arg-type] # it has what callbacks use


def _correct_bars(callback: BaseCallback, tokens: int) -> None:
    """Sets the bars of ``ProgressBarCallback``, which count rows, to tokens."""
    for bar in _bars(callback):
        bar.pbar.update(tokens - bar.pbar.n)


def _bars(callback: BaseCallback | None) -> Iterator[ProgressBarCallback]:
    if isinstance(callback, ProgressBarCallback):
        yield callback
    for inner in getattr(callback, "callbacks", [getattr(callback, "callback", None)]):
        if isinstance(inner, BaseCallback):
            yield from _bars(inner)
