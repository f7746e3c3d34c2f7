"""How fast log-probabilities and their gradients are, by the size of the chunks, at V = 50,000.

``make bench ARGS=tests/benchmarks/test_output_layer.py`` prints the ratio. Before, a chunk was two
million logits whatever the vocabulary, here 41 actions; the results are the same. One layer of
width 256, 512 actions, float32, one thread; medians of 3 after a warm-up.
"""

import time

import numpy as np
import torch

from agents.models import output_layer
from agents.models.output_layer import chosen_log_probs

VOCABULARY, WIDTH, ACTIONS, ROUNDS = 50_000, 256, 512, 3


def _pass(hidden, weight, actions):
    legal = torch.ones(VOCABULARY, dtype=torch.bool)
    chosen, _ = chosen_log_probs(hidden, weight, None, actions, legal, 1.0)
    return chosen.detach(), *torch.autograd.grad(chosen.sum(), (hidden, weight))


def test_larger_chunks_read_the_weight_less_often(monkeypatch, capsys):
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (
        torch.randn(size, WIDTH, generator=generator).requires_grad_()
        for size in (ACTIONS, VOCABULARY)
    )
    actions = torch.randint(VOCABULARY, (ACTIONS,), generator=generator)
    seconds, results = {}, {}
    for name, fewest in (("crumbs", 1), ("chunks", output_layer._FEWEST_ACTIONS)):
        monkeypatch.setattr(output_layer, "_FEWEST_ACTIONS", fewest)
        times = []
        for _ in range(ROUNDS + 1):
            start = time.perf_counter()
            results[name] = _pass(hidden, weight, actions)
            times.append(time.perf_counter() - start)
        seconds[name] = float(np.median(times[1:]))
    for before, after in zip(results["crumbs"], results["chunks"], strict=True):
        torch.testing.assert_close(before, after, atol=1e-3, rtol=1e-4)
    with capsys.disabled():
        ratio = seconds["crumbs"] / seconds["chunks"]
        print(
            f"\nV = {VOCABULARY:,}: 41 actions at a time {seconds['crumbs']:.2f} s, 128 "
            f"{seconds['chunks']:.2f} s, {ratio:.2f} times as fast"
        )
