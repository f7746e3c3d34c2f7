"""A transformer that acts: any decoder-only language model with a value head.

``evaluate`` runs whole texts in one forward pass, which is how they are learned from;
``agents.rollouts.writer.Actor`` writes them column by column through a key-value cache. Both give
the same numbers (tested): texts are padded on the right, so with causal attention no real token
ever sees padding, and a token's position is its index, whatever the length of its neighbours.

The value head reads the policy's own last hidden state, or that of a critic, which is a trunk of
its own. The trunk is run by ``agents.forward.trunk``. For environments that edit there is a head
that points at places, see ``agents.models.heads``. In a policy's folder the language model lies as
transformers saves it, with the heads and the critic beside it.

Simplifications: dropout is off; decoder-only models whose logits are their output layer applied to
the last hidden state.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from agents.forward.output_product import OutputProduct
from agents.forward.requirements import require_plain_head
from agents.forward.trunk import make_trunk
from agents.models.episodes import evaluate_edited, evaluate_grown
from agents.models.heads import EditHead
from agents.models.loading import cast_weights, keep_lowest_layers, load_saved, save_model
from agents.models.sharding import copy_over
from textgym.messages import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import PreTrainedModel

    from agents.forward.contract import Trunk
    from agents.models.episodes import Episodes, Evaluation
    from textgym.types import Tokenizer

__all__ = ["CRITIC_FOLDER", "TransformerPolicy"]

_VALUE_FILE = "value_head.safetensors"
_EDIT_FILE = "edit_head.safetensors"
CRITIC_FOLDER = "critic"
"""Where a critic of its own is in a policy's folder."""


class TransformerPolicy(nn.Module):
    """A language model as a policy and a value function.

    Attributes:
        model: The language model.
        critic: The language model that values are read from; ``None`` where that is ``model``.
        value_head: From a last hidden state to a value; starts at zero.
        edit_head: Points at places; ``None`` unless the policy edits.
        runs_on: Where passes are made, if the weights rest elsewhere between them.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        critic: PreTrainedModel | None = None,
        *,
        edits: bool = False,
    ) -> None:
        """Puts a value head on ``model``, or on ``critic``.

        Args:
            model: A causal language model whose logits are its output embedding applied to its
                trunk's last hidden state. Its dropout is switched off.
            critic: Another one with weights of its own, of which the trunk alone is used.
            edits: Whether to put a head on ``model`` by which it edits texts.

        Raises:
            TypeError: If ``model`` is no model of transformers.
            ValueError: If the logits are computed in another way, or the two share weights.
        """
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"{shown(model)} is no model: give the first of what "
                "agents.models.loading.load_model returns"
            )
        self.model: PreTrainedModel = model.eval()  # type: ignore[no-untyped-call] # transformers' is
        self.critic: PreTrainedModel | None = None if critic is None else critic.eval()  # type: ignore[no-untyped-call]
        self.runs_on: torch.device | None = None
        self._trunk: Trunk = make_trunk(model)
        self._product: OutputProduct | None = None  # with the weights of today, for a twin alone
        self._critic_trunk: Trunk | None = None if critic is None else make_trunk(critic)
        require_plain_head(model, self._trunk)
        read = model if critic is None else critic
        width = cast("int", read.config.get_text_config().hidden_size)
        # A head that learns needs all its digits, whatever the model is loaded as.
        self.value_head = nn.Linear(width, 1, dtype=torch.float32, device=model.device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        own = self.head.weight.shape[1]
        self.edit_head = EditHead(own, device=model.device) if edits else None
        mine = {p.data_ptr() for p in model.parameters()}
        if critic is not None and any(p.data_ptr() in mine for p in critic.parameters()):
            raise ValueError("policy and critic share weights: load the critic a second time")

    @property
    def vocab_size(self) -> int:
        """The number of ids that the model knows."""
        return self.head.weight.shape[0]

    @property
    def device(self) -> torch.device:
        """Where it runs, and all that it reads and gives is."""
        return self.value_head.weight.device if self.runs_on is None else self.runs_on

    @property
    def dtype(self) -> torch.dtype:
        """What the language model's weights are; the heads' are float32."""
        return self.head.weight.dtype

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

    def recompute_activations(self) -> None:
        """Lets passes with gradients keep each layer's input alone, and compute the rest again.

        It changes memory and time, and no number.

        Raises:
            ValueError: If it is not known what the model's layers are.
        """
        for trunk in self.trunks:
            if not trunk.blocks:
                raise ValueError(
                    f"{type(self.model).__name__} has no layers that transformers would recompute: "
                    "leave gradient_checkpointing out"
                )
            trunk.recomputes = True

    @property
    def trunks(self) -> list[Trunk]:
        """The language model's trunk, and the critic's where there is one."""
        return [each for each in (self._trunk, self._critic_trunk) if each is not None]

    def value_parameters(self) -> Iterator[nn.Parameter]:
        """Those of the value head and the critic, on which no action depends."""
        yield from self.value_head.parameters()
        if self.critic is not None:
            yield from self.critic.parameters()

    def evaluate(
        self,
        episodes: Episodes,
        rows: Tensor | slice = slice(None),
        temperature: float = 1.0,
        *,
        bf16: bool = False,
        entropies: bool = False,
        detach_values: bool = False,
    ) -> Evaluation:
        """Log-probabilities and values of the actions of whole texts, in one forward pass.

        Texts that were edited are read once for each edit.

        Args:
            episodes: The texts and their actions, such as a ``Rollout``.
            rows: Numbers of the texts to evaluate, ``(n,)`` int64, or a slice of them.
            temperature: The sampler's.
            bf16: Whether to compute in bfloat16.
            entropies: Whether to give the entropies of the distributions as well.
            detach_values: Whether the gradient of values ends at their head, or in the critic, and
                never goes back through the trunk that acts.

        Returns:
            ``(n, C)`` arrays; see ``Evaluation``.
        """
        evaluate = evaluate_grown if episodes.texts is None else evaluate_edited
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            return evaluate(
                self, episodes, rows, temperature, entropies=entropies, detach_values=detach_values
            )

    def require_edit_head(self) -> EditHead:
        """The edit head.

        Raises:
            ValueError: If the policy has none.
        """
        if self.edit_head is None:
            raise ValueError("the policy has no edit head: make it with edits=True")
        return self.edit_head

    def values_at(self, tokens: Tensor, rows: Tensor, at: Tensor, hidden: Tensor) -> Tensor:
        """The values of the states that end at some places of texts.

        Args:
            tokens: ``(N, L)`` int64, right-padded; read by a critic alone.
            rows: Numbers of texts, ``(M,)`` int64.
            at: Places in them, ``(M,)`` int64.
            hidden: The policy's own last hidden states there, ``(M, width)``; not read if there is
                a critic.

        Returns:
            ``(M,)`` float32.
        """
        if self._critic_trunk is not None:
            hidden = self._critic_trunk.full(tokens, rows * tokens.shape[1] + at)
        return self.values_of(hidden)

    def values_of(self, hidden: Tensor) -> Tensor:
        """The values of states, computed in float32 also where all else is narrower.

        Args:
            hidden: Last hidden states of the trunk that the head reads, ``(M, width)``.

        Returns:
            ``(M,)`` float32.
        """
        with torch.autocast(self.device.type, enabled=False):
            return cast("Tensor", self.value_head(hidden.float()).squeeze(-1))

    def state_values(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The values of states, ``(N,)`` float32, each read at its last token."""
        trunk = self._trunk if self._critic_trunk is None else self._critic_trunk
        return self.values_of(_last_states(trunk, tokens, lengths))

    def next_logits(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The logits of the next token of texts, ``(N, V)`` float32, by a pass of their own."""
        return self.logits_of(_last_states(self._trunk, tokens, lengths))

    def logits_of(self, hidden: Tensor) -> Tensor:
        """The logits of last hidden states, ``(M, V)`` float32, without gradients."""
        product = OutputProduct.of(self.head) if self._product is None else self._product
        return product.logits(hidden)

    def without_critic(self) -> TransformerPolicy:
        """The same language model and edit head for who asks for no values; nothing is copied.

        A policy without a critic is that already, and is returned as it is.
        """
        if self.critic is None:
            return self
        actor = TransformerPolicy(self.model)
        actor.edit_head = self.edit_head
        return actor

    def packed(self, rows: int, dtype: torch.dtype) -> TransformerPolicy:
        """The same policy for passes without gradients while its weights stay as they are.

        Args:
            rows: How many tokens a pass usually has.
            dtype: Of the language model's products, see ``Trunk.packed``.
        """
        twin = copy.copy(self)
        twin._trunk = self._trunk.packed(rows, dtype)  # noqa: SLF001 - its own class
        if self.edit_head is not None:  # whose choices are made with the output layer, pass by pass
            twin._product = OutputProduct.of(self.head)  # noqa: SLF001 - likewise
        return twin

    def frozen_copy(
        self, dtype: torch.dtype | None = None, *, shares: bool = False
    ) -> TransformerPolicy:
        """A policy that nothing trains, with weights of its own.

        Args:
            dtype: Of the copy's models; ``None`` keeps it. Heads stay float32.
            shares: Whether what is frozen here already, and of that dtype, is not copied: below
                adapters that is nearly all there is. It must then not be cut.
        """
        shared = [p for p in self.parameters() if shares and not p.requires_grad]
        memo: dict[int, Any] = {id(p): p for p in shared if dtype in {None, p.dtype}}
        model, critic = copy.deepcopy(self.model, memo), copy.deepcopy(self.critic, memo)
        twin = TransformerPolicy(model, critic, edits=self.edit_head is not None)
        for own, new in zip(twin.heads.values(), self.heads.values(), strict=True):
            own.load_state_dict(new.state_dict())
        twin.requires_grad_(requires_grad=False)
        if dtype is not None:
            for each in (twin.model, twin.critic):
                if each is not None:
                    cast_weights(each, dtype)
        return twin

    def copy_weights(self, source: TransformerPolicy) -> None:
        """Takes over the weights of a policy of the same shape, rounded to the own dtype.

        Where either is cut, it has to be done in all processes; a weight at a time is whole then.
        """
        for own, new in zip(self.parameters(), source.parameters(), strict=True):
            copy_over(own, new)

    @property
    def heads(self) -> dict[str, nn.Module]:
        """What is put on the models, by the names of the files that keep it."""
        heads: dict[str, nn.Module] = {_VALUE_FILE: self.value_head}
        return heads if self.edit_head is None else heads | {_EDIT_FILE: self.edit_head}

    def save_pretrained(
        self,
        folder: str | Path,
        tokenizer: Tokenizer | None = None,
        *,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Writes the models, each whole or its adapters, and the heads.

        Args:
            folder: Made if it is missing.
            tokenizer: Written as well, so that the folder is all that a text needs.
            weights: What to write, where the own ones are cut: ``sharding.whole_weights``.
        """

        def under(prefix: str) -> dict[str, Tensor] | None:
            if weights is None:
                return None
            size, every = len(prefix), weights.items()
            return {name[size:]: value for name, value in every if name.startswith(prefix)}

        folder = Path(folder)
        save_model(self.model, folder, tokenizer, weights=under("model."))
        if self.critic is not None:
            save_model(self.critic, folder / CRITIC_FOLDER, weights=under("critic."))
        for file, head in self.heads.items():
            name = "value_head." if head is self.value_head else "edit_head."
            state = under(name) or head.state_dict()
            save_file({name: value.contiguous() for name, value in state.items()}, folder / file)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str = "cpu",
        *,
        critic: str | Path | None = None,
        critic_layers: int | None = None,
        tokenizer: Tokenizer | None = None,
        edits: bool = False,
        dtype: str | torch.dtype | None = None,
        attention: str | None = None,
    ) -> TransformerPolicy:
        """Loads a language model, and the heads and the critic where they were saved with it.

        Args:
            folder: A folder that ``save_pretrained`` wrote, of a policy or of a language model.
            device: Where to put it.
            critic: The folder of a language model to start a critic from; the same folder as the
                policy's is the usual choice. ``None`` for that in ``folder``, if there is one.
            critic_layers: How many of its blocks to keep, the lowest; ``None`` for all.
            tokenizer: The environment's; needed for a folder of adapters alone.
            edits: Whether to add an edit head where none was saved.
            dtype: Of the models' weights, by its name in torch; ``None`` for what they were saved
                with. Heads are float32.
            attention: How attention is computed, see ``load_model``; ``None`` likewise.

        Raises:
            FileNotFoundError: If there is no model in ``folder``.
            ValueError: If a file is damaged, or of a model of another width.
        """
        folder = Path(folder)
        own_critic = folder / CRITIC_FOLDER
        if critic is None and own_critic.is_dir():
            critic = own_critic
        manner: dict[str, Any] = {"dtype": dtype, "attention": attention}
        policy = cls(
            load_saved(folder, device, tokenizer, **manner),
            None
            if critic is None
            else keep_lowest_layers(load_saved(critic, device, tokenizer, **manner), critic_layers),
            edits=edits or (folder / _EDIT_FILE).is_file(),
        )
        policy.load_heads(folder)
        return policy

    def load_heads(self, folder: Path) -> None:
        """Takes over the heads that were saved in a folder, as far as there are any.

        Args:
            folder: What ``save_pretrained`` wrote. A value head that read another trunk, the
                policy's or a critic's, than the one here does is left out.

        Raises:
            ValueError: If a file is damaged, or of a model of another width.
        """
        moved = (folder / CRITIC_FOLDER).is_dir() != (self.critic is not None)
        for name, head in self.heads.items():
            file = folder / name
            if file.is_file() and not (moved and head is self.value_head):
                try:
                    head.load_state_dict(load_file(file, device=str(self.device)))
                except (SafetensorError, RuntimeError) as error:  # cut off, or another model's
                    said = " ".join(str(error).split())
                    raise ValueError(f"cannot read {file}: {said}") from error


def _last_states(trunk: Trunk, tokens: Tensor, lengths: Tensor) -> Tensor:
    """The hidden states at the ends of texts, ``(N, width)``, and of the last layer no others."""
    first = torch.arange(0, tokens.numel(), tokens.shape[1], device=tokens.device)
    return trunk.full(tokens, first + lengths - 1)
