"""The number that is to be guessed: what is said, what is scored, and the best strategy."""

import functools
import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.rewards import resolve
from textgym.tasks import get_task, is_available
from textgym.tasks.guessing import Guess, guess_score, optimal_guess_score
from textgym.testing import check_reward_function, check_task
from textgym.tokenizers import load_tokenizer

OPTIMUM = 0.59375


def example_of(number):
    return Guess().examples("train")[number - 1]


def play(task, example, agent):
    """Lets an agent and the task talk to each other; the agent is given what it has been told."""
    turns, replies = [], []
    while True:
        turns.append(agent(replies))
        reply = task.reply(example, turns)
        if reply is None:
            return turns, replies
        replies.append(reply)


def halve(replies):
    """Guesses the middle of what is left, from the replies alone."""
    low, high = 1, 8
    for reply in replies:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if reply == ">" else (low, middle - 1)
    return str((low + high) // 2)


def mean_score(task, agent):
    """Scores what the agent wrote, as an environment does."""
    examples = task.examples("train")
    completions = ["\n".join(play(task, example, agent)[0]) for example in examples]
    columns = {key: [example.columns[key] for example in examples] for key in examples[0].columns}
    scores = guess_score([example.prompt for example in examples], completions, **columns)
    return sum(scores) / len(scores)


def test_the_task_keeps_the_contract():
    task = get_task("guess")
    assert task == Guess()
    assert is_available("Guess")
    check_task(task)


def test_the_reward_is_the_task_s_and_keeps_the_contract():
    assert resolve(Guess().reward)(["", ""], ["3", "4\n3"], number=[3, 3]) == [1.0, 0.75]
    check_reward_function(guess_score, columns={"number": 3})


def test_there_is_one_example_per_number():
    examples = Guess().examples("train")
    assert [example.columns["number"] for example in examples] == [1, 2, 3, 4, 5, 6, 7, 8]
    for example in examples:
        assert example.prompt == ""
        assert example.columns["reference"] == str(example.columns["number"])


@pytest.mark.parametrize(
    ("turns", "reply"),
    [
        (["4"], ">"),
        (["6"], "<"),
        (["5"], None),
        (["1", "8"], "<"),
        (["1", "?", "3"], ">"),
        (["6", "5"], None),
        (["5", "6"], None),
        (["1", "2", "3", "4"], None),
        (["1", "2", "3", "5"], None),
        ([""], "?"),
        (["55"], "?"),
        (["45"], "?"),
        ([">"], "?"),
        (["9"], "?"),
        (["0"], "?"),
        (["5 "], "?"),
        (["\u0665"], "?"),
        (["", "", "", ""], None),
    ],
)
def test_the_other_side_says_which_way_the_number_is(turns, reply):
    assert Guess().reply(example_of(5), turns) == reply


def test_nobody_is_told_anything_before_the_first_turn():
    with pytest.raises(ValueError, match="Guess replies to a turn, and there is none yet"):
        Guess().reply(example_of(5), [])


@given(st.integers(1, 8), st.lists(st.text("12345678<>?", max_size=2), min_size=1, max_size=6))
def test_a_reply_depends_on_its_arguments_alone_and_can_be_written(number, turns):
    example = example_of(number)
    reply = Guess().reply(example, turns)
    assert reply == Guess().reply(example_of(number), tuple(turns))
    assert (reply is None) == (str(number) in turns or len(turns) >= 4)
    if reply is not None:
        assert len(load_tokenizer(Guess().tokenizer).encode(reply)) == 1


def test_the_longest_conversation_fills_the_room():
    """Each turn takes a digit and its end of text, each reply one more place."""
    task = Guess()
    tokenizer = load_tokenizer(task.tokenizer)
    turns, replies = play(task, example_of(8), lambda replies: str(1 + len(replies)))
    taken = sum(len(tokenizer.encode(turn)) + 1 for turn in turns)
    taken += sum(len(tokenizer.encode(reply)) for reply in replies)
    assert turns == ["1", "2", "3", "4"]
    assert taken == task.completion_tokens == 11


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ("5", 1.0),
        ("4\n5", 0.75),
        ("\n5", 0.75),
        ("4\n6\n5", 0.5),
        ("4\n6\n8\n5", 0.25),
        ("4\n6\n8\n7", 0.0),
        ("1\n2\n3\n4\n5", 0.0),
        ("5\n4", 1.0),
        ("", 0.0),
        ("55", 0.0),
        ("4 5", 0.0),
    ],
)
def test_an_earlier_hit_is_worth_more(completion, score):
    assert [score] == guess_score([""], [completion], number=[5])


def test_the_reference_is_worth_the_most():
    for example in Guess().examples("train"):
        columns = {key: [value] for key, value in example.columns.items()}
        assert guess_score([""], [example.columns["reference"]], **columns) == [1.0]


@functools.cache
def best_sum(left, guesses):
    """The best sum of scores over a set of numbers, any of the eight being a possible guess."""
    if not left or not guesses:
        return Fraction(0)
    return max(
        (guess in left) * Fraction(guesses, 4)
        + best_sum(frozenset(number for number in left if number < guess), guesses - 1)
        + best_sum(frozenset(number for number in left if number > guess), guesses - 1)
        for guess in range(1, 9)
    )


def test_the_optimum_is_that_of_the_best_of_all_decision_trees():
    """The trees guess anything, also what cannot be; the programme knows intervals alone."""
    assert float(best_sum(frozenset(range(1, 9)), 4) / 8) == OPTIMUM
    assert optimal_guess_score() == OPTIMUM
    assert "4.75/8 = 0.59375 in the mean" in Guess.__doc__


@pytest.mark.parametrize(("exchanges", "total"), [(1, 1.0), (2, 2.5), (3, 4.5), (4, 4.75)])
def test_fewer_guesses_find_fewer_numbers(exchanges, total):
    """By hand: one number at the first guess, two at the second, four at the third."""
    assert optimal_guess_score(exchanges) == total / 8
    assert mean_score(Guess(exchanges=exchanges), halve) == total / 8


def test_halving_reaches_the_optimum_by_listening_to_the_replies():
    assert mean_score(Guess(), halve) == OPTIMUM


def test_whoever_does_not_listen_gets_what_the_docstring_says():
    """All the lists of four guesses that depend on nothing."""
    best = max(
        mean_score(Guess(), lambda replies, plan=plan: plan[len(replies)])
        for plan in itertools.permutations("12345678", 4)
    )
    assert best == 0.3125
    assert "0.3125 at most" in Guess.__doc__


@pytest.mark.parametrize("exchanges", [0, 5])
def test_a_number_of_turns_that_is_worth_nothing_is_refused(exchanges):
    with pytest.raises(ValueError, match=f"1 to 4 exchanges; got {exchanges}"):
        Guess(exchanges=exchanges)
