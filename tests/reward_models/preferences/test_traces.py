"""What was learned from is known again, and nothing else is."""

import json

import pytest

from reward_models.preferences import Preference, Ranking, Rating
from reward_models.preferences.published.conversations import split_texts
from reward_models.preferences.traces import Traces, read_traces, traces_of


def pair(prompt, chosen, rejected, **more):
    return Preference(pair_id="", prompt=prompt, chosen=chosen, rejected=rejected, **more)


def implicit(one, other):
    prompt, chosen, rejected = split_texts(one, other)
    return pair(prompt, chosen, rejected, implicit=True)


LEARNED = [
    pair("p", "a", "b"),
    pair("", "c", "d"),
    implicit("Why is it so? Because.", "Why is it so? Who knows."),
    Rating(prompt="", completion="rated", rating=1),
    Ranking(prompt="ranked", completions=("r", "s", "t"), places=3),
]


@pytest.mark.parametrize(
    ("item", "held", "shares"),
    [
        (pair("p", "x", "y"), True, False),
        (pair("q", "a", "y"), False, True),
        (pair("", "y", "c"), True, True),
        (pair("", "y", "z"), False, False),
        (pair("", "y", "rated"), True, True),
        (pair("ranked", "x", "y"), True, False),
        (implicit("Why is it so? I say this.", "Why is it so? I say that."), True, False),
        (implicit("Why is that so? 1", "Why is that so? 2"), False, False),
        (Rating(prompt="", completion="a", rating=0), True, True),
        (Rating(prompt="p", completion="new", rating=0), True, False),
    ],
)
def test_an_item_is_known_by_its_prompt_or_without_one_by_a_text(item, held, shares, tmp_path):
    """Also after a file, and in the union with another model's."""
    (tmp_path / "traces.json").write_text(json.dumps(traces_of(LEARNED).as_json()))
    others = traces_of([pair("other", "one", "two"), implicit("And now? a", "And now? b")])
    for traces in (traces_of(LEARNED), read_traces(tmp_path / "traces.json")):
        for known in (traces, traces | others, others | traces):
            assert (known.hold(item), known.share_text(item)) == (held, shares)
    assert not Traces().hold(item)


def test_the_file_gives_no_text_away_and_is_the_same_in_every_order():
    first, turned = (traces_of(items).as_json() for items in (LEARNED, LEARNED[::-1]))
    assert first == turned
    assert "rated" not in json.dumps(first)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"digits": 12, "prompts": 3}'])
def test_a_damaged_file_is_named(text, tmp_path):
    (tmp_path / "learned_from.json").write_text(text)
    with pytest.raises(ValueError, match=r"learned_from.json is damaged .* train the model again"):
        read_traces(tmp_path / "learned_from.json")
