"""Everything random in a run: what the sampler and ``predict`` draw, and which prompt comes next.

An iteration that fails is made again from where it began, so all of it can be read and put back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RandomState"]


class RandomState:
    """A run's generators, and the prompts that wait.

    Attributes:
        sampler: Draws actions and shuffles texts, on the policy's device.
        predict: Draws what ``predict`` does, so that looking at a policy changes no training.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        """Starts all of it from one seed.

        Args:
            seed: The config's.
            device: Of the policy.
        """
        self.sampler = torch.Generator(device).manual_seed(seed)
        # Another seed than the sampler's, or both would draw the same numbers.
        (other,) = np.random.SeedSequence(seed).generate_state(1).tolist()
        self.predict = torch.Generator(device).manual_seed(other)
        self._order = np.random.default_rng(seed)
        self._queue: list[int] = []

    @property
    def generators(self) -> dict[str, torch.Generator]:
        """The generators by name, to be saved as tensors."""
        return {"sampler": self.sampler, "predict": self.predict}

    def next_examples(self, count: int, num_prompts: int) -> list[int]:
        """Takes the next prompts: every one is used once before any is used again.

        Args:
            count: How many.
            num_prompts: How many there are to take from.

        Returns:
            Their numbers.
        """
        while len(self._queue) < count:
            self._queue += self._order.permutation(num_prompts).tolist()
        taken, self._queue = self._queue[:count], self._queue[count:]
        return taken

    def record(self) -> dict[str, Any]:
        """What is no tensor of it, as JSON holds it: the prompts that wait, and their order's."""
        return {"queue": list(self._queue), "order": self._order.bit_generator.state}

    def recall(self, record: Mapping[str, Any]) -> None:
        """Takes over what ``record`` gave."""
        self._queue = list(record["queue"])
        self._order.bit_generator.state = record["order"]

    def before_iteration(self) -> tuple[torch.Tensor, dict[str, Any]]:
        """What training draws from, for ``go_back``; ``predict`` goes on by itself."""
        return self.sampler.get_state(), self.record()

    def go_back(self, state: tuple[torch.Tensor, dict[str, Any]]) -> None:
        """Puts back what ``before_iteration`` gave."""
        self.sampler.set_state(state[0])
        self.recall(state[1])
