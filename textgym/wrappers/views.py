"""What the observation wrappers show: functions of what they read, for one row or for a batch.

Arrays may be numpy's or torch's. Every array that is returned is new, or the environment's own.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from textgym.dynamics.masks import action_parts
from textgym.dynamics.states import on_device_of

if TYPE_CHECKING:
    from textgym.wrappers.layout import Layout

__all__ = [
    "DictView",
    "MaskView",
    "OneHotView",
    "TextView",
    "make_dict_view",
    "make_mask_view",
    "make_one_hot_view",
    "make_text_view",
]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Latin with its first extensions, Greek, Cyrillic, punctuation, currencies, arrows.
_RANGES = (
    (0x20, 0x17F),
    (0x370, 0x3FF),
    (0x400, 0x45F),
    (0x2010, 0x2027),
    (0x2030, 0x203A),
    (0x20A0, 0x20BF),
    (0x2190, 0x2193),
)
# Where the observation and the mask are, and its type. All are in a box: MultiBinary is int8, so
# that a batch by it would turn bool into numbers, whose ``~`` indexes.
_PRESETS: dict[str, tuple[str, str, npt.DTypeLike]] = {
    "torchrl": ("observation", "action_mask", np.bool_),
    "rllib": ("observations", "action_mask", np.float32),
    "tianshou": ("obs", "mask", np.bool_),
    "pettingzoo": ("observation", "action_mask", np.int8),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DictView:
    """Tokens and masks as a dictionary.

    Attributes:
        layout: Where the tokens are.
        space: The space of one view.
    """

    layout: Layout
    space: spaces.Dict

    def __call__(self, observation: Any, prompt_length: Any, authored: Any) -> dict[str, Any]:
        """Views one observation, or a batch.

        Args:
            observation: ``(..., W)`` integers.
            prompt_length: How many places the prompt takes, ``(...)``, on the host.
            authored: 1 where the agent wrote, ``(..., T)``; ``None`` where nobody replies.
        """
        tokens = self.layout.tokens(observation)
        text = _cast(tokens != self.layout.pad_id, np.int64)
        if authored is None:
            places = on_device_of(tokens, np.arange(self.layout.width))
            starts = on_device_of(tokens, np.asarray(prompt_length))[..., None]
            foreign = _cast(places < starts, np.int64)
        else:
            foreign = text - authored
        view = {"tokens": tokens, "attention_mask": text, "prompt_mask": foreign}
        if "candidates" in self.space.spaces:
            view["candidates"] = observation[..., self.layout.width :]
        return view


@dataclass(frozen=True, slots=True, kw_only=True)
class OneHotView:
    """Each id as V numbers, of which its own is 1 and the others are 0.

    Attributes:
        space: The space of one view.
        vocab_size: V.
    """

    space: spaces.Box
    vocab_size: int

    def __call__(self, observation: Any) -> Any:
        """Views one observation, ``(..., W)`` integers, as ``(..., W * V)`` float32."""
        ids = on_device_of(observation, np.arange(self.vocab_size))
        shown = _cast(observation[..., None] == ids, np.float32)
        return shown.reshape(*observation.shape[:-1], -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextView:
    """Prompt and completion as two texts.

    Attributes:
        space: The space of one view.
        characters: What a text may consist of.
        max_length: How many characters it may have.
        shows_ascii: Whether all printable ASCII is among the characters.
    """

    space: spaces.Dict
    characters: frozenset[str]
    max_length: int
    shows_ascii: bool

    def __call__(self, prompt: str, completion: str) -> dict[str, str]:
        """Views one row."""
        return {"prompt": self.fit(prompt), "completion": self.fit(completion)}

    def fit(self, text: str) -> str:
        """Returns a text as its space can show it."""
        text = text[-self.max_length :]
        # Most texts are of the printable ASCII, of which there is no need to look at each.
        if self.shows_ascii and text.isascii() and text.isprintable():
            return text
        if self.characters.issuperset(text):
            return text
        return "".join(letter if letter in self.characters else _REPLACEMENT for letter in text)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskView:
    """A mask beside an observation.

    Attributes:
        space: The space of one view.
        observation_key: Where the observation is.
        mask_key: Where the mask is.
        dtype: The mask's type.
        size: Its length.
    """

    space: spaces.Dict
    observation_key: str
    mask_key: str
    dtype: npt.DTypeLike
    size: int

    def __call__(self, observation: Any, mask: Any) -> dict[str, Any]:
        """Views one observation with its mask, or a batch with ``(N, n)`` of them.

        Raises:
            ValueError: If a mask has another length.
        """
        if mask.shape[-1] != self.size:
            raise ValueError(
                f"action_masks() has {mask.shape[-1]} places, but the actions need {self.size}"
            )
        return {self.observation_key: observation, self.mask_key: _cast(mask, self.dtype)}


def make_dict_view(layout: Layout, observations: spaces.Space[Any]) -> DictView:
    """Makes the view of an environment.

    Args:
        layout: Where its tokens are.
        observations: The space of one observation.

    Raises:
        ValueError: If the observations are a dictionary already.
    """
    if layout.path:
        raise ValueError(f"the observations are a dictionary already, with {layout.path[0]!r}")
    size, width = layout.vocab_size, layout.width
    parts: dict[str, spaces.Space[Any]] = {
        "tokens": spaces.Box(0, size - 1, (width,), np.int64),
        "attention_mask": spaces.Box(0, 1, (width,), np.int64),
        "prompt_mask": spaces.Box(0, 1, (width,), np.int64),
    }
    rest = (observations.shape or (width,))[0] - width
    if rest:
        parts["candidates"] = spaces.Box(0, size - 1, (rest,), np.int64)
    return DictView(layout=layout, space=spaces.Dict(parts))


def make_one_hot_view(layout: Layout, observations: spaces.Space[Any]) -> OneHotView:
    """Makes the view of an environment.

    Args:
        layout: Where its tokens are.
        observations: The space of one observation.

    Raises:
        ValueError: If the observations are a dictionary.
    """
    if layout.path:
        raise ValueError(
            f"OneHotObservation shows one array, and the observations are a dictionary, with "
            f"{layout.path[0]!r}; wrap it before what makes one of them"
        )
    (width,) = observations.shape or (0,)
    size = width * layout.vocab_size
    space = spaces.Box(0, 1, (size,), np.float32)
    return OneHotView(space=space, vocab_size=layout.vocab_size)


def make_text_view(charset: str | None, max_length: int) -> TextView:
    """Makes a view; see ``TextObservation`` for the arguments.

    Raises:
        ValueError: If ``max_length`` is not positive.
    """
    if max_length < 1:
        raise ValueError(f"max_length must be positive, got {max_length}")
    if charset is None:
        codes = (code for first, last in _RANGES for code in range(first, last + 1))
        charset = "\n\t" + "".join(
            character for character in map(chr, codes) if character.isprintable()
        )
    characters = frozenset(charset) | {_REPLACEMENT}
    space = spaces.Dict(
        {
            name: spaces.Text(max_length, min_length=0, charset=characters)
            for name in ("prompt", "completion")
        }
    )
    return TextView(
        space=space,
        characters=characters,
        max_length=max_length,
        shows_ascii=characters.issuperset(string.printable.strip() + " "),
    )


def make_mask_view(
    preset: str, observations: spaces.Space[Any], actions: spaces.Space[Any]
) -> MaskView:
    """Makes the view of an environment; see ``ActionMaskObservation`` for the presets.

    Raises:
        ValueError: If the preset is unknown, or there is no mask for such actions.
    """
    if preset not in _PRESETS:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(_PRESETS)}")
    observation_key, mask_key, dtype = _PRESETS[preset]
    parts = action_parts(actions)
    if parts is None:
        raise ValueError(f"only Discrete and MultiDiscrete actions have masks, not {actions}")
    size = int(parts[0].sum())
    mask = spaces.Box(0, 1, (size,), np.dtype(dtype).type)
    return MaskView(
        space=spaces.Dict({observation_key: observations, mask_key: mask}),
        observation_key=observation_key,
        mask_key=mask_key,
        dtype=dtype,
        size=size,
    )


def _cast(array: Any, dtype: npt.DTypeLike) -> Any:
    """Returns a copy in another type, where it is."""
    if isinstance(array, np.ndarray):
        return array.astype(dtype)
    import torch

    # Torch has types of its own, which numpy's names name.
    return array.to(getattr(torch, np.dtype(dtype).name), copy=True)
