"""The small scorer: an embedding, an LSTM and one sigmoid unit; trained in seconds, on labels.

The unit's input is the raw score, so that the same model can be trained on comparisons as well, as
a ``PreferenceModel`` is.

Simplifications: one direction, so that what was read stays read; no attention, no pretrained words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from transformers import PretrainedConfig, PreTrainedModel

from reward_models.models.transformer import pool, scale
from reward_models.reading.batching import right_padded
from reward_models.reading.loading import open_learned
from reward_models.reading.scoring import PreferenceReward

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LSTMScorer", "LSTMScorerConfig", "load_lstm"]

_OUTPUTS = ("probability", "score")


class LSTMScorerConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """What an ``LSTMScorer`` is made of; stored as ``config.json``.

    Attributes:
        vocab_size: How many ids the embedding knows.
        embedding_size: Width of an id's embedding.
        hidden_size: Width of the LSTM's state.
        layers: LSTMs, each of which reads the one below.
        dropout: Share of embeddings and states that is dropped in training.
        pooling: How states become one: the ``last``, or their ``mean``, over real tokens.
        max_tokens: The most tokens that are read, special ones included.
        output: What a score is: the sigmoid's ``probability``, or the ``score`` before it, less
            ``score_mean`` and over ``score_std``, as of a preference model.
        score_mean: Mean of the raw scores of reference texts.
        score_std: Standard deviation of the raw scores of reference texts.
        initializer_range: Standard deviation of the first embeddings.
    """

    model_type = "textgym-lstm"

    def __init__(  # noqa: PLR0913, PLR0917  config.json is flat, so these are as well
        self,
        vocab_size: int = 4096,
        embedding_size: int = 64,
        hidden_size: int = 128,
        layers: int = 1,
        dropout: float = 0.2,
        pooling: Literal["last", "mean"] = "last",
        max_tokens: int = 256,
        output: Literal["probability", "score"] = "probability",
        score_mean: float = 0.0,
        score_std: float = 1.0,
        initializer_range: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if output not in _OUTPUTS:
            raise ValueError(f"output is {output!r}; choose 'probability' or 'score'")
        if pooling not in ("last", "mean"):
            raise ValueError(f"pooling is {pooling!r}; choose 'last' or 'mean'")
        if not score_std > 0:
            raise ValueError(f"score_std is {score_std}, but scores are divided by it")
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.layers = layers
        self.dropout = dropout
        self.pooling = pooling
        self.max_tokens = max_tokens
        self.output = output
        self.score_mean = score_mean
        self.score_std = score_std
        self.initializer_range = initializer_range


class LSTMScorer(PreTrainedModel):
    """Embedding, LSTM, and a linear unit whose sigmoid is the probability of the label 1."""

    config: LSTMScorerConfig
    config_class = LSTMScorerConfig
    base_model_prefix = "lstm"
    main_input_name = "input_ids"
    spare_pads = 1024  # it goes from token to token, however few rows there are

    def __init__(self, config: LSTMScorerConfig) -> None:
        super().__init__(config)
        self.embedding = torch.nn.Embedding(config.vocab_size, config.embedding_size)
        self.lstm = torch.nn.LSTM(
            config.embedding_size, config.hidden_size, config.layers, batch_first=True
        )
        self.dropout = torch.nn.Dropout(config.dropout)
        self.head = torch.nn.Linear(config.hidden_size, 1)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_seed(cls, config: LSTMScorerConfig, seed: int) -> Self:
        """Makes a model whose first weights are ``seed``'s; the global generator stays."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(config)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Gives raw scores, the log-odds of the label 1.

        Args:
            input_ids: Token ids padded on one side, ``(N, L)`` int64.
            attention_mask: 1 for real tokens and 0 for padding, ``(N, L)`` int64.

        Returns:
            ``(N,)`` float32.

        Raises:
            ValueError: If a row is empty or has padding between its tokens.
        """
        ids, mask = right_padded(input_ids, attention_mask)
        # It reads from the left, so what is padded on the right comes after what counts.
        states, _ = self.lstm(self.dropout(self.embedding(ids)))
        with torch.autocast(states.device.type, enabled=False):
            pooled = pool(states.float(), mask, self.config.pooling)
            scores: torch.Tensor = self.head(self.dropout(pooled)).squeeze(-1)
        return scores

    def normalise(self, raw: torch.Tensor) -> torch.Tensor:
        """Gives probabilities in [0, 1] or scaled scores, as ``config.output`` says."""
        if self.config.output == "probability":
            return torch.sigmoid(raw)
        return scale(raw, self.config)


def load_lstm(folder: Path, *, device: str = "cpu", batch_size: int = 64) -> PreferenceReward:
    """Loads what ``PreferenceReward.save`` wrote; ``load_reward`` comes here by ``config.json``."""
    model, tokenizer = open_learned(LSTMScorer, folder)
    return PreferenceReward(model, tokenizer, device=device, batch_size=batch_size)
