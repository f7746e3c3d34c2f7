"""Every reward of ours that is known by name keeps the contract of rewards, and says what it is."""

import math
import pickle
from importlib.metadata import entry_points
from importlib.util import find_spec

import pytest
from transformers import BertConfig, BertForSequenceClassification, GPT2LMHeadModel

from reward_models.models.ensemble import EnsembleReward
from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.models.process import ProcessReward, TokenScorer
from reward_models.models.transformer import PreferenceModel
from reward_models.reading.scoring import PreferenceReward
from tests.reward_models.fake_judge import fake_judge
from textgym.rewards import CheckedReward, known_rewards, resolve
from textgym.rewards.factories import EXTRAS
from textgym.rewards.registry import find_reward, info_of
from textgym.testing import check_reward_function

SETTINGS = {
    "keywords": {"keywords": ["film", "dull", "words words"]},
    "length_window": {"low": 3, "high": 9},
    "log_likelihood": {"path": "{language_model}"},
    "perplexity": {"path": "{language_model}"},
    "model of comparisons": {"path": "{preference_model}"},
    "model of labels": {"path": "{lstm}"},
    "model of steps": {"path": "{process}"},
    "model of models": {"path": "{ensemble}"},
    "judge": {"url": "{judge}", "model": "small"},
    "sequence_classifier": {"path": "{sequence_classifier}"},
}
"""What those need that cannot be made without settings, by the name's first word; add yours."""

COLUMNS = {"reference": ["a delight from beginning to end", " was dull"]}
OURS = sorted(
    entry.name
    for entry in entry_points(group="textgym.rewards")
    if entry.value.partition(".")[0] in ("textgym", "reward_models")
)
CASES = sorted({*OURS, *SETTINGS} - {"model"})


@pytest.fixture(scope="module")
def folders(language_model, tokenizer, words, tmp_path_factory):
    """A small one of everything that is loaded from a folder, by the name in ``SETTINGS``."""
    root = tmp_path_factory.mktemp("rewards")
    GPT2LMHeadModel.from_pretrained(language_model).save_pretrained(root / "language_model")
    tokenizer.save(root / "language_model" / "tokenizer.model")
    model = PreferenceModel.from_language_model(language_model, max_length=64)
    PreferenceReward(model, tokenizer).save(root / "preference_model")
    config = LSTMScorerConfig(vocab_size=tokenizer.vocab_size, embedding_size=8, hidden_size=8)
    members = [PreferenceReward(LSTMScorer.from_seed(config, n), tokenizer) for n in range(2)]
    members[0].save(root / "lstm")
    EnsembleReward.fit(members, [""] * 3, ["the film", "dull", ""]).save(root / "ensemble")
    steps = TokenScorer.from_language_model(language_model, max_tokens=64)
    ProcessReward(steps, tokenizer).save(root / "process")
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    BertForSequenceClassification(
        BertConfig(vocab_size=len(words), intermediate_size=8, **shape)
    ).save_pretrained(root / "sequence_classifier")
    words.save_pretrained(root / "sequence_classifier")
    with fake_judge() as server:
        yield {"judge": server.url, **{path.name: str(path) for path in root.iterdir()}}


def _make(case, folders):
    name = case.split()[0]
    info = info_of(find_reward(name))
    for module in info.needs:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    settings = {
        key: value.format(**folders) if isinstance(value, str) else value
        for key, value in SETTINGS.get(case, {}).items()
    }
    return resolve(name, settings) if settings else resolve(name)


@pytest.mark.parametrize("name", CASES)
def test_it_keeps_the_contract(name, folders):
    reward = _make(name, folders)
    assert isinstance(reward, CheckedReward)
    assert name.split()[0] == reward.name
    check_reward_function(reward, columns=COLUMNS)


@pytest.mark.parametrize("name", CASES)
def test_it_goes_into_another_process(name, folders):
    """A vector environment's workers get their rewards pickled, unless they make them."""
    reward = _make(name, folders)
    given = ["The film"], [" was dull"]
    columns = {key: [value] for key, value in COLUMNS.items()}
    there = pickle.loads(pickle.dumps(reward))  # noqa: S301 - it was pickled a line ago
    # A copy's weights lie elsewhere in memory, and float32 sums may be taken in another order.
    assert there(*given, **columns) == pytest.approx(reward(*given, **columns), abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_its_scores_are_in_the_range_that_it_names(name, folders, sentence):
    info = info_of(find_reward(name.split()[0]))
    texts = ["", "a", " words" * 50, "The film was dull.", "?!", sentence(3), " was dull"]
    columns = {key: [value] * len(texts) for key, value in COLUMNS.items()}
    scores = _make(name, folders)(["The film"] * len(texts), texts, **columns)
    low = -math.inf if info.low is None else info.low
    high = math.inf if info.high is None else info.high
    assert all(low <= score <= high for score in scores)


@pytest.mark.parametrize("name", OURS)
def test_it_says_what_it_is_and_what_it_needs(name):
    target = find_reward(name)
    info = info_of(target)
    assert len((target.__doc__ or "").strip().splitlines()[0]) > 15
    assert set(info.needs) <= set(EXTRAS.get(info.extra, ()))


def test_there_is_a_reward_of_each_kind():
    """Metadata that is older than pyproject.toml would leave the tests above with nothing to do."""
    expected = {
        "bleu",
        "chrf",
        "constant",
        "keywords",
        "log_likelihood",
        "model",
        "rouge",
        "squad_f1",
    }
    assert expected <= set(OURS) <= set(known_rewards()), (
        "the installed metadata is older than pyproject.toml; install again: pip install -e ."
    )
