"""Every setting is frozen, documented and read: a field that nobody reads is a lie."""

import ast
import dataclasses
import inspect
import itertools
import re
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
from reward_models.judging.endpoint import EndpointConfig
from reward_models.judging.judge import JudgeConfig
from reward_models.learning.label_trainer import FitConfig
from reward_models.learning.labelled import LSTMTrainingConfig
from reward_models.learning.settings import RewardTrainingConfig
from reward_models.learning.stepwise import ProcessTrainingConfig
from reward_models.models.classifier import ClassifierConfig
from reward_models.models.ensemble import EnsembleConfig
from textgym.cli.main import COMMANDS
from textgym.cli.quickstart.plan import Plan
from textgym.pretrained.adapters import AdapterConfig

ROOT = Path(__file__).parents[2]
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
    *(command.load()[0] for command in COMMANDS.values()),
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
