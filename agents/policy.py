"""A transformer that acts: any decoder-only language model with a value head.

``evaluate`` runs whole texts in one forward pass, which is how they are learned from;
``agents.acting.Actor`` writes them column by column through a key-value cache. Both give the same
numbers (tested): texts are padded on the right, so with causal attention no real token ever sees
padding, and a token's position is its index, whatever the length of its neighbours.

The value head reads the policy's own last hidden state, or that of a critic, which is a trunk of
its own. The trunk is run by ``agents.trunks``.

Simplifications: dropout is off; decoder-only models whose logits are their output layer applied to
the last hidden state.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from agents.adapters import base_of
from agents.choosing import candidate_logits_of_states
from agents.decoding import action_log_probs, unpack_mask
from agents.loading import load_model, save_model
from agents.log_probs import chosen_log_probs
from agents.trunks import Trunk, make_trunk

if TYPE_CHECKING:
    from textgym.types import Tokenizer

__all__ = ["Evaluation", "TransformerPolicy"]

_VALUE_FILE = "value_head.safetensors"
_CRITIC_FOLDER = "critic"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one forward pass says about the actions of whole texts.

    Attributes:
        log_probs: Of the given actions, ``(N, C)`` float32, 0 outside the mask.
        values: Of the states before the actions, ``(N, C)`` float32, 0 outside the mask.
    """

    log_probs: Tensor
    values: Tensor


class TransformerPolicy(nn.Module):
    """A language model as a policy and a value function.

    Attributes:
        model: The language model.
        critic: The language model that values are read from; ``None`` where that is ``model``.
        value_head: From a last hidden state to a value; starts at zero.
    """

    def __init__(self, model: PreTrainedModel, critic: PreTrainedModel | None = None) -> None:
        """Puts a value head on ``model``, or on ``critic``.

        Args:
            model: A causal language model whose logits are its output embedding applied to its
                trunk's last hidden state. Its dropout is switched off.
            critic: Another one with weights of its own, of which the trunk alone is used.

        Raises:
            ValueError: If the logits are computed in another way, or the two share weights.
        """
        super().__init__()
        self.model: PreTrainedModel = model.eval()  # type: ignore[no-untyped-call] # transformers' is
        self.critic: PreTrainedModel | None = None if critic is None else critic.eval()  # type: ignore[no-untyped-call]
        read = model if critic is None else critic
        width = cast("int", read.config.get_text_config().hidden_size)
        self.value_head = nn.Linear(width, 1, dtype=model.dtype, device=model.device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        self._trunk: Trunk = make_trunk(model)
        self._critic_trunk: Trunk | None = None if critic is None else make_trunk(critic)
        self._require_plain_head()
        if critic is not None and self._shares_weights(critic):
            raise ValueError("policy and critic share weights: load the critic a second time")

    @property
    def vocab_size(self) -> int:
        """The number of ids that the model knows."""
        return self.head.weight.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.value_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are."""
        return self.value_head.weight.dtype

    @property
    def head(self) -> nn.Linear:
        """The output layer."""
        return cast("nn.Linear", self.model.get_output_embeddings())  # type: ignore[no-untyped-call] # transformers' is

    @property
    def trunk(self) -> Trunk:
        """The language model up to its last hidden state."""
        return self._trunk

    @property
    def most_tokens(self) -> int | None:
        """The longest text that the model can read, if it has a limit."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def train(self, mode: bool = True) -> Self:
        """Leaves the models in evaluation mode: dropout would break the ratio at the first step."""
        super().train(mode)
        self.model.eval()  # type: ignore[no-untyped-call] # transformers' is
        if self.critic is not None:
            self.critic.eval()  # type: ignore[no-untyped-call] # transformers' is
        return self

    def _require_plain_head(self) -> None:
        ids = torch.arange(4, device=self.device).unsqueeze(0) % self.vocab_size
        with torch.inference_mode():
            expected = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            actual = self.head(self._trunk.full(ids))
        allowed = 1e-3 if self.dtype == torch.float32 else 0.1
        if not torch.allclose(expected, actual, atol=allowed, rtol=allowed):
            raise ValueError(
                f"{type(self.model).__name__} does more to its logits than its output embedding; "
                "such models are not supported as a policy"
            )

    def _shares_weights(self, other: nn.Module) -> bool:
        mine = {p.data_ptr() for p in self.model.parameters()}
        return any(p.data_ptr() in mine for p in other.parameters())

    def evaluate(
        self,
        tokens: Tensor,
        places: Tensor,
        actions: Tensor,
        mask: Tensor,
        legal: Tensor,
        temperature: float,
        candidates: tuple[Tensor, int] | None = None,
    ) -> Evaluation:
        """Log-probabilities and values of the actions of whole texts.

        Args:
            tokens: ``(N, L)`` int64, right-padded: prompt, then completion.
            places: The index of the last token before each action, ``(N, C)`` int64.
            actions: ``(N, C)`` int64.
            mask: Where there was an action, ``(N, C)`` bool.
            legal: ``(A,)`` bool, or ``(N, C, ceil(A / 8))`` uint8 from ``pack_mask``.
            temperature: The sampler's.
            candidates: What could be chosen, ``(N, C, K, L)`` int64, and the padding's id; ``None``
                where tokens were appended.
        """
        rows, columns = mask.nonzero(as_tuple=True)
        at = places[rows, columns]
        hidden = self._trunk.full(tokens)[rows, at]
        taken, allowed = actions[rows, columns], legal if legal.ndim == 1 else legal[rows, columns]
        weight, bias = self.head.weight, self.head.bias
        if candidates is None:
            chosen = chosen_log_probs(hidden, weight, bias, taken, allowed, temperature)
        else:
            offered, pad_id = candidates[0][rows, columns], candidates[1]
            logits = candidate_logits_of_states(hidden, weight, bias, offered, pad_id)
            every = action_log_probs(logits, unpack_mask(allowed, logits.shape[1]), temperature)
            chosen = every.gather(-1, taken[:, None]).squeeze(-1)
        if self._critic_trunk is not None:
            hidden = self._critic_trunk.full(tokens)[rows, at]
        values = self.value_head(hidden).squeeze(-1).float()
        blank = torch.zeros(mask.shape, dtype=torch.float32, device=tokens.device)
        return Evaluation(
            blank.index_put((rows, columns), chosen), blank.index_put((rows, columns), values)
        )

    def state_values(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The values of states, ``(N,)`` float32, each read at its last token."""
        trunk = self._trunk if self._critic_trunk is None else self._critic_trunk
        rows = torch.arange(len(tokens), device=tokens.device)
        hidden = trunk.full(tokens)[rows, lengths - 1]
        return cast("Tensor", self.value_head(hidden).squeeze(-1).float())

    def next_logits(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The logits of the next token of texts, ``(N, V)``, with a forward pass of their own."""
        rows = torch.arange(len(tokens), device=tokens.device)
        return cast("Tensor", self.head(self._trunk.full(tokens)[rows, lengths - 1]))

    def frozen_copy(self, dtype: torch.dtype | None = None) -> TransformerPolicy:
        """A policy with weights of its own that nothing trains.

        Args:
            dtype: Of the copy; ``None`` keeps it.
        """
        model = copy.deepcopy(self.model)
        critic = copy.deepcopy(self.critic)
        twin = TransformerPolicy(model, critic)
        twin.value_head.load_state_dict(self.value_head.state_dict())
        twin.requires_grad_(requires_grad=False)
        if dtype is not None:
            # Parameters alone: rotary frequencies are buffers, and need all their digits.
            for parameter in twin.parameters():
                parameter.data = parameter.data.to(dtype)
        return twin

    @torch.no_grad()
    def copy_weights(self, source: TransformerPolicy) -> None:
        """Takes over the weights of a policy of the same shape, rounded to the own dtype."""
        for own, new in zip(self.parameters(), source.parameters(), strict=True):
            own.copy_(new)

    def save_pretrained(self, folder: Path) -> None:
        """Writes the model as transformers does, and value head and critic beside it."""
        save_model(self.model, folder)
        if self.critic is not None:
            self.critic.save_pretrained(folder / _CRITIC_FOLDER)
        head = {name: value.contiguous() for name, value in self.value_head.state_dict().items()}
        save_file(head, folder / _VALUE_FILE)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str = "cpu",
        *,
        critic: str | Path | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> TransformerPolicy:
        """Loads a language model, and the value head and the critic where they were saved with it.

        Args:
            folder: A folder that ``save_pretrained`` wrote, of a policy or of a language model.
            device: Where to put it.
            critic: The folder of a language model to start a critic from; the same folder as the
                policy's is the usual choice.
            tokenizer: The environment's; needed for a folder of adapters alone.

        Raises:
            FileNotFoundError: If there is no model in ``folder``.
        """
        own_critic = Path(folder) / _CRITIC_FOLDER
        if critic is None and own_critic.is_dir():
            critic = own_critic
        policy = cls(
            _load_model(folder, device, tokenizer),
            None if critic is None else _load_model(critic, device, tokenizer),
        )
        value_file = Path(folder) / _VALUE_FILE
        if value_file.is_file():
            policy.value_head.load_state_dict(load_file(value_file, device=device))
        return policy


def _load_model(folder: str | Path, device: str, tokenizer: Tokenizer | None) -> PreTrainedModel:
    if base_of(Path(folder)) is not None:
        return load_model(folder, tokenizer, device=device)[0]
    if not (Path(folder) / "config.json").is_file():
        raise FileNotFoundError(f"no language model in {folder}: config.json is missing there")
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", local_files_only=True, dtype=torch.float32
    )
    return cast("PreTrainedModel", model.to(device))
