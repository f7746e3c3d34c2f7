"""The nouns of a comparison, and how samples become pairs to compare.

Simplification: pairs are drawn at random. Active selection would spend fewer answers, but random
pairs are hard to beat and easy to reason about.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "CHOICES",
    "Answer",
    "Choice",
    "Origin",
    "Pair",
    "Preference",
    "Provenance",
    "build_pairs",
    "majority",
    "origins_of_pairs",
    "pair_identity",
    "vote_shares",
]

Choice = Literal["a", "b", "tie", "both_bad", "skip"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
_TIE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two completions of one prompt, before anyone has compared them.

    Attributes:
        pair_id: Names the pair for ever. ``build_pairs`` derives it from all the
            other fields, so that two of its pairs never quarrel about an id.
        prompt: The text that both completions follow.
        a: The first completion.
        b: The second completion. Which of the two is called ``a`` must say nothing about them.
        policy_a: What wrote ``a``; empty if unknown.
        policy_b: What wrote ``b``; empty if unknown.
        seed: The seed that the samples were drawn with.
        split: Which part of the data the pair belongs to, such as ``train``.
    """

    pair_id: str
    prompt: str
    a: str
    b: str
    policy_a: str = ""
    policy_b: str = ""
    seed: int = 0
    split: str = "train"


class Origin(NamedTuple):
    """Where one text came from; the fields are those of ``Provenance``."""

    policy: str
    checkpoint: str
    prompt: str
    seed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where one text of a pair came from.

    Attributes:
        pair_id: The pair.
        side: Which of its texts, ``a`` or ``b``.
        policy: What wrote it.
        checkpoint: The hash of the weights, empty if there are none.
        prompt: What the policy was given, which may be more than people are shown.
        seed: Of this text's sampling; None if there was none.
    """

    pair_id: str
    side: Literal["a", "b"]
    policy: str
    checkpoint: str = ""
    prompt: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of one annotator to one pair.

    Attributes:
        pair_id: The pair that was compared.
        annotator: Who answered: a pseudonym, never a name or an address.
        answer: ``a`` or ``b`` is better, ``tie``, ``both_bad``, or ``skip`` (no opinion given).
        strength: How much better, from 1 (barely) to 4 (far); None if it was not asked.
        note: Anything the annotator wrote.
        shown_left: The completion that stood on the left, ``a`` or ``b``.
        served_at: When the pair was shown, in seconds since 1970 UTC; None for a program.
        voted_at: When the answer came, in seconds since 1970 UTC; None for a program.
        round: Which time this annotator saw the pair, from 1. A change of mind is a new round.
        key: Names the answer for ever: the same key again is the same answer, sent twice. Empty
            means that pair, annotator and round name it.
    """

    pair_id: str
    annotator: str
    answer: Choice
    strength: int | None = None
    note: str = ""
    shown_left: Literal["a", "b"] = "a"
    served_at: float | None = None
    voted_at: float | None = None
    round: int = 1
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """One decided comparison, ready to learn from.

    Attributes:
        pair_id: The pair that was compared.
        prompt: The text that both completions follow.
        chosen: The preferred completion.
        rejected: The other completion.
        annotator: Who decided.
        strength: How much better, from 1 to 4; None if it was not asked.
        probability: How likely ``chosen`` is the better one: 1 for a plain answer, .5 for a tie,
            between them for a share of votes.
        margin: How much better ``chosen`` should score, in units of log-odds.
        subset: The part of the data that the pair is counted in, such as who wrote the two texts;
            empty for none.
        implicit: Whether the prompt is what both texts begin with, since nobody named one. The
            data do not say then where it ends, see ``divide``.
    """

    pair_id: str
    prompt: str
    chosen: str
    rejected: str
    annotator: str = ""
    strength: int | None = None
    probability: float = 1.0
    margin: float = 0.0
    subset: str = ""
    implicit: bool = False


def build_pairs(
    samples: Sequence[tuple[str, str]], *, seed: int, policy: str = "", split: str = "train"
) -> list[Pair]:
    """Pairs up completions of the same prompt at random, each used at most once.

    The result depends on the seed and on what was sampled for each prompt, not on the order in
    which prompts are mixed. A completion that occurs twice for a prompt counts once, so no pair
    compares a text with itself.

    Args:
        samples: ``(prompt, completion)`` texts. A prompt with k different completions gives
            ``k // 2`` pairs.
        seed: Decides who meets whom, and who is called ``a``.
        policy: What wrote the completions.
        split: Which part of the data the pairs belong to.

    Returns:
        The pairs, prompts in the order of their first sample.
    """
    completions: dict[str, dict[str, None]] = {}
    for prompt, completion in samples:
        completions.setdefault(prompt, {})[completion] = None
    pairs = []
    for prompt, distinct in completions.items():
        texts = sorted(distinct)
        random.Random(_digest(str(seed), prompt)).shuffle(texts)  # noqa: S311  not a secret
        for a, b in zip(texts[::2], texts[1::2], strict=False):
            pairs.append(
                Pair(
                    pair_id=_digest(prompt, a, b, policy, str(seed), split),
                    prompt=prompt,
                    a=a,
                    b=b,
                    policy_a=policy,
                    policy_b=policy,
                    seed=seed,
                    split=split,
                )
            )
    return pairs


def majority(preferences: Sequence[Preference]) -> list[Preference]:
    """Turns several people's answers to the same pairs into one answer a pair.

    Args:
        preferences: At most one for each annotator and pair, ties among them.

    Returns:
        What more of a pair's annotators said than anything else, a tie with probability .5, signed
        with their number, pairs in the order of their first preference. A pair on which no answer
        leads is left out. Of several answers only their order counts, neither how sure nor by how
        much.
    """
    decided = []
    for given in _by_pair(preferences):
        first = given[0]
        said = Counter(
            None if vote.probability == _TIE else vote.chosen == first.chosen for vote in given
        )
        (most, number), *others = said.most_common()
        if any(other == number for _, other in others):
            continue
        winner = _opposite(first) if most is False else first
        if len(given) > 1:
            winner = replace(winner, probability=_TIE if most is None else 1.0, margin=0.0)
        decided.append(replace(winner, annotator=f"majority of {len(given)}", strength=None))
    return decided


def vote_shares(preferences: Sequence[Preference]) -> list[Preference]:
    """Turns several people's answers to the same pairs into one soft answer a pair.

    Unlike ``majority`` it keeps how sure the people were together, and evenly split pairs.

    Args:
        preferences: At most one for each annotator and pair, ties among them.

    Returns:
        One a pair, in the order of their first preference: ``chosen`` is what most preferred, and
        ``probability`` its share of the votes, a tie being half a vote for each side.
    """
    decided = []
    for given in _by_pair(preferences):
        first = given[0]
        for_first = [
            vote.probability if vote.chosen == first.chosen else 1 - vote.probability
            for vote in given
        ]
        share = sum(for_first) / len(given)
        winner = first if share >= 1 / 2 else _opposite(first)
        decided.append(
            replace(
                winner,
                annotator=f"votes of {len(given)}",
                strength=None,
                probability=max(share, 1 - share),
            )
        )
    return decided


def pair_identity(preference: Preference) -> str:
    """Names a pair by its texts: whoever answered it, and whichever was chosen."""
    return _digest(preference.prompt, *sorted((preference.chosen, preference.rejected)))


def _by_pair(preferences: Sequence[Preference]) -> list[list[Preference]]:
    votes: dict[str, list[Preference]] = {}
    for preference in preferences:
        votes.setdefault(preference.pair_id, []).append(preference)
    return list(votes.values())


def _opposite(preference: Preference) -> Preference:
    return replace(preference, chosen=preference.rejected, rejected=preference.chosen)


def _digest(*texts: str) -> str:
    """Hashes texts to 32 hexadecimal digits; JSON keeps ("ab", "c") apart from ("a", "bc")."""
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=16).hexdigest()


def origins_of_pairs(
    pairs: Iterable[Pair], said: Iterable[Provenance]
) -> dict[tuple[str, str], Origin]:
    """Where texts of pairs came from, by the prompt that they follow and the text.

    Args:
        pairs: The pairs; what is said of others is left out.
        said: What a store, or a file, says of them.
    """
    known = {pair.pair_id: pair for pair in pairs}
    return {
        (known[each.pair_id].prompt, getattr(known[each.pair_id], each.side)): Origin(
            each.policy, each.checkpoint, each.prompt, each.seed
        )
        for each in said
        if each.pair_id in known
    }
