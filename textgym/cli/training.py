"""How far a ``Trainer`` of transformers is, on a command's bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.cli.console import Bar

__all__ = ["TrainingBar"]


class TrainingBar(TrainerCallback):
    """Moves a bar with each update, and shows the last figures beside it."""

    def __init__(self, bar: Bar, figures: Sequence[str] = ("loss",)) -> None:
        """Prepares it.

        Args:
            bar: Where to show it.
            figures: What of the log to show, in this order.
        """
        self._bar, self._figures, self._note = bar, figures, ""

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002 - Trainer's signature
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Keeps the last figures."""
        known = [name for name in self._figures if name in (logs or {})]
        if logs and known:
            self._note = "  ".join(f"{name} {float(logs[name]):.3f}" for name in known)

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - Trainer's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Moves the bar."""
        self._bar.update(state.global_step, state.max_steps, self._note)
