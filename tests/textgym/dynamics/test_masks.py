"""How long masks are, and drawn actions moved on to what they allow."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import textgym  # noqa: F401 - registers the ids
from textgym.dynamics.masks import action_parts, moved_to_legal, split_mask


def test_a_space_has_as_many_parts_as_its_action():
    for space, sizes, starts in (
        (spaces.Discrete(4, start=-2), [4], [-2]),
        (spaces.MultiDiscrete([3, 5]), [3, 5], [0, 0]),
        (spaces.MultiDiscrete([[2, 3], [4, 5]]), [2, 3, 4, 5], [0] * 4),
    ):
        assert [part.tolist() for part in action_parts(space)] == [sizes, starts]
    assert action_parts(spaces.Box(0, 1, (2,))) is None


def test_each_part_is_moved_on_to_a_legal_value_by_its_own_number():
    """Of the legal values, counted from the space's start, that one which the draw counts round."""
    actions = np.array([[0, 0], [1, 3], [2, 4]])
    masks = np.array(
        [
            [False, True, True, False, True, False, True, False],
            [True, False, True, True, True, True, True, True],
            [False, False, False, False, False, False, False, True],
        ]
    )
    moved = moved_to_legal(actions, masks, np.array([3, 5]), np.array([0, 0]))
    assert moved.tolist() == [[1, 1], [2, 3], [2, 4]]
    assert actions.tolist() == [[0, 0], [1, 3], [2, 4]]


def test_values_are_counted_from_the_start_of_the_space():
    mask = np.array([[False, True, False, True]])
    for action, expected in ((-2, -1), (-1, 1), (0, -1), (1, 1)):
        moved = moved_to_legal(np.array([action]), mask, np.array([4]), np.array([-2]))
        assert moved.tolist() == [expected]


def test_masks_of_another_shape_change_nothing():
    actions = np.array([0, 1])
    assert moved_to_legal(actions, np.ones((2, 3)), np.array([4]), np.array([0])) is actions


@pytest.mark.parametrize("name", ["Alphabet", "Alphabet-Choose", "Alphabet-Edit"])
def test_a_split_mask_is_what_a_space_draws_by(name):
    """Of edits, Gymnasium wants a mask for each part, and took the environment's for none."""
    env = gym.make(f"TextGym/{name}-v0")
    env.reset(seed=0)
    env.action_space.seed(0)
    mask = env.unwrapped.action_masks()
    parts = split_mask(env.action_space, mask)
    for _ in range(20):
        action = np.atleast_1d(env.action_space.sample(mask=parts))
        start = 0
        for part, size in zip(action, action_parts(env.action_space)[0], strict=True):
            assert mask[start + part]
            start += size
    if name.endswith("Edit"):
        return
    envs = gym.make_vec(f"TextGym/{name}-v0", num_envs=3)
    envs.reset(seed=0)
    masks = envs.unwrapped.action_masks()
    actions = envs.action_space.sample(mask=split_mask(envs.action_space, masks))
    assert masks[np.arange(3), actions].all()


def test_a_mask_of_another_length_or_space_is_refused():
    with pytest.raises(ValueError, match=r"the mask has the shape \(3,\), .* Discrete\(4\)"):
        split_mask(spaces.Discrete(4), np.ones(3))
    with pytest.raises(TypeError, match="masks are of Discrete"):
        split_mask(spaces.Box(0, 1), np.ones(3))
