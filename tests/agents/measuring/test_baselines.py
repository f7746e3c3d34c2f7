"""Playing without learning, where what it scores is a closed form."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.measuring.baselines import policy_baseline, random_baseline, uniform_actions
from agents.models.policy import TransformerPolicy
from tests.agents.toys import make_model, make_toy


class OneLetter:
    """Drafts of one of the bandit's four letters, each as likely as any other."""

    def draft(self, examples, generators):
        return [[3 + int(generator.integers(4))] for generator in generators]


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_random_play_of_the_bandit_earns_the_mean_payout(backend):
    """(1 + .5 + .25 + 0 + 0) / 5 = .35 over the four letters and the end; std .374."""
    envs = gym.make_vec(
        "TextGym/Bandit-v0", num_envs=600, backend=backend, autoreset_mode="Disabled"
    ).unwrapped
    played = random_baseline(envs, example_ids=[0] * 4000, seed=0)
    assert played.scores.shape == (4000,)
    assert played.mean.value == pytest.approx(0.35, abs=0.02)
    assert played.mean.low < 0.35 < played.mean.high
    assert played.mean.high - played.mean.low == pytest.approx(
        2 * 1.96 * 0.374 / 4000**0.5, rel=0.1
    )


def test_random_play_of_texts_of_many_lengths_earns_the_closed_form():
    """2465/26244 of Alphabet, see its docstring; rows end at different steps."""
    played = random_baseline(make_toy(rows=1000), example_ids=[*range(8)] * 500, seed=0)
    assert played.mean.value == pytest.approx(2465 / 26244, abs=0.01)
    assert played.example_ids.tolist() == [*range(8)] * 500


def test_random_play_chooses_candidates():
    envs = gym.make_vec("TextGym/Bandit-Choose-v0", num_envs=8, autoreset_mode="Disabled").unwrapped
    played = random_baseline(envs, example_ids=[0] * 40, seed=0)
    assert set(played.scores) <= {0.0, 0.25, 0.5, 1.0}
    assert len(set(played.scores)) > 1


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_random_edits_have_an_effect_and_earn_the_closed_form(backend):
    """One edit of an empty draft is an append, as in the bandit that writes: .35.

    Where the draft is one letter, nothing but it can be edited: each of four letters replaces it,
    the end keeps it, and deleting leaves nothing: (1.75 + .4375 + 0) / 6 of letters drawn alike.
    """
    kwargs = {"num_envs": 600, "backend": backend, "autoreset_mode": "Disabled"}
    for drafter, mean in (("empty", 0.35), (OneLetter(), 2.1875 / 6)):
        envs = gym.make_vec(
            "TextGym/Bandit-Edit-v0", drafter=drafter, invalid_action="raise", **kwargs
        ).unwrapped
        played = random_baseline(envs, example_ids=[0] * 4000, seed=0)
        assert played.mean.value == pytest.approx(mean, abs=0.02)


def test_greedy_play_earns_what_the_likeliest_letter_pays():
    """The embedding of one letter is made the likeliest by hand, and every row takes it."""
    policy = TransformerPolicy(make_model(vocabulary=7))
    envs = make_toy("Bandit", rows=4)
    bos = torch.tensor([[envs.tokenizer.bos_id]])
    hidden = policy.trunk.full(bos)[0, 0].detach()
    policy.requires_grad_(requires_grad=False)
    letter = envs.tokenizer.encode("b")[0]
    policy.head.weight[letter] = 10 * hidden
    played = policy_baseline(envs, policy, example_ids=[0] * 6, seed=0)
    assert played.scores.tolist() == [0.5] * 6
    assert (played.mean.value, played.mean.low, played.mean.high) == (0.5, 0.5, 0.5)


def test_uniform_actions_are_legal_and_uniform():
    """Of three legal actions each is drawn a third of the time; nothing legal gives 0."""
    legal = np.tile(np.array([False, True, False, True, True]), (9000, 1))
    drawn = uniform_actions(legal, np.random.default_rng(0))
    assert np.bincount(drawn, minlength=5) / 9000 == pytest.approx(
        [0, 1 / 3, 0, 1 / 3, 1 / 3], abs=0.02
    )
    assert uniform_actions(np.zeros((2, 3), dtype=bool), np.random.default_rng(0)).tolist() == [
        0,
        0,
    ]


def test_what_cannot_be_played_is_refused():
    with pytest.raises(ValueError, match="autoreset_mode"):
        random_baseline(
            gym.make_vec("TextGym/Bandit-v0", num_envs=2).unwrapped, example_ids=[0, 0], seed=0
        )
    with pytest.raises(ValueError, match="values"):
        random_baseline(make_toy("Bandit"), example_ids=[0], seed=0)
