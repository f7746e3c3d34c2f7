"""Llama's, Qwen2's and Qwen3's trunk with little around it; see ``agents.forward.lean_trunk``.

Sources: Touvron et al., "LLaMA" (2023), Yang et al., "Qwen2 Technical Report" (2024) and "Qwen3
Technical Report" (2025), Su et al., "RoFormer" (2021) for rotary positions, and transformers'
implementations, which ours is tested against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM, Qwen3ForCausalLM

from agents.forward.lean_trunk import LeanTrunk, selected_states

if TYPE_CHECKING:
    from agents.forward.lean_trunk import Attention, Rotation

__all__ = ["LeanLlama"]

# Frequencies that are the same for texts of every length.
_FIXED_ROTATIONS = ("default", "linear", "llama3", "yarn")


class LeanLlama(LeanTrunk):
    """Llama and Qwen: rotary positions, grouped keys, gated SiLU, root-mean-square norms.

    Qwen3 also normalises each head's queries and keys.
    """

    @staticmethod
    def fits(model: PreTrainedModel) -> bool:
        """Whether ``model`` is one, without any of its rarer options."""
        config = model.config
        layer_types = set(getattr(config, "layer_types", None) or ["full_attention"])
        rope = getattr(config, "rope_parameters", None) or {}
        return type(model) in (LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM) and (
            config.hidden_act == "silu"
            and rope.get("rope_type", "default") in _FIXED_ROTATIONS
            and layer_types == {"full_attention"}
            and getattr(config, "pretraining_tp", 1) == 1
        )

    def _embed(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Rotation]:
        states = self._base.embed_tokens(tokens)
        cos, sin = self._base.rotary_emb(states, positions.expand(len(tokens), -1))
        return states, (cos[:, None], sin[:, None])

    def _run_block(
        self,
        block: Any,
        states: Tensor,
        rotation: Rotation,
        attend: Attention,
        selected: Tensor | None,
    ) -> Tensor:
        attention, mlp = block.self_attn, block.mlp
        normed = _normalise(block.input_layernorm, states)
        query = self._split_heads(self._run(attention.q_proj, normed), self._heads)
        key = self._split_heads(self._run(attention.k_proj, normed), self._key_heads)
        value = self._split_heads(self._run(attention.v_proj, normed), self._key_heads)
        if hasattr(attention, "q_norm"):
            query = _normalise_heads(attention.q_norm, query)
            key = _normalise_heads(attention.k_norm, key)
        query, key = _rotate(query, *rotation), _rotate(key, *rotation)
        # Above its attention no state reads another, so the others need not be computed.
        attended = selected_states(attend(query, key, value), selected)
        states = selected_states(states, selected)
        states = states + self._run(attention.o_proj, attended)
        normed = _normalise(block.post_attention_layernorm, states)
        gate = self._run(mlp.gate_proj, normed, "silu")
        return states + self._run(mlp.down_proj, gate * self._run(mlp.up_proj, normed))

    def _last_norm(self, states: Tensor) -> Tensor:
        return _normalise(self._base.norm, states)


def _normalise(norm: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _normalise_heads(norm: Any, x: Tensor) -> Tensor:
    # What a product rounded is normalised in float32, as transformers' is.
    weight = norm.weight.float()
    return F.rms_norm(x.float(), weight.shape, weight, norm.variance_epsilon).to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Su et al. 2021, equation 34, for halves instead of neighbours."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
