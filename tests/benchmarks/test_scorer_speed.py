"""Scores per second of each learned reward, beside transformers' pipeline on the same classifier.

``make bench`` prints the table. Encoders and decoders have 4 layers of width 128, the LSTM a state
of 128, and an ensemble 3 LSTMs; random weights, float32, and a vocabulary of 4096 whole words. The
texts have 4 to 200 words, most of them about 30, as completions of no fixed length have. Medians
of 3 rounds after a warm-up, on one thread and in the processor's time, which other programs do not
spend; each round scores all texts of one call, 1, 32 or 256, and the pipeline gets the same number
as its batch size.
"""

import time

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    PreTrainedTokenizerFast,
    pipeline,
)

from reward_models.models.classifier import sequence_classifier
from reward_models.models.ensemble import EnsembleConfig, EnsembleReward
from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.models.process import ProcessReward, TokenScorer, TokenScorerConfig
from reward_models.models.transformer import PreferenceModel, PreferenceModelConfig
from reward_models.reading.readers import PretrainedReader
from reward_models.reading.scoring import PreferenceReward

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [f"w{number}" for number in range(4092)]
CALLS = (1, 32, 256)
ROUNDS = 3


@pytest.fixture(scope="module")
def tokenizer():
    ids = {word: place for place, word in enumerate([*SPECIAL, *WORDS])}
    backend = Tokenizer(models.WordLevel(ids, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True)
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=256, **dict(names))


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=4096,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=256,
        pad_token_id=0,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _rewards(folder, tokenizer):
    reader = PretrainedReader(tokenizer)
    trunk = GPT2Config(vocab_size=4096, n_positions=256, n_embd=128, n_layer=4, n_head=4).to_dict()
    lstm = LSTMScorerConfig(hidden_size=128, max_tokens=256, output="score")
    members = [PreferenceReward(LSTMScorer.from_seed(lstm, seed), reader) for seed in range(3)]
    return {
        "sequence_classifier": sequence_classifier(folder, batch_size=256),
        "preference_model": PreferenceReward(
            PreferenceModel(PreferenceModelConfig(trunk=trunk, max_tokens=256)),
            reader,
            batch_size=256,
        ),
        "process": ProcessReward(
            TokenScorer(TokenScorerConfig(trunk=trunk, max_tokens=256)), reader, batch_size=256
        ),
        "lstm": members[0],
        "ensemble": EnsembleReward(members, EnsembleConfig(), [0.0] * 3, [1.0] * 3),
    }


def _texts(count, seed):
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.exp(rng.normal(np.log(30), 0.8, size=count)), 4, 200).astype(int)
    return [" ".join(rng.choice(WORDS, length)) for length in lengths]


def _per_second(score, calls):
    """The median over rounds, each on texts of its own."""
    rates = []
    for seed in range(ROUNDS + 1):
        texts = [_texts(count, 1000 * seed + number) for number, count in enumerate(calls)]
        start = time.process_time()
        for batch in texts:
            score(batch)
        rates.append(sum(calls) / (time.process_time() - start))
    return float(np.median(rates[1:]))


def test_scorers_beside_the_pipeline(folder, tokenizer):
    scorers = {
        name: (lambda texts, reward=reward: reward([""] * len(texts), texts))
        for name, reward in _rewards(folder, tokenizer).items()
    }
    classify = pipeline("text-classification", str(folder), device="cpu")
    scorers["transformers.pipeline"] = lambda texts: classify(texts, batch_size=len(texts))
    table = {
        name: [_per_second(score, [size] * (16 if size == 1 else 1)) for size in CALLS]
        for name, score in scorers.items()
    }
    print("\nscores per second, texts a call:", *(f"{size:>9}" for size in CALLS))
    for name, row in table.items():
        print(f"{name:>32}", *(f"{rate:>9.0f}" for rate in row))
    ratios = np.divide(table["sequence_classifier"], table["transformers.pipeline"])
    print(f"{'classifier over pipeline':>32}", *(f"{ratio:>9.2f}" for ratio in ratios))
    assert min(min(row) for row in table.values()) > 0


def test_the_pipeline_gives_the_same_scores(folder):
    """What is compared is the same work."""
    texts = _texts(20, 7)
    reward = sequence_classifier(folder, output="probability", label=1)
    classify = pipeline("text-classification", str(folder), device="cpu", top_k=None)
    expected = [
        next(label["score"] for label in labels if label["label"] == "LABEL_1")
        for labels in classify(texts)
    ]
    assert reward([""] * 20, texts) == pytest.approx(expected, abs=1e-5)
