"""Where arrays live: both backends say the same of the same actions and states."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.dynamics.states import FIELDS, Rules, lay_out, to_host
from textgym.envs.backends import NumpyBackend, TorchBackend, check_actions

BACKENDS = {"numpy": NumpyBackend(), "torch": TorchBackend("cpu")}
RULES = Rules(
    prompt_tokens=2,
    completion_tokens=3,
    max_actions=3,
    pad_id=0,
    bos_id=1,
    eos_id=2,
    legal=np.ones(5, dtype=np.bool_),
)
ANY = st.integers(-(2**63), 2**63 - 1) | st.integers(-12, 12)


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
@given(actions=st.lists(st.tuples(ANY, ANY), min_size=1, max_size=4))
def test_what_is_outside_the_space_is_0_and_all_else_as_it_was(backend, actions):
    sizes = np.array([3, 5])
    sent = backend.actions(np.array(actions), (len(actions), 2))
    expected = [
        [part if 0 <= part < size else 0 for part, size in zip(action, (3, 5), strict=True)]
        for action in actions
    ]
    assert expected == backend.clip(sent, backend.send(sizes)).tolist()


@given(actions=st.lists(ANY, min_size=3, max_size=3), open_rows=st.tuples(*[st.booleans()] * 3))
def test_the_first_open_row_whose_action_is_outside_is_named(actions, open_rows):
    outside = [row for row in range(3) if open_rows[row] and not 0 <= actions[row] < 5]

    def check():
        check_actions(np.array(actions), np.array(open_rows), np.array([5]))

    if outside:
        row = outside[0]
        with pytest.raises(ValueError, match=rf"row {row}: action {actions[row]} is not in 0\.\.4"):
            check()
    else:
        check()


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_a_state_comes_back_from_where_it_was_sent(backend):
    state = lay_out([[3], [4, 3]], RULES)
    sent = backend.send_state(state, grows=True)
    actions, fetched = backend.fetch(backend.send(np.array([1, 2])), sent)
    assert actions.tolist() == [1, 2]
    for name in FIELDS:
        expected = getattr(state, name)
        for array in (getattr(fetched, name), getattr(backend.freeze(sent), name)):
            assert (expected is None) == (array is None), name
            if expected is not None:
                np.testing.assert_array_equal(expected, to_host(array))
