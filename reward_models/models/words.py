"""The baseline that a learned reward should beat: Bradley and Terry's model on bags of words.

A text's score is linear in the TF-IDF of its words and pairs of words, so the difference of two
scores is linear in the difference of their TF-IDF, and fitting is a logistic regression without an
intercept.

Simplifications: prompts are not read, since a linear model cannot use them; it is not saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reward_models.preferences.pairs import Preference

__all__ = ["WordsReward"]

_STRENGTHS = (4.0, 16.0, 64.0, 256.0, 1024.0)
_QUARTER = 4
_FEWEST = 2 * _QUARTER


class WordsReward:
    """A linear reward on words, fitted to preferences in seconds.

    Attributes:
        strength: scikit-learn's ``C`` that was best on a quarter of the pairs, kept apart; higher
            fits the pairs more closely.
        mean: Mean score of the texts that it was fitted to, before it was taken off.
    """

    def __init__(self, vectorizer: Any, model: Any, strength: float, mean: float) -> None:
        self._vectorizer = vectorizer
        self._model = model
        self.strength = strength
        self.mean = mean

    @classmethod
    def fit(cls, preferences: Sequence[Preference], seed: int = 0) -> Self:
        """Fits weights; their regularisation is chosen by log-loss on a quarter kept apart.

        Args:
            preferences: The pairs; probabilities count, margins do not.
            seed: Decides which quarter.

        Raises:
            ValueError: If there are fewer than eight pairs.
            ModuleNotFoundError: If scikit-learn is not installed; the message says how to get it.
        """
        if len(preferences) < _FEWEST:
            raise ValueError(
                f"{len(preferences)} pairs are too few for words to be weighed: give {_FEWEST}"
            )
        sklearn = _sklearn()
        texts = [p.chosen for p in preferences] + [p.rejected for p in preferences]
        vectorizer = sklearn.feature_extraction.text.TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, min_df=2
        )
        features = vectorizer.fit_transform(texts)
        difference = features[: len(preferences)] - features[len(preferences) :]
        likely = np.array([p.probability for p in preferences])
        # The same quarter for all strengths: what differs is the strength alone.
        kept = np.random.default_rng(seed).permutation(len(preferences)) % _QUARTER == 0
        losses = {
            strength: _loss(
                _fit(difference[~kept], likely[~kept], strength), difference[kept], likely[kept]
            )
            for strength in _STRENGTHS
        }
        best = min(losses, key=lambda strength: losses[strength])
        model = _fit(difference, likely, best)
        return cls(vectorizer, model, best, float(np.mean(features @ model)))

    def __call__(
        self,
        prompts: Sequence[str],  # noqa: ARG002  a reward's signature
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores completions in log-odds; the texts that it was fitted to have mean 0: ``(N,)``."""
        if not completions:
            return []
        scores = self._vectorizer.transform(completions) @ self._model - self.mean
        return [float(score) for score in scores]


def _fit(difference: Any, likely: Any, strength: float) -> Any:
    """Weights of the words, ``(V,)``."""
    sklearn = _sklearn()
    import scipy.sparse

    model = sklearn.linear_model.LogisticRegression(C=strength, fit_intercept=False, max_iter=300)
    # Turned round, an answer says the same; without both labels there is nothing to separate. A
    # soft answer is both answers, each weighted by its probability.
    parts, labels, weights = [difference, -difference], [1, 0], [likely, likely]
    if (likely < 1).any():
        parts, labels = [*parts, *parts], [1, 0, 0, 1]
        weights = [*weights, 1 - likely, 1 - likely]
    model.fit(
        scipy.sparse.vstack(parts),
        np.repeat(labels, len(likely)),
        sample_weight=np.concatenate(weights) / 2,
    )
    return model.coef_[0]


def _loss(weights: Any, difference: Any, likely: Any) -> float:
    lead = difference @ weights
    return float(np.sum(likely * np.logaddexp(0, -lead) + (1 - likely) * np.logaddexp(0, lead)))


def _sklearn() -> Any:
    try:
        import sklearn.feature_extraction.text
        import sklearn.linear_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'a bag of words needs scikit-learn: pip install "textgym[tasks]"'
        ) from error
    return sklearn
