"""A learned score: any decoder of transformers with one number on top, and the reward around it.

Texts are padded on the right. A causal decoder then never sees a pad from a real token, so
positions are plain ``arange`` and a score depends on its own text alone.

Simplifications: no ensembles, no adapters; text only, so ids that a policy produced are read again
from their text, under the reward's own tokenizer.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.types import Tokenizer

__all__ = [
    "TOKENIZER_FILE",
    "PreferenceModel",
    "PreferenceModelConfig",
    "PreferenceReward",
    "encode_rows",
    "load_reward",
    "pad_rows",
    "pool",
]

Pooling = Literal["mean", "last"]

TOKENIZER_FILE = "tokenizer.model"


class PreferenceModelConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """What a ``PreferenceModel`` is made of; stored as ``config.json``.

    Attributes:
        trunk: The decoder's own configuration as a dictionary, ``model_type`` included.
        pooling: How states become one: their ``mean``, or the ``last``, over real tokens.
        max_tokens: The most tokens that are read, the beginning-of-text token included. Not called
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
        if pooling not in ("mean", "last"):
            raise ValueError(f"pooling is {pooling!r}; choose 'mean' or 'last'")
        if not score_std > 0:
            raise ValueError(f"score_std is {score_std}, but scores are divided by it")
        # A configuration without arguments must exist: transformers compares with it when it saves.
        self.trunk = {"model_type": "gpt2"} if trunk is None else trunk
        self.pooling = pooling
        self.max_tokens = max_tokens
        self.score_mean = score_mean
        self.score_std = score_std


class PreferenceModel(PreTrainedModel):
    """A decoder, a pooling over its states, and a linear head that gives one number."""

    config: PreferenceModelConfig
    config_class = PreferenceModelConfig
    base_model_prefix = "trunk"
    main_input_name = "input_ids"

    def __init__(self, config: PreferenceModelConfig) -> None:
        super().__init__(config)
        trunk = AutoConfig.for_model(**config.trunk)
        # At a few million parameters on a CPU, eager attention trains a third faster than sdpa.
        self.trunk = AutoModel.from_config(  # type: ignore[no-untyped-call]
            trunk, attn_implementation="eager"
        )
        self.head = torch.nn.Linear(trunk.hidden_size, 1)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_language_model(
        cls,
        folder: str | Path,
        *,
        pooling: Pooling = "mean",
        max_length: int = 128,
        seed: int = 0,
    ) -> Self:
        """Starts from the trunk of a causal language model; dropout is off, the head is random.

        Args:
            folder: What the language model's ``save_pretrained`` wrote.
            pooling: How the trunk's states become one.
            max_length: The most tokens that are read.
            seed: Decides the head, drawn from N(0, 1 / (width + 1)) as in Stiennon et al. 2020.

        Raises:
            FileNotFoundError: If ``folder`` holds no model.
            ValueError: If weights are missing, or the trunk cannot read ``max_length`` tokens.
        """
        _require_files(Path(folder), "config.json", what="language model")
        trunk_config = _without_dropout(AutoConfig.from_pretrained(folder))
        room = getattr(trunk_config, "max_position_embeddings", None)
        if room is not None and max_length > room:
            raise ValueError(
                f"max_length is {max_length}, but the language model in {folder} has {room} "
                "positions: lower max_length"
            )
        trunk, loading = AutoModel.from_pretrained(
            folder,
            config=trunk_config,
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
        )
        _require_all_weights(loading, folder)
        config = PreferenceModelConfig(
            trunk=trunk_config.to_dict(), pooling=pooling, max_tokens=max_length
        )
        with torch.random.fork_rng(devices=[]):
            model = cls(config)
        model.trunk.load_state_dict(trunk.state_dict())
        width = model.head.in_features
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            model.head.weight.normal_(0.0, 1 / math.sqrt(width + 1), generator=generator)
            model.head.bias.zero_()
        return model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Gives raw scores, before normalisation.

        Args:
            input_ids: Token ids padded on the right, ``(N, L)`` int64.
            attention_mask: 1 for real tokens and 0 for padding, ``(N, L)`` int64.

        Returns:
            ``(N,)`` float32.

        Raises:
            ValueError: If a row is empty or is not padded on the right.
        """
        if not bool(attention_mask[:, 0].all()) or bool((attention_mask.diff(dim=1) > 0).any()):
            raise ValueError(
                "attention_mask has an empty row or padding before a token: pad on the right, "
                "and begin every row with the beginning-of-text token"
            )
        states = self.trunk(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        # The head in float32: bfloat16 keeps two or three digits, and scores are compared.
        with torch.autocast(states.device.type, enabled=False):
            pooled = pool(states.float(), attention_mask, self.config.pooling)
            scores: torch.Tensor = self.head(pooled).squeeze(-1)
        return scores

    def normalise(self, raw: torch.Tensor) -> torch.Tensor:
        """Gives scores, ``(raw - score_mean) / score_std``, of any shape."""
        return (raw - self.config.score_mean) / self.config.score_std


class PreferenceReward:
    """The reward function around a ``PreferenceModel``: texts in, normalised scores out."""

    def __init__(
        self,
        model: PreferenceModel,
        tokenizer: Tokenizer,
        *,
        device: str = "cpu",
        batch_size: int = 64,
    ) -> None:
        """Takes a model over, in evaluation mode and on ``device``.

        Args:
            model: The model. It is moved, not copied.
            tokenizer: The tokenizer that the model was trained with.
            device: Where scores are computed, such as ``cpu`` or ``cuda``.
            batch_size: The most texts in one forward pass; no score depends on it.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; a batch has at least one text")
        self.model = model
        module: torch.nn.Module = model  # whose to() and eval() have types; transformers' have not
        module.to(device).eval()
        self.tokenizer = tokenizer
        self.batch_size = batch_size

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores each completion after its prompt, ``(N,)``; see ``RewardFunction``."""
        return [float(score) for score in self.model.normalise(self.raw(prompts, completions))]

    def raw(self, prompts: Sequence[str], completions: Sequence[str]) -> torch.Tensor:
        """Scores before normalisation.

        Args:
            prompts: The prompts' texts, ``(N,)``.
            completions: The completions' texts, ``(N,)``.

        Returns:
            ``(N,)`` float64 on the CPU, so that normalising adds no rounding of its own.

        Raises:
            ValueError: If there are not as many completions as prompts.
        """
        if len(prompts) != len(completions):
            raise ValueError(f"{len(prompts)} prompts came with {len(completions)} completions")
        texts = [prompt + text for prompt, text in zip(prompts, completions, strict=True)]
        rows = encode_rows(self.tokenizer, texts, self.model.config.max_tokens)
        scores = torch.zeros(len(rows), dtype=torch.float64)
        # Neighbours in length share a batch, so that little of it is padding.
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        with torch.inference_mode():
            for start in range(0, len(order), self.batch_size):
                chunk = order[start : start + self.batch_size]
                ids, mask = pad_rows([rows[row] for row in chunk], self.tokenizer.pad_id)
                device = self.model.device
                scores[chunk] = self.model(ids.to(device), mask.to(device)).double().cpu()
        return scores


def load_reward(path: str | Path, device: str = "cpu", batch_size: int = 64) -> PreferenceReward:
    """Loads the reward that ``train_reward_model`` wrote; its name is ``preference_model``.

    Args:
        path: The folder, with ``config.json``, ``model.safetensors`` and ``tokenizer.model``.
        device: Where scores are computed, such as ``cpu`` or ``cuda``.
        batch_size: The most texts in one forward pass; no score depends on it.

    Raises:
        FileNotFoundError: If the folder or one of its files is missing.
        ValueError: If a file is damaged, or of another kind of model.
    """
    from textgym.tokenizers import load_tokenizer

    folder = Path(path)
    _require_files(folder, "config.json", "model.safetensors", TOKENIZER_FILE, what="reward model")
    try:
        _require_kind(folder)
        loaded: Any = PreferenceModel.from_pretrained(folder, output_loading_info=True)
        model, loading = loaded
        _require_all_weights(loading, folder)
        tokenizer = load_tokenizer(folder / TOKENIZER_FILE)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"{folder} holds no whole reward model ({error}): train it again, or name another one"
        ) from error
    return PreferenceReward(model, tokenizer, device=device, batch_size=batch_size)


def pool(states: torch.Tensor, mask: torch.Tensor, how: Pooling) -> torch.Tensor:
    """Makes one state of each row's real ones.

    Args:
        states: Hidden states, ``(N, L, D)`` float.
        mask: 1 for real tokens and 0 for padding, ``(N, L)``, at least one 1 a row.
        how: ``mean`` over the real tokens, or the state of the ``last`` one.

    Returns:
        ``(N, D)`` float.
    """
    if how == "last":
        # From the mask, because the pad id may also be the end-of-text id.
        positions = torch.arange(mask.shape[1], device=mask.device)
        last = (positions * mask.bool()).argmax(dim=1)
        return states[torch.arange(len(states), device=states.device), last]
    real = mask.to(states.dtype)
    return torch.einsum("nld,nl->nd", states, real) / real.sum(dim=1, keepdim=True)


def encode_rows(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Encodes texts behind the beginning-of-text id; of a long one, the last tokens are kept."""
    kept = max_length - 1
    return [
        [tokenizer.bos_id, *ids[max(0, len(ids) - kept) :]] for ids in tokenizer.encode_batch(texts)
    ]


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pads rows of ids on the right to the longest of them: ids and mask, ``(N, L)`` int64."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def _without_dropout(config: PretrainedConfig) -> PretrainedConfig:
    """Sets every dropout rate to 0: two forwards of one text must agree."""
    for name, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
            setattr(config, name, 0.0)
    return config


def _require_files(folder: Path, *names: str, what: str) -> None:
    for name in names:
        if not (folder / name).exists():
            raise FileNotFoundError(
                f"no {what} in {folder}: {name} is missing. Name the folder that training wrote"
            )


def _require_kind(folder: Path) -> None:
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != PreferenceModelConfig.model_type:
        raise ValueError(f"config.json is of a model of type {kind!r}")


def _require_all_weights(loading: dict[str, Any], folder: str | Path) -> None:
    """Refuses a model of which transformers would have made up a part at random."""
    missing = sorted(loading["missing_keys"]) + sorted(map(str, loading["mismatched_keys"]))
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} weights, {missing[0]} among them")
