"""Language models as parts of an environment: one proposes next tokens, one drafts completions.

The environment names them: ``proposer="agents.bridges.environment_plugins:LanguageModelProposer"``
with ``proposer_kwargs={"path": ...}``, and likewise for ``LanguageModelDrafter``.

A text's proposals, and its draft, must not depend on the other texts of its batch. Padding stands
on the right, where causal attention does not look. What is left is rounding, which differs between
batches of different shapes. The model therefore computes in float64, where the differences change a
choice once in many millions at most.

Simplification: every call is a forward pass over whole texts, without a key-value cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from agents.maths.distributions import invert
from agents.models.loading import load_model
from agents.models.policy import TransformerPolicy
from textgym.dynamics.states import Rules, lay_out
from textgym.tokenizers import legal_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from textgym.dynamics.states import Array
    from textgym.types import Example, Tokenizer

__all__ = ["LanguageModelDrafter", "LanguageModelProposer"]


class LanguageModelProposer:
    """The K tokens that a causal language model finds likeliest after a text.

    Equally likely tokens come in the order of their ids. Special ids are never proposed.
    """

    def __init__(
        self, path: str | Path, num_candidates: int, tokenizer: Tokenizer, device: str = "cpu"
    ) -> None:
        """Loads the model.

        Args:
            path: The model's folder, or what ``load_model`` takes.
            num_candidates: K.
            tokenizer: The tokenizer that the model was trained with.
            device: Where the model runs; the host instead of what has no float64.

        Raises:
            FileNotFoundError: If there is no model.
            ValueError: If the model does not know all of the tokenizer's ids.
        """
        self._model = _NextToken(path, tokenizer, device)
        self._eos_id = tokenizer.eos_id
        self._num_candidates = num_candidates
        self._pad_id = tokenizer.pad_id

    @property
    def num_candidates(self) -> int:
        """K."""
        return self._num_candidates

    @property
    def num_tokens(self) -> int:
        """1: a candidate is a token."""
        return 1

    @torch.no_grad()
    def propose(self, tokens: Array, length: Array) -> Array:
        """Proposes the likeliest tokens; see ``textgym.proposing.proposals.Proposer``.

        Raises:
            ValueError: If a text is longer than the model can read.
        """
        if isinstance(tokens, np.ndarray):
            # Copies, because torch warns of arrays that may not be written to.
            texts, lengths = torch.from_numpy(tokens.copy()), torch.from_numpy(length.copy())
        else:
            texts, lengths = tokens, length
        logits = self._model.logits(texts, lengths).float()
        logits[:, self._eos_id] = -torch.inf
        # topk does not promise which of two equal logits it takes.
        values, ids = logits.sort(dim=1, descending=True, stable=True)
        ids = torch.where(values > -torch.inf, ids, self._pad_id)[:, : self._num_candidates, None]
        missing = self._num_candidates - ids.shape[1]
        ids = torch.nn.functional.pad(ids, (0, 0, 0, missing), value=self._pad_id)
        if isinstance(tokens, np.ndarray):
            return ids.cpu().numpy()
        return ids.to(tokens.device)


class LanguageModelDrafter:
    """Continues the prompt by sampling from a causal language model.

    For each row, one uniform number per token of the allowance is drawn at once from the row's own
    generator; each is turned into a token by inverting the model's cumulative distribution.
    """

    def __init__(
        self,
        path: str | Path,
        tokenizer: Tokenizer,
        prompt_tokens: int,
        completion_tokens: int,
        temperature: float = 1.0,
        device: str = "cpu",
    ) -> None:
        """Loads the model.

        Args:
            path: The model's folder, or what ``load_model`` takes.
            tokenizer: The tokenizer that the model was trained with.
            prompt_tokens: Room for the prompt, the beginning-of-text id included; of a longer
                prompt the model reads the end, as the agent does.
            completion_tokens: The allowance, and the length of a draft at most.
            temperature: Divides the logits, above 0.
            device: Where the model runs; the host instead of what has no float64.

        Raises:
            FileNotFoundError: If there is no model.
            ValueError: If the model does not know all of the tokenizer's ids, or the temperature
                is not positive.
        """
        if not temperature > 0:
            raise ValueError(f"the temperature of drafts must be above 0, got {temperature!r}")
        self._model = _NextToken(path, tokenizer, device)
        self._tokenizer = tokenizer
        self._rules = Rules(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            max_actions=completion_tokens,
            pad_id=tokenizer.pad_id,
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            legal=legal_ids(tokenizer),
        )
        self._temperature = temperature

    @torch.no_grad()
    def draft(
        self, examples: Sequence[Example], generators: Sequence[np.random.Generator]
    ) -> list[list[int]]:
        """Samples one continuation per example; see ``textgym.proposing.drafts.Drafter``.

        Raises:
            ValueError: If a text is longer than the model can read.
        """
        if not examples:
            return []
        completion_tokens = self._rules.completion_tokens
        noise = np.stack([generator.random(completion_tokens) for generator in generators])
        uniform = torch.from_numpy(noise)
        ids = self._tokenizer.encode_batch([example.prompt for example in examples])
        state = lay_out(ids, self._rules)
        tokens, start = torch.from_numpy(state.tokens), torch.from_numpy(state.prompt_length)
        length, rows = start.clone(), torch.arange(len(start))
        running = torch.ones_like(start, dtype=torch.bool)
        for step in range(completion_tokens):
            logits = self._model.logits(tokens, length).cpu()
            probs = (logits / self._temperature).softmax(dim=1)
            token = invert(probs, uniform[:, step])
            running = running & (token != self._tokenizer.eos_id)
            if not running.any():
                break
            tokens[rows, length] = torch.where(running, token, tokens[rows, length])
            length = length + running
        return [
            row[first:last].tolist() for row, first, last in zip(tokens, start, length, strict=True)
        ]


class _NextToken:
    """A causal language model's logits after a text, minus infinity where no token is legal."""

    def __init__(self, path: str | Path, tokenizer: Tokenizer, device: str) -> None:
        self._path = path
        own = _with_float64(device)
        policy = (
            TransformerPolicy.from_pretrained(path, own)
            if Path(path).is_dir()
            else TransformerPolicy(load_model(path, tokenizer, device=own)[0])
        )
        self._policy = policy.double()
        size = self._policy.vocab_size
        legal = torch.zeros(max(size, tokenizer.vocab_size), dtype=torch.bool)
        legal[: tokenizer.vocab_size] = torch.from_numpy(legal_ids(tokenizer))
        if legal[size:].any() or tokenizer.bos_id >= size:
            raise ValueError(
                f"the model in {path} knows {size} ids and the tokenizer has "
                f"{tokenizer.vocab_size}; give the model that belongs to this tokenizer"
            )
        self._legal = legal[:size].to(self._policy.device)
        config = self._policy.model.config.get_text_config()
        self._most_tokens: int | None = getattr(config, "max_position_embeddings", None)

    def logits(self, tokens: Tensor, length: Tensor) -> Tensor:
        """The logits of the next token, ``(N, V)`` float64, on the model's device."""
        device = self._policy.device
        if not len(tokens):
            return torch.empty((0, len(self._legal)), dtype=torch.float64, device=device)
        width = int(length.max())
        if self._most_tokens is not None and width > self._most_tokens:
            raise ValueError(
                f"a text of {width} tokens is longer than the {self._most_tokens} that the model "
                f"in {self._path} can read; take a model with more, or shorter prompts"
            )
        # Padding may be an id that the model has no embedding for.
        positions = torch.arange(width, device=tokens.device)
        tokens = torch.where(positions < length[:, None], tokens[:, :width], 0).to(device)
        logits = self._policy.next_logits(tokens, length.to(device))
        return logits.masked_fill(~self._legal, -torch.inf)


def _with_float64(device: str) -> str:
    """The device; the host's where that has no float64, as Metal has none."""
    try:
        torch.empty(0, dtype=torch.float64, device=device)
    except TypeError:
        return "cpu"
    return device
