"""Scripts and arithmetic of ``tests/benchmarks``: by another route, and each script once, tiny."""

import json
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.agents.toys import make_model
from tests.benchmarks import gpu, growth, roofline


def _run(monkeypatch, script, *arguments):
    monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
    script.main()


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3"])
def test_operations_are_those_that_torch_counts(kind):
    """In a pass of transformers' own, whose attention multiplies every pair, seen or not."""
    model, texts, length = make_model(kind), 3, 7
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.ones((texts, length), dtype=torch.int64), use_cache=False)
    work = roofline.Work.of(model)
    expected = texts * (length * (work.token + work.action) + length**2 * work.pair)
    assert expected == counter.get_total_flops()


def test_writing_reads_each_token_but_the_last_and_sees_what_is_before():
    """Two texts of a prompt of 2 and 3 actions: 4 tokens see 1, 2, 3 and 4; by hand."""
    work = roofline.Work(token=1000, pair=10, action=1)
    assert work.forward(texts=2, prompt=2, new=3) == 2 * (4 * 1000 + (1 + 2 + 3 + 4) * 10 + 3)
    phases = work.iteration(2, 2, 3, epochs=4)
    assert phases == {"collect": 8206, "reference": 8206, "update": 12 * 8206}


def test_the_speed_of_products_is_operations_over_the_clock_s_seconds():
    """Of a clock on which each product takes 2 seconds, and the third round half of one."""
    ticks = iter([0, 2, 10, 12, 20, 20.5, 30, 32])
    speed = roofline.product_speed(
        "cpu", torch.float32, size=8, clock=lambda: next(ticks), rounds=3
    )
    assert speed == 2 * 8**3 / 0.5


def test_quantiles_are_of_how_far_a_ratio_is_off_one():
    """Ratios of 1.1, .8, 1 and 1.3, whose middle of .0, .1, .2, .3 is the upper one."""
    assert gpu.quantiles(torch.tensor([1.1, 0.8, 1.0, 1.3]).log()) == pytest.approx([0.2, 0.3, 0.3])


def test_the_script_for_a_gpu_goes_through_with_tiny_models_here(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as left:
        _run(
            monkeypatch,
            gpu,
            "--device",
            "cpu",
            "--smoke",
            "--out",
            tmp_path / "results" / "gpu.jsonl",
        )
    assert left.value.code == 0
    results = _lines(tmp_path / "results" / "gpu.jsonl")
    assert [(each["model"], each["precision"]) for each in results] == [
        ("tiny llama", "bfloat16"),
        ("tiny llama", "float32"),
        ("tiny qwen2", "bfloat16"),
    ]
    for each in results:
        assert set(each["phases"]) == {"collect", "reference", "update", "environment"}
        assert all(each["phases"][name]["share"] > 0 for name in ("collect", "reference", "update"))
        assert each["waits_a_token"] is None
        assert each["peak_mib"] > 0
    exact = results[1]["ratios_off_1"]
    assert exact["update against float32"] == [0, 0, 0]
    assert 0 <= exact["update against sampler"][2] < 1e-4
    assert results[0]["ratios_off_1"]["update against float32"][2] > 1e-4
    assert "% of the roofline" in capsys.readouterr().out


def test_a_case_that_fails_leaves_the_others_and_says_so(tmp_path, monkeypatch, capsys):
    def measure(name, *_, bf16):
        if not bf16:
            raise RuntimeError("out of memory")
        return {"model": name}

    monkeypatch.setattr(gpu, "measure", measure)
    monkeypatch.setattr(gpu, "lines_of", lambda result: [result["model"]])
    with pytest.raises(SystemExit) as left:
        _run(monkeypatch, gpu, "--device", "cpu", "--smoke", "--out", tmp_path / "gpu.jsonl")
    assert left.value.code == 1
    results = _lines(tmp_path / "gpu.jsonl")
    failed = {"model": "tiny llama, float32", "failed": "out of memory"}
    assert results == [{"model": "tiny llama"}, failed, {"model": "tiny qwen2"}]
    assert "tiny llama, float32: failed, RuntimeError: out of memory" in capsys.readouterr().out


def test_no_case_begins_when_the_minutes_are_over(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        _run(
            monkeypatch,
            gpu,
            *("--device", "cpu", "--smoke", "--minutes", "-1", "--out", tmp_path / "gpu.jsonl"),
        )
    assert capsys.readouterr().out.count("left out, -1 minutes are over") == 3


def test_the_shapes_for_a_gpu_are_the_published_ones():
    """134.5 million weights, and 1.54 billion: as their cards say; embeddings are tied."""
    sizes = {}
    for name, config in gpu.FULL.items():
        with torch.device("meta"):
            model = gpu.AutoModelForCausalLM.from_config(config)
        sizes[name] = sum(p.numel() for p in model.parameters())
    assert sizes == {"SmolLM2-135M": 134_515_008, "1.5B": 1_543_714_304}


def test_exponents_are_slopes_in_a_double_logarithm():
    """Of costs that quadruple while the size doubles, and of ones that stay."""
    assert growth.exponent([1, 10, 20], [9, 7, 28]) == pytest.approx(2)
    assert growth.exponent([10, 20], [7, 7]) == 0


def test_the_script_of_growth_writes_a_table_and_a_plot_and_measures_no_size_twice(
    tmp_path, monkeypatch
):
    _run(monkeypatch, growth, "--smoke", "--out", tmp_path)
    results = _lines(tmp_path / "growth.jsonl")
    # Four things of two sizes, one of which is the base that all four have.
    assert len(results) == 5
    for each in results:
        assert each["tokens"] <= each["point"]["rows"] * each["point"]["new"]
        assert each["writing"] > 0
        assert each["learning"] > 0
    table = (tmp_path / "growth.md").read_text().splitlines()
    assert len(table) == 2 + 4 * (2 + 1)
    assert (tmp_path / "growth.png").read_bytes()[1:4] == b"PNG"
    monkeypatch.setattr(growth, "measure", None)
    _run(monkeypatch, growth, "--smoke", "--out", tmp_path)
    assert table == (tmp_path / "growth.md").read_text().splitlines()


@pytest.mark.slow
def test_a_size_of_two_processes_counts_both():
    point = growth.SMOKE["base"] | {"processes": 2}
    found = growth.measure_apart(point)
    assert found["tokens"] <= 2 * 4 * 4
    assert found["tokens"] > 4 * 4  # of one process; a text ends early once in 64 tokens
    assert found["writing"] > 0
