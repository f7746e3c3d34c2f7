"""Members become one folder, which is a reward."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from reward_models.models.ensemble import EnsembleConfig
from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.reading.scoring import PreferenceReward
from textgym.cli.parsing import CommandError
from textgym.cli.reward.ensemble import RewardEnsembleConfig, make_ensemble
from textgym.rewards import resolve
from textgym.tokenizers import load_tokenizer

TEXTS = [" good", " bad", " a long one", " dull and slow"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models, and pairs of texts."""
    path, tokenizer = tmp_path_factory.mktemp("ensemble"), load_tokenizer()
    shape = LSTMScorerConfig(vocab_size=tokenizer.vocab_size, max_tokens=8, output="score")
    for seed in (0, 1):
        PreferenceReward(LSTMScorer.from_seed(shape, seed), tokenizer).save(path / f"rm-{seed}")
    rows = [
        {"prompt": "A film", "chosen": chosen, "rejected": rejected}
        for chosen, rejected in (TEXTS[:2], TEXTS[2:])
    ]
    (path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def config(folder, **settings):
    members = (str(folder / "rm-0"), str(folder / "rm-1"))
    given = {"members": members, "data": str(folder / "pairs.jsonl"), **settings}
    return RewardEnsembleConfig(**given)


@pytest.mark.parametrize("how", ["mean", "min"])
def test_the_folder_scores_as_the_members_on_one_scale_do(folder, tmp_path, how):
    output = io.StringIO()
    wanted = config(folder, out=tmp_path / "e", ensemble=EnsembleConfig(how=how))
    make_ensemble(wanted, Console(file=output))
    prompts = ["A film"] * len(TEXTS)
    raw = np.array([resolve(str(folder / f"rm-{n}"))(prompts, TEXTS) for n in (0, 1)])
    scaled = (raw - raw.mean(1, keepdims=True)) / raw.std(1, keepdims=True)
    expected = scaled.mean(0) if how == "mean" else scaled.min(0)
    np.testing.assert_allclose(resolve(str(tmp_path / "e"))(prompts, TEXTS), expected, atol=1e-4)
    assert "2 members in" in output.getvalue()
    assert "on the scale of 4 texts" in output.getvalue()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"members": ("one",)}, "2 members and 2 texts at least, got 1 and 400"),
        ({"members": ("one", "two")}, "one"),
        ({"texts": 1}, "2 members and 2 texts at least"),
        ({"ensemble": EnsembleConfig(weights=(1.0,))}, "weights"),
        ({"data": "nowhere.xyz"}, "nowhere.xyz"),
    ],
)
def test_what_does_not_work_leaves_no_folder(folder, tmp_path, settings, message):
    with pytest.raises((CommandError, FileNotFoundError), match=message):
        make_ensemble(config(folder, out=tmp_path / "e", **settings))
    assert not (tmp_path / "e").exists()


def test_a_folder_that_is_there_is_left_alone(folder, tmp_path):
    with pytest.raises(CommandError, match="is there already"):
        make_ensemble(config(folder, out=tmp_path))
