"""A conversation is cut where its writers change."""

import numpy as np
import pytest

from textgym.recording.turns import own_turns, split_turns

A, B, C = 3, 4, 5
EOS = 2


@pytest.mark.parametrize(
    ("ids", "authored", "expected"),
    [
        ([], [], []),
        ([A, B], [1, 1], [(True, [A, B])]),
        ([A, EOS, B, B, C], [1, 1, 0, 0, 1], [(True, [A, EOS]), (False, [B, B]), (True, [C])]),
        # An empty reply leaves two turns of the agent next to each other.
        ([A, EOS, EOS, C], [1, 1, 1, 1], [(True, [A, EOS]), (True, [EOS]), (True, [C])]),
        # The other side may write the same id, and ends nothing by it.
        ([EOS, EOS, EOS], [1, 0, 0], [(True, [EOS]), (False, [EOS, EOS])]),
    ],
)
def test_turns_end_where_the_writer_changes_or_the_agent_ends_its_turn(ids, authored, expected):
    assert expected == split_turns(np.array(ids, dtype=np.int64), np.array(authored), EOS)


def test_the_agent_s_turns_are_its_own():
    turns = split_turns(np.array([A, EOS, B, B, C]), np.array([1, 1, 0, 0, 1]), EOS)
    assert own_turns(turns) == [[A, EOS], [C]]
