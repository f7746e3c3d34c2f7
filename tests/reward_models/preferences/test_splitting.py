"""One division for all: what is on both sides is the leak that makes an accuracy fiction."""

import pytest

from reward_models.preferences import Preference, Rating, divide


def preferences(prompts):
    return [
        Preference(pair_id=str(n), prompt=prompt, chosen=f"good {n}", rejected="bad")
        for n, prompt in enumerate(prompts)
    ]


def sides(items, share, seed=0):
    division = divide(items, share=share, seed=seed)
    assert not division.dropped
    return division.learned, division.held_out


def test_no_prompt_is_on_both_sides_of_a_split():
    items = preferences(f"prompt {n % 100}" for n in range(400))
    learned, held_out = sides(items, 0.2)
    assert not {item.prompt for item in learned} & {item.prompt for item in held_out}
    assert 40 <= len(held_out) <= 120  # 80 expected, in 20 prompts: four standard deviations
    assert sorted(items, key=str) == sorted([*learned, *held_out], key=str)
    assert held_out != sides(items, 0.2, seed=1)[1]
    assert (items, []) == sides(items, 0.0)


def test_items_without_prompts_are_divided_by_their_texts():
    """And the two directions of a pair stay together."""
    items = preferences([""] * 200)
    turned = [
        Preference(pair_id="", prompt="", chosen=i.rejected, rejected=i.chosen) for i in items
    ]
    learned, held_out = sides([*items, *turned], 0.3)
    assert 0 < len(held_out) < len(learned)
    texts = [{frozenset((i.chosen, i.rejected)) for i in side} for side in (learned, held_out)]
    assert not texts[0] & texts[1]


def test_a_split_that_leaves_nothing_is_refused():
    one = preferences(["p"] * 5)
    seed = next(s for s in range(100) if len(_held(one, s)) == 5)
    with pytest.raises(ValueError, match="all 5 comparisons have one prompt"):
        sides(one, 0.5, seed)
    with pytest.raises(ValueError, match="the share that is held out is 1"):
        sides(one, 1)


def _held(items, seed):
    try:
        return sides(items, 0.5, seed)[1]
    except ValueError:
        return items


def test_the_division_of_published_figures_is_kept():
    """Which prompts are held out is a matter of their texts alone, in every version."""
    held_out = sides(preferences(f"prompt {n}" for n in range(24)), 0.25, seed=3)[1]
    assert [item.prompt for item in held_out] == [
        "prompt 0",
        "prompt 1",
        "prompt 13",
        "prompt 14",
        "prompt 16",
    ]


def test_what_the_data_keep_apart_is_held_out_but_for_prompts_that_are_learned_from():
    items, apart = preferences(["p", "q"]), preferences(["q", "r", "q"])
    division = divide(items, apart, share=0.5)
    assert (items, [apart[1]]) == (division.learned, division.held_out)
    assert division.dropped == {"held out, but their prompt is learned from": 2}


def test_items_without_prompts_have_no_prompt_in_common():
    """The empty prompt is none: one comparison learned from once dropped all that were held out."""
    items = preferences([""] * 3)
    apart = [
        Preference(pair_id="", prompt="", chosen=f"fine {n}", rejected="bad") for n in range(3)
    ]
    assert divide(items, apart).held_out == apart


def test_the_same_two_texts_without_a_prompt_are_on_one_side():
    """Whichever of them was chosen; a rating has its one text."""
    (item,) = preferences([""])
    turned = Preference(pair_id="", prompt="", chosen=item.rejected, rejected=item.chosen)
    other = Preference(pair_id="", prompt="", chosen="other", rejected="bad")
    division = divide([item], [turned, other])
    assert division.held_out == [other]
    assert division.dropped == {"held out, but their texts are learned from": 1}
    rated = [Rating(prompt="", completion=text, rating=1) for text in "aab"]
    assert divide(rated[:1], rated[1:]).held_out == rated[2:]


def test_where_all_that_was_kept_apart_is_dropped_a_share_is_held_out():
    """And it is said: else nothing would be measured, or on what was learned from."""
    items = preferences(f"prompt {n}" for n in range(100))
    division = divide(items, items[:10], share=0.2)
    assert (division.learned, division.held_out) == sides(items, 0.2)
    assert division.dropped == {"held out, but their prompt is learned from": 10}
