"""Texts that are there twice, to the letter or nearly.

Near duplicates are found by MinHash over runs of words and locality-sensitive hashing (Broder 1997;
Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3), by datasketch: the
estimate of a Jaccard index from ``NUM_HASHES`` hashes has a standard error of at most
``1 / (2 * sqrt(NUM_HASHES))``, so that texts near the threshold fall on either side.

A run of words is hashed by the multilinear family over its words' checksums (Lemire and Kaser 2014,
"Strongly universal string hashing is fast"), all runs of a text at once.

The signature of a text hangs on the text alone and is made by any worker; who was first is decided
in order, by one.
"""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from textgym.corpus.records import fingerprint
from textgym.data.prose import key_of
from textgym.statistics.linked import connected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

__all__ = [
    "NUM_HASHES",
    "Comparison",
    "Exact",
    "Near",
    "clusters",
    "make_comparison",
    "run_hashes",
    "signature",
]

NUM_HASHES = 128
_RUN = 5  # words
_SEED, _SCHEME = 1, "affine32"


class Comparison(Protocol):
    """Says whether a text is there already."""

    def key(self, text: str) -> Any:
        """What the text is compared by; made by any worker."""

    def earlier(self, key: Any, where: str) -> str:
        """Where the earlier text is that this one repeats; empty if it is new, and then kept."""


class Exact:
    """Texts that are equal but for case, punctuation and spaces."""

    def __init__(self) -> None:
        """Begins with none."""
        self._seen: dict[str, str] = {}

    def key(self, text: str) -> str:
        """A fingerprint of the words."""
        return fingerprint(key_of(text))

    def earlier(self, key: str, where: str) -> str:
        """Where the same words were."""
        found = self._seen.setdefault(key, where)
        return "" if found == where else found


class Near:
    """Texts that share most of their runs of five words."""

    def __init__(self, threshold: float = 0.8) -> None:
        """Begins with none.

        Args:
            threshold: The Jaccard index of the sets of runs from which on two are the same.

        Raises:
            ModuleNotFoundError: If datasketch is missing.
            ValueError: If the threshold is out of its range.
        """
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], got {threshold}")
        self._threshold = threshold
        self._index = _index(threshold)
        self._kept: list[tuple[str, npt.NDArray[np.uint32]]] = []

    def key(self, text: str) -> npt.NDArray[np.uint32] | None:
        """The signature; ``None`` for a text too short to have a run."""
        return signature(text)

    def earlier(self, key: npt.NDArray[np.uint32] | None, where: str) -> str:
        """Where the first text is of those that are near enough."""
        if key is None:
            return ""
        for number in sorted(self._index.query(_minhash(key))):
            place, other = self._kept[int(number)]
            if float(np.mean(other == key)) >= self._threshold:
                return place
        self._index.insert(len(self._kept), _minhash(key), check_duplication=False)
        self._kept.append((where, key))
        return ""


def make_comparison(name: str, given: Mapping[str, str]) -> Comparison:
    """Makes a comparison from its name and settings, see ``textgym.corpus.steps.read_step``.

    Args:
        name: ``exact`` or ``near``.
        given: Of ``near``: ``threshold``.

    Raises:
        ValueError: If there is no such setting, or it is out of its range.
    """
    if unknown := given.keys() - ({"threshold"} if name == "near" else set()):
        raise ValueError(f"the step {name} has no setting {min(unknown)!r}")
    if name == "exact":
        return Exact()
    try:
        return Near(float(given.get("threshold", 0.8)))
    except ValueError as error:
        raise ValueError(f"near?threshold={given['threshold']}: {error}") from None


def signature(text: str) -> npt.NDArray[np.uint32] | None:
    """The MinHash of a text's runs of five words, ``(NUM_HASHES,)`` uint32; None if it has none."""
    runs = run_hashes(key_of(text).split(), _RUN)
    if not len(runs):
        return None
    minhash = _minhash()
    minhash.update_batch((runs >> np.uint64(32)).tolist())
    values: npt.NDArray[np.uint32] = np.asarray(minhash.hashvalues, dtype=np.uint32)
    return values


def run_hashes(words: Sequence[str], length: int) -> npt.NDArray[np.uint64]:
    """A hash of each run of so many words, ``(R,)`` uint64, R being 0 where there are fewer.

    Its upper half is the better one.
    """
    if len(words) < length:
        return np.empty(0, np.uint64)
    checksums = [zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words]
    runs = np.lib.stride_tricks.sliding_window_view(np.array(checksums, np.uint64), length)
    hashes: npt.NDArray[np.uint64] = runs @ _weights(length)
    return hashes


@functools.cache
def _weights(length: int) -> npt.NDArray[np.uint64]:
    return np.random.default_rng(_SEED).integers(2**64, size=length, dtype=np.uint64)


def clusters(
    signatures: Iterable[npt.NDArray[np.uint32] | None], threshold: float = 0.8
) -> list[int]:
    """Which texts hang together by being near duplicates, directly or by others.

    Returns:
        For each text the number of the first one of its cluster.
    """
    index, links = _index(threshold), list[list[int]]()
    known: dict[int, npt.NDArray[np.uint32]] = {}
    for number, key in enumerate(signatures):
        links.append([number])
        if key is None:
            continue
        near = [
            n for n in index.query(_minhash(key)) if float(np.mean(known[n] == key)) >= threshold
        ]
        links[-1] += near
        index.insert(number, _minhash(key), check_duplication=False)
        known[number] = key
    first: dict[int, int] = {}
    return [first.setdefault(group, number) for number, group in enumerate(connected(links))]


def _index(threshold: float) -> Any:
    # Candidates are looked for a little below, and the signatures then decide.
    return _datasketch().MinHashLSH(threshold=max(0.05, threshold - 0.1), num_perm=NUM_HASHES)


def _minhash(values: npt.NDArray[np.uint32] | None = None) -> Any:
    return _datasketch().MinHash(
        num_perm=NUM_HASHES,
        scheme=_SCHEME,
        hashfunc=int,  # what it is given are hashes
        hashvalues=values,
        permutations=_permutations(),
    )


@functools.cache
def _permutations() -> Any:
    """Those of all signatures, which take longer to draw than a text to be read."""
    return _datasketch().MinHash(num_perm=NUM_HASHES, seed=_SEED, scheme=_SCHEME).permutations


def _datasketch() -> Any:
    try:
        import datasketch
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'near duplicates need datasketch: pip install "textgym[corpus]"'
        ) from None
    return datasketch
