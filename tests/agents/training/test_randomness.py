"""A run's generators: each its own numbers, and the same ones again from the same seed."""

import torch

from agents.training.randomness import RandomState


def _drawn(state):
    return {name: torch.rand(8, generator=g).tolist() for name, g in state.generators.items()}


def test_each_generator_draws_numbers_of_its_own():
    """The sampler's and that of predict began alike, so that looking drew what was trained on."""
    drawn = [_drawn(RandomState(seed, torch.device("cpu"))) for seed in (0, 1, 2**63 - 1)]
    every = [tuple(numbers) for each in drawn for numbers in each.values()]
    assert len(set(every)) == len(every) == 6
    assert drawn[1] == _drawn(RandomState(1, torch.device("cpu")))


def test_the_sampler_draws_by_the_seed_itself():
    """So what a seed trains is what it trained before."""
    expected = torch.rand(8, generator=torch.Generator().manual_seed(5)).tolist()
    assert expected == _drawn(RandomState(5, torch.device("cpu")))["sampler"]


def test_prompts_come_once_before_any_comes_again_and_go_on_after_a_resume():
    state, cpu = RandomState(3, torch.device("cpu")), torch.device("cpu")
    assert sorted(state.next_examples(3, 5) + state.next_examples(2, 5)) == [0, 1, 2, 3, 4]
    state.next_examples(2, 5)
    again = RandomState(0, cpu)
    again.recall(state.record())
    assert state.next_examples(7, 5) == again.next_examples(7, 5)
