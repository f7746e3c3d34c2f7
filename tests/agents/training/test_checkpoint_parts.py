"""A checkpoint in parts is gone on from by one process, as it goes on from the whole one."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from tests.agents.toys import make_model, make_toy
from tests.agents.training.in_shards import figures
from tests.spread_files import cut_in_two

CONFIG = PPOConfig(learning_rate=1e-3, iterations=4)


def _learner(seed=0):
    policy = TransformerPolicy(make_model(seed=seed), make_model(seed=seed + 1))
    frozen = policy.model.transformer.wpe.weight  # parts hold it as well
    torch.nn.init.constant_(frozen.requires_grad_(False), 0.01)
    return PPO(policy, make_toy(rows=4), CONFIG)


@pytest.fixture
def whole(tmp_path):
    """A whole checkpoint after an iteration, and its files cut by hand in ``parts`` beside it."""
    learner = _learner()
    learner.step()
    for name in ("whole", "parts"):
        learner.save(tmp_path / name)
    folder = tmp_path / "parts"
    for place in ("policy", "policy/critic", "reference"):
        cut_in_two(folder / place / "model.safetensors", folder / place / "parts")
    kept = load_file(folder / "state.safetensors")
    models = tuple(name for name in kept if name.startswith(("policy.model.", "policy.critic.")))
    moments = tuple(n for n in kept if n.startswith("optimizer.") and not n.endswith(".step"))
    save_file({n.removeprefix("optimizer."): kept[n] for n in moments}, folder / "moments.file")
    cut_in_two(folder / "moments.file", folder / "moments")
    rest = {name: value for name, value in kept.items() if name not in {*models, *moments}}
    save_file(rest, folder / "state.safetensors")
    return tmp_path / "whole"


def _state(learner):
    moments = [learner.optimizer.state[p] for p in learner.policy.parameters() if p.requires_grad]
    every = [m for each in moments for _, m in sorted(each.items())]
    models = [*learner.policy.parameters(), *learner.reference.parameters()]
    return [tensor.detach().clone() for tensor in (*every, *models)]


@pytest.mark.parametrize("how", ["load", "restore"])
def test_one_process_goes_on_from_parts(whole, how):
    parts = whole.parent / "parts"
    one = _learner(seed=3).restore(whole)
    other = PPO.load(parts, make_toy(rows=4)) if how == "load" else _learner(seed=5).restore(parts)
    if how == "load":  # what is frozen is the caller's to say
        other.policy.model.transformer.wpe.weight.requires_grad_(False)
    assert all(torch.equal(a, b) for a, b in zip(_state(one), _state(other), strict=True))
    expected = pytest.approx(figures(one.step()[0]), rel=1e-6, abs=1e-9, nan_ok=True)
    assert expected == figures(other.step()[0])


@pytest.mark.parametrize("place", ["policy/parts", "policy/critic/parts", "moments"])
def test_a_part_that_is_missing_is_damage_and_nothing_changes(whole, place):
    parts, learner = whole.parent / "parts", _learner(seed=3)
    before = [p.detach().clone() for p in learner.policy.parameters()]
    sorted((parts / place).glob("*.safetensors"))[-1].unlink()
    with pytest.raises(ValueError, match=r"parts is damaged \(.*is missing\): remove it"):
        learner.restore(parts)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.policy.parameters(), strict=True))


def test_parts_of_another_model_are_refused_by_a_name(whole):
    policy = TransformerPolicy(make_model(width=16), make_model(width=16))
    learner = PPO(policy, make_toy(rows=4), CONFIG)
    with pytest.raises(ValueError, match=r"is one of another model: \S+ differs"):
        learner.restore(whole.parent / "parts")
