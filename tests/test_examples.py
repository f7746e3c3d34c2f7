"""Every example runs as it stands, offline, and shows what it promises."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from textgym.pretrained.smollm2 import smollm2_is_available

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
MOST_LINES = 82

pytestmark = pytest.mark.slow


def _run(name):
    """The script's output, from a fresh process that knows the hub is out of reach."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_these_are_all_the_examples_and_each_is_short():
    lengths = {p.name: len(p.read_text().splitlines()) for p in EXAMPLES.glob("*.py")}
    assert {
        "cleanrl_ppo.py",
        "custom_agent.py",
        "custom_data.py",
        "custom_reward.py",
        "custom_task.py",
        "maskable_ppo.py",
        "ppo_on_a_toy.py",
        "pretrained_agent.py",
        "random_agent.py",
        "sb3_ppo.py",
    } == lengths.keys()
    assert all(length < MOST_LINES for length in lengths.values()), lengths


def test_the_random_agent_finishes_texts_of_legal_letters_and_shows_their_scores():
    output = _run("random_agent.py")
    plain = re.sub(r"\x1b\[\d+m", "", output)
    texts = re.findall(r"^  ([a-h]{1,7}) \[\+(\d\.\d{3})\]  (\d) tokens, stopped by", plain, re.M)
    assert len(texts) == 5
    mean = sum(float(score) for _, score, _ in texts) / 5
    assert f"mean score of 5 texts: {mean:.3f}" in plain
    assert "\x1b[1m" in output  # the completion is bright


def test_both_rewards_judge_the_same_texts():
    output = _run("custom_reward.py")
    rows = re.findall(r"^([a-h])\|([a-h]*) +(\d\.\d{2}) +(\d\.\d{2})$", output, re.M)
    assert len(rows) == 6
    for _, text, vowels, _ in rows:
        share = sum(text.count(vowel) for vowel in "aeiou") / max(1, len(text))
        assert f"{share:.2f}" == vowels
    assert re.search(r"mean of 64: vowels 0\.\d{3}, alphabet 0\.\d{3}", output)


def test_an_agent_of_ones_own_is_on_the_leaderboard():
    """Chance is 0.094; the gold teaches a table more than that, and the length does not."""
    rows = re.findall(r"^(alphabet|constant|length|gold) +(\S+) ", _run("custom_agent.py"), re.M)
    gains = {name: float(gain) for name, gain in rows}
    assert gains.keys() == {"alphabet", "constant", "length", "gold"}
    assert gains["alphabet"] == gains["gold"] > 0.2
    assert gains["constant"] < 0.1
    assert gains["length"] < 0.1


def test_a_task_of_ones_own_has_ids_and_a_reward():
    """A random text has the right first digit of two in one of ten and more."""
    output = _run("custom_task.py")
    assert len(re.findall(r"^\d\d -> .* \d\.\d\d$", output, re.M)) == 5
    assert 0.01 < float(re.search(r"random texts: (\d\.\d+)", output).group(1)) < 0.2


def test_data_of_ones_own_has_prompts_and_references():
    output = _run("custom_data.py")
    assert "4 prompts, columns ['reference']" in output
    assert [line.split()[-1] for line in output.splitlines()[1:]] == [
        "1.00",
        "0.00",
        "0.50",
        "1.00",
    ]


def test_ppo_learns_the_alphabet():
    """Chance is 0.094, the optimum 1."""
    output = _run("ppo_on_a_toy.py")
    rewards = [float(value) for value in re.findall(r"^ +\d+ +(\d\.\d{3})", output, re.M)]
    assert rewards[0] < 0.2
    assert rewards[-1] > 0.95
    written = dict(re.findall(r"^  ([a-h]) -> ([a-h]*)$", output, re.M))
    after = {"a": "bcd", "b": "cde", "c": "def", "d": "efg"}
    after |= {"e": "fgh", "f": "gha", "g": "hab", "h": "abc"}
    assert sum(after[prompt] == text for prompt, text in written.items()) >= 6


@pytest.mark.skipif(
    not (smollm2_is_available() and importlib.util.find_spec("peft")),
    reason="SmolLM2's packages or peft are not installed",
)
def test_the_pretrained_agent_writes_with_adapters_that_change_nothing_yet():
    """30 layers; matrices of rank 8 beside 576 x 576 and 576 x 192; a value head of 577."""
    output = _run("pretrained_agent.py")
    learns = 30 * 8 * (576 + 576 + 576 + 192) + 577
    assert f"{134_515_008 + learns:,} weights, {learns:,} of them learn" in output
    assert int(re.search(r"^(\d+) tokens in", output, re.M).group(1)) > 16
    assert float(re.search(r"what it reads: (\S+) nats", output).group(1)) < 1e-3
    assert "untrained: 0.000 nats" in output


@pytest.mark.parametrize(
    ("script", "chance", "reached"),
    [("sb3_ppo.py", 0.45, 0.9), ("maskable_ppo.py", 0.3, 0.9), ("cleanrl_ppo.py", 0.2, 0.75)],
)
def test_other_people_s_agents_learn_on_the_environments(script, chance, reached):
    """Chance is at most .35, .25 and .094; the optimum of each is 1."""
    found = re.search(r"mean score: (\d\.\d\d) before, (\d\.\d\d) after", _run(script))
    before, after = map(float, found.groups())
    assert before < chance
    assert after > reached
