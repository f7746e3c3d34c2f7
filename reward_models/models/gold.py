"""The gold judge: a held-out opinion on sentiment, learned from labels that people wrote.

TF-IDF of single words and pairs of words, and a logistic regression on top: about 87 % on whole
reviews of films. It is never trained on, so that a policy that games the proxy reward can be
caught. It is independent of the proxy in data, not in kind: text made of nothing but praise
convinces it, which is why diversity and repetition are reported beside it.

Simplification: a judgement of the words alone; of word order only what pairs of words keep.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import expit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["GoldJudge", "windows"]

_MIN_DOCUMENTS = 5  # rarer terms are three quarters of all, and add no accuracy
_VOCABULARY = "vocabulary.json"
_ARRAYS = "judge.safetensors"


class GoldJudge:
    """A frozen text classifier, and a reward function: the probability that a text is positive.

    Attributes:
        vocabulary: The terms in the order of their columns, ``V`` of them.
        idf: The inverse document frequency of each term, ``(V,)`` float64.
        weights: The logistic regression's coefficients, ``(V,)`` float64.
        bias: Its intercept.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        idf: NDArray[np.float64],
        weights: NDArray[np.float64],
        bias: float,
    ) -> None:
        self.vocabulary = list(vocabulary)
        self.idf = idf
        self.weights = weights
        self.bias = bias
        self._vectorizer = _vectorizer(vocabulary=self.vocabulary)
        self._vectorizer.idf_ = idf

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        seed: int = 0,
        window_words: int = 30,
        windows_per_text: int = 8,
        inverse_regularisation: float = 2.0,
    ) -> Self:
        """Learns from whole texts and from short windows of them, since completions are short.

        Args:
            texts: The labelled texts.
            labels: 1 for positive and 0 for negative, one a text.
            seed: Decides where the windows are cut.
            window_words: Length of a window, in words.
            windows_per_text: How many windows each text adds.
            inverse_regularisation: scikit-learn's ``C``. On windows of reviews that were held out,
                2 has the smallest log-loss of 0.5 to 8 and probabilities that are what they say;
                at 1 they are timid, and a change of a text looks smaller than it is.

        Raises:
            ValueError: If there are not both labels, or not as many labels as texts.
            ModuleNotFoundError: If scikit-learn is not installed; the message says how to get it.
        """
        if len(texts) != len(labels) or set(labels) != {0, 1}:
            raise ValueError(
                f"{len(texts)} texts came with {len(labels)} labels out of {sorted(set(labels))}: "
                "a judge needs one label a text, and both 0 and 1 among them"
            )
        cut = windows(texts, words=window_words, number=windows_per_text, seed=seed)
        vectorizer = _vectorizer(min_df=_MIN_DOCUMENTS)
        features = vectorizer.fit_transform(
            [*texts, *(window for group in cut for window in group)]
        )
        targets = np.concatenate([labels, np.repeat(labels, [len(group) for group in cut])])
        model = _sklearn().linear_model.LogisticRegression(C=inverse_regularisation, max_iter=300)
        model.fit(features, targets)
        return cls(
            list(vectorizer.get_feature_names_out()),
            np.asarray(vectorizer.idf_, dtype=np.float64),
            np.asarray(model.coef_[0], dtype=np.float64),
            float(model.intercept_[0]),
        )

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Returns the probability that each text is positive, ``(N,)`` float64 in [0, 1]."""
        if not texts:
            return np.zeros(0)
        logits = self._vectorizer.transform(texts) @ self.weights + self.bias
        return np.asarray(expit(logits), dtype=np.float64)

    def accuracy(self, texts: Sequence[str], labels: Sequence[int]) -> float:
        """Returns the share of texts on the labelled side of one half, in [0, 1]."""
        return float(np.mean((self.score(texts) > 1 / 2) == np.asarray(labels, dtype=bool)))

    def __call__(
        self,
        prompts: Sequence[str],  # noqa: ARG002  a reward's signature
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores completions alone, as a reward: ``(N,)`` in [0, 1]."""
        return [float(probability) for probability in self.score(completions)]

    def save(self, folder: str | Path) -> None:
        """Writes the vocabulary as JSON and the numbers as safetensors; makes the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _VOCABULARY).write_text(json.dumps(self.vocabulary), encoding="utf-8")
        arrays = {"idf": self.idf, "weights": self.weights, "bias": np.array([self.bias])}
        save_file(arrays, folder / _ARRAYS)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads a judge that ``save`` wrote; it scores exactly as before.

        Raises:
            ValueError: If a file is missing or damaged.
            ModuleNotFoundError: If scikit-learn is not installed; the message says how to get it.
        """
        folder = Path(folder)
        try:
            vocabulary = json.loads((folder / _VOCABULARY).read_text(encoding="utf-8"))
            arrays = load_file(folder / _ARRAYS)
            idf, weights, bias = (arrays[name] for name in ("idf", "weights", "bias"))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ValueError(
                f"{folder} holds no whole gold judge ({error}): fit one and save it there"
            ) from error
        if not len(vocabulary) == len(idf) == len(weights):
            raise ValueError(
                f"{folder}: {len(vocabulary)} terms do not go with {len(weights)} weights, "
                "so the files are of two judges: fit one and save it there"
            )
        return cls(vocabulary, idf, weights, float(bias[0]))


def windows(texts: Sequence[str], *, words: int, number: int, seed: int) -> list[list[str]]:
    """Cuts random runs of words out of texts.

    Args:
        texts: The texts, ``(N,)``.
        words: Words in a window. A text that is no longer than this gives no window.
        number: Windows per text; they may overlap.
        seed: Decides the places.

    Returns:
        The windows of each text, ``(N,)`` lists of ``number`` or none.
    """
    rng = np.random.default_rng(seed)
    cut = []
    for text in texts:
        split = text.split()
        room = len(split) - words
        starts = rng.integers(0, room + 1, size=number) if room > 0 else ()
        cut.append([" ".join(split[start : start + words]) for start in starts])
    return cut


def _vectorizer(**settings: Any) -> Any:
    text = _sklearn().feature_extraction.text
    return text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **settings)


def _sklearn() -> Any:
    try:
        import sklearn.feature_extraction.text
        import sklearn.linear_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the gold judge needs scikit-learn: pip install "textgym[tasks]"'
        ) from error
    return sklearn
