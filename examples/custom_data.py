"""Bring your own data: a file of prompts and answers becomes a task by its path.

Any JSON Lines, CSV or Parquet file will do; its columns other than the prompt are handed to the
reward. Here questions have answers, and the built-in SQuAD reward compares by words.

Run it: ``python examples/custom_data.py``. It needs numpy and Gymnasium only.
"""

import json
import tempfile
from pathlib import Path

import gymnasium as gym

import textgym

ROWS = [
    {"prompt": "The sky is", "reference": "blue"},
    {"prompt": "Grass is", "reference": "green"},
    {"prompt": "Snow is", "reference": "white"},
    {"prompt": "Coal is", "reference": "black"},
]
ANSWERS = ["blue", "red", "white as paper", "black"]


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "colours.jsonl"
        path.write_text("".join(json.dumps({**row, "split": "train"}) + "\n" for row in ROWS))
        envs = gym.make_vec(
            "textgym:TextGym/Alphabet-v0",  # any id: the task below takes its place
            num_envs=len(ROWS),
            task=str(path),
            split="train",
            tokenizer="reviews-4096",
            reward="squad_f1",
            autoreset_mode="Disabled",
        ).unwrapped
    print(f"{envs.num_examples} prompts, columns {sorted(envs.examples[0].columns)}")
    number = {example.prompt: place for place, example in enumerate(envs.examples)}
    for row, answer in zip(ROWS, ANSWERS, strict=True):
        example = envs.examples[number[row["prompt"]]]
        score = textgym.rewards.resolve("squad_f1")(
            [row["prompt"]], [answer], **{name: [value] for name, value in example.columns.items()}
        )
        print(f"{row['prompt']} {answer:<16} {score[0]:.2f}")


if __name__ == "__main__":
    main()
