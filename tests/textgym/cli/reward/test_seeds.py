"""Transcripts in the format of HH-RLHF, made on the spot: trained on, carded, and an ensemble."""

import io
import json
import random
import shlex

import pytest
from rich.console import Console

from reward_models.learning.settings import RewardTrainingConfig
from reward_models.preferences import read_preferences
from reward_models.preferences.traces import traces_of
from reward_models.reading.scoring import TRACES_FILE
from textgym.cli.main import COMMANDS
from textgym.cli.reward.card import reward_card
from textgym.cli.reward.train import RewardTrainConfig, train_reward

ASKED = ("how do I bake bread", "what is a river", "can you help me", "who was that", "why so late")
WORDS = ("well", "the", "answer", "is", "that", "one", "may", "see", "it", "here")


def transcripts(path, number, seed=0):
    """Two talks a question, which differ in their last turn; kind answers are preferred."""
    rng = random.Random(seed)  # noqa: S311 - not a secret
    rows = []
    for place in range(number):
        begins = f"\n\nHuman: {rng.choice(ASKED)}, number {place // 2}?\n\nAssistant:"
        if place % 4 > 1:  # of two turns
            begins = f"\n\nHuman: hello {place // 2}\n\nAssistant: Hello.{begins}"
        ends = (
            f" {' '.join(rng.choices(WORDS, k=rng.randint(2, 5)))} {word}"
            for word in ("gladly", "rubbish")
        )
        rows.append(dict(zip(("chosen", "rejected"), (begins + end for end in ends), strict=True)))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def said_by(run, config):
    console = Console(file=io.StringIO(), width=200)
    run(config, console)
    return console.file.getvalue()


@pytest.mark.slow
def test_three_seeds_and_a_card_of_all_on_texts_that_none_of_them_saw(tmp_path):
    """By the printed command, with the others as members: nothing has to be left out."""
    data = transcripts(tmp_path / "hh.jsonl", 240)
    for seed in range(3):
        said = said_by(
            train_reward,
            RewardTrainConfig(
                data=data,
                out=tmp_path / f"seed-{seed}",
                model="lstm",
                tokenizer="reviews-4096",
                held_out=0.3,
                training=RewardTrainingConfig(
                    max_length=32, learning_rate=2e-2, epochs=3, batch_size=16, seed=seed
                ),
            ),
        )
    held_out = [(tmp_path / f"seed-{seed}" / "held_out.jsonl").read_text() for seed in range(3)]
    assert held_out[0] == held_out[1] == held_out[2]
    items = read_preferences(str(tmp_path / "seed-0/held_out.jsonl")).items
    assert all(item.prompt.endswith("Assistant:") for item in items)
    (printed,) = (line for line in said.splitlines() if "textgym reward card" in line)
    words = shlex.split(printed.partition("textgym reward card ")[2])
    members = [str(tmp_path / f"seed-{seed}") for seed in range(2)]
    config = COMMANDS["reward card"].parse(
        "reward card", [*words, "--members", *members, "--repetitions", "100"]
    )
    told = said_by(reward_card, config)
    measured = len(items)
    card = json.loads((config.out / "card.json").read_text())
    assert card["data"]["pairs"] + card["data"]["validation_pairs"] == measured
    assert card["data"]["validation_pairs"] > 0
    assert "share a text with what the reward or a member learned from, and none a prompt" in told
    assert "left out" not in told
    assert card["accuracy"][0]["accuracy"]["value"] > 0.9
    assert card["members"]["spread"]["models"] == 2
    # A member that learned from what the others held out moves the card to what is left.
    traces = tmp_path / "seed-1" / TRACES_FILE
    known = json.loads(traces.read_text())
    alike = sum(item.prompt == items[0].prompt for item in items)
    new = traces_of(items[:1]).as_json()
    known["prompts"] += new["prompts"]
    for length, hashes in new["beginnings"].items():
        known["beginnings"][length] = known["beginnings"].get(length, "") + hashes
    traces.write_text(json.dumps(known))
    told = said_by(reward_card, config)
    card = json.loads((config.out / "card.json").read_text())
    assert card["data"]["pairs"] + card["data"]["validation_pairs"] == measured - alike
    assert (
        f"left out: {alike} answers about a prompt or text that the reward or a member learned"
        in told
    )
