"""The LSTM scorer: one score a text, learned from labels, and the labels are learned."""

import math
import pickle

import pytest
import torch

from reward_models.learning.label_trainer import FitConfig, fit
from reward_models.learning.labelled import LSTMTrainingConfig, accuracy, fit_lstm
from reward_models.learning.losses import bradley_terry
from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.reading.batching import pad_rows
from reward_models.reading.loading import load_reward
from reward_models.reading.scoring import PreferenceReward
from textgym.testing import check_reward_function

PROMPTS = ["the film", "", "a lovely story with music", "dull"] * 6
SMALL = {"embedding_size": 16, "hidden_size": 16, "max_tokens": 40}
CONFIG = LSTMTrainingConfig(
    **SMALL, dropout=0.0, fit=FitConfig(epochs=10, batch_size=8, learning_rate=2e-2)
)


@pytest.fixture(params=["last", "mean"])
def reward(request, tokenizer):
    config = LSTMScorerConfig(vocab_size=tokenizer.vocab_size, pooling=request.param, **SMALL)
    return PreferenceReward(LSTMScorer.from_seed(config, 0), tokenizer, batch_size=5)


@pytest.fixture
def completions(sentence):
    return [" " + sentence(seed, words=seed % 11) for seed in range(len(PROMPTS))]


@pytest.fixture(scope="module")
def labelled(sentence):
    """The words "great" and "awful" decide, wherever they stand."""
    plain = [
        sentence(n, n % 7).replace("great", "quick").replace("awful", "slow") for n in range(73)
    ]
    texts = [f"{plain[n]} {('awful', 'great')[n % 2]} {plain[n + 9]}" for n in range(64)]
    return texts, [n % 2 for n in range(64)]


def test_a_score_depends_on_neither_batch_nor_order(reward, completions):
    together = reward(PROMPTS, completions)
    alone = [reward([prompt], [text])[0] for prompt, text in zip(PROMPTS, completions, strict=True)]
    backwards = reward(PROMPTS[::-1], completions[::-1])[::-1]
    assert together == pytest.approx(alone, abs=1e-5)
    assert together == pytest.approx(backwards, abs=1e-5)
    assert len(set(together)) > 15


@pytest.mark.parametrize("pad_id", [0, 2, 9])
def test_a_score_does_not_depend_on_padding(reward, pad_id):
    rows = [[1, 9, 8, 7, 6, 9, 9], [1, 5, 4], [1]]
    alone = torch.cat([reward.model(*pad_rows([row], 0)) for row in rows])
    right = reward.model(*pad_rows(rows, pad_id))
    left = torch.tensor([[pad_id] * (7 - len(row)) + row for row in rows])
    left_mask = torch.tensor([[0] * (7 - len(row)) + [1] * len(row) for row in rows])
    torch.testing.assert_close(alone, right, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone, reward.model(left, left_mask), atol=1e-5, rtol=0)


def test_the_last_state_is_the_one_that_a_packed_sequence_ends_with(tokenizer):
    """By another route: torch's own packing, whose final state knows no padding."""
    config = LSTMScorerConfig(vocab_size=tokenizer.vocab_size, pooling="last", **SMALL)
    model = LSTMScorer.from_seed(config, 1).eval()
    ids, mask = pad_rows([[1, 9, 8, 7, 6, 9, 9], [1, 5, 4], [1]], 0)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        model.embedding(ids), mask.sum(dim=1), batch_first=True, enforce_sorted=False
    )
    _, (final, _) = model.lstm(packed)
    torch.testing.assert_close(
        model.head(final[-1]).squeeze(-1), model(ids, mask), atol=1e-6, rtol=0
    )


def test_a_probability_is_the_sigmoid_of_the_raw_score(reward, completions):
    raw = reward.raw(PROMPTS, completions)
    expected = [1 / (1 + 2.718281828459045**-value) for value in raw.tolist()]
    assert expected == pytest.approx(reward(PROMPTS, completions), abs=1e-12)
    reward.model.config.output = "score"
    reward.model.config.score_mean, reward.model.config.score_std = 2.0, 4.0
    expected = [(value - 2.0) / 4.0 for value in raw.tolist()]
    assert expected == pytest.approx(reward(PROMPTS, completions), abs=1e-12)


def test_it_learns_what_it_is_told(labelled):
    """And is told how far it is; texts that it has not seen are judged as well."""
    texts, labels = labelled
    told = []
    reward, metrics = fit_lstm(
        CONFIG,
        texts[:48],
        labels[:48],
        evaluation=(texts[48:], labels[48:]),
        tokenizer=_tokenizer(texts),
        progress=lambda *report: told.append(report),
    )
    assert metrics["accuracy"] == 1.0
    assert metrics["evaluation_accuracy"] >= 0.9
    assert metrics["steps"] == 60
    assert told[-1][:2] == (60, 60)
    assert all(0 <= score <= 1 for score in reward([""] * 64, texts))


def _tokenizer(texts):
    from textgym.tokenizers import train_tokenizer

    return train_tokenizer(texts, vocab_size=310)


def test_a_seed_decides_everything(labelled):
    texts, labels = labelled
    short = LSTMTrainingConfig(**SMALL, fit=FitConfig(epochs=1, batch_size=8))
    tokenizer = _tokenizer(texts)
    one, two = (fit_lstm(short, texts, labels, tokenizer=tokenizer)[0] for _ in range(2))
    other = fit_lstm(
        LSTMTrainingConfig(**SMALL, fit=FitConfig(epochs=1, batch_size=8, seed=1)),
        texts,
        labels,
        tokenizer=tokenizer,
    )[0]
    assert one([""] * 64, texts) == two([""] * 64, texts)
    assert one([""] * 64, texts) != other([""] * 64, texts)


def test_it_brings_its_own_tokenizer(labelled):
    texts, labels = labelled
    config = LSTMTrainingConfig(vocab_size=310, **SMALL, fit=FitConfig(epochs=1))
    reward, _ = fit_lstm(config, texts, labels)
    assert reward.tokenizer.vocab_size == 310
    assert reward.tokenizer.decode(reward.tokenizer.encode(texts[0])) == texts[0]


def test_it_is_trained_on_comparisons_as_a_preference_model_is(tokenizer, sentence):
    """Each step on a pair's loss raises the chosen score over the other."""
    config = LSTMScorerConfig(vocab_size=tokenizer.vocab_size, output="score", **SMALL, dropout=0.0)
    model = LSTMScorer.from_seed(config, 0)
    ids, mask = pad_rows([tokenizer.encode(sentence(1)), tokenizer.encode(sentence(2))], 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    margins = []
    for _ in range(3):
        chosen, rejected = model(ids, mask).chunk(2)
        margins.append((chosen - rejected).item())
        optimizer.zero_grad()
        bradley_terry(chosen, rejected).mean().backward()
        optimizer.step()
    assert margins[0] < margins[1] < margins[2]


def test_saving_loading_and_pickling_keep_the_scores(reward, completions, tmp_path):
    before = reward(PROMPTS, completions)
    reward.save(tmp_path / "scorer")
    names = {path.name for path in (tmp_path / "scorer").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.model"} == names
    loaded = load_reward(tmp_path / "scorer", batch_size=3, cache_size=5)
    assert before == pytest.approx(loaded(PROMPTS, completions), abs=1e-5)
    assert before == pytest.approx(loaded(PROMPTS, completions), abs=1e-5)
    copy = pickle.loads(pickle.dumps(reward))  # noqa: S301  our own bytes
    assert before == copy(PROMPTS, completions)


def test_it_keeps_the_contract(reward):
    check_reward_function(reward)


def test_weights_of_another_size_are_refused(reward, tmp_path):
    reward.save(tmp_path / "scorer")
    config = (tmp_path / "scorer" / "config.json").read_text()
    (tmp_path / "scorer" / "config.json").write_text(
        config.replace('"hidden_size": 16', '"hidden_size": 24')
    )
    with pytest.raises(ValueError, match="holds no whole reward model"):
        load_reward(tmp_path / "scorer")


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a", "b"], [1], "2 texts came with 1 labels"),
        (["a", "b"], [1, 2], "2 is no label"),
        (["a", "b"], [1, 0.9], "all on one side"),
        ([], [], "all on one side"),
    ],
)
def test_labels_that_teach_nothing_are_refused(texts, labels, message, tokenizer):
    with pytest.raises(ValueError, match=message):
        fit_lstm(CONFIG, texts, labels, tokenizer=tokenizer)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="choose 'probability' or 'score'"):
        LSTMScorerConfig(output="logit")
    with pytest.raises(ValueError, match="choose 'last' or 'mean'"):
        LSTMScorerConfig(pooling="first")
    with pytest.raises(ValueError, match="score_std is 0"):
        LSTMScorerConfig(score_std=0)
    with pytest.raises(ValueError, match="nothing to learn from"):
        fit(torch.nn.Linear(1, 1), [], lambda a, b: a, FitConfig(), pad_id=0)
    with pytest.raises(ValueError, match="knows 'cpu' and 'cuda'"):
        fit(torch.nn.Linear(1, 1), [([1], 1.0)], lambda a, b: a, FitConfig(), pad_id=0, device="x")


def test_accuracy_is_a_share_of_sides():
    """By hand: .9 and .2 are right, .6 is wrong, .5 is on the lower side; a label may have none."""

    def reward(prompts, texts):
        return [0.9, 0.2, 0.6, 0.5, 0.1][: len(texts)]

    assert accuracy(reward, list("abcd"), [1, 0, 0, 0], threshold=0.5) == pytest.approx(0.75)
    assert accuracy(reward, list("abcde"), [1, 0, 0, 0, 0.5], threshold=0.5) == pytest.approx(0.75)
    assert math.isnan(accuracy(reward, list("a"), [0.5], threshold=0.5))
