"""Where two texts part: nothing is lost, and neither side is left empty."""

from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.preferences.published.conversations import split_texts

# A busy machine is no counterexample.
PATIENT = settings(deadline=None, derandomize=True)
few = st.text(alphabet="ab \n", min_size=1, max_size=12)


@PATIENT
@given(few, few, few)
def test_prompt_and_completion_put_together_are_the_text(common, one, other):
    """And what is taken off is what both begin with."""
    prompt, first, second = split_texts(common + one, common + other)
    assert prompt + first == common + one
    assert prompt + second == common + other
    assert first
    assert second


@PATIENT
@given(few, few)
def test_a_text_is_parted_at_a_space_or_not_at_all(one, other):
    """So that no word is cut in two."""
    prompt, first, second = split_texts(one, other)
    assert not prompt or (first[0].isspace() and second[0].isspace())


def test_a_transcript_is_parted_after_the_last_answer_that_begins_in_both():
    """A word that both answers begin with is theirs, and to answer nothing is an answer."""
    shared = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    assert split_texts(f"{shared} d e", f"{shared} d f") == (shared, " d e", " d f")
    one, other = "\n\nHuman: a\n\nAssistant:", "\n\nHuman: a\n\nAssistant: b"
    assert split_texts(one, other) == (one, "", " b")
