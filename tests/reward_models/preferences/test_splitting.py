"""One division for all: what is on both sides is the leak that makes an accuracy fiction."""

import random

import pytest

from reward_models.preferences import Preference, Rating, completions_of, divide, remarks
from reward_models.preferences.published.conversations import split_texts


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


def pair(chosen, rejected, **more):
    return Preference(pair_id="", prompt="", chosen=chosen, rejected=rejected, **more)


def texts_of(items):
    return {text for item in items for text in completions_of(item)}


def test_comparisons_of_two_texts_that_meet_no_others_stay_whole():
    """And the two directions of a pair stay together; none is dropped."""
    items = [pair(f"good {n}", f"bad {n}") for n in range(200)]
    turned = [pair(i.rejected, i.chosen) for i in items]
    learned, held_out = sides([*items, *turned], 0.3)
    assert 0 < len(held_out) < len(learned)
    assert not texts_of(learned) & texts_of(held_out)


def tournament(texts, comparisons, seed=0):
    rng = random.Random(seed)  # noqa: S311 - not a secret
    drawn = [rng.sample(range(texts), 2) for _ in range(comparisons)]
    return [pair(f"text {min(two)}", f"text {max(two)}") for two in drawn]


def test_texts_of_a_tournament_are_on_one_side_each():
    """Each held-out text was in fifteen comparisons that were learned from, and was remembered."""
    items = tournament(200, 3000)
    division = divide(items, share=0.3)
    learned, held_out = division.learned, division.held_out
    assert not texts_of(learned) & texts_of(held_out)
    (dropped,) = division.dropped.values()
    assert len(learned) + len(held_out) + dropped == 3000
    assert 100 < len(held_out) < 500  # a share of 0.09
    said = remarks(learned, held_out, division.dropped)
    assert f"0 of {len(held_out)} held-out pairs share a text with what is learned from" in said
    assert not any("too few" in line for line in said)


def test_too_few_comparisons_of_held_out_texts_are_told():
    division = divide(tournament(200, 300), share=0.2)
    said = remarks(division.learned, division.held_out, division.dropped)
    assert sum("too few to measure much" in line for line in said) == 1
    alike = [pair(f"good {n}", "bad") for n in range(50)]
    seed = next(s for s in range(99) if "bad" in texts_of(_held_texts(alike, s)))
    with pytest.raises(ValueError, match="none of 50 comparisons has both texts"):
        divide(alike, share=0.9, seed=seed)


def _held_texts(items, seed):
    try:
        return divide(items, share=0.9, seed=seed).held_out
    except ValueError:
        return items


def test_sets_of_texts_that_met_only_each_other_stay_whole_while_they_are_few():
    """Thirty tournaments of eight lose nothing."""
    items = [
        pair(f"{n} {one}", f"{n} {two}")
        for n in range(30)
        for two in range(8)
        for one in range(two)
    ]
    learned, held_out = sides(items, 0.3)
    assert held_out
    assert not texts_of(learned) & texts_of(held_out)


def test_it_is_told_how_many_share_a_text_whatever_their_prompts():
    learned, held_out = preferences(["p"]), preferences(["q", "r"])
    (said,) = remarks(learned, held_out, {})
    assert said == "2 of 2 held-out pairs share a text with what is learned from"
    assert remarks(learned, [], {}) == []


def implicit(one, other):
    prompt, chosen, rejected = split_texts(one, other)
    return Preference(pair_id="", prompt=prompt, chosen=chosen, rejected=rejected, implicit=True)


def test_rows_whose_implicit_prompts_begin_alike_are_one_group():
    """What both texts begin with hangs on the pair: answers of one question may begin alike."""
    rng = random.Random(0)  # noqa: S311 - not a secret
    items = [
        implicit(
            f"Question {n}? {rng.choice(('I think', 'Well', 'No'))} {rng.random()}",
            f"Question {n}? {rng.choice(('I think', 'Well', 'No'))} {rng.random()}",
        )
        for n in range(200)
        for _ in range(4)
    ]
    assert len({item.prompt for item in items}) > 300
    learned, held_out = sides(items, 0.1)

    def questions(some):
        return {item.prompt.partition("?")[0] for item in some}

    assert 5 <= len(questions(held_out)) <= 40  # 20 expected
    assert not questions(learned) & questions(held_out)
    division = divide(learned[:400], [*learned[400:], *held_out])
    assert not questions(division.learned) & questions(division.held_out)


def test_a_text_that_begins_with_an_implicit_prompt_has_it():
    """Though it was compared with a text that begins otherwise, so that its row has no prompt."""
    asked = [implicit(f"Question {n}? yes", f"Question {n}? no") for n in range(50)]
    mixed = [implicit(f"Question {n}? maybe", "Nothing to say") for n in range(50)]
    assert {item.prompt for item in mixed} == {""}
    division = divide([*asked, *mixed], share=0.5)
    sides_of = [{item.prompt for item in side} for side in (division.learned, division.held_out)]
    for here, there in (sides_of, sides_of[::-1]):
        side = division.learned if here is sides_of[0] else division.held_out
        starts = {item.chosen.partition("?")[0] + "?" for item in side if not item.prompt}
        assert not starts & there
    assert len(sides_of[0]) > 10


def test_prompts_that_are_named_are_divided_one_by_one_though_they_begin_alike():
    named = preferences(f"Question 1? {n}" for n in range(100))
    learned, held_out = sides([*named, *preferences(["Question 1?"])], 0.5)
    assert len(learned) > 20
    assert len(held_out) > 20


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
    items = [pair(f"good {n}", f"bad {n}") for n in range(3)]
    apart = [pair(f"fine {n}", f"worse {n}") for n in range(3)]
    assert divide(items, apart).held_out == apart


def test_a_text_without_a_prompt_is_on_one_side():
    """Whichever of the two was chosen; a rating has its one text."""
    items = [pair("good", "bad")]
    turned, half, other = pair("bad", "good"), pair("other", "bad"), pair("other", "poor")
    division = divide(items, [turned, half, other])
    assert division.held_out == [other]
    assert division.dropped == {"held out, but a text of theirs is learned from": 2}
    rated = [Rating(prompt="", completion=text, rating=1) for text in "aab"]
    assert divide(rated[:1], rated[1:]).held_out == rated[2:]


def test_where_all_that_was_kept_apart_is_dropped_a_share_is_held_out():
    """And it is said: else nothing would be measured, or on what was learned from."""
    items = preferences(f"prompt {n}" for n in range(100))
    division = divide(items, items[:10], share=0.2)
    assert (division.learned, division.held_out) == sides(items, 0.2)
    assert division.dropped == {"held out, but their prompt is learned from": 10}
