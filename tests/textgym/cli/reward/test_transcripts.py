"""Files of transcripts, as HH-RLHF has them, from packed files to an ensemble on texts of its own.

The data are made here: what is helpful says a word of one list, what is not a word of another, and
one answer in ten was judged the wrong way round.
"""

import gzip
import io
import json
import random
import re
import shlex

import pytest
from rich.console import Console

from reward_models import evaluate_reward, load_reward, read_preferences
from reward_models.learning.settings import RewardTrainingConfig
from reward_models.models.ensemble import EnsembleReward
from textgym.cli.main import COMMANDS
from textgym.cli.reward.train import RewardTrainConfig, train_reward

GOOD, BAD = ("great", "fine", "good", "best"), ("bad", "worst", "dull", "awful")
FILLER = ("the", "film", "was", "a", "story", "with", "music", "that", "I", "saw", "and", "it")
SEEDS = (0, 1, 2)


def transcripts(number, begin, slips):
    """Rows of two whole conversations that part at their last answer; some of that are empty."""
    rng = random.Random(begin)  # noqa: S311 - not a secret
    for n in range(number):
        turns = "".join(
            f"\n\nHuman: {' '.join(rng.choices(FILLER, k=4))} {begin + n}?\n\nAssistant: "
            + (f"{' '.join(rng.choices(FILLER, k=3))}." if turn else "")
            for turn in range(rng.randint(1, 2), -1, -1)
        )
        said = [
            " ".join([*rng.choices(FILLER, k=rng.randint(1, 4)), rng.choice(words), "film"])
            for words in (GOOD, BAD)
        ]
        if n % 40 == 0:
            said[1] = ""  # a model that said nothing
        if rng.random() < slips:
            said.reverse()
        yield {"chosen": turns + said[0], "rejected": turns + said[1]}


def write(path, rows):
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return str(path)


def console():
    return Console(file=io.StringIO(), width=300)


@pytest.mark.slow
def test_transcripts_become_a_reward_its_card_and_an_ensemble(tmp_path):
    data = write(tmp_path / "train.jsonl.gz", transcripts(300, 0, 0.1))
    fresh = write(tmp_path / "test.jsonl.gz", transcripts(120, 5000, 0.0))
    test = read_preferences(fresh).items
    learned = {item.prompt for item in read_preferences(data).items}
    assert not learned & {item.prompt for item in test}
    assert all(re.fullmatch(r"(?s)\n\nHuman: .*\n\nAssistant:", item.prompt) for item in test)
    assert sum(not item.rejected.strip() for item in test) == 3

    folders, accuracies = [], []
    for seed in SEEDS:
        folders.append(tmp_path / f"seed{seed}")
        training = RewardTrainingConfig(
            max_length=64, learning_rate=1e-2, epochs=6, batch_size=16, seed=seed
        )
        to = console()
        config = RewardTrainConfig(
            data=data, out=folders[-1], model="lstm", tokenizer="reviews-4096", held_out=0.25,
            training=training,
        )  # fmt: skip
        train_reward(config, to)
        accuracies.append(evaluate_reward(load_reward(folders[-1]), test).accuracy)
    assert min(accuracies) > 0.8

    # The command that the training prints at its end, word for word.
    (printed,) = re.findall(r"more about it: textgym (reward card .*)", to.file.getvalue())
    words = shlex.split(printed)[2:]
    command = COMMANDS["reward card"]
    config = command.parse("reward card", words)
    command.load()[1](config, console())
    card = json.loads((config.out / "card.json").read_text(encoding="utf-8"))
    held_out = read_preferences(str(folders[-1] / "held_out.jsonl")).items
    assert len(held_out) > 40
    assert card

    members = [load_reward(folder) for folder in folders]
    texts = [item.chosen for item in held_out] + [item.rejected for item in held_out]
    ensemble = EnsembleReward.fit(members, [item.prompt for item in held_out] * 2, texts)
    together = evaluate_reward(ensemble, test).accuracy
    assert together >= min(accuracies)
    assert together > 0.85
