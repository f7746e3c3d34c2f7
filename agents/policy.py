"""A transformer that acts: any decoder-only language model with a value head on its trunk.

Two ways through the same weights. ``Actor`` feeds one new column a step through a key-value cache,
which is how completions are written. ``TransformerPolicy.evaluate`` runs one forward pass over
whole texts, which is how they are learned from. Both give the same numbers (tested), because:

* texts are padded on the right, so with causal attention no real token ever sees padding, and a
  token's position is its index, whatever the length of its neighbours;
* in the cache, a new token goes into the next free *column* of the batch but keeps its own text's
  *position*, and the unused columns behind a short prompt are masked out.

Simplifications: dropout must be off; the value head shares the policy's trunk; decoder-only models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.cache_utils import DynamicCache

from agents.decoding import action_log_probs, draw

__all__ = ["Actor", "Evaluation", "TransformerPolicy"]

_VALUE_FILE = "value_head.safetensors"


class Evaluation:
    """What one forward pass says about the actions of whole texts, each ``(N, C)`` float32.

    Attributes:
        log_probs: Of the given actions.
        entropy: Of the distribution that each action was drawn from, in nats.
        values: Of the state before each action.
    """

    __slots__ = ("entropy", "log_probs", "values")

    def __init__(self, log_probs: Tensor, entropy: Tensor, values: Tensor) -> None:
        self.log_probs = log_probs
        self.entropy = entropy
        self.values = values


class TransformerPolicy(nn.Module):
    """A language model as a policy and a value function.

    Attributes:
        model: The language model.
        value_head: From the trunk's last hidden state to a value; starts at zero.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Puts a value head on ``model``.

        Args:
            model: A causal language model whose logits are its output embedding applied to its
                trunk's last hidden state, with dropout off.

        Raises:
            ValueError: If the logits are computed in another way, or dropout is on.
        """
        super().__init__()
        self.model: PreTrainedModel = model.eval()  # type: ignore[no-untyped-call] # transformers' is
        width = cast("int", model.config.get_text_config().hidden_size)
        self.value_head = nn.Linear(width, 1).to(next(model.parameters()).device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        self._require_plain_head()

    @property
    def vocab_size(self) -> int:
        """The number of actions."""
        return self._head.weight.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.value_head.weight.device

    @property
    def _head(self) -> nn.Linear:
        return cast("nn.Linear", self.model.get_output_embeddings())  # type: ignore[no-untyped-call] # transformers' is

    def train(self, mode: bool = True) -> Self:
        """Leaves the model in evaluation mode: dropout would break the ratio at the first step."""
        super().train(mode)
        self.model.eval()  # type: ignore[no-untyped-call] # transformers' is
        return self

    def _require_plain_head(self) -> None:
        ids = torch.arange(4, device=self.device).unsqueeze(0) % self.vocab_size
        with torch.inference_mode():
            expected = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            actual = self._head(self.trunk(ids))
        if not torch.allclose(expected, actual, atol=1e-3, rtol=1e-3):
            raise ValueError(
                f"{type(self.model).__name__} does more to its logits than its output embedding; "
                "such models are not supported as a policy"
            )

    def trunk(self, tokens: Tensor) -> Tensor:
        """Runs right-padded texts through the trunk.

        Args:
            tokens: ``(N, L)`` int64.

        Returns:
            ``(N, L, width)``; what stands at padding is meaningless.
        """
        # Without a mask transformers looks for padding in the ids, and warns on finding any.
        output = self.model.base_model(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False
        )
        return cast("Tensor", output.last_hidden_state)

    def evaluate(
        self,
        tokens: Tensor,
        prompt_lengths: Tensor,
        actions: Tensor,
        legal: Tensor,
        temperature: float,
    ) -> Evaluation:
        """Log-probabilities, entropies and values of the actions of whole texts.

        Args:
            tokens: ``(N, L)`` int64, right-padded: prompt, then completion.
            prompt_lengths: ``(N,)`` int64, the beginning-of-text id included.
            actions: ``(N, C)`` int64; what stands outside a completion must be a legal action.
            legal: ``(V,)`` or ``(N, C, V)`` bool.
            temperature: The sampler's.
        """
        hidden = self.trunk(tokens)
        last = tokens.shape[1] - 1
        places = prompt_lengths[:, None] - 1 + torch.arange(actions.shape[1], device=tokens.device)
        places = places.clamp(max=last)[..., None].expand(-1, -1, hidden.shape[-1])
        hidden = hidden.gather(1, places)
        every = action_log_probs(self._head(hidden), legal, temperature)
        chosen = every.gather(-1, actions[..., None]).squeeze(-1)
        with torch.no_grad():
            entropy = torch.special.entr(every.exp()).sum(-1)
        return Evaluation(chosen, entropy, self.value_head(hidden).squeeze(-1).float())

    def state_values(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The values of states, ``(N,)``, each read at its last token."""
        rows = torch.arange(len(tokens), device=tokens.device)
        hidden = self.trunk(tokens)[rows, lengths - 1]
        return cast("Tensor", self.value_head(hidden).squeeze(-1).float())

    def save_pretrained(self, folder: Path) -> None:
        """Writes the model as transformers does, and the value head beside it."""
        self.model.save_pretrained(folder)
        head = {name: value.contiguous() for name, value in self.value_head.state_dict().items()}
        save_file(head, folder / _VALUE_FILE)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "cpu") -> TransformerPolicy:
        """Loads a language model, and the value head where one was saved with it.

        Args:
            folder: A folder that ``save_pretrained`` wrote, of a policy or of a language model.
            device: Where to put it.

        Raises:
            FileNotFoundError: If there is no model in ``folder``.
        """
        if not (Path(folder) / "config.json").is_file():
            raise FileNotFoundError(f"no language model in {folder}: config.json is missing there")
        model = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", local_files_only=True, dtype=torch.float32
        )
        policy = cls(cast("PreTrainedModel", model.to(device)))  # type: ignore[arg-type] # its decorator hides self
        value_file = Path(folder) / _VALUE_FILE
        if value_file.is_file():
            policy.value_head.load_state_dict(load_file(value_file, device=device))
        return policy


class Actor:
    """Writes one batch of completions with a policy; each step runs only the new column.

    A key-value cache of one collection: make a new one when texts start anew.
    """

    def __init__(self, policy: TransformerPolicy, tokens: Tensor, prompt_lengths: Tensor) -> None:
        """Reads the prompts.

        Args:
            policy: Who acts; its weights must stay as they are while the actor is in use.
            tokens: ``(N, T)`` int64, right-padded.
            prompt_lengths: ``(N,)`` int64.
        """
        width = int(prompt_lengths.max())
        rows = torch.arange(len(tokens), device=tokens.device)
        self._policy = policy
        self._positions = prompt_lengths.clone()
        self._seen = torch.arange(width, device=tokens.device) < prompt_lengths[:, None]
        self._cache = DynamicCache(config=policy.model.config)
        output = policy.model.base_model(
            input_ids=tokens[:, :width],
            attention_mask=torch.ones_like(tokens[:, :width]),
            cache=self._cache,
            use_cache=True,
        )
        self._hidden: Tensor = output.last_hidden_state[rows, prompt_lengths - 1]

    def act(
        self, legal: Tensor, temperature: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Chooses the next action of every row.

        Args:
            legal: ``(V,)`` or ``(N, V)`` bool.
            temperature: Divides the logits.
            generator: Draws for every row, also for finished ones, so that a row's draws do not
                depend on when its neighbours end.

        Returns:
            Actions ``(N,)`` int64, their log-probabilities and the states' values, both float32.
        """
        policy = self._policy
        log_probs = action_log_probs(policy._head(self._hidden), legal, temperature)  # noqa: SLF001 - the actor is the policy's other half
        action = draw(log_probs, generator)
        chosen = log_probs.gather(-1, action[:, None]).squeeze(-1)
        return action, chosen, policy.value_head(self._hidden).squeeze(-1).float()

    def feed(self, action: Tensor) -> None:
        """Appends one token to every row.

        Args:
            action: ``(N,)`` int64; what is fed to a finished row changes nothing but that row.
        """
        self._seen = torch.cat([self._seen, torch.ones_like(self._seen[:, :1])], dim=1)
        output = self._policy.model.base_model(
            input_ids=action[:, None],
            attention_mask=self._seen.long(),
            position_ids=self._positions[:, None],
            cache=self._cache,
            use_cache=True,
        )
        self._positions = self._positions + 1
        self._hidden = output.last_hidden_state[:, -1]
