"""Episodes to watch: at random, by a policy, by hand."""

import io

import pytest
from rich.console import Console

from agents.models.loading import load_model
from agents.models.policy import TransformerPolicy
from textgym.cli.parsing import CommandError
from textgym.cli.policy.play import PlayConfig, play
from textgym.tokenizers import CharacterTokenizer


def played(*typed, **settings):
    output, answers = io.StringIO(), iter(typed)

    def ask(_):
        try:
            return next(answers)
        except StopIteration:
            raise EOFError from None

    settings = {"env": "TextGym/Alphabet-v0", "hand": bool(typed), **settings}
    play(PlayConfig(**settings), Console(file=output, width=20), ask)
    return output.getvalue().splitlines()


@pytest.mark.parametrize("kind", ["", "-Choose", "-Edit"])
def test_chance_plays_whole_episodes_and_a_seed_repeats_them(kind):
    settings = {"env": f"TextGym/Alphabet{kind}-v0", "count": 3}
    lines = played(**settings)
    assert sum(line.startswith("score ") for line in lines) == 3
    assert lines[-1].startswith("mean score ")
    assert lines == played(**settings)
    assert lines != played(**settings, seed=1)
    finished = played(**settings, steps=False)
    assert len(finished) == 4
    assert all("[" in line for line in finished[:3])


def test_a_policy_plays(tmp_path):
    tokenizer = CharacterTokenizer("abcdefgh")
    model, _ = load_model("scratch:gpt2?layers=1&width=16&heads=2", tokenizer)
    TransformerPolicy(model).save_pretrained(tmp_path, tokenizer)
    lines = played(policy=str(tmp_path), temperature=0.01)
    assert lines[-1].startswith("score ")
    assert lines == played(policy=str(tmp_path), temperature=0.01)


def test_a_hand_writes_several_letters_at_once_and_ends():
    """The three that follow the prompt, and the end, score 1."""
    first = played("", env="TextGym/Alphabet-v0")[0].strip()
    following = ("abcdefgh" * 2)["abcdefgh".index(first) + 1 :][:3]
    lines = played(following, "")
    assert lines[0] == first
    assert lines[3] == f"{first}{following}"
    assert lines[-1] == "score 1.000; the text ended by its end of text"


def test_a_hand_is_asked_again_and_may_leave():
    lines = played("z", "b")
    assert any("z" in line or "cannot be written" in line for line in lines)
    assert not any(line.startswith("score") for line in lines)


def test_a_hand_chooses_by_number():
    lines = played("99", "x", "1", "0", env="TextGym/Alphabet-Choose-v0")
    assert sum("is none of the numbers" in line for line in lines) == 2
    assert lines[1].startswith("0 ends; 1 ")
    assert lines[-1].endswith("by its end of text")


def test_a_hand_edits_places():
    shown = played("nonsense", "", env="TextGym/Alphabet-Edit-v0")
    places = [int(each.split()[0]) for each in shown[1].split(", ")]
    first, behind = places[0], places[-1]
    assert "'nonsense' is no place and one token" in shown[2]
    lines = played(f"{first} h", f"{behind} -", "", env="TextGym/Alphabet-Edit-v0")
    assert any("h" in line for line in lines[2:4])
    assert any("cannot be done there" in line or "no place" in line for line in lines)
    assert lines[-1].startswith("score ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "x", "hand": True}, "give --policy or --hand"),
        ({"env": "a:b:c"}, "'a:b:c' is no id"),
        ({"env": ":"}, "':' is no id"),
        ({"env": "../x:Y-v0"}, "cannot be imported"),
        ({"env": "TextGym/Alphabt-v0"}, "did you mean TextGym/Alphabet-v0"),
        ({"env_kwargs": "3"}, "--env-kwargs must be a JSON object"),
        ({"policy": "nowhere"}, "nowhere"),
    ],
)
def test_what_does_not_work_is_one_line(settings, message):
    with pytest.raises(CommandError, match=message):
        played(**settings)
