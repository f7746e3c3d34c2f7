"""The gold judge: it learns, it scores completions alone, and it survives a round trip."""

import json
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")

from reward_models.models.gold import GoldJudge, windows

SENTENCE = "the film in which they went to a place and said things"
FILLER = SENTENCE.split()


def review(seed, label):
    """Forty filler words with four opinion words among them."""
    rng = np.random.default_rng([seed, label])
    words = list(rng.choice(FILLER, 40))
    for place in rng.choice(40, 4, replace=False):
        words[place] = ("awful", "great")[label] if rng.random() < 0.9 else "odd"
    return " ".join(words)


@pytest.fixture(scope="module")
def judge():
    labels = [0, 1] * 60
    texts = [review(seed, label) for seed, label in enumerate(labels)]
    return GoldJudge.fit(texts, labels, seed=0, window_words=15, windows_per_text=2)


def test_it_learns_a_separable_toy(judge):
    """On texts that it has not seen, whole and cut short."""
    labels = [0, 1] * 50
    texts = [review(1000 + seed, label) for seed, label in enumerate(labels)]
    assert judge.accuracy(texts, labels) > 0.95
    assert judge.score(["a great film"])[0] > 0.5 > judge.score(["an awful film"])[0]


def test_it_loads_as_it_was_saved_and_without_pickle(judge, tmp_path):
    """Bit for bit the same scores; the files are JSON and safetensors."""
    judge.save(tmp_path / "gold")
    texts = [review(seed, seed % 2) for seed in range(20)] + ["", "words never seen"]
    np.testing.assert_array_equal(
        judge.score(texts), GoldJudge.load(tmp_path / "gold").score(texts)
    )
    names = {path.name for path in (tmp_path / "gold").iterdir()}
    assert {"judge.safetensors", "vocabulary.json"} == names


def test_as_a_reward_it_reads_the_completion_only(judge):
    """An agent must not be paid for a cheerful prompt."""
    texts = ["the great film", "the awful film"]
    alone = judge(["", ""], texts)
    after_praise = judge(["great great great"] * 2, texts, label=[0, 1])
    assert alone == after_praise
    assert all(isinstance(score, float) and 0 <= score <= 1 for score in alone)


def test_no_text_gives_no_score(judge):
    """The vectorizer itself refuses an empty batch."""
    assert judge([], []) == []


@pytest.mark.parametrize("name", ["vocabulary.json", "judge.safetensors"])
def test_a_damaged_file_is_named_in_one_line(judge, tmp_path, name):
    """Cut in half, then gone."""
    judge.save(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="holds no whole gold judge"):
        GoldJudge.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="holds no whole gold judge"):
        GoldJudge.load(tmp_path)


def test_files_of_two_judges_are_refused(judge, tmp_path):
    """A vocabulary of another length would give every word the weight of its neighbour."""
    judge.save(tmp_path)
    (tmp_path / "vocabulary.json").write_text(json.dumps(judge.vocabulary[:-1]))
    with pytest.raises(ValueError, match="two judges"):
        GoldJudge.load(tmp_path)


def test_labels_of_one_kind_are_refused():
    """scikit-learn's own message does not say which argument is meant."""
    with pytest.raises(ValueError, match="both 0 and 1"):
        GoldJudge.fit(["a b", "a c"], [1, 1])


def test_windows_are_runs_of_words_of_their_text():
    """Of the given length, the given number, and none from a text that is too short."""
    texts = [" ".join(f"w{i}" for i in range(50)), "too short"]
    cut = windows(texts, words=7, number=5, seed=3)
    assert [len(group) for group in cut] == [5, 0]
    for window in cut[0]:
        first = int(window.split()[0][1:])
        assert " ".join(f"w{first + i}" for i in range(7)) == window
    assert cut == windows(texts, words=7, number=5, seed=3)
    assert cut != windows(texts, words=7, number=5, seed=4)


def test_a_missing_scikit_learn_names_the_extra(monkeypatch):
    """It is an extra: a user who lacks it is told how to get it."""
    for module in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "textgym\[tasks\]"'):
        GoldJudge.fit(["a b", "a c"], [0, 1])
