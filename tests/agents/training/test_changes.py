"""Where a run goes on: of each setting, whether it may change, and what is said of it."""

import dataclasses

import pytest

from agents import (
    DPO,
    GRPO,
    PPO,
    RLOO,
    DPOConfig,
    GRPOConfig,
    PPOConfig,
    Reinforce,
    ReinforceConfig,
    RLOOConfig,
)
from agents.models.policy import TransformerPolicy
from agents.training.changes import MAY_CHANGE, MUST_STAY, changed_settings
from tests.agents.toys import make_model, make_toy

KINDS = [
    (PPO, PPOConfig),
    (GRPO, GRPOConfig),
    (RLOO, RLOOConfig),
    (Reinforce, ReinforceConfig),
    (DPO, DPOConfig),
]
NAMES = {field.name for _, config in KINDS for field in dataclasses.fields(config)}
FASTER = {
    "iterations": 9,
    "epochs": 3,
    "minibatches": 2,
    "learning_rate": 1e-5,
    "final_rate": 0.5,
    "max_gradient_norm": None,
    "micro_batch_tokens": 64,
    "clip": 0.3,
}


def _made(kind, config, **settings):
    return kind(TransformerPolicy(make_model()), make_toy(), config(**settings))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_of_every_setting_it_is_decided_whether_it_may_change(name):
    """A new field is in one of the two, with its reason, or this fails."""
    assert (name in MAY_CHANGE) != (name in MUST_STAY)


def test_nothing_is_decided_that_is_no_setting():
    assert MAY_CHANGE.keys() | MUST_STAY.keys() == NAMES
    assert all(len(reason) > 10 for reason in (*MAY_CHANGE.values(), *MUST_STAY.values()))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_change_is_told_or_refused_by_its_name(name):
    before, now = {"seed": 0, name: 1, "other": 2}, {"seed": 0, name: 3}
    if name in MAY_CHANGE:
        assert changed_settings(before, now) == [f"{name} is 3 from here on, and was 1"]
    else:
        with pytest.raises(ValueError, match=rf"made with {name} [01], not [03] \(\w+"):
            changed_settings(before, now)


def test_a_checkpoint_that_knows_less_settings_than_there_are_is_gone_on_from():
    assert changed_settings({"seed": 0}, {"seed": 0, "offload": False}) == [
        "offload is False from here on, and was unknown"
    ]


@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_a_run_goes_on_with_what_may_change(kind, config, tmp_path):
    """And does the very next iteration that a learner of these settings does from there."""
    settings = {k: v for k, v in FASTER.items() if k != "clip" or config is not DPOConfig}
    group = (
        {}
        if "group_size" not in MAY_CHANGE or config in {PPOConfig, ReinforceConfig}
        else {"group_size": 4}
    )
    first = _made(kind, config, learning_rate=1e-3, **({"group_size": 2} if group else {}))
    first.step()
    first.save(tmp_path / "checkpoint")
    again = _made(kind, config, **settings, **group).restore(tmp_path / "checkpoint")
    loaded = kind.load(tmp_path / "checkpoint", make_toy(), config=config(**settings, **group))
    told = {line.split()[0] for line in again.changes}
    default = {f.name: f.default for f in dataclasses.fields(config)}
    changed = {k for k, v in settings.items() if v != default[k]} | {"learning_rate"} | group.keys()
    assert told == changed
    assert loaded.changes == again.changes
    assert "learning_rate is 1e-05 from here on, and was 0.001" in again.changes
    metrics, _ = again.step()
    assert metrics["updates"] == 3 * 2
    assert metrics["learning_rate"] == pytest.approx(1e-5 * (1 - 0.5 / 9))
    assert again.iteration == 2
    assert first.changes == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"temperature": 0.5}, r"temperature 0\.9, not 0\.5 \(what is drawn"),
        ({"seed": 1}, r"seed 0, not 1 \(the generators go on"),
        ({"kl_coefficient": 0.5}, r"kl_coefficient 0\.19, not 0\.5 \(the price of KL"),
        ({"gamma": 0.9}, r"gamma 1\.0, not 0\.9 \(what is paid"),
        ({"adam": "tensorflow"}, r"adam torch, not tensorflow \(how the moments"),
    ],
)
def test_another_objective_is_refused_and_nothing_changes(settings, reason, tmp_path):
    given = {"temperature": 0.9, "kl_coefficient": 0.19}
    first = _made(PPO, PPOConfig, learning_rate=1e-3, **given)
    first.step()
    first.save(tmp_path / "checkpoint")
    other = _made(PPO, PPOConfig, learning_rate=1e-4, **(given | settings))
    before = {name: value.clone() for name, value in other.policy.state_dict().items()}
    with pytest.raises(ValueError, match=rf"was made with {reason}.*: give the same settings"):
        other.restore(tmp_path / "checkpoint")
    assert other.iteration == 0
    assert other.changes == []
    assert all(value.equal(other.policy.state_dict()[name]) for name, value in before.items())


def test_groups_that_no_longer_divide_the_texts_are_refused(tmp_path):
    first = _made(GRPO, GRPOConfig, group_size=2)
    first.step()
    first.save(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="8 texts an iteration are no whole groups of 3"):
        GRPO.load(tmp_path / "checkpoint", make_toy(), config=GRPOConfig(group_size=3))


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(("kind", "config"), KINDS)
def test_a_checkpoint_decides_the_precision_that_was_left_open(
    kind, config, kept, tmp_path, monkeypatch
):
    """Another machine, or another hour, may find the other precision faster: numbers go on."""
    settings = {
        "minibatches": 1,
        **({"group_size": 4} if config in {GRPOConfig, RLOOConfig} else {}),
    }
    first = _made(kind, config, bf16=kept, **settings)
    first.save(tmp_path / "made")
    monkeypatch.setattr(
        "agents.training.precision.pinned_precision", lambda bf16, _: bf16 != "auto" or not kept
    )
    later = _made(kind, config, bf16="auto", **settings)
    assert later.bf16 is not kept
    later.restore(tmp_path / "made")
    assert later.bf16 is kept
    assert later.config.bf16 is kept
    assert later.changes == []
    expected, found = first.step()[0], later.step()[0]
    assert all(v == found[k] or v != v for k, v in expected.items() if "seconds" not in k)


def test_a_checkpoint_of_another_model_leaves_the_precision_as_it_was(tmp_path, monkeypatch):
    other = PPO(TransformerPolicy(make_model(width=16)), make_toy(), PPOConfig(bf16=True))
    other.save(tmp_path / "other")
    monkeypatch.setattr("agents.training.precision.pinned_precision", lambda *_: False)
    learner = _made(PPO, PPOConfig, bf16="auto")
    with pytest.raises(ValueError, match="model"):
        learner.restore(tmp_path / "other")
    assert learner.bf16 is False
    assert learner.config.bf16 is False
