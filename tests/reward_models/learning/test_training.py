"""Training a preference model: it learns, it resumes, it drops what has nothing to teach."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from reward_models.learning.provenance import decided_by
from reward_models.learning.settings import RewardTrainingConfig, RewardTrainingData
from reward_models.learning.training import _some, fit_reward_model, train_reward_model
from reward_models.measuring.pairs import evaluate_reward
from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.models.transformer import PreferenceModel, load_reward
from reward_models.preferences import Preference
from tests.reward_models.unsaved import Unsaved
from tests.settings import variants

CONFIG = RewardTrainingConfig(
    batch_size=4, max_length=32, learning_rate=3e-3, save_steps=3, logging_steps=2
)


@pytest.fixture(scope="module")
def preferences(sentence):
    """Completions with "great" are preferred to those with "awful"; nothing else tells."""
    return [
        Preference(
            pair_id=str(number),
            prompt=sentence(number, words=3),
            chosen=f" {sentence(number, words=number % 4)} great",
            rejected=f" {sentence(number + 50, words=number % 4)} awful",
        )
        for number in range(24)
    ]


class StopAt(TrainerCallback):
    """Ends a run as a kill would: between two updates, without any tidying."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


class Record(TrainerCallback):
    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append(dict(logs))


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_same_weights(one, two):
    one, two = weights(one), weights(two)
    assert set(one) == set(two)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=0)


def test_it_learns_what_the_answers_have_in_common(
    preferences, language_model, tokenizer, tmp_path, capsys
):
    """Held-out pairs are ordered rightly, the report says so, and nothing is printed."""
    config = RewardTrainingConfig(batch_size=4, max_length=32, learning_rate=3e-3, epochs=8)
    data = RewardTrainingData(train=preferences[:16], evaluation=preferences[16:])
    capsys.readouterr()
    metrics = train_reward_model(config, data, language_model, tokenizer, tmp_path)
    assert capsys.readouterr().out == ""
    assert tuple(metrics[k] for k in ("pairs", "dropped_identical", "steps")) == (16, 0, 32)
    assert metrics["evaluation_accuracy"] == 1.0
    assert metrics["evaluation_pairs"] == 8
    report = evaluate_reward(load_reward(tmp_path), preferences[16:])
    assert report.accuracy == 1.0
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())


@pytest.mark.parametrize(("epochs", "stop"), [(1, 4), (2, 8), (2, 6)])
def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(
    preferences, language_model, tokenizer, tmp_path, epochs, stop
):
    """Inside the first and the second pass, and between the two; bit for bit."""
    data = RewardTrainingData(train=preferences)
    config = RewardTrainingConfig(
        batch_size=4, max_length=32, learning_rate=3e-3, save_steps=3, epochs=epochs
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = train_reward_model(config, data, language_model, tokenizer, whole)
    with pytest.raises(KeyboardInterrupt):
        train_reward_model(config, data, language_model, tokenizer, parts, callbacks=[StopAt(stop)])
    assert not (parts / "metrics.json").exists()
    # StopAt(0) would end a run that starts anew.
    actual = train_reward_model(
        config, data, language_model, tokenizer, parts, callbacks=[StopAt(0)]
    )
    assert expected == actual
    assert_same_weights(whole, parts)


def test_a_checkpoint_that_was_being_written_is_passed_over(
    preferences, language_model, tokenizer, tmp_path
):
    """The run goes on from the one before it."""
    data = RewardTrainingData(train=preferences)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_reward_model(CONFIG, data, language_model, tokenizer, whole)
    with pytest.raises(KeyboardInterrupt):
        train_reward_model(CONFIG, data, language_model, tokenizer, parts, callbacks=[StopAt(4)])
    (good,) = parts.glob("checkpoints/*/checkpoint-3")
    bad = good.with_name("checkpoint-5")
    bad.mkdir()
    (bad / "model.safetensors").write_bytes(b"cut")
    train_reward_model(CONFIG, data, language_model, tokenizer, parts, callbacks=[StopAt(0)])
    assert_same_weights(whole, parts)


def test_another_run_does_not_go_on_from_a_foreign_checkpoint(
    preferences, language_model, tokenizer, tmp_path, caplog
):
    """Other pairs: mixing the two would be neither run. It is said in one line."""
    data = RewardTrainingData(train=preferences)
    with pytest.raises(KeyboardInterrupt):
        train_reward_model(
            CONFIG, data, language_model, tokenizer, tmp_path / "a", callbacks=[StopAt(4)]
        )
    other = RewardTrainingData(train=preferences[::-1])
    train_reward_model(CONFIG, other, language_model, tokenizer, tmp_path / "a")
    (said,) = (record.message for record in caplog.records)
    assert said.endswith(" of a run with other data: this one begins anew")
    train_reward_model(CONFIG, other, language_model, tokenizer, tmp_path / "b")
    assert_same_weights(tmp_path / "b", tmp_path / "a")


def test_the_seed_decides_the_run(preferences, language_model, tokenizer, tmp_path):
    """The same seed gives the same weights, another one others."""
    data = RewardTrainingData(train=preferences[:8])
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = RewardTrainingConfig(batch_size=4, max_length=32, seed=seed)
        train_reward_model(config, data, language_model, tokenizer, tmp_path / name)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    assert not torch.equal(
        weights(tmp_path / "a")["head.weight"], weights(tmp_path / "c")["head.weight"]
    )


def test_pairs_that_read_the_same_are_dropped_and_counted(
    preferences, language_model, tokenizer, tmp_path
):
    """Texts that differ only in what truncation takes away; rlhf-book trained on them."""
    same_end = " the film was a good bad great awful story with fine poor acting" * 4
    truncated = Preference(pair_id="x", prompt="p", chosen="A" + same_end, rejected="B" + same_end)
    data = RewardTrainingData(train=[truncated, *preferences[:8], truncated])
    metrics = train_reward_model(CONFIG, data, language_model, tokenizer, tmp_path)
    assert (metrics["pairs"], metrics["dropped_identical"]) == (8, 2)
    for nothing in ([], [truncated]):
        with pytest.raises(ValueError, match="left to learn from"):
            train_reward_model(
                CONFIG, RewardTrainingData(train=nothing), language_model, tokenizer, tmp_path
            )


@pytest.mark.parametrize("bf16", [False, True])
def test_reference_scores_have_mean_zero_and_variance_one(
    preferences, language_model, tokenizer, tmp_path, sentence, bf16
):
    """Of the texts given, after loading, where nothing is computed in bfloat16 any more."""
    reference = [(sentence(n, 3), " " + sentence(n, 5)) for n in range(30)]
    data = RewardTrainingData(train=preferences[:8], reference=reference)
    config = RewardTrainingConfig(batch_size=4, max_length=32, bf16=bf16)
    metrics = train_reward_model(config, data, language_model, tokenizer, tmp_path)
    scores = torch.tensor(load_reward(tmp_path)(*zip(*reference, strict=True)), dtype=torch.float64)
    assert scores.mean().item() == pytest.approx(0.0, abs=1e-4)
    assert scores.std(correction=0).item() == pytest.approx(1.0, abs=1e-4)
    stored = json.loads((tmp_path / "config.json").read_text())
    for name in ("score_mean", "score_std"):
        assert metrics[name] == stored[name]


def test_progress_goes_to_the_callbacks(preferences, language_model, tokenizer, tmp_path):
    """Loss and accuracy of every two updates."""
    record = Record()
    data = RewardTrainingData(train=preferences)
    train_reward_model(CONFIG, data, language_model, tokenizer, tmp_path, callbacks=[record])
    progress = [logs for logs in record.logs if "loss" in logs]
    assert len(progress) == 3
    assert all(0 <= logs["accuracy"] <= 1 for logs in progress)


def test_only_the_finished_model_is_left_in_the_folder(
    preferences, language_model, tokenizer, tmp_path
):
    """Optimizer states are three times the model."""
    (tmp_path / "notes.txt").write_text("mine")
    data = RewardTrainingData(train=preferences[:8])
    train_reward_model(CONFIG, data, language_model, tokenizer, tmp_path)
    assert {
        "config.json",
        "learned_from.json",
        "metrics.json",
        "model.safetensors",
        "notes.txt",
        "tokenizer.model",
        "training.json",
    } == {path.name for path in tmp_path.iterdir()}


def test_the_chosen_text_s_score_rises_and_centring_keeps_the_level(
    preferences, language_model, tokenizer, tmp_path
):
    """A sign error would train a model that is wrong on purpose; a free level may drift."""
    levels = {}
    for weight in (0.0, 10.0):
        config = RewardTrainingConfig(
            batch_size=4, max_length=32, learning_rate=3e-3, epochs=8, centring=weight
        )
        out = tmp_path / str(weight)
        train_reward_model(
            config, RewardTrainingData(train=preferences), language_model, tokenizer, out
        )
        reward = load_reward(out)
        raw = [
            reward.raw([p.prompt for p in preferences], texts)
            for texts in ([p.chosen for p in preferences], [p.rejected for p in preferences])
        ]
        assert (raw[0] > raw[1]).all()
        levels[weight] = (raw[0] + raw[1]).abs().mean().item()
    assert levels[10.0] < levels[0.0]


def test_impossible_requests_are_refused_before_any_work(
    preferences, language_model, tokenizer, tmp_path
):
    """A device, a tokenizer and a language model that do not go together."""
    data = RewardTrainingData(train=preferences)
    with pytest.raises(ValueError, match="knows 'cpu' and 'cuda'"):
        train_reward_model(CONFIG, data, language_model, tokenizer, tmp_path, device="tpu")
    with pytest.raises(ValueError, match="no method save"):
        train_reward_model(CONFIG, data, language_model, Unsaved("ab"), tmp_path)
    with pytest.raises(FileNotFoundError, match="no language model"):
        train_reward_model(CONFIG, data, tmp_path / "nowhere", tokenizer, tmp_path)


def test_bfloat16_trains_to_about_the_same_scores(preferences, language_model, tokenizer, tmp_path):
    """Same data and order; weights differ by rounding only, and are stored in float32."""
    data = RewardTrainingData(train=preferences)
    for name, bf16 in (("float32", False), ("bfloat16", True)):
        config = RewardTrainingConfig(batch_size=4, max_length=32, bf16=bf16)
        train_reward_model(config, data, language_model, tokenizer, tmp_path / name)
    full, half = (weights(tmp_path / name) for name in ("float32", "bfloat16"))
    assert all(weight.dtype == torch.float32 for weight in half.values())
    torch.testing.assert_close(full["head.weight"], half["head.weight"], rtol=0, atol=5e-3)
    assert not torch.equal(full["head.weight"], half["head.weight"])


def test_expected_noise_makes_the_model_less_sure(preferences, language_model, tokenizer, tmp_path):
    """An answer that may be a coin toss pulls the two scores less far apart."""
    gaps = {}
    for noise in (0.0, 0.8):
        config = RewardTrainingConfig(
            batch_size=4, max_length=32, learning_rate=3e-3, epochs=8, label_noise=noise
        )
        out = tmp_path / str(noise)
        train_reward_model(
            config, RewardTrainingData(train=preferences), language_model, tokenizer, out
        )
        reward = load_reward(out)
        prompts = [preference.prompt for preference in preferences]
        lead = reward.raw(prompts, [preference.chosen for preference in preferences])
        lead -= reward.raw(prompts, [preference.rejected for preference in preferences])
        gaps[noise] = lead.mean().item()
    assert 0 < gaps[0.8] < gaps[0.0]


def test_gradients_of_two_batches_are_those_of_one_twice_as_large(
    preferences, language_model, tokenizer, tmp_path
):
    data = RewardTrainingData(train=preferences[:16])
    for name, batch, times in (("one", 8, 1), ("two", 4, 2), ("half", 4, 1)):
        config = dataclasses.replace(CONFIG, batch_size=batch, accumulation=times)
        metrics = train_reward_model(config, data, language_model, tokenizer, tmp_path / name)
        assert metrics["steps"] == 16 / (batch * times)
    one, two, half = (weights(tmp_path / name) for name in ("one", "two", "half"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-4)
    assert not torch.allclose(one["head.weight"], half["head.weight"], rtol=0, atol=1e-4)


def test_adapters_change_each_matrix_by_one_of_their_rank_and_are_merged(
    preferences, language_model, tokenizer, tmp_path
):
    """And what is saved loads as any other; a stop goes on."""
    pytest.importorskip("peft")
    data = RewardTrainingData(train=preferences)
    config = dataclasses.replace(CONFIG, lora=2, learning_rate=1e-2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_reward_model(config, data, language_model, tokenizer, whole)
    before = PreferenceModel.from_language_model(language_model, max_length=32).state_dict()
    after = load_reward(whole).model.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    matrices = changed - {"head.weight", "head.bias"}
    assert matrices
    assert {name.rsplit(".", 2)[1] for name in matrices} <= {"c_attn", "c_proj", "c_fc"}
    for name in matrices:
        values = torch.linalg.svdvals((after[name] - before[name]).double())
        assert values[1] > 1e-6
        assert values[2] < 1e-3 * values[0]
    with pytest.raises(KeyboardInterrupt):
        train_reward_model(config, data, language_model, tokenizer, parts, callbacks=[StopAt(4)])
    train_reward_model(config, data, language_model, tokenizer, parts, callbacks=[StopAt(0)])
    assert_same_weights(whole, parts)


def test_adapters_need_a_trunk(preferences, tokenizer, tmp_path):
    shape = LSTMScorerConfig(vocab_size=tokenizer.vocab_size, max_tokens=8, output="score")
    with pytest.raises(ValueError, match="a LSTMScorer has no trunk to put adapters on"):
        fit_reward_model(
            dataclasses.replace(CONFIG, lora=2),
            RewardTrainingData(train=preferences),
            LSTMScorer.from_seed(shape, 0),
            tokenizer,
            tmp_path,
        )


def test_training_stops_where_held_out_answers_get_worse_and_keeps_the_best(
    preferences, language_model, tokenizer, tmp_path
):
    """What is held out says the opposite: the first look is the best, and the third the last."""
    turned = [
        dataclasses.replace(p, chosen=p.rejected, rejected=p.chosen) for p in preferences[16:]
    ]
    data = RewardTrainingData(train=preferences[:16], evaluation=turned)
    settings = {"learning_rate": 1e-2, "epochs": 9, "warmup": 0.0, "eval_steps": 1}
    early, record = dataclasses.replace(CONFIG, **settings, patience=2), Record()
    stopped, first = tmp_path / "stopped", tmp_path / "first"
    metrics = train_reward_model(
        early, data, language_model, tokenizer, stopped, callbacks=[record]
    )
    losses = [log["eval_loss"] for log in record.logs if "eval_loss" in log]
    assert min(losses) == losses[0]
    assert metrics["steps"] == len(losses) == 3
    assert all(0 <= log["eval_accuracy"] <= 1 for log in record.logs if "eval_loss" in log)
    with pytest.raises(KeyboardInterrupt):
        train_reward_model(
            dataclasses.replace(early, save_steps=1),
            data,
            language_model,
            tokenizer,
            first,
            callbacks=[StopAt(1)],
        )
    (kept,) = first.glob("checkpoints/*/checkpoint-1")
    torch.testing.assert_close(
        weights(kept)["head.weight"], weights(stopped)["head.weight"], rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": -1}, "batch_size must be at least 1"),
        ({"save_steps": 0}, "save_steps must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0 and finite, got nan"),
        ({"max_grad_norm": float("inf")}, "max_grad_norm must be above 0 and finite, got inf"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"warmup": 1.0}, r"warmup must be in \[0, 1\), got 1.0"),
        ({"seed": 2**32}, "seed must be at most 4294967295, got 4294967296"),
    ],
)
def test_a_number_by_which_nothing_is_learned_is_refused(settings, message):
    """With no epoch, or a rate of 0, a model of random weights was called trained."""
    with pytest.raises(ValueError, match=message):
        RewardTrainingConfig(**settings)


def test_what_is_looked_at_on_the_way_must_be_there(
    preferences, language_model, tokenizer, tmp_path
):
    with pytest.raises(ValueError, match="set eval_steps"):
        RewardTrainingConfig(patience=1)
    with pytest.raises(ValueError, match="accumulation must be at least 1, got 0"):
        RewardTrainingConfig(accumulation=0)
    config = dataclasses.replace(CONFIG, eval_steps=1)
    data = RewardTrainingData(train=preferences)
    with pytest.raises(ValueError, match="eval_steps needs held-out pairs to look at"):
        train_reward_model(config, data, language_model, tokenizer, tmp_path)


def test_without_a_length_a_model_reads_all_that_it_has_room_for(language_model):
    assert PreferenceModel.from_language_model(language_model).config.max_tokens == 64


REASONS = {
    "save_steps": "how much a kill loses",
    "logging_steps": "how much is reported",
    "bf16": "what it comes to decides, and not how it was asked for",
}


def test_each_setting_makes_another_run_or_has_a_reason_not_to(language_model):
    """And so do the data, the weights, their precision, and what the model does with them."""
    model = PreferenceModel.from_language_model(language_model, max_length=32, seed=0)
    data = [{"rows": [[1], [2]], "numbers": [1.0, 0.0]}]
    config = dataclasses.replace(CONFIG, eval_steps=4)
    expected = decided_by(config, data, [], model, bf16=False)
    for name, other in variants(config).items():
        found = decided_by(other, data, [], model, bf16=False)
        assert (found != expected) == (name not in REASONS), name
    others = {
        "bf16": decided_by(config, data, [], model, bf16=True),
        "data": decided_by(config, [*data, *data], [], model, bf16=False),
        "held out": decided_by(config, data, data, model, bf16=False),
    }
    # The same weights, read in another way.
    model.config.pooling = "last"
    others["shape"] = decided_by(config, data, [], model, bf16=False)
    model.config.pooling = "mean"
    with torch.no_grad():
        model.head.weight += 1
    others["weights"] = decided_by(config, data, [], model, bf16=False)
    for name, found in others.items():
        assert sum(found[part] != expected[part] for part in expected) == 1, name


def test_scores_are_scaled_by_items_of_all_the_data():
    """The first 500 of a file that is sorted by subset are one subset's."""
    items = list(range(3000))
    some = _some(items, seed=0)
    assert (len(set(some)), some) == (500, sorted(some))
    assert 1300 < sum(some) / 500 < 1700  # 1,500, and five standard errors of 39
    assert some == _some(items, seed=0) != _some(items, seed=1)
    assert _some(items[:500], seed=0) == items[:500]
