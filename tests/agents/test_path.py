"""How many modules one update of PPO goes through: what somebody reads to understand it."""

import sys

from agents.training.updates import Updates
from tests.agents.learners import toy_learner


def modules_of_updates(learner, monkeypatch):
    """The modules of agents whose code runs from an iteration's first minibatch to its last."""
    seen, minibatches = set(), Updates.minibatches

    def note(frame, event, _argument):
        if event == "call":
            seen.add(frame.f_globals.get("__name__", ""))

    def noted(*args):
        sys.setprofile(note)
        yield from minibatches(*args)
        sys.setprofile(None)

    monkeypatch.setattr(Updates, "minibatches", noted)
    learner.step()
    return {name.removeprefix("agents.") for name in seen if name.startswith("agents.")}


def test_an_update_crosses_a_dozen_modules_at_most(monkeypatch):
    """Those that run a transformer apart, which are one room with one verb: ``full``."""
    learner = toy_learner(minibatches=2)
    learner.step()
    crossed = modules_of_updates(learner, monkeypatch)
    forward = {name for name in crossed if name.startswith("forward.")}
    assert forward == {
        "forward.attention",
        "forward.lean_gpt2",
        "forward.lean_trunk",
        "forward.onednn",
        "forward.output_product",
    }
    assert crossed - forward == {
        "ppo",
        "learner",
        "training.updates",
        "training.guards",
        "training.sampler_gap",
        "training.distributed",
        "models.policy",
        "models.episodes",
        "models.output_layer",
        "maths.importance",
        "maths.losses",
        "rollouts.rollout",
    }
