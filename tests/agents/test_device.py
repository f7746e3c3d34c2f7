"""On a GPU everything stays where it is, and the host waits for it once a token.

There is none here; see ``tests.agents.pretend_device`` for what stands in.
"""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from torch.utils import backend_registration

ROOT = Path(__file__).parents[2]
MODES, KINDS = ("NextStep", "SameStep", "Disabled"), ("append", "choose", "edit")
GROWING = ("gpt2", "llama", "mistral", "top-k", "top-p")
LEARNERS = ("ppo", "ppo critic", "ppo cut off", "grpo", "rloo", "reinforce", "dpo")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each case gave, from a process of its own: the device is registered for good."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch has no backends in Python")
    out = tmp_path_factory.mktemp("device") / "told.json"
    command = [sys.executable, "-W", "ignore", "-m", "tests.agents.on_pretend_device", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, cwd=ROOT, env=environment, timeout=240)
    return json.loads(out.read_text())


def _result(told, case):
    assert "error" not in told[case], told[case]["error"]
    return told[case]


def _require_same(here, there):
    """All numbers alike but for rounding, as the host's layers are packed, and all else equal."""
    if isinstance(here, dict):
        assert here.keys() == there.keys()
        for name in here:
            _require_same(here[name], there[name])
    elif isinstance(here, list):
        assert len(here) == len(there)
        for each, other in zip(here, there, strict=True):
            _require_same(each, other)
    elif isinstance(here, str):
        assert here == there
    else:
        assert here == pytest.approx(there, rel=1e-3, abs=1e-5, nan_ok=True)


def test_the_device_refuses_and_notes_what_cuda_would(told):
    """Without this nothing below could fail."""
    refused = dict.fromkeys(("added", "looked up", "written", "stacked"), "refused")
    waits = dict.fromkeys(("read", "asked", "masked", "sent", "made", "repeated", "chosen"), 1)
    none = dict.fromkeys(("sent soon", "doubled", "filled", "taken", "counted"), 0)
    assert refused | waits | none == _result(told, "mistaken")["there"]


@pytest.mark.parametrize("kind", [*GROWING, "masked", "choices", "edits"])
def test_texts_are_written_on_a_device_as_on_the_host(told, kind):
    result = _result(told, f"collect {kind}")
    _require_same(result["here"], result["there"])


@pytest.mark.parametrize("learner", LEARNERS)
def test_learning_and_resuming_on_a_device_are_the_hosts(told, learner):
    """A resumed learner makes the very step that the first one does."""
    result = _result(told, learner)
    _require_same(result["here"], result["there"])
    assert result["there"]["resumed"]


def test_a_gradient_waits_twice_a_pass_and_twice_more(told):
    """For how many actions a pass has and how long its texts are; for sizes, and measurements."""
    result = _result(told, "updating")
    _require_same(result["here"], result["there"])
    assert result["passes"] > 1
    assert result["in_all"] == 2 * result["passes"] + 2


def test_policies_are_measured_on_a_device_as_on_the_host(told):
    result = _result(told, "measuring")
    _require_same(result["here"], result["there"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_steps_on_a_device_as_in_numpy(told, mode, kind):
    """The case itself compares each step's results."""
    _result(told, f"step {mode} {kind}")


@pytest.mark.parametrize("kind", GROWING)
def test_a_step_in_which_no_text_ends_waits_for_the_device_once(told, kind):
    """For which rows have ended; from the end of one step to the end of the next."""
    steps = _result(told, f"collect {kind}")["steps"]
    waits = [later - before for (ended, before), (_, later) in pairwise(steps) if not ended]
    assert waits
    assert waits == [1] * len(waits)
