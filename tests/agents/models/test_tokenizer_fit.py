"""A model gets the ids of its tokenizer and nothing else, or one line says why not."""

import pytest
import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from agents.maths.distributions import Sampling
from agents.models.policy import TransformerPolicy
from agents.models.tokenizer_fit import (
    fit_vocabulary,
    require_causal,
    require_width,
    use_special_ids,
)
from agents.rollouts.writer import Actor
from tests.agents.toys import VOCABULARY, episodes, make_model
from textgym.tokenizers import load_tokenizer

LETTERS = load_tokenizer("characters:abcdefgh")  # eleven ids
IDS = torch.tensor([[1, 4, 9, 3, 7]])


class Unpadded:
    """Eleven ids of a model, and padding one past them, as a Hugging Face tokenizer without it."""

    vocab_size, bos_id, eos_id, pad_id, forbidden_ids = 12, 1, 2, 11, (1, 11)

    def encode(self, text):
        return [3 + ord(letter) % 8 for letter in text]


def _logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits


def _tied(model):
    return model.get_input_embeddings().weight is model.get_output_embeddings().weight


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3"])
def test_padding_gets_a_row_that_changes_no_other(kind):
    model = make_model(kind).eval()
    before, tied = _logits(model), _tied(model)
    rows = model.get_output_embeddings().weight.detach().clone()
    fit_vocabulary(model, Unpadded(), name="it")
    after = _logits(model)
    assert after.shape[-1] == model.config.vocab_size == 12
    torch.testing.assert_close(before, after[..., :11])
    # A mean row gives a mean logit, so the model never expects the padding.
    torch.testing.assert_close(before.mean(dim=-1), after[..., 11], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rows.mean(dim=0), model.get_output_embeddings().weight[11])
    assert tied == _tied(model)
    assert model.config.pad_token_id == 11


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_rows_that_no_id_has_are_cut_off(kind):
    """Some vocabularies are filled up to a round number."""
    model = make_model(kind, vocabulary=16).eval()
    before, tied = _logits(model), _tied(model)
    fit_vocabulary(model, LETTERS, own=LETTERS, name="it")
    torch.testing.assert_close(before[..., :11], _logits(model))
    assert tied == _tied(model)


def test_a_policy_of_a_fitted_model_has_the_environment_s_actions():
    model = make_model("gpt2")
    fit_vocabulary(model, Unpadded(), name="it")
    assert TransformerPolicy(model).vocab_size == Unpadded.vocab_size


@pytest.mark.parametrize(
    ("rows", "own", "message"),
    [
        (16, None, "it knows 16 ids and the tokenizer has 11"),
        (10, None, "it knows 10 ids and the tokenizer has 11"),
        (16, load_tokenizer("characters:abcdefghijkl"), "of 11 ids, is not the one.* of 15"),
        (16, Unpadded(), "of 11 ids, is not the one .*it, of 12; leave it out"),
    ],
)
def test_a_foreign_tokenizer_is_refused(rows, own, message):
    with pytest.raises(ValueError, match=message):
        fit_vocabulary(make_model(vocabulary=rows), LETTERS, own=own, name="it")


def test_a_foreign_tokenizer_of_the_same_size_is_told_by_its_spelling():
    class Backwards(Unpadded):
        def encode(self, text):
            return super().encode(text)[::-1]

    with pytest.raises(ValueError, match="not the one that came with the model"):
        fit_vocabulary(make_model(), Backwards(), own=Unpadded(), name="it")


def test_a_model_that_lacks_an_id_of_the_tokenizer_is_refused():
    """Only padding may be new: an id that a text holds would be read as nonsense."""

    class Longer(Unpadded):
        pad_id, forbidden_ids = 0, (0, 1)

    with pytest.raises(ValueError, match="knows 11 ids and the tokenizer has 12"):
        fit_vocabulary(make_model(), Longer(), name="it")


@pytest.mark.parametrize(
    ("made", "width", "message"),
    [
        (lambda: make_model("gpt2"), 65, "texts have 65 tokens and the model it reads 64"),
        (lambda: make_model("llama"), 65, "texts have 65 tokens and the model it reads 64"),
        (lambda: _mistral(sliding_window=8), 9, "have 9 tokens and the model it looks back 8"),
    ],
)
def test_texts_longer_than_the_model_reads_are_refused(made, width, message):
    model = made()
    require_width(model, width - 1, name="it")
    with pytest.raises(ValueError, match=message):
        require_width(model, width, name="it")


def test_a_model_does_not_pad_with_its_end_of_text():
    """Its embedding would get no gradient from the texts that hold it."""
    config = LlamaConfig(vocab_size=11, pad_token_id=2, eos_token_id=2)
    use_special_ids(config, LETTERS)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)
    use_special_ids(config, Unpadded())
    assert config.pad_token_id is None


def test_a_model_that_reads_ahead_is_refused():
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = BertConfig(vocab_size=VOCABULARY, intermediate_size=64, **small)
    with pytest.raises(ValueError, match=r"it \(BertLMHeadModel\) reads ahead"):
        require_causal(BertLMHeadModel(config).eval(), name="it")


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3"])
def test_a_decoder_does_not_read_ahead_however_it_computes(kind, attention, dtype):
    model = make_model(kind).to(dtype).eval()
    model.set_attn_implementation(attention)
    with torch.no_grad():
        require_causal(model, name="it")
    assert all(p.grad is None for p in model.parameters())


def _small(**settings):
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "attn_implementation": "eager",
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **settings,
    }


def _mistral(**settings):
    torch.manual_seed(0)
    return MistralForCausalLM(
        MistralConfig(**_small(intermediate_size=64, num_key_value_heads=2, **settings))
    )


def _gemma():
    torch.manual_seed(0)
    return GemmaForCausalLM(
        GemmaConfig(**_small(intermediate_size=64, num_key_value_heads=1, head_dim=8))
    )


def _opt():
    torch.manual_seed(0)
    return OPTForCausalLM(OPTConfig(**_small(ffn_dim=64, dropout=0.0, word_embed_proj_dim=32)))


@pytest.mark.parametrize("make", [_mistral, _gemma, _opt], ids=["mistral", "gemma", "opt"])
def test_other_decoders_act_as_they_read(make):
    """Through the cache with ragged prompts, and in one pass: the same log-probabilities."""
    policy = TransformerPolicy(make())
    lengths, legal = torch.tensor([5, 2]), torch.arange(VOCABULARY) >= 2
    texts = torch.cat([torch.tensor([[1, 4, 9, 3, 7], [1, 5, 0, 0, 0]]), IDS.new_zeros(2, 4)], 1)
    uniform = torch.rand(4, 2, generator=torch.Generator().manual_seed(1))
    actions, log_probs = [], []
    with torch.no_grad():
        actor = Actor(policy, rows=2, columns=texts.shape[1])
        actor.open(torch.arange(2), texts, lengths)
        for t in range(4):
            act = actor.act(legal, uniform[t], Sampling())
            texts[torch.arange(2), lengths + t] = act.action
            actor.feed(act.action)
            actions.append(act.action)
            log_probs.append(act.log_prob)
        places, every = lengths[:, None] - 1 + torch.arange(4), torch.ones(2, 4, dtype=torch.bool)
        full = policy.evaluate(episodes(texts, places, torch.stack(actions, 1), every, legal))
    torch.testing.assert_close(full.log_probs, torch.stack(log_probs, 1), atol=1e-5, rtol=1e-4)
