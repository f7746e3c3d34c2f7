"""Every setting is frozen, documented and read: a field that nobody reads is a lie."""

import ast
import dataclasses
import inspect
import itertools
import math
import re
import typing
from collections.abc import Mapping
from pathlib import Path

import pytest

from agents.comparing.study import Study
from agents.dpo import DPOConfig
from agents.grpo import GRPOConfig
from agents.models.scratch import ScratchConfig
from agents.ppo import PPOConfig
from agents.reinforce import ReinforceConfig
from agents.rloo import RLOOConfig
from agents.sft import SFTConfig
from reward_models.card import CardConfig
from reward_models.feedback.selection import SelectionConfig
from reward_models.judging.endpoint import EndpointConfig
from reward_models.judging.judge import JudgeConfig
from reward_models.learning.label_trainer import FitConfig
from reward_models.learning.labelled import LSTMTrainingConfig
from reward_models.learning.settings import RewardTrainingConfig
from reward_models.learning.stepwise import ProcessTrainingConfig
from reward_models.models.classifier import ClassifierConfig
from reward_models.models.ensemble import EnsembleConfig
from reward_models.preferences.leases import HandoutConfig
from textgym.cli.main import COMMANDS
from textgym.cli.parsing import RANGES
from textgym.cli.quickstart.plan import Plan
from textgym.pretrained.adapters import AdapterConfig

ROOT = Path(__file__).parents[2]
OF_COMMANDS = [command.load()[0] for command in COMMANDS.values()]
DOCUMENTED = [
    PPOConfig,
    GRPOConfig,
    DPOConfig,
    RLOOConfig,
    ReinforceConfig,
    SFTConfig,
    AdapterConfig,
    ScratchConfig,
    Study,
    RewardTrainingConfig,
    LSTMTrainingConfig,
    FitConfig,
    CardConfig,
    ClassifierConfig,
    EnsembleConfig,
    EndpointConfig,
    JudgeConfig,
    ProcessTrainingConfig,
    *OF_COMMANDS,
]
CONFIGS = [*DOCUMENTED, Plan]
SOURCE = "\n".join(
    path.read_text()
    for folder in ("textgym", "agents", "reward_models")
    for path in (ROOT / folder).rglob("*.py")
)
FIELDS = [(c, f.name) for c in CONFIGS for f in dataclasses.fields(c)]


@pytest.mark.parametrize("config", CONFIGS)
def test_is_frozen_slotted_and_keyword_only(config):
    assert config.__dataclass_params__.frozen
    assert "__slots__" in vars(config)
    assert all(f.kw_only for f in dataclasses.fields(config))


@pytest.mark.parametrize(("config", "name"), FIELDS)
def test_every_field_is_read_somewhere(config, name):
    """As an attribute, outside the class body that declares it."""
    assert re.search(
        rf"(config|plan|self\.config|language_model|ppo|sampling|study)\.{name}\b", SOURCE
    )


@pytest.mark.parametrize("config", DOCUMENTED)
def test_every_field_says_what_it_does(config):
    """The command line's help is made of the strings below the fields."""
    body = ast.parse(inspect.getsource(config)).body[0].body
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(below, ast.Expr), field.target.id
            assert len(below.value.value) > 15


def _kinds(config):
    """What each field is annotated with, also by a name that is for type checkers alone."""
    return typing.get_type_hints(config, localns={"Mapping": Mapping})


def _numbers(config):
    """The fields that hold a number or several, and numbers that none may be."""
    for name, kind in _kinds(config).items():
        kinds = {kind, *typing.get_args(kind)}
        kinds |= {inner for one in kinds for inner in typing.get_args(one)}
        if float in kinds:
            yield from ((name, value) for value in (math.nan, -math.inf))
        elif int in kinds:
            yield from ((name, value) for value in (-1, -(10**30)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_number_of_a_command_has_its_option_s_range(name):
    config, _ = COMMANDS[name].load()
    for field, value in _numbers(config):
        assert field in RANGES
        assert value not in RANGES[field]


REQUIRED = {
    Study: {"env": "TextGym/Alphabet-v0", "rewards": {"length": "length"}},
    EndpointConfig: {"url": "http://localhost", "model": "small"},
}
SETTINGS = [*(c for c in DOCUMENTED if c not in OF_COMMANDS), HandoutConfig, SelectionConfig]


@pytest.mark.parametrize(
    ("config", "name", "value"), [(c, *number) for c in SETTINGS for number in _numbers(c)]
)
def test_a_number_that_none_may_be_is_refused_by_its_name(config, name, value):
    """Else a run of hours ends in NaN, or a message is of a library's insides."""
    given = value if "tuple" not in str(_kinds(config)[name]) else (value,)
    with pytest.raises(ValueError, match=name):
        config(**REQUIRED.get(config, {}), **{name: given})


OWN = {
    PPOConfig: "agents/ppo.py",
    GRPOConfig: "agents/grpo.py",
    RLOOConfig: "agents/rloo.py",
    ReinforceConfig: "agents/reinforce.py",
    DPOConfig: "agents/dpo.py",
    SFTConfig: "agents/sft.py",
}
SHARED = [
    *("agents/learner.py", "agents/config.py", "agents/rollouts/vllm_server.py"),
    *sorted(ROOT.glob("agents/training/*.py")),
]


def _read_by(config):
    """The attributes that are read in a learner's own file, and in what all learners share."""
    files = [OWN[config], *SHARED]
    trees = [ast.parse((ROOT / file).read_text(encoding="utf-8")) for file in files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("config", OWN)
def test_every_field_is_read_by_its_own_learner(config):
    """A field that another learner reads was taken for one that this one reads."""
    read = _read_by(config)
    assert [f.name for f in dataclasses.fields(config) if f.name not in read] == []


def test_what_another_learner_reads_does_not_count():
    assert {"group_size", "clip_high", "beta"} & _read_by(PPOConfig) == set()
    assert {"value_weight", "lam", "beta"} & _read_by(GRPOConfig) == set()
