"""What the pages say is so: their code runs, and what they name exists."""

import dataclasses
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stable_baselines3 import PPO as SB3PPO
from transformers import GPT2Config

from agents import DPOConfig, GRPOConfig, PPOConfig, ReinforceConfig, RLOOConfig
from reward_models.models.transformer import TOKENIZER_FILE, PreferenceModel, PreferenceModelConfig
from tests.commands import run_commands
from textgym.cli.main import COMMANDS
from textgym.cli.parsing import UsageError
from textgym.rewards import known_rewards
from textgym.tokenizers import load_tokenizer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    "README.md",
    "ENVIRONMENTS.md",
    "REWARDS.md",
    "REWARD_MODELS.md",
    "FORMATS.md",
    "LEARNERS.md",
    "BENCHMARK.md",
    "FEEDBACK.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
ROOMS = ["textgym", "reward_models", "agents", "examples", "tests"]


def _blocks(text, language):
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [code for named, code in blocks if named == language]


def _code(page):
    """Everything on a page that is set as code: blocks, and spans between backticks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S)
    prose = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.M | re.S)
    return [*blocks, *re.findall(r"`([^`]+)`", prose)]


def _run(code, folder):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
    )


def _save_reward_model(folder):
    """A reward model of a few thousand weights where the README's one would be."""
    tokenizer = load_tokenizer("reviews-4096")
    trunk = GPT2Config(
        vocab_size=tokenizer.vocab_size, n_positions=16, n_embd=8, n_layer=1, n_head=1
    )
    torch.manual_seed(0)
    PreferenceModel(PreferenceModelConfig(trunk=trunk.to_dict(), max_tokens=16)).save_pretrained(
        folder
    )
    tokenizer.save(folder / TOKENIZER_FILE)


@pytest.mark.slow
def test_the_readme_s_python_runs(tmp_path):
    """All blocks in order in one process, in a folder where a quickstart has left its model."""
    _save_reward_model(tmp_path / "runs" / "quickstart" / "reward_model")
    blocks = _blocks(README, "python")
    assert len(blocks) == 3
    result = _run("\n".join([*blocks, "print(observations.shape)"]), tmp_path)
    assert result.returncode == 0, result.stderr
    text, shape = result.stdout.splitlines()[0], result.stdout.splitlines()[-1]
    assert "\x1b[1m" in text
    assert shape == "(256, 60)"


def test_the_first_loop_is_at_most_ten_lines():
    assert len(_blocks(README, "python")[0].splitlines()) <= 10
    assert len(_blocks(README, "python")[1].splitlines()) == 2


def test_contributing_s_python_runs(tmp_path):
    code = "\n".join(_blocks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "python"))
    result = _run(f"{code}\nprint(env.reset(seed=0)[0].shape, env.spec.id)\n", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "(8,) TextGym/Echo-v0\n"


def test_the_page_of_environments_runs(tmp_path):
    code = "\n".join(_blocks((ROOT / "ENVIRONMENTS.md").read_text(encoding="utf-8"), "python"))
    result = _run(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[0.01]\n"


def test_the_page_of_learners_runs(tmp_path):
    code = "\n".join(_blocks((ROOT / "LEARNERS.md").read_text(encoding="utf-8"), "python"))
    result = _run(f"{code}\nprint(ppo.iteration, len(rollout), actions.shape)", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "3 64 (64,)\n"


def _rows_of_names():
    """What the page's table of other people's names has on each line, a cell each."""
    page = (ROOT / "LEARNERS.md").read_text(encoding="utf-8")
    part = page.partition("## Names that others use")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_name_of_ours_beside_others_is_a_setting_and_its_value_possible():
    configs = [PPOConfig, GRPOConfig, RLOOConfig, ReinforceConfig, DPOConfig]
    fields = {field.name for config in configs for field in dataclasses.fields(config)}
    named = [re.findall(r"`([^`]+)`", ours) for ours, *_ in _rows_of_names()]
    assert {len(cells) for cells in _rows_of_names()} == {4}
    told = [name for names in named for name in names]
    assert len(told) == len(set(told)) > 30
    assert {name.partition("=")[0] for name in told} <= fields
    GRPOConfig(weigh="constant", surrogate="clip", ratio="text", overlong="filter")
    GRPOConfig(surrogate="cispo")
    assert "scale_rewards" not in {field.name for field in dataclasses.fields(GRPOConfig)}
    assert "scale_rewards" in {field.name for field in dataclasses.fields(PPOConfig)}


def test_stable_baselines3_has_the_names_that_the_page_says_it_has():
    known = set(inspect.signature(SB3PPO).parameters) | {"n_envs", "learn(total_timesteps)"}
    said = {
        name for _, _, theirs, _ in _rows_of_names() for name in re.findall(r"`([^`]+)`", theirs)
    }
    assert said <= known
    assert len(said) > 12


def test_the_page_of_rewards_runs(tmp_path):
    if "rouge" not in known_rewards():
        pytest.skip("the installed metadata is older than pyproject.toml: pip install -e .")
    code = "\n".join(_blocks((ROOT / "REWARDS.md").read_text(encoding="utf-8"), "python"))
    result = _run(f"{code}\nenv.reset(seed=0)\nprint(env.step(2)[1])", tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "1.0\n"


def test_the_page_of_reward_models_opens_what_a_training_left(tmp_path):
    """Its first block; the others take hours."""
    folder = tmp_path / "runs" / "reward"
    _save_reward_model(folder)
    pair = {"prompt": "The film", "chosen": " was fun", "rejected": " was dull"}
    (folder / "held_out.jsonl").write_text(json.dumps(pair), encoding="utf-8")
    page = (ROOT / "REWARD_MODELS.md").read_text(encoding="utf-8")
    result = _run(_blocks(page, "python")[0], tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout in ("0.000\n", "1.000\n")


def test_every_make_target_exists():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    code = [code for page in PAGES for code in _code(page)]
    named = {name for text in code for name in re.findall(r"\bmake ([a-z]+)\b", text)}
    assert {"quickstart", "test"} <= named <= set(targets)


def _named_commands(page):
    """Each command line that a page shows: the command's name, and the options given to it.

    A span that starts with an option belongs to no command; its name is empty.
    """
    for line in (line for code in _code(page) for line in code.splitlines()):
        options = re.findall(r"--[a-z][a-z0-9-]*", line)
        if named := re.search(r"\btextgym ([a-z][\w-]*)(?: ([a-z][\w-]*))?", line):
            two, one = " ".join(filter(None, named.groups())), named[1]
            yield two if two in COMMANDS else one, options
        elif re.search(r"\bmake quickstart ARGS=", line):
            yield "quickstart", options
        elif line.startswith("--"):
            yield "", options


def test_every_command_and_option_exists():
    """As the command's own help lists them."""
    shown = [line for page in PAGES for line in _named_commands(page)]
    names = sorted({name for name, _ in shown if name})
    helps = run_commands(*((*name.split(), "--help") for name in names))
    assert [(0, "")] * len(names) == [(said.returncode, said.stderr) for said in helps]
    listed = {name: said.stdout for name, said in zip(names, helps, strict=True)}
    assert {"envs", "quickstart"} <= listed.keys()
    assert {"--seed", "--smoke"} <= {option for _, options in shown for option in options}
    listed[""] = "\n".join(listed.values())
    unknown = [
        (name, option)
        for name, options in shown
        for option in options
        if not re.search(rf"{option}(?![\w-])", listed[name])
    ]
    assert unknown == []


def test_every_option_of_make_mutants_exists():
    lines = [line for page in PAGES for code in _code(page) for line in code.splitlines()]
    shown = [line for line in lines if "make mutants ARGS=" in line]
    options = {option for line in shown for option in re.findall(r"--[a-z][a-z0-9-]*", line)}
    source = (ROOT / "tests" / "mutants" / "__main__.py").read_text(encoding="utf-8")
    assert options
    assert [option for option in options if f'"{option}"' not in source] == []


def _tree():
    """The paths that the README's tree names; a room's own line starts it."""
    paths, stack = [], []
    for line in _blocks(README, "")[0].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.findall(r"[\w-]+\.(?:py|model)\b|[\w-]+/", line)
        if names and names[0].endswith("/") and line.split()[0] == names[0]:
            stack = [*stack[:depth], names.pop(0)]
            paths.append("".join(stack))
        else:
            stack = stack[:depth]
        paths += ["".join(stack) + name for name in names]
    return paths


def test_every_file_of_the_tree_exists():
    paths = _tree()
    assert {f"{room}/" for room in ROOMS} <= set(paths)
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("package", ROOMS[:3])
def test_the_tree_names_every_room(package):
    """A room that is not on the map is not found by who comes next."""
    rooms = {f"{p.parent.relative_to(ROOT).as_posix()}/" for p in ROOT.glob(f"{package}/*/*.py")}
    assert rooms <= set(_tree())


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    """Within the repository, pictures included; nothing is fetched."""
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\[[^\]]+\]\(([^)]+)\)", text)
    assert links
    assert [x for x in links if "://" not in x and not (ROOT / x).exists()] == []


def _whole_commands(page):
    """Each command of a page's blocks for a shell: its name and its words, variables put in."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in [*_blocks(text, "bash"), *_blocks(text, "sh")]:
        variables = {}
        for line in block.replace("\\\n", " ").splitlines():
            named = re.fullmatch(r'(\w+)="(.*)"', line)
            if named:
                variables[f"${named[1]}"] = named[2]
            if "textgym " not in line or line.startswith("for "):
                continue
            whole = re.sub(r"\$\w+", lambda used: variables.get(used[0], used[0]), line)  # noqa: B023
            _, _, given = whole.partition("textgym ")
            words = shlex.split(given, comments=True)
            name = next((n for n in (" ".join(words[:k]) for k in (2, 1)) if n in COMMANDS), None)
            yield name, words[len((name or "").split()) :]


@pytest.mark.parametrize("page", [*PAGES, "DATA.md"])
def test_every_command_of_a_block_is_read_whole(page):
    """Its options with as many values as they take, each of the kind and in the range."""
    wrong = []
    for name, words in _whole_commands(page):
        try:
            COMMANDS[name].parse(name, words)
        except (UsageError, KeyError) as error:
            wrong.append((name, words, error))
    assert wrong == []


def test_the_first_page_is_short():
    assert len(README.splitlines()) < 150
