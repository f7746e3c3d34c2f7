"""Several processes learn what one would have learned, and none is left waiting for another."""

import json
import socket
from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from agents.config import LearnerConfig
from agents.training.distributed import Processes, current_processes, fingerprint
from tests.agents import in_processes
from tests.agents.toys import make_model
from tests.agents.training.processes import start


@pytest.mark.parametrize(("total", "count"), [(14, 4), (3, 4), (0, 2), (8, 1)])
def test_shares_are_everything_once_and_differ_by_at_most_one(total, count):
    shares = [Processes(rank, count).share(total) for rank in range(count)]
    assert list(range(total)) == [i for share in shares for i in range(total)[share]]
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_texts_are_dealt_so_that_each_process_has_as_much_to_read():
    """Of lengths 9, 1, 8, 2, 7 the first of two reads 9, 7 and 1, the second 8 and 2."""
    rows, lengths = torch.tensor([10, 11, 12, 13, 14]), torch.tensor([9, 1, 8, 2, 7])
    dealt = [Processes(rank, 2).deal(rows, lengths).tolist() for rank in range(2)]
    assert dealt == [[10, 14, 11], [12, 13]]
    assert Processes(2, 3).deal(rows[:2], lengths[:2]).tolist() == []
    assert Processes().deal(rows, lengths).tolist() == rows.tolist()


def test_a_process_that_was_started_by_itself_is_alone_and_sends_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone, numbers = current_processes(), torch.tensor([1.0, 2.0])
    assert (alone.rank, alone.count, alone.is_main) == (0, 1, True)
    alone.sum_([numbers])
    assert alone.gather(numbers, 2).tolist() == [1.0, 2.0]
    assert alone.exchange("here") == ["here"]
    assert alone.summed({"loss": 2.0}) == {"loss": 2.0}
    with pytest.raises(ZeroDivisionError), alone.together():
        raise ZeroDivisionError


@pytest.mark.parametrize(("device", "made"), [("cuda", ["cuda:nccl,cpu:gloo"]), ("cpu", [])])
def test_processes_on_gpus_also_send_what_rests_on_the_host(device, made, monkeypatch):
    """accelerate joins NCCL alone, by which an optimiser on the host learns no common norm."""
    begun = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "init_process_group", lambda kind, **_: begun.append(kind))
    state = SimpleNamespace(process_index=1, num_processes=2, device=torch.device(device))
    monkeypatch.setattr("accelerate.PartialState", lambda **_: state)
    here = current_processes(device, LearnerConfig(shard=True, offload=True))
    assert begun == made
    assert (here.rank, here.count, here.sharded, here.offloaded) == (1, 2, True, True)
    assert not current_processes(device, LearnerConfig(offload=True)).offloaded


@pytest.mark.parametrize(
    ("processes", "settings", "says"),
    [
        (Processes(), {}, []),
        (Processes(), {"shard": True, "offload": True}, ["shard, offload, as one process alone"]),
        (Processes(0, 2), {"checkpoint_in_parts": True}, ["checkpoint_in_parts, as without shard"]),
        (Processes(0, 2, sharded=True), {"shard": True, "offload": True}, ["offload, as on a CPU"]),
        (Processes(0, 2, sharded=True), {"shard": True, "checkpoint_in_parts": True}, []),
        (Processes(0, 2, torch.device("cuda"), True, True), {"shard": True, "offload": True}, []),
    ],
)
def test_what_changes_nothing_is_said(processes, settings, says):
    lines = processes.without_effect(LearnerConfig(**settings))
    assert len(lines) == len(says)
    assert all(f"without effect: {said}" in line for said, line in zip(says, lines, strict=True))


def test_a_fingerprint_tells_weights_apart():
    models = [make_model(seed=seed) for seed in (0, 0, 1)]
    same, again, other = map(fingerprint, models)
    assert same == again != other
    with torch.no_grad():
        models[1].lm_head.weight[0, 0] += 1e-6
    assert same != fingerprint(models[1])


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What one process says of itself, and what two say."""
    out = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [start("tests.agents.in_processes", rank, 2, port, out) for rank in range(2)]
    try:
        in_processes.main(out / "..")
        for rank, process in enumerate(started):
            assert process.wait(240) == 0, (out / f"{rank}.log").read_text()
    finally:
        for process in started:
            process.kill()
            process.wait()
    one = json.loads((out / ".." / "1-0.json").read_text())
    return one, [json.loads((out / f"2-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("case", in_processes.CASES)
def test_two_processes_learn_what_one_does(case, told):
    """The same texts, and after two iterations the same measurements and weights.

    Fourteen texts in 2 x 3 rows; a process may have no text of a minibatch; at the start only the
    main process has the right weights.
    """
    one, two = told[0][case], [each[case] for each in told[1]]
    assert two[0] == two[1]
    for name in ("tokens", "actions", "legal", "scores", "example_ids"):
        assert one[name] == two[0][name], name
    assert len(one["tokens"]) == in_processes.TEXTS
    for alone, shared in zip(one["metrics"], two[0]["metrics"], strict=True):
        assert alone == pytest.approx(shared, rel=1e-5, abs=1e-5, nan_ok=True)
    torch.testing.assert_close(
        torch.tensor(one["weights"]), torch.tensor(two[0]["weights"]), atol=1e-6, rtol=0
    )


@pytest.mark.slow
def test_the_cases_are_the_hard_ones(told):
    """The price of KL moves, updates stop early at the target, and groups have no contrast."""
    ppo, few, grpo, draws, dpo, _ = (told[0][case]["metrics"] for case in in_processes.CASES)
    assert ppo[0]["kl_coefficient"] != ppo[1]["kl_coefficient"]
    assert ppo[0]["updates"] == 8
    assert 1 < few[0]["updates"] < in_processes.TEXTS
    assert grpo[0]["reward_std"] > 0
    assert max(each["draws"] for each in draws) > 1
    assert dpo[0]["updates"] == 2


@pytest.mark.slow
def test_two_processes_go_on_from_one_checkpoint(told):
    one, two = told[0]["resume"], [each["resume"] for each in told[1]]
    assert two[0] == two[1]
    assert one["metrics"] == pytest.approx(two[0]["metrics"], rel=1e-5, abs=1e-5)
    torch.testing.assert_close(
        torch.tensor(one["weights"]), torch.tensor(two[0]["weights"]), atol=1e-6, rtol=0
    )


@pytest.mark.slow
def test_what_fails_in_one_process_raises_in_all(told):
    """A reward, a guard, and memory; after the reward, the same prompts and draws come again."""
    main, other = (each["fail"] for each in told[1])
    reward, guard, memory = main["errors"]
    assert reward.startswith("in process 1: reward 'reward' raised ZeroDivisionError")
    assert guard.startswith("iteration 1: in process 1: ratio is off (the batch is in ")
    assert "in process 1: out of memory: lower micro_batch_tokens, or set bf16" in memory
    assert [each.removeprefix("iteration 1: ")[:12] for each in other["errors"]] == [
        "reward 'rewa",
        "ratio is off",
        "out of memor",
    ]
    assert main["unchanged"]
    assert other["unchanged"]


@pytest.mark.slow
def test_processes_that_are_not_alike_are_refused(told):
    settings, weights = told[1][1]["refuse"]["errors"]
    assert "process 1 has another learning_rate than process 0 (0.002, not 0.001)" in settings
    assert "process 1 has another weights than process 0" in weights
    assert told[1][0]["refuse"] == told[1][1]["refuse"]


@pytest.mark.slow
def test_the_main_process_calls_callbacks_and_stops_all(told):
    assert [each["learn"] for each in told[1]] == [
        {"iteration": 2, "seen": [1, 2]},
        {"iteration": 2, "seen": []},
    ]


@pytest.mark.slow
def test_sets_that_are_packed_differently_here_and_there_are_one_array(told):
    """One action is in the first process's sets, two in the second's, of seven episodes each."""
    for each in told[1]:
        for sets in each["kept"]:
            assert [set(row) for row in sets] == [{1}] * 7 + [{2}] * 7


def test_what_is_sent_arrives(told):
    for each in told[1]:
        assert each["sent"] == {
            "gathered": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            "summed": [3, 3, 3],
            "exchanged": [0, 1],
            "main": "rank 0",
        }
