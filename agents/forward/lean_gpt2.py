"""GPT-2's trunk with little around it; see ``agents.forward.lean_trunk``.

Sources: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), and
transformers' implementation, which ours is tested against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import GPT2LMHeadModel

from agents.forward.lean_trunk import LeanTrunk, selected_states

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from agents.forward.lean_trunk import Attention, Rotation

__all__ = ["LeanGPT2"]

_GELU_BY_TANH = ("gelu_new", "gelu_pytorch_tanh")  # one function under two names of transformers'


class LeanGPT2(LeanTrunk):
    """GPT-2: learned positions, one projection for queries, keys and values, GELU by tanh."""

    @staticmethod
    def fits(model: PreTrainedModel) -> bool:
        """Whether ``model`` is one, without any of its rarer options."""
        config = model.config
        return type(model) is GPT2LMHeadModel and (
            config.activation_function in _GELU_BY_TANH
            and config.scale_attn_weights
            and not config.scale_attn_by_inverse_layer_idx
            and not config.reorder_and_upcast_attn
            and not config.add_cross_attention
        )

    def _embed(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Rotation]:
        return self._base.wte(tokens) + self._base.wpe(positions), ()

    def _run_block(
        self,
        block: Any,
        states: Tensor,
        rotation: Rotation,  # noqa: ARG002 - positions are in the embedding
        attend: Attention,
        selected: Tensor | None,
    ) -> Tensor:
        projected = self._run(block.attn.c_attn, block.ln_1(states)).chunk(3, dim=-1)
        query, key, value = (self._split_heads(part, self._heads) for part in projected)
        # Above its attention no state reads another, so the others need not be computed.
        attended = selected_states(attend(query, key, value), selected)
        states = selected_states(states, selected)
        states = states + self._run(block.attn.c_proj, attended)
        inner = self._run(block.mlp.c_fc, block.ln_2(states), "gelu")
        return states + self._run(block.mlp.c_proj, inner)

    def _last_norm(self, states: Tensor) -> Tensor:
        return self._base.ln_f(states)  # type: ignore[no-any-return] # a module's call has no type
