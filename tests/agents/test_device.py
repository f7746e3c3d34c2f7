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
WRITING = tuple(f"collect {kind}" for kind in (*GROWING, "masked", "longer", "choices", "edits"))
STEPPING = (
    *(f"step {mode} {kind}" for mode in MODES for kind in KINDS),
    *("step constrained append", "step constrained choose"),
)
LEARNERS = ("ppo", "ppo critic")
MORE_LEARNERS = ("ppo cut off", "grpo", "grpo draws", "rloo", "reinforce", "dpo")
MORE = (
    *("kinds", "conversing", "branching", "adapting", "comparing"),
    *("proposing", "rewarding", "baselines"),
)


def _tell(folder, cases):
    """What each case gave, from a process of its own: the device is registered for good."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch has no backends in Python")
    out = folder / "told.json"
    command = [sys.executable, "-W", "ignore", "-m", "tests.agents.on_pretend_device", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, *cases], check=True, cwd=ROOT, env=environment, timeout=280)
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    cases = (*WRITING, *STEPPING, *LEARNERS, "measuring", "updating", "mistaken")
    return _tell(tmp_path_factory.mktemp("device"), cases)


@pytest.fixture(scope="module")
def told_more(tmp_path_factory):
    return _tell(tmp_path_factory.mktemp("device"), (*MORE_LEARNERS, *MORE))


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
    refused = dict.fromkeys(
        ("added", "looked up", "written", "stacked", "wide", "sent wide"), "refused"
    )
    waits = dict.fromkeys(("read", "asked", "masked", "sent", "made", "repeated", "chosen"), 1)
    none = dict.fromkeys(("sent soon", "doubled", "filled", "taken", "counted"), 0)
    assert refused | waits | none == _result(told, "mistaken")["there"]


@pytest.mark.parametrize("case", [*WRITING, "measuring"])
def test_texts_are_written_and_measured_on_a_device_as_on_the_host(told, case):
    result = _result(told, case)
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


@pytest.mark.slow
@pytest.mark.parametrize("learner", MORE_LEARNERS)
def test_every_learner_on_a_device_is_as_on_the_host(told_more, learner):
    result = _result(told_more, learner)
    _require_same(result["here"], result["there"])
    assert result["there"]["resumed"]


@pytest.mark.slow
@pytest.mark.parametrize("case", MORE)
def test_all_else_on_a_device_is_as_on_the_host(told_more, case):
    result = _result(told_more, case)
    _require_same(result["here"], result["there"])


@pytest.mark.parametrize("case", STEPPING)
def test_a_batch_steps_on_a_device_as_in_numpy(told, case):
    """The case itself compares each step's results."""
    _result(told, case)


@pytest.mark.parametrize("kind", [*GROWING, "masked"])
def test_a_step_waits_once_and_once_or_twice_more_where_prompts_are_read(told, kind):
    """For which rows have ended, how long prompts are and what is legal behind them."""
    steps = _result(told, f"collect {kind}")["steps"]
    waits = {True: set(), False: set()}
    for (ended, before), (_, later) in pairwise(steps):
        waits[ended].add(later - before)
    assert waits == {False: {1}, True: {1, 3 if kind == "masked" else 2}}


def test_longer_texts_make_the_host_wait_no_more_than_once_a_token(told):
    short, long = (_result(told, f"collect {kind}") for kind in ("gpt2", "longer"))
    more = {name: long[name] - short[name] for name in ("in_all", "actions")}
    assert 0 < more["in_all"] <= more["actions"]
