"""Every family of transformers' language models is a policy that is right, or refused in one line.

One by one: a small model is saved as others save theirs and loaded by its folder. What is accepted
writes texts of several lengths step by step, and learns from whole ones, as transformers alone
reads each of them; and transformers reads the folder that we save as what was trained.
"""

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from agents.models.loading import load_model, save_model
from agents.models.policy import TransformerPolicy
from tests.agents.forward.families import (
    FAMILIES,
    VOCABULARY,
    WINDOW,
    small_config,
    small_model,
)
from textgym.tokenizers import CharacterTokenizer

LETTERS = CharacterTokenizer("".join(map(chr, range(0x100, 0x100 + VOCABULARY - 3))))
# Those of transformers 5.24 that are right; a later version may have more.
_RIGHT = """
afmoe apertus apertus1p5_text arcee aria_text axk1 bert-generation biogpt bitnet codegen ctrl
cwm deepseek_v2 deepseek_v3 diffllama doge ernie4_5 ernie4_5_moe exaone exaone4 exaone_moe
falcon flex_olmo flint fuyu gemma gemma3 gemma3_text gemma4_text gemma4_unified_text git glm
glm4 glm4_moe glm4_moe_lite got_ocr2 gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese
gpt_oss gptj granite granite_swa granitemoe granitemoe_swa granitemoeshared helium hrm_text
hunyuan_v1_dense hunyuan_v1_moe hy_v3 hyperclovax internlm3 iquestcoder jais2 jetmoe kolibri1
laguna lfm2 llama llama4 llama4_text longcat_flash mellum mimo_v2_flash minimax_m2
minimax_m3_vl_text ministral ministral3 mistral mixtral moss_transcribe_diarize mpt nemotron
olmo olmo2 olmo3 olmoe opt persimmon phi phi3 phi4_multimodal phimoe qwen2 qwen2_moe qwen3
qwen3_moe sarvam_mla sarvam_moe seed_oss smollm3 solar_open stablelm starcoder2 whisper xglm
"""
RIGHT = frozenset(_RIGHT.split())
# They look back a window, or a chunk, or in some layers: a longer text is right or refused as well.
WINDOWED = ("gemma3_text", "gpt_neo", "gpt_oss", "llama4_text", "mimo_v2_flash", "mistral", "phi3")
# Without kernels of their own these take ten seconds for what is refused at its first step.
LONG = ("falcon_h1", "kimi_linear")
CASES = [
    *((family, 20) for family in FAMILIES if family not in LONG),
    *((family, WINDOW + 8) for family in WINDOWED),
]


@torch.no_grad()
def logits_alone(model, texts):
    """What transformers says of each text by itself, ``(N, L, V)``."""
    said = [
        model(
            input_ids=row[None], attention_mask=torch.ones_like(row[None]), use_cache=False
        ).logits
        for row in texts
    ]
    return torch.cat(said).float()


@torch.no_grad()
def logits_written(policy, texts, starts):
    """What the policy says of the same texts read up to ``starts`` and then written, and read."""
    trunk, width = policy.trunk, texts.shape[1]
    cache = trunk.new_cache(len(texts), width)
    cache.fit(max(starts))
    slots = cache.add(torch.tensor(starts))
    read = policy.head(trunk.read(texts[:, : max(starts)], slots, cache))
    written = torch.full((*texts.shape, read.shape[-1]), torch.nan)
    for row, start in enumerate(starts):
        written[row, :start] = read[row, :start]
    for _ in range(width - max(starts)):
        cache.fit(int(cache.lengths.max()) + 1)
        places = torch.arange(len(texts)), cache.lengths
        written[places] = policy.head(trunk.step(texts[places], cache)).float()
        cache.lengths = cache.lengths + 1
    return written, policy.head(trunk.full(texts)).float()


def save(family, folder):
    """A small model, as others save theirs."""
    try:
        model = small_model(small_config(family))
        model.generation_config = GenerationConfig(eos_token_id=[5, 7])
        model.save_pretrained(folder)
    except Exception as error:
        pytest.skip(f"no small one can be made: {' '.join(str(error).split())[:80]}")
    return model


def take(folder, texts):
    """What is written and read by a policy of a folder, and its model; or why there is none."""
    try:
        model, _ = load_model(folder, LETTERS, width=texts.shape[1])
        policy = TransformerPolicy(model)
        return *logits_written(policy, texts, [9, 4, 6]), model
    except ValueError as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("family", "width"), CASES)
def test_a_family_is_right_or_refused(family, width, tmp_path):
    model = save(family, tmp_path / "theirs")
    texts = torch.randint(3, VOCABULARY, (3, width), generator=torch.Generator().manual_seed(2))
    taken = take(tmp_path / "theirs", texts)
    if isinstance(taken, str):
        assert "\n" not in taken
        assert width > WINDOW or family not in RIGHT, taken
        return
    written, whole, loaded = taken
    expected = logits_alone(model, texts)
    allowed = 1e-3 * expected.std()
    assert expected.std() > 0.5
    known = ~written.isnan()
    assert known.sum() > 0.5 * known.numel()
    assert (written - expected)[known].abs().max() < allowed
    assert (whole - expected).abs().max() < allowed
    save_model(loaded, tmp_path / "ours", LETTERS)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert (logits_alone(again, texts) - expected).abs().max() < allowed
    assert again.generation_config.eos_token_id == LETTERS.eos_id
