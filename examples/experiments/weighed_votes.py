"""Votes counted by heads and weighed by ability, on simulated annotators of known ability.

    python examples/experiments/weighed_votes.py

Three annotators name the better of two texts with .8, and a fourth throws a coin. For five seeds:
how often a label names the better text (a pair without a label counts one half), and the mean of
-log of the probability that it gives to the better one, kept from below at .01.
"""

import numpy as np

from reward_models.measuring.ability import ability_shares
from reward_models.preferences import Preference, majority, vote_shares

PAIRS, ACCURACIES, SEEDS = 1200, (0.8, 0.8, 0.8, 0.5), range(5)


def answers_of(rng: np.random.Generator) -> tuple[list[Preference], dict[tuple[str, str], str]]:
    """Each annotator's answer to each pair, of which the text called better is better."""
    answers, left = [], {}
    for pair in range(PAIRS):
        for number, accuracy in enumerate(ACCURACIES):
            texts = ("better", "worse") if rng.random() < accuracy else ("worse", "better")
            left[str(pair), str(number)] = texts[int(rng.integers(2))]
            answers.append(
                Preference(
                    pair_id=str(pair),
                    prompt="",
                    chosen=texts[0],
                    rejected=texts[1],
                    annotator=str(number),
                )
            )
    return answers, left


def judged(labels: list[Preference]) -> tuple[float, float]:
    """How often labels are right, and their log loss."""
    sure = {p.pair_id: p.probability if p.chosen == "better" else 1 - p.probability for p in labels}
    given = np.array([sure.get(str(pair), 0.5) for pair in range(PAIRS)])
    right = (given > 1 / 2) + (given == 1 / 2) / 2
    return float(right.mean()), float(-np.log(np.clip(given, 0.01, 1)).mean())


def main() -> None:
    """Prints a line for each way, mean over the seeds, least and most."""
    found: dict[str, list[tuple[float, float]]] = {"majority": [], "shares": [], "ability": []}
    for seed in SEEDS:
        answers, left = answers_of(np.random.default_rng(seed))
        found["majority"].append(judged(majority(answers)))
        found["shares"].append(judged(vote_shares(answers)))
        found["ability"].append(judged(ability_shares(answers, left)))
    for name, values in found.items():
        right, loss = np.array(values).T
        print(
            f"{name:9} right {right.mean():.3f} ({right.min():.3f} to {right.max():.3f})  "
            f"log loss {loss.mean():.3f} ({loss.min():.3f} to {loss.max():.3f})"
        )


if __name__ == "__main__":
    main()
