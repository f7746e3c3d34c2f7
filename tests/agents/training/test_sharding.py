"""Two processes that each keep a part of the weights learn what one learns that keeps them all."""

import json
import re
import socket
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from agents.grpo import GRPO, GRPOConfig
from agents.models.policy import TransformerPolicy
from agents.models.sharding import copy_over, own_part, own_share, require_shardable, whole
from agents.training.distributed import Processes
from agents.training.reference import evaluate_all
from tests.agents.toys import make_model, make_toy
from tests.agents.training import in_shards
from tests.agents.training.processes import start


def test_quantised_weights_are_refused_in_one_line():
    policy = TransformerPolicy(make_model())
    require_shardable(policy, policy.trunks)
    packed = nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False)
    policy.model.register_parameter("packed", packed)
    with pytest.raises(ValueError, match=r"the model is quantised, .*: leave shard out"):
        require_shardable(policy, policy.trunks)


def test_a_model_whose_layers_are_not_known_is_refused_in_one_line():
    policy = TransformerPolicy(make_model("mistral"))
    policy.trunk.blocks = []
    with pytest.raises(ValueError, match="not known what the model's layers are: leave shard out"):
        require_shardable(policy, policy.trunks)


def test_what_is_not_cut_is_whole_and_one_s_own():
    own, given = torch.zeros(3), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert whole(own) is own
    assert own_part(own) is own
    assert own_share(given, own) is given
    copy_over(own, given)
    assert own.tolist() == [1.0, 2.0, 3.0]
    parts = [torch.tensor([4])]
    assert Processes().evened(parts, torch.tensor([0])) == (parts, 1)


def test_a_filler_is_read_and_left_out():
    """A process with fewer parts reads the first text again, which is another's to evaluate."""
    agent = GRPO(
        TransformerPolicy(make_model()), make_toy(rows=4), GRPOConfig(episodes=4, group_size=2)
    )
    rollout, wanted = agent.collect(), torch.tensor([1, 3])
    behind = SimpleNamespace(evened=lambda own, filler: ([*own, filler], len(own)))
    result = evaluate_all(
        agent.policy,
        rollout,
        temperature=1.0,
        bf16=False,
        most_tokens=4096,
        wanted=wanted,
        processes=behind,
    )
    own = torch.tensor([False, True, False, True])[:, None] & rollout.mask
    torch.testing.assert_close(result.log_probs, rollout.log_probs * own, atol=1e-5, rtol=0)
    assert result.log_probs[own].all()


class Resting:
    """A tensor in parts that rest on the host, of processes that run on GPUs."""

    placements, device_mesh, device = (), SimpleNamespace(device_type="cuda"), "cpu"

    def to(self, device):
        moved = Resting()
        moved.device = device
        return moved

    def full_tensor(self):
        return f"put together on {self.device}"


def test_what_rests_on_the_host_is_put_together_on_the_device():
    """NCCL sends nothing that is on the host."""
    assert whole(Resting()) == "put together on cuda"


def test_a_share_of_what_rests_on_the_host_is_there(monkeypatch):
    """torch cuts a tensor where the processes run."""
    cut, on_gpu = Resting(), Resting().to("cuda")
    monkeypatch.setattr("torch.distributed.tensor.distribute_tensor", lambda *_, **__: on_gpu)
    assert own_share(torch.zeros(2), cut).device == "cpu"


def test_a_policy_whose_weights_rest_elsewhere_runs_where_it_ran():
    policy = TransformerPolicy(make_model())
    assert policy.device == torch.device("cpu")
    policy.runs_on = torch.device("meta")
    assert policy.device == torch.device("meta")
    assert policy.packed(8, torch.float32).device == torch.device("meta")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What one process says of itself, what two say, and where they wrote."""
    out = tmp_path_factory.mktemp("shards")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [start("tests.agents.training.in_shards", rank, 2, port, out) for rank in range(2)]
    try:
        in_shards.main(out)
        for rank, process in enumerate(started):
            assert process.wait(240) == 0, (out / f"{rank}.log").read_text()
    finally:
        for process in started:
            process.kill()
            process.wait()
    one = json.loads((out / "1-0.json").read_text())
    return one, [json.loads((out / f"2-{rank}.json").read_text()) for rank in range(2)], out


def _close(expected, actual, **bounds):
    bounds = {"atol": 2e-5, "rtol": 0, **bounds}
    torch.testing.assert_close(torch.tensor(expected), torch.tensor(actual), **bounds)


@pytest.mark.slow
def test_the_gradient_is_one_process_s(told):
    """Of nine texts here, and of one, three and one there, with two passes of nothing here."""
    one, two, _ = told
    for each in two:
        _close(one["gradients"], each["gradients"], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("case", in_shards.CASES)
def test_three_iterations_are_those_of_whole_weights(case, told):
    """Fourteen texts in 2 x 3 rows, uneven parts and shares; the main process alone began right."""
    one, two = told[0][case], [each[case] for each in told[1]]
    assert two[0]["metrics"] == two[1]["metrics"]
    assert two[0]["weights"] == two[1]["weights"]
    assert two[0]["tokens"] == two[1]["tokens"]
    assert one["reference_stays"]
    assert all(each["reference_stays"] for each in two)
    narrow = case == "bf16"
    if not narrow:  # in which a rounded weight may draw another token
        assert one["tokens"] == two[0]["tokens"]
    bound = 0.1 if narrow else 1e-3
    compared = zip(one["metrics"], two[0]["metrics"], strict=True)
    for alone, shared in [*compared][: 1 if narrow else None]:
        assert alone == pytest.approx(shared, rel=bound, abs=bound, nan_ok=True)
    _close(one["weights"], two[0]["weights"], atol=5e-3 if narrow else 5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["ppo_critic", "bf16"])
def test_a_process_keeps_its_part_and_one_whole_policy(case, told):
    """Weights 4, gradient 4, moments 8 bytes, of policy and critic, reference 4: 36 / N, and 2."""
    one, two = told[0][case]["kept"], [each[case]["kept"] for each in told[1]]
    for name in ("weights", "moments", "reference"):
        assert one[name] == sum(each[name] for each in two), name
        # Dimensions are odd, and a weight of one number is in one process alone.
        assert max(each[name] for each in two) <= 0.51 * one[name], name
    numbers = sum(p.numel() for p in make_model("gpt2").parameters())
    width = 2 if case == "bf16" else 4
    for each in two:
        assert each["sampler"] == pytest.approx(width * numbers, rel=0.01)
        total = 2 * each["weights"] + each["moments"] + each["reference"] + each["sampler"]
        assert total == pytest.approx((36 / 2 + width) * numbers, rel=0.02)


@pytest.mark.slow
def test_two_processes_begin_one_goes_on_and_two_again(told):
    one, two, out = told[0]["resume"], [each["resume"] for each in told[1]], told[2]
    assert one["metrics"][1] == pytest.approx(one["between"], rel=1e-3, abs=1e-3, nan_ok=True)
    for each in two:
        assert one["metrics"][2] == pytest.approx(each["metrics"], rel=1e-3, abs=1e-3, nan_ok=True)
        _close(one["weights"], each["weights"], atol=5e-5)
    begun = load_file(out / "from_two" / "state.safetensors")
    model = AutoModelForCausalLM.from_pretrained(out / "from_two" / "policy").state_dict()
    for name in ("transformer.h.1.mlp.c_fc.weight", "transformer.wte.weight"):
        assert torch.equal(begun[f"policy.model.{name}"], model[name])
    moments = [name for name in begun if name.endswith("exp_avg_sq")]
    assert len(moments) == len([name for name in begun if name.startswith("policy.")])


@pytest.mark.slow
def test_a_checkpoint_in_parts_is_the_whole_one_for_any_number_of_processes(told):
    """Read by one process and by two, to the bit; nobody had a weight whole, but for the heads."""
    two, out = [each["resume"] for each in told[1]], told[2]
    assert all(each["parts"]["same"] for each in two)  # one process has compared its own
    for folder in (out / "parts", out / "parts_again"):
        assert not [*folder.rglob("model.safetensors")]
        held = load_file(folder / "state.safetensors")
        heads = {"policy.value_head.weight", "policy.value_head.bias"}
        assert heads == {name for name in held if name.startswith("policy.")}
        assert {name.rpartition(".")[2] for name in held if name.startswith("optim")} == {"step"}
        for place in ("policy/parts", "policy/critic/parts", "reference/parts", "moments"):
            halves = [load_file(path) for path in sorted((folder / place).glob("*.safetensors"))]
            assert len(halves) == 2, place
            sizes = [sum(t.numel() for t in half.values()) for half in halves]
            assert max(sizes) <= 0.51 * sum(sizes), place
    for place in ("policy", "policy/critic", "reference"):
        beside = {path.name for path in (out / "from_two" / place).iterdir()}
        assert {path.name for path in (out / "parts" / place).iterdir()} == (
            beside - {"model.safetensors"} | {"parts"}
        )
    kept = (out / name / "reference" / "config.json" for name in ("parts", "parts_again"))
    assert len({path.stat().st_ino for path in kept}) == 1
    whole_model = AutoModelForCausalLM.from_pretrained(out / "from_two" / "policy").state_dict()
    opened = TransformerPolicy.from_pretrained(out / "parts" / "policy").model.state_dict()
    assert all(torch.equal(value, opened[name]) for name, value in whole_model.items())
    assert (out / "adapters" / "policy" / "adapter_model.safetensors").is_file()
    assert not (out / "adapters" / "moments").exists()


@pytest.mark.slow
def test_processes_that_do_not_see_one_folder_write_no_checkpoint(told):
    main, other = (each["resume"]["parts"]["apart"] for each in told[1])
    assert re.match(r"of the \d+ numbers of \S+ there are \d+ in .*: the file of another", main)
    assert other == f"in process 0: {main}"
    assert not (told[2] / "apart").exists()


@pytest.mark.slow
def test_a_callback_of_the_main_process_saves_and_predicts(told):
    """Weights are put together by all before the next iteration; ``learn`` is called everywhere."""
    one, (main, other), out = told[0]["learn"], [each["learn"] for each in told[1]], told[2]
    assert one["seen"] == main["seen"]
    assert other["seen"] == []
    assert main["saved"] == other["saved"] == one["saved"] == 1
    saved = TransformerPolicy.from_pretrained(out / "policy-2")
    parameters = torch.cat([p.detach().flatten() for p in saved.state_dict().values()])
    _close(main["weights"], parameters.tolist(), atol=0)


@pytest.mark.slow
def test_an_engine_writes_with_weights_that_are_cut(told):
    """They reach it whole, written by the main process, and what is learned is the same.

    Of both, and of the policy that writes by itself, for which an engine's gap is 0.
    """
    one, two = told[0]["engine"], [each["engine"] for each in told[1]]
    assert two[0]["metrics"] == two[1]["metrics"]
    for each in (one, *two):
        assert each["metrics"][1]["sampler_gap"] == pytest.approx(0, abs=1e-6)
        _close(one["weights"], each["weights"], atol=5e-5)
        _close(each["by_itself"], each["weights"], atol=5e-5)


@pytest.mark.slow
def test_nobody_waits_for_a_process_that_fails_in_a_pass(told):
    main, other = (each["fail"] for each in told[1])
    assert other == "in the second pass"
    assert "another process failed in a pass that all make together: see what it says" in main
