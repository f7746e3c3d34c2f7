"""From whatever names a reward to one that cannot fail in silence."""

import math
import pickle
import sys

import numpy as np
import pytest
import torch

from textgym.rewards import RewardError, known_rewards, resolve
from textgym.rewards.factories import EXTRAS
from textgym.tasks.toys import bandit_score

TEXTS = [" one", " two", " three", " bad text"]


def count(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


def make_constant(value=1.0):
    """A factory, as ``reward_kwargs`` wants one."""

    def constant(prompts, completions, **columns):
        return [value] * len(completions)

    return constant


def score(reward, texts=TEXTS, **columns):
    return reward([f"prompt {row}" for row in range(len(texts))], texts, **columns)


@pytest.fixture
def somebodys_package(tmp_path, monkeypatch):
    """An installed package that lists rewards, as anyone's may."""
    (tmp_path / "somebodys_rewards.py").write_text(
        "def zero(prompts, completions, **columns):\n    return [0.0] * len(completions)\n"
    )
    folder = tmp_path / "somebodys_rewards-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-rewards\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(
        "[textgym.rewards]\nzero = somebodys_rewards:zero\nlost = a_package_that_is_lost:zero\n"
        "length = somebodys_rewards:zero\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("somebodys_rewards", None)


def test_a_callable_is_a_reward():
    assert score(resolve(count)) == [4.0, 4.0, 6.0, 9.0]


def test_a_module_and_attribute_name_a_reward():
    reward = resolve("textgym.tasks.toys:bandit_score")
    assert bandit_score is reward.function
    assert reward([""], ["a"]) == [1.0]


def test_an_installed_package_s_reward_is_known_by_name(somebodys_package):
    assert "zero" in known_rewards()
    assert score(resolve("zero")) == [0.0] * 4


def test_a_name_that_two_packages_list_is_ambiguous(somebodys_package):
    with pytest.raises(ValueError, match="several installed packages call a reward 'length'"):
        resolve("length")


def test_the_rewards_of_this_package_are_known():
    assert {"length", "model", "vader"} <= set(known_rewards())
    assert sorted(known_rewards()) == known_rewards()


def test_reward_kwargs_make_the_reward_with_a_factory():
    assert score(resolve(make_constant, {"value": 2.0})) == [2.0] * 4
    assert score(resolve(make_constant, {})) == [1.0] * 4


def test_a_folder_is_short_for_the_model_in_it(tmp_path):
    """The folder below holds no weights, so it is the loader of that very folder that complains."""
    (tmp_path / "config.json").write_text("{}")
    for reward in (tmp_path, str(tmp_path)):
        with pytest.raises(ValueError, match=f"{tmp_path} holds no whole reward model"):
            resolve(reward)
    with pytest.raises(ValueError, match="a folder takes no reward_kwargs"):
        resolve(tmp_path, {"device": "cpu"})


def test_a_list_is_a_weighted_sum():
    reward = resolve([[count, 1.0], [make_constant(), -2], ["textgym.tasks.toys:bandit_score", 5]])
    assert score(reward, ["a", "bb"]) == [1 - 2 + 5, 2 - 2]


def test_every_part_of_a_list_is_checked_by_itself():
    """The sum of inf and -inf, or of two culprits, would name none of them."""

    def infinite(prompts, completions, **columns):
        return [math.inf for _ in completions]

    with pytest.raises(RewardError, match="reward 'infinite' returned inf"):
        score(resolve([[count, 1.0], [infinite, 0.0]]))


@pytest.mark.parametrize("pairs", [[], [count], [[count]], [[count, 1.0, 2.0]]])
def test_a_list_that_holds_no_pairs_is_refused(pairs):
    with pytest.raises(ValueError, match=r"\[reward, weight\] pair"):
        resolve(pairs)


def test_reward_kwargs_do_not_go_with_a_list():
    with pytest.raises(ValueError, match="with one reward"):
        resolve([[count, 1.0]], {"a": 1})


def test_an_unknown_name_lists_the_known_ones(somebodys_package):
    with pytest.raises(
        ValueError, match=r"unknown reward 'vadr'; known: .*length, .*lost, .*zero;"
    ):
        resolve("vadr")


def test_a_missing_attribute_says_which():
    with pytest.raises(ValueError, match=r"module 'textgym\.tasks\.toys' has no 'bandit_scor'"):
        resolve("textgym.tasks.toys:bandit_scor")


def test_a_missing_package_is_named(somebodys_package):
    with pytest.raises(ModuleNotFoundError, match="'lost' needs the package 'a_package_that_is_l"):
        resolve("lost")


def test_a_package_of_the_tasks_extra_says_how_to_get_it():
    """Whether it is missed when the reward is made or when it first scores."""

    def lexicon(prompts, completions, **columns):
        raise ModuleNotFoundError("No module named 'vaderSentiment'", name="vaderSentiment.lexicon")

    with pytest.raises(ModuleNotFoundError, match=r"pip install \"textgym\[tasks\]\""):
        score(resolve(lexicon))
    with pytest.raises(ModuleNotFoundError, match=r"pip install \"textgym\[tasks\]\""):
        resolve(lambda **_: lexicon([], []), {})


def test_what_cannot_be_called_is_no_reward():
    with pytest.raises(TypeError, match=r"'textgym\.tasks\.toys:ALPHABET' is a str"):
        resolve("textgym.tasks.toys:ALPHABET")


@pytest.mark.parametrize("row", range(4))
def test_a_reward_that_raises_stops_the_run_with_the_text(row):
    """A score of 0 in place of the failure would be learned from."""

    def fragile(prompts, completions, **columns):
        if TEXTS[row] in completions:
            raise KeyError("no such word")
        return [0.0] * len(completions)

    with pytest.raises(RewardError, match=f"'fragile' raised KeyError.*'{TEXTS[row]}'") as caught:
        score(resolve(fragile))
    assert f"row {row} of 4: prompt 'prompt {row}'" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_reward_that_fails_on_no_row_alone_shows_the_first():
    def whole(prompts, completions, **columns):
        if len(completions) == 4:
            raise RuntimeError("too many")
        return [0.0] * len(completions)

    with pytest.raises(RewardError, match="too many; row 0 of 4"):
        score(resolve(whole))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "good"])
def test_a_score_that_is_no_finite_number_is_an_error_with_the_text(value):
    def broken(prompts, completions, **columns):
        return [0.0, 0.0, value, 0.0]

    with pytest.raises(RewardError, match=r"row 2 of 4: prompt 'prompt 2', completion ' three'"):
        score(resolve(broken))


def test_a_wrong_number_of_scores_is_an_error():
    with pytest.raises(RewardError, match="returned 3 scores for 4 completions"):
        score(resolve(lambda prompts, completions, **columns: [0.0] * 3))


@pytest.mark.parametrize("value", [None, 1.0, "0000", {}, torch.tensor(1.0)])
def test_what_is_no_list_is_an_error(value):
    with pytest.raises(RewardError, match="must return a list of 4 floats"):
        score(resolve(lambda prompts, completions, **columns: value))


@pytest.mark.parametrize("make", [np.array, torch.tensor, tuple])
def test_arrays_and_tensors_become_floats(make):
    scores = score(resolve(lambda prompts, completions, **columns: make([1, 2, 3, 4])))
    assert scores == [1.0, 2.0, 3.0, 4.0]
    assert {float} == set(map(type, scores))


def test_a_long_text_is_shown_shortened():
    def broken(prompts, completions, **columns):
        return [math.nan]

    with pytest.raises(RewardError) as caught:
        score(resolve(broken), ["long " * 1000])
    assert len(str(caught.value)) < 500


def test_columns_arrive_as_keywords_also_while_the_culprit_is_sought():
    def labelled(prompts, completions, *, label, **columns):
        if 3 in label:
            raise ValueError("three")
        return [float(value) for value in label]

    assert score(resolve(labelled), label=[0, 1, 2, 4]) == [0.0, 1.0, 2.0, 4.0]
    with pytest.raises(RewardError, match="row 1 of 4"):
        score(resolve(labelled), label=[0, 3, 3, 1])


def test_an_interruption_is_no_failure_of_the_reward():
    def interrupted(prompts, completions, **columns):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(resolve(interrupted))


def test_a_resolved_reward_is_resolved_already_and_pickles():
    reward = resolve([["textgym.tasks.toys:bandit_score", 2.0]])
    assert reward is resolve(reward)
    assert pickle.loads(pickle.dumps(reward))([""], ["a"]) == [2.0]  # noqa: S301


def test_every_name_of_the_extra_is_a_module():
    """The message sends people to ``textgym[tasks]``, so what it names must come with it."""
    import importlib.metadata

    installed = importlib.metadata.packages_distributions()
    assert all(name in installed for name in EXTRAS["tasks"])
