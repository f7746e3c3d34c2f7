"""A handful of made-up inputs each; ``make fuzz`` tries ten thousand."""

import pytest

from tests.fuzz.__main__ import tried
from tests.fuzz.subjects import SUBJECTS, Subject


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
@pytest.mark.filterwarnings("ignore")  # of Gymnasium, about what an environment was asked for
def test_what_a_stranger_wrote_is_read_or_refused_in_one_line(subject):
    number, faults = tried(subject, 8)
    assert number >= 1
    assert faults == {}


def test_what_is_not_handled_is_found():
    """An error that is no refusal, a refusal of two lines, and one that says nothing."""

    def use(value):
        raise [KeyError("x"), ValueError("a\nb"), ValueError("")][value % 3]

    from hypothesis import strategies as st

    _, faults = tried(Subject("broken", st.integers(0, 2), use), 30)
    assert len(faults) == 3
