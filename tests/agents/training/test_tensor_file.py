"""Tensors are written and read one by one, and a checkpoint takes no second copy of the weights."""

import weakref
from unittest.mock import patch

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.autograd.profiler import profile

from agents import learner as learners
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.training import precision
from agents.training.distributed import Processes
from agents.training.reference import final_values
from agents.training.tensor_file import TensorFile, Waiting, write_tensors
from tests.agents.toys import make_model, make_toy

GIVEN = {
    "a.weight": torch.arange(6, dtype=torch.float32).view(2, 3).T,  # no row after row in memory
    "b": torch.tensor(7.5, dtype=torch.float64),
    "c": torch.arange(5).to(torch.bfloat16),
    "generator.é": torch.arange(3, dtype=torch.uint8),
    "nothing": torch.zeros(0, 4),
    "steps": torch.tensor([2**40]),
}


def _write(path, tensors):
    every = [Waiting(n, t.shape, t.dtype, lambda t=t: t) for n, t in tensors.items()]
    write_tensors(path, every)


def test_safetensors_reads_what_was_written_and_so_do_we(tmp_path):
    _write(tmp_path / "file.safetensors", GIVEN)
    theirs, ours = (
        load_file(tmp_path / "file.safetensors"),
        TensorFile(tmp_path / "file.safetensors"),
    )
    assert set(GIVEN) == set(theirs) == set(ours.shapes)
    for name, tensor in GIVEN.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, theirs[name])
        assert torch.equal(tensor, ours.read(name))
    with pytest.raises(KeyError, match="other"):
        ours.read("other")


def test_a_file_that_was_cut_off_is_noticed_when_it_is_opened(tmp_path):
    path = tmp_path / "file.safetensors"
    _write(path, GIVEN)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SafetensorError):
        TensorFile(path)


@pytest.mark.parametrize("writes", [True, False], ids=["writes", "helps"])
def test_each_tensor_is_made_in_turn_and_let_go(writes, tmp_path):
    alive, most = weakref.WeakSet(), []

    def make(number):
        tensor = torch.full((4,), float(number))
        alive.add(tensor)
        most.append(len(alive))
        return tensor

    path = tmp_path / "file.safetensors" if writes else None
    every = [Waiting(str(i), (4,), torch.float32, lambda i=i: make(i)) for i in range(5)]
    write_tensors(path, every)
    assert max(most) <= 2  # the one before may still be in the hand of the loop
    assert len(most) == 5
    assert writes == (tmp_path / "file.safetensors").is_file()


def _most_bytes(function):
    """The most bytes that torch's allocator had given out at once inside, beyond those before."""
    with profile(profile_memory=True) as recorded:
        function()
    events = [e for e in recorded.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def _learner(**settings):
    # Wide enough that weights are most of what is allocated.
    config = PPOConfig(bf16=False, micro_batch_tokens=64, kl_coefficient=0.1, **settings)
    return PPO(TransformerPolicy(make_model(width=128)), make_toy(rows=4), config)


def test_a_checkpoint_takes_no_second_copy_of_what_it_keeps(tmp_path):
    """Weights and moments are three copies, which were all copied before they were written."""
    ppo = _learner()
    ppo.step()
    parameters = [p.numel() * 4 for p in ppo.policy.parameters()]
    assert _most_bytes(lambda: ppo.save(tmp_path / "one")) < sum(parameters) / 2
    assert _most_bytes(lambda: [p.clone() for p in ppo.policy.parameters()]) >= sum(parameters)
    weights = [p.detach().clone() for p in ppo.policy.parameters()]
    ppo.step()
    alive, most, read = weakref.WeakSet(), [], TensorFile.read

    def counted(file, name):
        tensor = read(file, name)
        if name.startswith("policy."):
            alive.add(tensor)
        most.append(len(alive))
        return tensor

    with patch.object(TensorFile, "read", counted):
        ppo.restore(tmp_path / "one")
    assert max(most) <= 2
    assert len(most) > 3 * len(parameters)
    assert all(map(torch.equal, weights, ppo.policy.parameters()))


def test_the_reference_is_written_once_a_run_and_read_once(tmp_path):
    ppo = _learner()
    for name in ("one", "two"):
        ppo.save(tmp_path / name)
    files = ["model.safetensors", "value_head.safetensors"]
    for file in files:
        one, two = (tmp_path / name / "reference" / file for name in ("one", "two"))
        assert one.stat().st_ino == two.stat().st_ino
    read, load = [], TransformerPolicy.from_pretrained.__func__

    def counted(cls, folder, *args, **kwargs):
        read.append(folder.name)
        return load(cls, folder, *args, **kwargs)

    with patch.object(TransformerPolicy, "from_pretrained", classmethod(counted)):
        again = PPO.load(tmp_path / "two", make_toy(rows=4))
    assert sorted(read) == ["policy", "reference"]
    again.save(tmp_path / "three")
    assert (tmp_path / "three" / "reference" / files[0]).stat().st_ino == one.with_name(
        files[0]
    ).stat().st_ino
    with torch.no_grad():
        again.reference.head.weight += 1  # somebody's own reference
    again.save(tmp_path / "four")
    saved = TransformerPolicy.from_pretrained(tmp_path / "four" / "reference")
    assert torch.equal(again.reference.head.weight, saved.head.weight)


def test_final_values_are_read_in_passes_of_bounded_size(monkeypatch):
    """Of texts that were cut off alone, and the same as in one pass."""
    ppo = PPO(
        TransformerPolicy(make_model()),
        make_toy(rows=16, max_episode_steps=3),
        PPOConfig(),
    )
    torch.nn.init.normal_(ppo.policy.value_head.weight)
    rollout, passes = ppo.collect(), []
    read = ppo.policy.state_values

    def counted(tokens, lengths):
        passes.append(tokens.shape)
        return read(tokens, lengths)

    with torch.no_grad():
        expected = torch.where(rollout.truncated, read(rollout.tokens, rollout.lengths), 0.0)
    monkeypatch.setattr(ppo.policy, "state_values", counted)
    actual = final_values(ppo.policy, rollout, most_tokens=20, processes=ppo.processes)
    torch.testing.assert_close(expected, actual)
    assert sum(rows for rows, _ in passes) == int(rollout.truncated.sum()) > 0
    assert len(passes) > 1
    assert max(rows * columns for rows, columns in passes) <= 20


def test_only_the_main_process_tries_which_precision_is_faster(monkeypatch):
    tried = []
    monkeypatch.setattr(precision, "pinned_precision", lambda *_: tried.append(1) or True)
    for rank in range(2):
        monkeypatch.setattr(
            learners, "current_processes", lambda *_, rank=rank, **__: Processes(rank)
        )
        ppo = _learner_of_auto()
        assert (rank == 0) == ppo.bf16
    assert tried == [1]


def _learner_of_auto():
    return PPO(TransformerPolicy(make_model()), make_toy(rows=4), PPOConfig(bf16="auto"))
