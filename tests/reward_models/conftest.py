"""A tokenizer and a language model of a few thousand parameters, made once a session."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from textgym.tokenizers import train_tokenizer

TEXT = (
    "the film was a good bad great awful story with fine poor acting and lovely dull music "
    "that I liked hated from its slow quick start to its end"
)
WORDS = TEXT.split()


def _sentence(seed, words=12):
    return " ".join(WORDS[(seed * 7 + place * (seed + 3)) % len(WORDS)] for place in range(words))


@pytest.fixture(scope="session")
def sentence():
    """A function that draws words in a fixed way: no generator, so that texts never move."""
    return _sentence


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer([_sentence(seed, 20) for seed in range(60)], vocab_size=320)


@pytest.fixture(scope="session")
def language_model(tokenizer, tmp_path_factory):
    """The folder of a causal language model with dropout on, as training would leave it."""
    folder = tmp_path_factory.mktemp("language_model")
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=tokenizer.vocab_size,
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def words():
    """A tokenizer of whole words that writes [CLS] and [SEP] around a text, and has no eos."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    known = [*special, *sorted(set(WORDS))]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **dict(names),
    )
