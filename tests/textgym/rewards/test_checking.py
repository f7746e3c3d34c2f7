"""What is wrong with what a reward is given is said before it is called."""

import pytest

from textgym import TextEnv, TextVectorEnv
from textgym.rewards import RewardError, resolve
from textgym.rewards.checking import CheckedReward, finite


def count(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


def labelled(prompts, completions, *, label, weight=1, **columns):
    return [float(value) for value in label]


@pytest.mark.parametrize(
    ("prompts", "completions", "columns", "message"),
    [
        (["p", "q"], ["a", None], {}, "'count' was given None as completion 1 of 2; it must be a"),
        (["p", 3], ["a", "b"], {}, "'count' was given 3 as prompt 1 of 2"),
        (["p"], ["a", "b"], {}, "was given 2 completions and 1 values of 'prompts'"),
        (["p", "q"], ["a", "b"], {"label": [1]}, "2 completions and 1 values of 'label'"),
        (["p", "q"], ["a", "b"], {"label": [1, 2, 3]}, "2 completions and 3 values of 'label'"),
    ],
)
def test_bad_input_is_named(prompts, completions, columns, message):
    with pytest.raises(RewardError, match=message):
        resolve(count)(prompts, completions, **columns)


def test_a_missing_column_is_named_beside_those_that_are_there():
    with pytest.raises(RewardError, match=r"'labelled' reads the column 'label'.* are: reference$"):
        resolve(labelled)(["p"], ["a"], reference=["b"])
    with pytest.raises(RewardError, match="the columns are: none"):
        resolve({"chat": {"reward": labelled}})(["p"], ["a"])


def test_a_type_error_of_the_reward_itself_is_not_taken_for_a_missing_column():
    def broken(prompts, completions, *, label, **columns):
        return [label + 1 for _ in completions]

    with pytest.raises(RewardError, match="'broken' raised TypeError: can only concatenate"):
        resolve(broken)(["p"], ["a"], label=[1])


def test_no_text_gets_no_score():
    assert resolve(count)([], [], label=[]) == []
    with pytest.raises(RewardError, match="returned 1 scores for 0 completions; there was no text"):
        resolve(lambda prompts, completions, **columns: [0.0])([], [])


def test_the_one_term_of_a_reward_is_itself():
    assert resolve(count).terms(["", ""], ["a", "bb"]) == ([1.0, 2.0], {})


def completions_first(completions, label, weight=1, completion_ids=None, **kwargs):
    return [float(value) for value in label]


@pytest.mark.parametrize(
    ("reward", "reads"),
    [
        (count, ()),
        (labelled, ("label",)),
        (completions_first, ("label",)),
        ({"chat": {"reward": completions_first}}, ("label",)),
        (
            [[labelled, 1.0], [count, 1.0], ["textgym.tasks.scoring:exact_match", 1.0]],
            ("label", "reference"),
        ),
        ("squad_f1", ("reference",)),
        ({"squad_f1": {"column": "answers"}}, ("answers",)),
        ({"clip": {"reward": "keywords", "low": 0}}, ("keywords",)),
        ({"keywords": {"keywords": ["a"]}}, ()),
    ],
)
def test_a_reward_says_which_columns_it_cannot_do_without(reward, reads):
    assert reads == resolve(reward).reads


@pytest.mark.parametrize("make", [TextEnv, TextVectorEnv])
def test_a_column_that_the_task_has_not_is_missed_before_the_first_text(make):
    """Not at the end of an episode that took a night."""
    with pytest.raises(
        ValueError,
        match=r"reward 'clipped\(labelled\)' reads the column 'label', but split 'train' of "
        "Alphabet has the columns: reference",
    ):
        make(task="Alphabet", reward={"clip": {"reward": labelled, "low": 0}})
    make(task="Alphabet", reward="squad_f1")


@pytest.mark.parametrize("score", ["0.5", b"0.5", "nan"])
def test_a_text_that_spells_a_number_is_no_score(score):
    reward = CheckedReward("spelled", lambda prompts, completions: [score] * len(completions))
    with pytest.raises(RewardError, match="which is no finite number; row 0 of 1"):
        reward([""], ["a"])


@pytest.mark.parametrize("digits", [400, 5000])
def test_an_integer_that_no_float_holds_is_no_score(digits):
    """Of more than 4,300 digits Python does not even write one."""
    score = -(10**digits)
    reward = resolve(lambda prompts, completions, **columns: [score] * len(completions))
    with pytest.raises(RewardError, match="which is no finite number") as told:
        reward(["p"], ["a"])
    assert len(str(told.value)) < 300
    with pytest.raises(ValueError, match="low must be a finite number"):
        finite("low", score)


def test_an_exception_that_knows_its_row_is_not_looked_for():
    """A batch of 256 was asked about twice; with a judge that is paid, at twice the price."""
    asked = []

    class Unreadable(Exception):
        row = 77

    def reward(prompts, completions, **columns):
        asked.append(len(completions))
        raise Unreadable("no number")

    with pytest.raises(RewardError, match=r"Unreadable: no number; row 77 of 256: .*'c77'"):
        CheckedReward("judge", reward)([""] * 256, [f"c{row}" for row in range(256)])
    assert asked == [256]


@pytest.mark.parametrize("row", [None, -1, 256, True, "7"])
def test_a_row_that_is_none_is_looked_for(row):
    class Unreadable(Exception):
        pass

    def reward(prompts, completions, **columns):
        if "c77" in completions:
            error = Unreadable("no number")
            error.row = row
            raise error
        return [0.0] * len(completions)

    with pytest.raises(RewardError, match="row 77 of 256"):
        CheckedReward("judge", reward)([""] * 256, [f"c{row}" for row in range(256)])
