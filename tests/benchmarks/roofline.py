"""What a machine could do at most: its speed in matrix products, and the operations of a task.

A share of the roofline is the operations that a task needs, over its seconds, over the operations
a second that plain matrix products reach on the same machine, in the same precision, by the same
clock. Operations are those that the task needs, not those that were made: what is padded, computed
twice or computed for nothing lowers the share. A multiplication and an addition are two.
"""

import time
from dataclasses import dataclass

import torch
from transformers.pytorch_utils import Conv1D

_UPDATE = 3  # passes: a backward pass is two forward ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The operations of a causal language model.

    Attributes:
        token: Of the layers' matrices, for each token that is read.
        pair: Of attention, for each token and each one that it sees, itself included.
        action: Of the output layer, for each distribution that is drawn from or learned from.
    """

    token: int
    pair: int
    action: int

    @classmethod
    def of(cls, model):
        """Counts a model of transformers, all of whose matrices but the first are multiplied by."""
        config, head = model.config.get_text_config(), model.get_output_embeddings()
        layers = [m for m in model.base_model.modules() if isinstance(m, torch.nn.Linear | Conv1D)]
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            token=2 * sum(layer.weight.numel() for layer in layers),
            pair=4 * config.num_hidden_layers * config.num_attention_heads * size,
            action=2 * head.weight.numel(),
        )

    def forward(self, texts, prompt, new):
        """Operations to write texts with a cache, or to evaluate them in one pass: as many.

        Args:
            texts: How many.
            prompt: Tokens before the first action.
            new: Actions; nothing is chosen behind the last, so that is not read.
        """
        read = prompt + new - 1
        return texts * (read * self.token + read * (read + 1) // 2 * self.pair + new * self.action)

    def iteration(self, texts, prompt, new, epochs=1):
        """Operations by phase of an iteration: texts written, read by a reference, learned from."""
        once = self.forward(texts, prompt, new)
        return {
            "collect": once,
            "reference": once,
            "update": _UPDATE * epochs * once,
        }


def product_speed(device, dtype, *, size=2048, clock=time.perf_counter, rounds=5):
    """Operations a second of square matrix products, the best of some rounds after a warm-up.

    Args:
        device: Where.
        dtype: Of both matrices.
        size: Of their sides.
        clock: Seconds; ``time.process_time`` leaves out what other programs take.
        rounds: How often it is timed.
    """
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out, best = torch.empty_like(left), 0.0
    for turn in range(1 + rounds):
        _wait(device)
        start = clock()
        torch.mm(left, right, out=out)
        _wait(device)
        seconds = max(clock() - start, 1e-9)
        if turn:
            best = max(best, 2 * size**3 / seconds)
    return best


def _wait(device):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
