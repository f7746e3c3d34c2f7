"""Leaves the terminal to our own bars."""

from __future__ import annotations

import warnings

from transformers.utils import logging

__all__ = ["use_quiet_transformers"]


def use_quiet_transformers() -> None:
    """Switches off transformers' bars and its remarks; errors are still shown."""
    logging.set_verbosity_error()  # type: ignore[no-untyped-call] # untyped there
    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # untyped there
    # Trainer says so whenever no accelerator is there, which is no news on a CPU.
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
