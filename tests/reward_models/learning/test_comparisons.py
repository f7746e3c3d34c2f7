"""From preferences, rankings and ratings to batches, losses and trained models."""

import json
import math
from dataclasses import replace

import pytest
import torch
from transformers import TrainerCallback

from reward_models.learning.comparisons import (
    Collator,
    encode_comparisons,
    kind_of,
    rating_loss_for,
)
from reward_models.learning.objectives import (
    TieThreshold,
    correct_orders,
    objective_for,
    scale_ratings,
)
from reward_models.learning.settings import RewardTrainingConfig, RewardTrainingData
from reward_models.learning.training import fit_reward_model, train_reward_model
from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.models.transformer import load_reward
from reward_models.preferences import Preference, Ranking, Rating, data_hash
from textgym.tokenizers import CharacterTokenizer

LETTERS = CharacterTokenizer("abcdef")
CONFIG = RewardTrainingConfig(batch_size=4, max_length=32, learning_rate=3e-3, epochs=6)
ADJECTIVES = ("great", "good", "dull", "awful")


def pair(**values):
    return Preference(pair_id="", prompt="a", chosen="b", rejected="c", **values)


def test_a_batch_has_all_first_texts_then_all_second_ones():
    """Bit for bit what pairs have always been, and ragged where rankings are."""
    items = [
        Ranking(prompt="a", completions=("b", "cc", "d"), places=2),
        Ranking(prompt="e", completions=("f", "a"), places=1),
    ]
    batch = Collator(LETTERS.pad_id)(encode_comparisons(items, LETTERS, 8))
    texts = [
        LETTERS.decode([token for token in row if token > 2]) for row in batch["input_ids"].tolist()
    ]
    assert texts == ["ab", "ef", "acc", "ea", "ad"]
    assert batch["item"].tolist() == [0, 1, 0, 1, 0]
    assert batch["place"].tolist() == [0, 0, 1, 1, 2]
    assert batch["numbers"].tolist() == [[2], [1]]
    assert batch["attention_mask"].sum(1).tolist() == [3, 3, 4, 3, 3]


def test_rankings_in_which_two_texts_read_the_same_are_left_out():
    """After truncation, where the end of a text is kept."""
    same = Ranking(prompt="", completions=("abcdef", "fbcdef", "a"), places=2)
    other = Ranking(prompt="", completions=("a", "b"), places=1)
    assert len(encode_comparisons([same, other], LETTERS, 4)) == 1
    assert len(encode_comparisons([same, other], LETTERS, 8)) == 2


@pytest.mark.parametrize(
    ("ratings", "loss"),
    [
        ([("a", "x", 1), ("a", "x", 2), ("b", "x", 1), ("b", "x", 3)], "differences"),
        ([("a", "x", 1), ("a", "x", 2), ("b", "x", 1)], "cross_entropy"),
        ([("a", "x", 1), ("a", "y", 2)], "cross_entropy"),
        ([("a", "x", 1), ("a", "x", 2), ("b", "x", 3)], "squared"),
        ([("a", "x", 1), ("a", "x", 1), ("b", "x", 3), ("b", "x", 2)], "squared"),
    ],
)
def test_by_itself_a_loss_is_chosen_that_learns_from_every_rating(ratings, loss):
    """Of thumbs, one a prompt, the differences would be none at all."""
    items = [Rating(prompt=p, completion="t", annotator=who, rating=r) for p, who, r in ratings]
    assert rating_loss_for(items) == loss


@pytest.mark.parametrize("count", [2, 7, 8, 9, 15, 16, 17, 25])
def test_no_rating_of_a_large_group_is_left_alone(count):
    items = [Rating(prompt="a", completion="b" * n, rating=n) for n in range(count)]
    groups = encode_comparisons(items, LETTERS, 64, grouped=True)
    sizes = [len(group["rows"]) for group in groups]
    assert sum(sizes) == count
    assert 2 <= min(sizes) <= max(sizes) <= 8


def test_held_out_ratings_are_put_on_the_scale_of_those_learned_from():
    learned, kept = [{"rows": [], "numbers": [1.0, 5.0]}], [{"rows": [], "numbers": [3.0, 7.0]}]
    scale_ratings(learned, "cross_entropy", kept)
    assert (learned[0]["numbers"], kept[0]["numbers"]) == ([0.0, 1.0], [0.5, 1.5])


def test_ratings_of_one_prompt_and_annotator_go_together():
    """At most eight at a time; one that is alone has no difference."""
    ratings = [Rating(prompt="a", completion="b" * n, rating=n) for n in range(1, 11)]
    ratings += [Rating(prompt="b", completion="c", rating=1)]
    ratings += [Rating(prompt="a", completion="c", rating=3, annotator="ann")]
    grouped = encode_comparisons(ratings, LETTERS, 16, grouped=True)
    assert [one["numbers"] for one in grouped] == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
    assert len(encode_comparisons(ratings, LETTERS, 16)) == 12
    with pytest.raises(ValueError, match="no two of 2 ratings have the same prompt"):
        encode_comparisons(ratings[-2:], LETTERS, 16, grouped=True)


def test_kinds_are_not_mixed():
    with pytest.raises(ValueError, match="Preference and Rating are mixed"):
        kind_of([pair(), Rating(prompt="", completion="", rating=0)])


def test_ratings_are_brought_to_scale():
    """Mean 4 and standard deviation 2, or from 2 to 6."""
    groups = [{"rows": [], "numbers": [2.0, 6.0]}, {"rows": [], "numbers": [6.0, 2.0]}]
    copies = [dict(group) for group in groups]
    assert scale_ratings(groups, "squared") == {"rating_offset": 4.0, "rating_scale": 2.0}
    assert groups[0]["numbers"] == [-1.0, 1.0]
    assert scale_ratings(copies, "cross_entropy") == {"rating_offset": 2.0, "rating_scale": 4.0}
    assert copies[1]["numbers"] == [1.0, 0.0]


SCORES = torch.tensor([[1.0, 0.0]])
BOTH = torch.ones(1, 2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("numbers", "settings", "expected"),
    [
        ((1.0, 0.0), {}, math.log1p(math.exp(-1))),
        ((1.0, 0.5), {}, math.log1p(math.exp(-0.5))),
        ((1.0, 0.5), {"margin_scale": 4.0}, math.log1p(math.exp(1))),
        ((0.75, 0.0), {}, 0.75 * math.log1p(math.exp(-1)) + 0.25 * math.log1p(math.exp(1))),
        ((1.0, 0.0), {"centring": 0.5}, math.log1p(math.exp(-1)) + 0.5),
        ((1.0, 0.0), {"label_noise": 0.4}, -math.log(0.2 + 0.6 / (1 + math.exp(-1)))),
    ],
)
def test_a_pair_s_loss_is_what_its_numbers_and_the_config_say(numbers, settings, expected):
    config = RewardTrainingConfig(**{"centring": 0.0, **settings})
    loss = objective_for("pairs", config, None)(SCORES, BOTH, torch.tensor([numbers]))
    torch.testing.assert_close(torch.tensor([expected]), loss)


def test_a_threshold_is_for_ties_alone_and_starts_at_their_share():
    """Equal scores tie with the probability with which the data do: tanh(eta / 2)."""
    threshold = TieThreshold(0.25)
    assert math.tanh(threshold().item() / 2) == pytest.approx(0.25)
    objective = objective_for("pairs", RewardTrainingConfig(ties="threshold"), threshold)
    numbers = torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    loss = objective(torch.zeros(2, 2), BOTH.expand(2, 2), numbers)
    expected = -torch.tensor([(1 - 0.25) / 2, 0.25]).log()
    torch.testing.assert_close(expected, loss.detach())


def test_orders_are_counted_where_there_is_one():
    """Ties, unknown places and padding have none."""
    scores = torch.tensor([[2.0, 1.0, 3.0], [1.0, 2.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    best = correct_orders("rankings", scores, mask, torch.tensor([[1.0], [1.0]]))
    whole = correct_orders("rankings", scores, mask, torch.tensor([[2.0], [1.0]]))
    assert best.tolist() == [1, 0, 0]
    assert whole.tolist() == [1, 0, 0, 0]
    rated = correct_orders("ratings", scores, mask, torch.tensor([[5.0, 1, 5], [1, 2, 0]]))
    assert rated.tolist() == [1, 1, 1]
    pairs = correct_orders(
        "pairs", torch.tensor([[1.0, 0.0]] * 2), BOTH.expand(2, 2), torch.tensor([[1.0, 0]] * 2)
    )
    ties = correct_orders("pairs", SCORES, BOTH, torch.tensor([[0.5, 0.0]]))
    assert (pairs.tolist(), ties.tolist()) == ([1, 1], [])
    level = correct_orders("rankings", torch.zeros(1, 3), mask[:1], torch.tensor([[2.0]]))
    assert level.tolist() == [0.5] * 3  # as a tie of the scores is in what is measured at the end


@pytest.fixture(scope="module")
def rankings():
    """Four completions each, of which the adjective alone says how good they are."""
    neutral = ("the", "film", "was", "a", "story", "with", "music")
    return [
        Ranking(
            prompt=" ".join(neutral[(number + word) % 7] for word in range(3)),
            completions=tuple(
                f" {neutral[(number + 3 * place) % 7]} {neutral[number * place % 7]} {adjective}"
                for place, adjective in enumerate(ADJECTIVES)
            ),
            places=3,
            annotator=str(number),  # so that equal prompts are apart
        )
        for number in range(16)
    ]


def trained(items, language_model, tokenizer, out, **settings):
    config = replace(CONFIG, **settings)
    data = RewardTrainingData(train=items[: len(items) * 3 // 4], evaluation=items)
    metrics = train_reward_model(config, data, language_model, tokenizer, out)
    return metrics, load_reward(out)


@pytest.mark.learning
@pytest.mark.parametrize("places", [1, 3])
def test_rankings_teach_an_order(rankings, language_model, tokenizer, tmp_path, places):
    """Where the best alone is known, it scores highest; else all four are in order."""
    items = [replace(ranking, places=places) for ranking in rankings]
    metrics, reward = trained(items, language_model, tokenizer, tmp_path)
    assert metrics["rankings"] == 12
    assert metrics["evaluation_pairs"] == 16 * (6 if places == 3 else 3)
    assert metrics["evaluation_accuracy"] > 0.9
    scores = torch.tensor(reward([""] * 4, [f" {adjective}" for adjective in ADJECTIVES]))
    assert scores.argmax() == 0
    if places == 3:
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)


@pytest.mark.learning
@pytest.mark.parametrize("loss", ["differences", "squared", "cross_entropy"])
def test_ratings_teach_an_order(rankings, language_model, tokenizer, tmp_path, loss):
    ratings = [
        Rating(
            prompt=ranking.prompt,
            completion=text,
            rating=9.0 - 2 * place,
            annotator=ranking.annotator,
        )
        for ranking in rankings
        for place, text in enumerate(ranking.completions)
    ]
    metrics, _ = trained(ratings, language_model, tokenizer, tmp_path, rating_loss=loss, epochs=12)
    assert metrics["ratings"] == 48
    assert metrics["evaluation_spearman"] > 0.85
    assert metrics["evaluation_pairs"] == 96
    lowest = {"rating_offset": 3.0, "rating_scale": 6.0}
    spread = {"rating_offset": 6.0, "rating_scale": math.sqrt(5)}
    expected = lowest if loss == "cross_entropy" else spread
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


@pytest.fixture(scope="module")
def some_ties(rankings):
    """Great beats dull; good and good are a tie, a third of the answers."""
    answers = []
    for number, ranking in enumerate(rankings * 2):
        great, good, dull, _ = ranking.completions
        tie = number % 3 == 0
        answers.append(
            Preference(
                pair_id=str(number),
                prompt=ranking.prompt,
                chosen=good if tie else great,
                rejected=f" the{good}" if tie else dull,
                probability=0.5 if tie else 1.0,
            )
        )
    return answers


class StopAt(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt


def test_a_threshold_for_ties_is_learned_and_a_stopped_run_goes_on(
    some_ties, language_model, tokenizer, tmp_path
):
    """It moves from where it began, is no weight of the model, and a stop changes nothing."""
    config = replace(CONFIG, ties="threshold", save_steps=3)
    data = RewardTrainingData(train=some_ties, evaluation=some_ties)
    arguments = (config, data, language_model, tokenizer)
    whole = train_reward_model(*arguments, tmp_path / "whole")
    assert abs(whole["tie_threshold"] - 2 * math.atanh(11 / 32)) > 0.05
    assert whole["evaluation_pairs"] == 21
    assert "tie_threshold" not in str(list(load_reward(tmp_path / "whole").model.state_dict()))
    with pytest.raises(KeyboardInterrupt):
        train_reward_model(*arguments, tmp_path / "parts", callbacks=[StopAt()])
    assert whole == train_reward_model(*arguments, tmp_path / "parts")


@pytest.mark.learning
def test_ties_pull_two_scores_together(some_ties, language_model, tokenizer, tmp_path):
    """Half an answer for either is an answer too, unlike none."""
    gaps = {}
    for name, items in (
        ("ties", some_ties),
        ("none", [p for p in some_ties if p.probability > 0.5]),
    ):
        config = replace(CONFIG, epochs=6)
        data = RewardTrainingData(train=items)
        train_reward_model(config, data, language_model, tokenizer, tmp_path / name)
        reward = load_reward(tmp_path / name)
        tied = [p for p in some_ties if p.probability == 0.5]
        prompts = [p.prompt for p in tied]
        gap = reward.raw(prompts, [p.chosen for p in tied])
        gap -= reward.raw(prompts, [p.rejected for p in tied])
        gaps[name] = gap.abs().mean().item()
    assert gaps["ties"] < gaps["none"]


def test_what_cannot_go_together_is_refused(some_ties, language_model, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="knows no noise"):
        RewardTrainingConfig(ties="threshold", label_noise=0.1)
    soft = [replace(some_ties[0], probability=0.75), *some_ties]
    config = replace(CONFIG, ties="threshold")
    data = RewardTrainingData(train=soft)
    with pytest.raises(ValueError, match="1 pairs have a probability between a tie and an answer"):
        train_reward_model(config, data, language_model, tokenizer, tmp_path)


def test_a_model_says_what_it_was_made_from(some_ties, language_model, tokenizer, tmp_path):
    """The same run twice says the same; other data say so."""
    records = []
    for name, items in (("a", some_ties), ("b", some_ties), ("c", some_ties[1:])):
        config = replace(CONFIG, epochs=1)
        data = RewardTrainingData(train=items, evaluation=some_ties[:3])
        train_reward_model(config, data, language_model, tokenizer, tmp_path / name)
        records.append(json.loads((tmp_path / name / "training.json").read_text()))
    assert records[0] == records[1]
    assert records[0]["data"] == {"items": 32, "hash": data_hash(some_ties)}
    assert records[0]["held_out"]["items"] == 3
    assert records[0]["config"]["epochs"] == 1
    assert {"textgym", "source", "torch", "transformers"} <= set(records[0]["code"])
    assert records[0]["start"] != records[2]["start"]
    assert records[0]["data"]["hash"] != records[2]["data"]["hash"]


def test_an_lstm_learns_from_comparisons_as_well(some_ties, tokenizer, tmp_path):
    """Any model that scores rows of ids does; dropout is off afterwards."""
    model = LSTMScorer.from_seed(
        LSTMScorerConfig(vocab_size=tokenizer.vocab_size, max_tokens=32, output="score"), seed=0
    )
    config = replace(CONFIG, learning_rate=1e-2)
    data = RewardTrainingData(train=some_ties, evaluation=some_ties)
    metrics = fit_reward_model(config, data, model, tokenizer, tmp_path)
    assert metrics["evaluation_accuracy"] > 0.9
    reward = load_reward(tmp_path)
    texts = [p.prompt + p.chosen for p in some_ties] + [p.prompt + p.rejected for p in some_ties]
    scores = torch.tensor(reward([""] * len(texts), texts), dtype=torch.float64)
    assert scores.mean().item() == pytest.approx(0, abs=1e-4)
    assert scores.std(correction=0).item() == pytest.approx(1, abs=1e-4)
