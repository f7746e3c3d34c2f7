"""A small model of every family that transformers knows as a causal language model.

Sizes have few names, so most configs are made by these alone; the others say what they need.
"""

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY, WIDTH, LONGEST, WINDOW = 64, 32, 64, 48
FAMILIES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
_MOST_WEIGHTS = 40_000_000

_SIZES = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "emb_dim"), WIDTH),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("decoder_layers", "encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("intermediate_size", "n_inner", "d_ff", "ffn_dim", "ffn_hidden_size"), 64),
    **dict.fromkeys(("decoder_ffn_dim", "encoder_ffn_dim"), 64),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), LONGEST),
    **dict.fromkeys(("sliding_window", "attention_chunk_size", "window_size"), WINDOW),
    **dict.fromkeys(("out_hidden_size", "projection_dim"), WIDTH),
    "vocab_size": VOCABULARY,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "head_dim": 8,
    "image_size": 16,
    "patch_size": 8,
    "depth": 1,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_LATENT = {
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "head_dim": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "num_key_value_heads": 4,
    "n_group": 1,
    "topk_group": 1,
}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_expand": 2}
MASKED = (
    *("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie"),
    *("megatron-bert", "prophetnet", "rembert", "roberta", "roberta-prelayernorm", "roc_bert"),
    *("roformer", "xlm-roberta", "xlm-roberta-xl"),
)
_OTHERS = {
    **dict.fromkeys(("axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32"), _LATENT),
    **dict.fromkeys(("dory", "glm4_moe_lite", "glm_moe_dsa", "kimi_linear"), _LATENT),
    **dict.fromkeys(("longcat_flash", "minicpm3", "sarvam_mla", "youtu"), _LATENT),
    **{family: {"is_decoder": True} for family in MASKED},
    "codegen": {"rotary_dim": 4},
    "dots3_note_text": _LATENT,
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "layer_types": ["full_attention", "sliding_attention"],
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": VOCABULARY,
    },
    "gemma4_text": {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": _MAMBA,
    "lfm2_moe": {"layer_types": ["full_attention", "conv"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8, "expand": 2, "n_groups": 1},
    "reformer": {"is_decoder": True, "axial_pos_embds": False},
    "xmod": {"is_decoder": True, "default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
}


def small_config(family, **given):
    """A config of small sizes; what it consists of has them as well."""
    return _small(CONFIG_MAPPING[family], {**_OTHERS.get(family, {}), **given})


def _small(kind, given):
    usual, other_names = vars(kind()), getattr(kind, "attribute_map", None) or {}
    chosen = {}
    for name, size in _SIZES.items():
        if name in usual or name in other_names:
            chosen.setdefault(other_names.get(name, name), size)
    for name in getattr(kind, "sub_configs", None) or {}:
        part = usual.get(name)
        if part is not None and not isinstance(part, dict):
            chosen[name] = _small(type(part), {}).to_dict()
    return kind(**{**chosen, **given})


def small_model(config, attention="eager"):
    """A model of such a config, with weights as large as training makes them.

    Raises:
        OverflowError: If it is not small.
    """
    with torch.device("meta"):
        size = sum(one.numel() for one in AutoModelForCausalLM.from_config(config).parameters())
    if size > _MOST_WEIGHTS:
        raise OverflowError(f"{size} weights")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).float().eval()
    enlarge(model)
    return model


@torch.no_grad()
def enlarge(model):
    """Draws weights so that states and logits vary as a trained model's do.

    What is drawn at first, a fiftieth, hides most mistakes: all logits are alike.
    """
    generator = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        drawn = torch.randn(weight.shape, generator=generator)
        if "embed" in name or weight is model.get_input_embeddings().weight:
            weight.copy_(drawn)
        elif weight.ndim >= 2:
            weight.copy_(1.5 * drawn / weight.shape[-1] ** 0.5)
        elif "norm" in name.lower() or "ln" in name:
            weight.add_(0.2 * drawn)
        elif name.endswith("bias") and "dt" not in name:
            weight.copy_(0.3 * drawn)
