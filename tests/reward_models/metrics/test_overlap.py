"""Rewards that compare with references: published examples, and numbers worked out by hand."""

import math
import sys

import pytest

from reward_models.metrics import Bleu, Chrf, Rouge, SquadExactMatch, SquadF1, overlap

REWARDS = [
    pytest.param(kind(), id=kind.__name__) for kind in (Rouge, Bleu, Chrf, SquadExactMatch, SquadF1)
]


def score(reward, completion, reference):
    return reward(["p"], [completion], reference=[reference])[0]


@pytest.mark.parametrize(
    ("candidate", "longest", "bigrams"),
    [
        ("police kill the gunman", 3 / 4, 1 / 3),
        ("the gunman kill police", 2 / 4, 1 / 3),
    ],
)
def test_rouge_s_longest_common_subsequence_is_lin_s_example(candidate, longest, bigrams):
    """Section 3.1 of Lin (2004): ROUGE-2 cannot tell the two candidates apart, ROUGE-L can."""
    reference = "police killed the gunman"
    assert longest == score(Rouge(variant="rougeL"), candidate, reference)
    assert score(Rouge(variant="rouge2"), candidate, reference) == pytest.approx(bigrams)


@pytest.mark.parametrize(
    ("measure", "expected"), [("precision", 2 / 3), ("recall", 1.0), ("fmeasure", 0.8)]
)
def test_rouge_measures_precision_recall_or_both(measure, expected):
    reward = Rouge(variant="rouge1", measure=measure)
    assert score(reward, "the cat sat", "the cat") == pytest.approx(expected)


def test_rouge_can_compare_stems():
    assert score(Rouge(variant="rouge1"), "police kills", "police killed") == 0.5
    assert score(Rouge(variant="rouge1", stem=True), "police kills", "police killed") == 1.0


def test_bleu_counts_a_word_as_often_as_a_reference_has_it():
    """Example 2 of Papineni et al. (2002): a modified unigram precision of 2/7."""
    references = ["the cat is on the mat", "there is a cat on the mat"]
    reward = Bleu(max_order=1, smoothing="none")
    assert score(reward, "the the the the the the the", references) == pytest.approx(2 / 7)


def test_bleu_of_papineni_s_first_candidate_is_what_nltk_s_documentation_gives():
    """0.5045666840058485, by another implementation than the one that is used here."""
    candidate = (
        "It is a guide to action which ensures that the military always obeys the commands of "
        "the party"
    )
    references = [
        "It is a guide to action that ensures that the military will forever heed Party commands",
        "It is the guiding principle which guarantees the military forces always being under the "
        "command of the Party",
        "It is the practical guide for the army always to heed the directions of the party",
    ]
    reward = Bleu(smoothing="none")
    assert score(reward, candidate, references) == pytest.approx(0.5045666840058485)


def test_bleu_punishes_a_short_text():
    """Two words of three: exp(1 - 3 / 2)."""
    assert score(Bleu(max_order=1), "the cat", "the cat sat") == pytest.approx(math.exp(-0.5))


def test_chrf_is_an_f_score_of_characters():
    """All of ab is in abc, and two thirds of abc in ab: 5 P R / (4 P + R)."""
    expected = 5 * (2 / 3) / (4 + 2 / 3)
    assert score(Chrf(char_order=1), "ab", "abc") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "reference", "exact", "f1"),
    [
        ("The Eiffel Tower!", "eiffel tower", 1.0, 1.0),
        ("an  eiffel-tower", "EiffelTower", 1.0, 1.0),
        ("the cat sat", "a cat sat down", 0.0, 2 * 2 / (2 + 3)),
        ("cat cat", "cat", 0.0, 2 * 1 / 3),
        ("dog", "cat", 0.0, 0.0),
        ("", "cat", 0.0, 0.0),
        ("the", "", 1.0, 1.0),
        ("anthem", "them", 0.0, 0.0),
    ],
)
def test_squad_ignores_case_punctuation_and_articles(text, reference, exact, f1):
    assert exact == score(SquadExactMatch(), text, reference)
    assert score(SquadF1(), text, reference) == pytest.approx(f1)


@pytest.mark.parametrize("reward", REWARDS)
def test_the_best_of_several_references_counts(reward):
    text = "the quick brown fox jumps"
    assert score(reward, text, ["something else", text, "quick"]) == pytest.approx(1.0)
    assert score(reward, text, ("something else", text)) == pytest.approx(1.0)


@pytest.mark.parametrize("reward", REWARDS)
def test_nothing_is_worth_nothing(reward):
    assert score(reward, "", "the quick brown fox") == 0.0
    assert reward([], [], reference=[]) == []


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [1, 2]}, "no column 'reference' to read; the columns are: label. Name another"),
        ({}, "the columns are: none"),
        ({"reference": ["a"]}, "'reference' has 1 values for 2 completions"),
        ({"reference": ["a", None]}, "'reference' is None in row 1; a prompt of your own"),
        ({"reference": ["a", 3]}, "'reference' is 3 in row 1; it must be a text, or a list"),
        ({"reference": ["a", []]}, r"'reference' is \[\] in row 1"),
        ({"reference": [["a", None], "a"]}, r"'reference' is \['a', None\] in row 0"),
    ],
)
def test_a_reference_that_is_not_there_is_named(reward, columns, message):
    with pytest.raises(ValueError, match=message):
        reward(["", ""], ["a", "b"], **columns)


@pytest.mark.parametrize("reward", REWARDS)
def test_what_is_no_text_is_named(reward):
    with pytest.raises(TypeError, match="completion 1 is None"):
        reward(["", ""], ["a", None], reference=["a", "a"])


@pytest.mark.parametrize("kind", [Rouge, Bleu, Chrf, SquadExactMatch, SquadF1])
def test_the_references_may_be_in_another_column(kind):
    text = "the quick brown fox jumps"
    assert kind(column="answer")([""], [text], answer=[text]) == [pytest.approx(1.0)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rouge(variant="rouge0"), "unknown variant 'rouge0'; known: rouge1 to rouge9"),
        (lambda: Rouge(measure="f1"), "unknown measure 'f1'; known: fmeasure"),
        (lambda: Bleu(max_order=0), "max_order must be positive"),
        (lambda: Bleu(smoothing="more"), "unknown smoothing 'more'; known: exp"),
        (lambda: Bleu(tokenizer="ja"), "unknown tokenizer 'ja'; known: 13a"),
        (lambda: Chrf(char_order=0), "char_order and beta must be positive"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("kind", "module", "scorer"),
    [
        (Rouge, "rouge_score", overlap._rouge_scorer),
        (Bleu, "sacrebleu", overlap._bleu_scorer),
        (Chrf, "sacrebleu", overlap._chrf_scorer),
    ],
)
def test_a_missing_package_names_the_extra(monkeypatch, kind, module, scorer):
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    scorer.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r'pip install "textgym\[metrics\]"'):
        kind()
