"""The quickstart's texts: the reviews collected, cleaned, and divided as their package's pools are.

Each of the files is a corpus as ``textgym data`` makes them, and so is the report beside them.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch

from textgym.corpus.pipeline import clean
from textgym.corpus.records import fingerprint, read_corpus, written_corpus
from textgym.corpus.report import write_report
from textgym.corpus.sources import PACKAGE_PREFIX, Collection, Faults, collect
from textgym.corpus.steps import DEFAULT_STEPS
from textgym.data.reviews import POOLS
from textgym.files import atomic_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from textgym.cli.quickstart.plan import Plan
    from textgym.cli.stages import Run
    from textgym.corpus.records import Record

__all__ = ["gather_texts", "read_texts"]

_MOST_WORKERS = 4  # more of them would take longer to start than to clean
_EVERY = 256  # texts between two moves of the bar


def gather_texts(run: Run, plan: Plan) -> Mapping[str, Any]:
    """Writes a corpus for each pool, and the report of what cleaning did.

    What repeats a text of an earlier pool is dropped, so that no pool knows another.
    """
    came: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    mended = 0

    def records() -> Iterator[Record]:
        for record in collect(Collection(sources=(f"{PACKAGE_PREFIX}reviews",)), Faults()):
            if plan.texts is None or came[record.columns["pool"]] < plan.texts:
                came[record.columns["pool"]] += 1
                yield record

    workers = min(torch.get_num_threads(), _MOST_WORKERS)
    with (
        atomic_folder(run.out / "texts") as folder,
        ExitStack() as stack,
        run.bar("Texts") as bar,
    ):
        write = {
            pool: stack.enter_context(written_corpus(folder / f"{pool}.jsonl")) for pool in POOLS
        }
        cleaned, counts = clean(records(), DEFAULT_STEPS, workers=workers)
        for record in cleaned:
            pool = record.columns["pool"]
            write[pool](record)
            kept[pool] += 1
            mended += fingerprint(record.text) != record.digest
            if kept.total() % _EVERY == 0:
                bar.update(kept.total(), came.total(), "cleaned")
        title = "Cleaning of the reviews"
        write_report(folder / "report", title, counts, came.total(), kept.total())
    dropped = came.total() - kept.total()
    return {"texts": kept.total(), "mended": mended, "dropped": dropped}


def read_texts(run: Run, pool: str) -> list[Record]:
    """The texts of a pool, always in the same order; the column ``label`` is 1 for praise.

    Args:
        run: A run whose texts have been gathered.
        pool: A name in ``textgym.data.reviews.POOLS``.
    """
    return list(read_corpus(run.out / "texts" / f"{pool}.jsonl"))
