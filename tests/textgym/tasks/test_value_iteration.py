"""The exact optimum of small tasks, against closed forms and against every text."""

import itertools
from fractions import Fraction

import pytest

from textgym.rewards import resolve
from textgym.tasks.arithmetic import Arithmetic
from textgym.tasks.toys import ALPHABET, PAYOUTS, PRIZES, STEP_COST, Alphabet, Bandit, Corridor
from textgym.tasks.value_iteration import optimal_return, optimal_values, uniform_return
from textgym.tokenizers import load_tokenizer


@pytest.fixture(scope="module")
def short_alphabet():
    """Four tokens are enough for the letters and the end; six would be a million texts."""
    return Alphabet(completion_tokens=4)


def test_the_bandit_s_optimum_is_its_best_letter():
    assert optimal_return(Bandit()) == max(PAYOUTS.values()) == 1.0
    assert uniform_return(Bandit()) == pytest.approx(0.35)


def test_the_alphabet_s_optimum_and_its_uniform_score_are_the_stated(short_alphabet):
    assert optimal_return(short_alphabet) == 1.0
    assert uniform_return(short_alphabet) == pytest.approx(float(Fraction(2465, 26244)))


def test_the_corridor_s_optimum_is_the_better_of_two_walks():
    """By hand: from place 1 the near prize is worth more, from the others the far one."""
    starts = range(1, 6)
    best = [
        max(PRIZES[0] - STEP_COST * place, PRIZES[6] - STEP_COST * (6 - place)) for place in starts
    ]
    assert best == [0.3125, 0.25, 0.4375, 0.625, 0.8125]
    task = Corridor()
    values = [optimal_values(task, example)[()] for example in task.examples("train")]
    assert values == best
    assert optimal_return(task) == 0.4875
    assert "0.4875 in the mean" in Corridor.__doc__


def test_a_value_is_the_best_score_among_the_texts_that_go_on():
    """Against going through every text of the corridor, without any recursion."""
    task = Corridor()
    example = task.examples("train")[1]
    tokenizer = load_tokenizer(task.tokenizer)

    def score(walk):
        place = 0
        for letter in example.prompt + walk:
            place = min(max(place + {"l": -1, "r": 1}[letter], 0), 6)
        return {0: 0.5, 6: 1.0}.get(place, 0.0) - 0.1875 * len(walk)

    texts = ["".join(walk) for size in range(7) for walk in itertools.product("lr", repeat=size)]
    values = optimal_values(task, example)
    assert len(values) == sum(2**size for size in range(6))
    for ids, value in values.items():
        begun = tokenizer.decode(ids)
        assert value == max(score(text) for text in texts if text.startswith(begun))


def test_the_values_of_the_alphabet_are_the_places_that_can_still_be_right(short_alphabet):
    values = optimal_values(short_alphabet, short_alphabet.examples("train")[0])
    ids = dict(
        zip(ALPHABET, load_tokenizer(short_alphabet.tokenizer).encode(ALPHABET), strict=True)
    )
    written = {"": 1.0, "b": 1.0, "a": 0.75, "bc": 1.0, "bb": 0.75, "aaa": 0.25, "bcd": 1.0}
    assert {text: values[tuple(ids[letter] for letter in text)] for text in written} == written


def test_a_sum_can_always_be_solved():
    task = Arithmetic()
    assert optimal_return(task, "test") == 1.0


def test_a_reference_is_worth_the_optimum(short_alphabet):
    """Every toy's reference is a best text."""
    for task in (short_alphabet, Bandit(), Corridor()):
        for example in task.examples("train"):
            reference = example.columns["reference"]
            columns = {key: [value] for key, value in example.columns.items()}
            scores = resolve(task.reward)([example.prompt], [reference], **columns)
            assert scores == [optimal_values(task, example)[()]]


def test_a_task_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match=r"Alphabet has \d+ texts of up to 12 of 8 tokens, more"):
        optimal_return(Alphabet(completion_tokens=12))


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="unknown split 'test' of Corridor"):
        optimal_return(Corridor(), "test")
