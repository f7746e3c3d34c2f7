"""On the real stack: a learned reward is gamed, and the worst of an ensemble later or not at all.

What Gao et al. (2023) and Coste et al. (2023) report, in the small. PPO pays nothing for KL here.
"""

import json
from dataclasses import replace

import pytest

from agents.comparing.cells import run_cell
from textgym.cli.benchmark.standards.gold_world import make_gold_world

pytestmark = [pytest.mark.learning, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Snapshots of PPO without a price of KL, by the reward."""
    folder, found = tmp_path_factory.mktemp("gold_world"), {}
    for cell in replace(make_gold_world(folder), seeds=1).cells():
        if cell.agent == "ppo, free" and cell.reward in ("single", "worst"):
            run_cell(json.dumps(cell.as_json()), str(folder / cell.name))
            result = json.loads((folder / cell.name / "result.json").read_text())
            assert result["status"] == "done", result["message"]
            found[cell.reward] = result["snapshots"]
    return found


def golds(snapshots):
    return [each["scores"]["gold"]["mean"] for each in snapshots]


def test_a_single_proxy_rises_while_the_gold_turns(runs):
    snapshots = runs["single"]
    proxy, gold = [each["scores"]["single"]["mean"] for each in snapshots], golds(snapshots)
    peak = max(range(len(gold)), key=gold.__getitem__)
    assert 0 < peak < len(gold) - 1
    assert proxy[-1] > proxy[peak]
    assert gold[peak] > gold[0] + 0.5
    assert gold[-1] < gold[peak] - 1.0


def test_the_worst_of_an_ensemble_keeps_more_of_the_gold(runs):
    single, worst = (golds(runs[name]) for name in ("single", "worst"))
    assert max(worst) - worst[-1] < (max(single) - single[-1]) / 2
    assert worst[-1] > single[-1] + 1.0
