"""Every family of transformers' encoders scores a text as it stands, or is refused in one line.

One by one: a small model is saved as others save theirs and opened by its folder. What is accepted
gives each text the same score alone, beside longer ones, and as transformers alone reads it.
"""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from reward_models.models.classifier import sequence_classifier
from reward_models.models.transformer import PreferenceModel
from reward_models.reading.batching import pad_rows
from tests.agents.forward.families import MASKED, VOCABULARY, enlarge, small_config

CLASSIFIERS = {*MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES}
DECODERS = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
ENCODERS = sorted({*MODEL_FOR_MASKED_LM_MAPPING_NAMES} | (CLASSIFIERS - DECODERS))
# Those of transformers 5.24 that are right; a later version may have more.
_RIGHT = """
albert bert big_bird camembert data2vec-text deberta deberta-v2 distilbert electra ernie esm
eurobert flaubert gte ibert jina_embeddings_v3 longformer megatron-bert modernbert mpnet mra
nomic_bert rembert roberta roberta-prelayernorm roc_bert roformer tapas ultrabert xlm xlm-roberta
xlm-roberta-xl xmod
"""
RIGHT = frozenset(_RIGHT.split())
# Their states are so large that float32 keeps three digits of a score, with and without pads.
COARSE = {"markuplm": 0.05}
MOST_WEIGHTS = 40_000_000
ROWS = [
    torch.randint(
        4, VOCABULARY, (length,), generator=torch.Generator().manual_seed(length)
    ).tolist()
    for length in (19, 5, 11)
]


def save(family, folder, kind, needed, **settings):
    """A model of a family with weights as large as training makes them, as others save theirs."""
    try:
        config = small_config(family, **settings)
        with torch.device("meta"):
            size = sum(one.numel() for one in kind.from_config(config).parameters())
        assert size < MOST_WEIGHTS
        torch.manual_seed(0)
        model = kind.from_config(config, attn_implementation="eager").float().eval()
        enlarge(model)
        model.save_pretrained(folder)
    except Exception as error:
        if family in needed:
            raise
        pytest.skip(f"no small one can be made: {' '.join(str(error).split())[:80]}")
    return model


def take(folder):
    """The reward model that starts from a folder, or why there is none."""
    try:
        return PreferenceModel.from_language_model(folder, pooling="mean", max_length=20)
    except ValueError as error:
        return str(error)


# Families that pass their mask by, or mix all places of a row.
MASKLESS = frozenset(["convbert", "fnet", "mobilebert", "nystromformer", "t5gemma", "yoso"])
COMMON = frozenset(["bert", "roberta", "distilbert", "gpt2", "llama", "mistral", "gemma", "qwen3"])


@pytest.fixture(scope="module")
def words():
    """A tokenizer of words with a beginning, an end and pads."""
    special = ["[PAD]", "[BOS]", "[EOS]", "[UNK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *map(str, range(60))])}
    backend = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad": "[PAD]", "unk": "[UNK]", "bos": "[BOS]", "eos": "[EOS]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **{f"{name}_token": token for name, token in names.items()}
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", sorted(CLASSIFIERS))
def test_a_classifier_scores_a_text_alike_whatever_stands_beside_it(family, words, tmp_path):
    """Seven families score a text by the pads behind it, and were believed."""
    kind = AutoModelForSequenceClassification
    save(family, tmp_path, kind, MASKLESS | COMMON, num_labels=1)
    words.save_pretrained(tmp_path)
    try:
        reward = sequence_classifier(tmp_path)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it may also be right
        assert family not in MASKLESS | COMMON
        return
    texts = [" ".join(map(str, row)) for row in ROWS]
    together, alone = reward([""] * 3, texts), [reward([""], [text])[0] for text in texts]
    spread = float(torch.tensor(alone).std())
    assert together == pytest.approx(alone, abs=COARSE.get(family, 1e-3) * spread)
    if family in MASKLESS | COMMON:
        assert (reward._spare_pads == 0) is (family in MASKLESS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoder_is_right_or_refused(family, tmp_path):
    """Of five whose texts were scored by what stood beside them nobody had been told."""
    settings = {"is_decoder": False} if family in MASKED else {}
    theirs = save(family, tmp_path, AutoModel, RIGHT, **settings)
    ours = take(tmp_path)
    if isinstance(ours, str):
        assert "\n" not in ours
        assert family not in RIGHT, ours
        return
    with torch.no_grad():
        together = ours(*pad_rows(ROWS, 0))
        alone = torch.cat([ours(*pad_rows([row], 0)) for row in ROWS])
        states = [theirs(input_ids=torch.tensor([row])).last_hidden_state for row in ROWS]
        expected = torch.cat([ours.head(each.mean(dim=1)).flatten() for each in states])
    allowed = COARSE.get(family, 1e-3) * expected.std()
    assert (together - alone).abs().max() < allowed
    assert (alone - expected).abs().max() < allowed
