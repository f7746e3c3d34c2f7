"""Where observations hold the tokens of a text, however they have been wrapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from textgym.envs.view import WorldView
from textgym.recording.turns import split_turns

if TYPE_CHECKING:
    import numpy.typing as npt


__all__ = ["Layout", "find_layout", "require_one_completion", "require_text"]

# In this order: what this package's own observations call it, then what masks wrap it in.
_KEYS = ("tokens", "observation", "observations", "obs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How to read an environment's observations.

    Attributes:
        path: The keys that lead to the tokens; none if the observation is an array.
        width: T, the number of places of a text. What follows them are candidates.
        vocab_size: V, the number of ids.
        pad_id: Fills a text up to the right.
        eos_id: Ends a text, and the agent's turns in a conversation.
    """

    path: tuple[str, ...]
    width: int
    vocab_size: int
    pad_id: int
    eos_id: int

    def tokens(self, observation: Any) -> Any:
        """Returns the tokens, ``(..., T)``, of one observation or of a batch of them."""
        for key in self.path:
            observation = observation[key]
        return observation[..., : self.width]

    def split(
        self, tokens: npt.NDArray[np.int64], prompt_length: int
    ) -> tuple[list[int], list[int]]:
        """Returns the ids of the prompt and of the completion of one text, ``(T,)``.

        No text holds padding, so whatever is padding is behind it.
        """
        ids = tokens.tolist()
        completion = [token for token in ids[prompt_length:] if token != self.pad_id]
        return ids[:prompt_length], completion

    def turns(
        self,
        tokens: npt.NDArray[np.int64],
        prompt_length: int,
        authored: npt.NDArray[np.int64] | None,
    ) -> list[tuple[bool, list[int]]]:
        """Returns what stands behind a prompt, turn by turn.

        Args:
            tokens: One text, ``(T,)``.
            prompt_length: How many places its prompt takes.
            authored: 1 where the agent wrote, ``(T,)``; ``None`` where nobody replies, and all
                that follows the prompt is one turn.

        Returns:
            For each turn whether it is the agent's, and its ids.
        """
        _, ids = self.split(tokens, prompt_length)
        if authored is None:
            return [(True, ids)]
        own = authored[prompt_length : prompt_length + len(ids)]
        return split_turns(np.array(ids, dtype=np.int64), own, self.eos_id)


def find_layout(env: Any, space: spaces.Space[Any], wrapper: str) -> Layout:
    """Finds out how to read an environment's observations.

    Args:
        env: A single or a vector environment.
        space: The space of one observation.
        wrapper: Who wants to know, for messages.

    Raises:
        ValueError: If it is no environment of this package, or its observations hold no tokens.
    """
    require_text(env, wrapper)
    inner = env.unwrapped
    width = inner.prompt_tokens + inner.completion_tokens
    path = _path(space, width)
    if path is None:
        raise ValueError(
            f"{wrapper} reads tokens, and the observations of {env} hold none; "
            "wrap it before what takes them away"
        )
    tokenizer = inner.tokenizer
    return Layout(
        path=path,
        width=width,
        vocab_size=tokenizer.vocab_size,
        pad_id=tokenizer.pad_id,
        eos_id=tokenizer.eos_id,
    )


def require_text(env: Any, wrapper: str) -> None:
    """Checks that an environment of this package is below all wrappers.

    Raises:
        ValueError: If it is of another kind, Gymnasium's batches included.
    """
    if not isinstance(env.unwrapped, WorldView):
        raise ValueError(  # noqa: TRY004 - an environment is wrapped at the wrong place
            f"{wrapper} needs a TextEnv or TextVectorEnv, got {type(env.unwrapped).__name__}; "
            "in a SyncVectorEnv or AsyncVectorEnv wrap each single environment"
        )


def require_one_completion(env: Any, wrapper: str) -> None:
    """Refuses conversations, where what stands behind the prompt is not the agent's alone.

    Raises:
        ValueError: If somebody replies.
    """
    inner = env.unwrapped
    if inner.converses:
        raise ValueError(
            f"{wrapper} reads one completion behind the prompt, but {inner.task.name} is a "
            "conversation with several"
        )


def _path(space: spaces.Space[Any], width: int) -> tuple[str, ...] | None:
    if isinstance(space, spaces.Box):
        is_row = len(space.shape) == 1 and space.shape[0] >= width
        return () if is_row and np.issubdtype(space.dtype, np.integer) else None
    if not isinstance(space, spaces.Dict):
        return None
    for key in _KEYS:
        if key in space.spaces:
            path = _path(space[key], width)
            return None if path is None else (key, *path)
    return None
