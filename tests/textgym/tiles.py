"""A tiny environment whose actions have two parts, with masks, and its batch."""

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv

PLACES, VALUES, ALLOWANCE = 3, 4, 5


class Tiles(gym.Env):
    """Put numbers on three places, one of which is taken; scored when all are taken.

    An action is a place and a number. A place is legal while it is empty, and 0 never is.
    """

    def __init__(self, strict=False):
        self.strict = strict
        self.observation_space = gym.spaces.Box(0, VALUES - 1, (PLACES,), np.int64)
        self.action_space = gym.spaces.MultiDiscrete([PLACES, VALUES])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.board = np.zeros(PLACES, dtype=np.int64)
        self.board[self.np_random.integers(PLACES)] = 1
        self.steps = 0
        return self.board.copy(), {"action_mask": self.action_masks().astype(np.int8)}

    def step(self, action):
        place, value = int(action[0]), int(action[1])
        legal = self.action_masks()
        if legal[place] and legal[PLACES + value]:
            self.board[place] = value
        elif self.strict:
            raise ValueError(f"{action} is illegal")
        self.steps += 1
        ended = bool(self.board.all()) or self.steps == ALLOWANCE
        score = float(self.board.sum()) if ended else 0.0
        info = {"action_mask": self.action_masks().astype(np.int8)}
        return (
            self.board.copy(),
            score,
            ended,
            False,
            {**info, **({"score": score} if ended else {})},
        )

    def action_masks(self):
        empty = self.board == 0
        return np.concatenate([empty if empty.any() else ~empty, np.arange(VALUES) > 0])


class TilesBatch(SyncVectorEnv):
    """Gymnasium's batch, with masks.

    Unlike Gymnasium's it leaves the options alone, and refuses an action before it steps any row.
    """

    def __init__(self, count=3, mode="NextStep", strict=False):
        super().__init__([lambda: Tiles(strict)] * count, autoreset_mode=mode)

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed, options=None if options is None else dict(options))

    def step(self, actions):
        if not self.action_space.contains(actions):
            raise ValueError(f"{actions} is not in {self.action_space}")
        return super().step(actions)

    def action_masks(self):
        return np.stack(self.call("action_masks"))
