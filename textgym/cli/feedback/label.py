"""``textgym label``: a page on which people compare texts, over a store or a file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote

import tyro
from rich.console import Console

from reward_models.feedback.access import Access, AccessError, write_privately
from reward_models.feedback.selection import (
    Rule,
    SelectionConfig,
    arrange,
    arrange_sheets,
    lead_of,
)
from reward_models.feedback.texts import read_material, read_texts
from reward_models.preferences import (
    Handout,
    HandoutConfig,
    PreferenceStore,
    make_sheets,
    origins_of_pairs,
    origins_of_sheets,
    texts_of_pairs,
)
from reward_models.preferences.databases import is_database_url
from textgym.cli.console import chosen_device, say
from textgym.cli.parsing import CommandError
from textgym.cli.reward.naming import named_reward
from textgym.data.packages import Package
from textgym.data.tables import SkippedRows, is_table, parse_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reward_models.feedback.application import Study
    from reward_models.preferences import Pair
    from reward_models.preferences.leases import Question, Side
    from reward_models.preferences.sheets import SheetQuestion

__all__ = ["LabelConfig", "label"]

_PACKAGES = [
    Package(module="starlette", pip="textgym[feedback]"),
    Package(module="uvicorn", pip="textgym[feedback]"),
]
_COMPARE = """Read the prompt, then both texts to their end. Which one is the better completion?

- Does it go on from the prompt, and say something that makes sense?
- Is it written as a person would write, without repeating itself or breaking off?
- A longer text is not better for being longer.

If you would not mind which one you got, they are equally good. If both are useless, say so."""
_RANK = """Read the prompt, then all texts to their end. Put them in order, the best first.

- Does it go on from the prompt, and say something that makes sense?
- Is it written as a person would write, without repeating itself or breaking off?
- A longer text is not better for being longer.

If you cannot tell two of them apart, give either of them the better place."""
_RATE = """Read the prompt, then the text to its end. How good a completion is it?

1: useless. It makes no sense, or has nothing to do with the prompt.
2: weak. One sees what it was meant to be.
3: fair. It goes on from the prompt, with clear faults.
4: good. Small faults, if any.
5: excellent. You would be glad to have written it.

A longer text is not better for being longer."""
_SPANS = """Read the prompt, then the text to its end. Mark what is good in it, and what is bad.

- Good: what says something that fits, or says it well.
- Bad: what is wrong, makes no sense, repeats, or breaks off.

Leave the rest unmarked: it is learned as neither. Mark as few words as say what you mean."""
_TITLES = {
    "compare": ("Which text is better?", _COMPARE),
    "rank": ("Which order is right?", _RANK),
    "rate": ("How good is this text?", _RATE),
    "spans": ("What is good, what is bad?", _SPANS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelConfig:
    """Open a page on which people compare texts: one key answers, saves, and shows the next pair.

    --question rank, rate or spans asks something else of the same texts, and keeps the answers in
    the same store; textgym reward train learns from each.

    Every answer is on the disk before the next pair is shown, and the same command goes on from
    there. Writers are never named, and sides are drawn. The link that is printed lets you in; the
    tokens are in a file that only you can read.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A store of answers, such as runs/quickstart/preferences.sqlite or postgresql://HOST/DATABASE;
    or a file of texts or pairs: .jsonl, .csv or .parquet."""
    question: Literal["compare", "rank", "rate", "spans"] = "compare"
    """Compare two texts, put several of one prompt in order, rate one from 1 to 5, or mark its good
    and bad words. Two edits of a draft are compared where the file has the columns draft, a, b."""
    texts: int = 4
    """Of --question rank: how many texts are put in order together at most, from 2 to 9."""
    store: str | None = None
    """Where the answers to a file's pairs go; None puts a store beside the file."""
    columns: str | None = None
    """Which of a file's columns are which, as in prompt=question,a=left,b=right; c.d is what c
    holds under d."""
    skip_bad_rows: bool = False
    """Leave rows out that cannot be read, and say how many, instead of stopping at the first."""
    annotator: str = ""
    """Your pseudonym; the page asks for it if there is none."""
    annotators: tuple[str, ...] = ()
    """Pseudonyms of others, each of whom gets a link that is good for that name alone, and does not
    show the overview."""
    answers: int = 1
    """How many people answer each pair."""
    rule: Rule = "random"
    """Which pair next: random; disagreement of an ensemble's members; even, where the reward's
    probability is nearest to one half; or balanced over writers."""
    control: float = 0.2
    """The share of pairs that is drawn by chance under every rule, and marked so."""
    reward: str | None = None
    """The reward that --rule disagreement or even asks: a name, a folder, or JSON."""
    device: str = "auto"
    """Where the reward's models run: cpu, cuda, or auto for cuda if there is one."""
    split: str | None = None
    """Ask about one split of the pairs only, such as held_out."""
    rubric: Path | None = None
    """A text file that says what to look at; None takes a general one."""
    repeat_every: int = 20
    """One of so many pairs is an answered one, sides swapped, for self-consistency; 0 for none."""
    known_every: int = 20
    """One of so many pairs has a known answer, if the file has a column "known"; 0 for none."""
    lease_minutes: float = 15.0
    """How long a pair waits for whoever was shown it before somebody else gets it."""
    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 lets other machines in, and needs --urls."""
    port: int = 8765
    """The port; 0 takes any that is free."""
    urls: tuple[str, ...] = ()
    """Addresses by which people reach the page, such as https://label.example.org."""
    access: Path | None = None
    """The file of tokens; None puts it beside the store."""
    browser: bool = True
    """Open the page in a browser, if this is a terminal."""
    seed: int = 0
    """Draws the order of pairs, and sides."""


def label(config: LabelConfig, console: Console | None = None) -> None:
    """Fills the store, serves the page, and says where it is.

    Args:
        config: What, to whom, and where.
        console: Where to print; None for the terminal.

    Raises:
        CommandError: If the source, a setting, or the address cannot be used.
        StoreError: If the store cannot.
        FileNotFoundError: If there is no such store or file.
    """
    for package in _PACKAGES:
        if not package.is_installed():
            raise package.missing("textgym label")
    from reward_models.feedback.serving import Place, ServingError, serve

    console = console or Console()
    where = _store_of(config)
    path = config.access or _beside(where, "access.json")
    skipped = SkippedRows() if config.skip_bad_rows else None
    try:
        place = Place(host=config.host, port=config.port, urls=config.urls)
        with _started(config, where, path, skipped) as (access, study):
            if skipped is not None:
                say(console, *skipped.notes)
            with contextlib.suppress(KeyboardInterrupt):  # the way to stop it
                serve(
                    study,
                    access,
                    place,
                    lambda url: _announce(config, console, access, url, path),
                )
    except (AccessError, ServingError, ValueError, TypeError) as error:
        raise CommandError(str(error)) from error
    say(console, f"Every answer is in {_plain(where)}; the same command goes on from here.")


@contextlib.contextmanager
def _started(
    config: LabelConfig, where: str, path: Path, skipped: SkippedRows | None
) -> Iterator[tuple[Access, Study]]:
    """Opens and fills what the page needs; where that fails, the files that it made go again.

    One command at a time starts on a store, so that none takes another's new file for its own.
    """
    from filelock import FileLock

    files = [path] if is_database_url(where) else [path, Path(where)]
    # The lock's file stays behind, so it is not beside the user's.
    whose = os.fsencode(f"{Path.home()} {files[-1].resolve()}")
    name = hashlib.blake2b(whose, digest_size=16)
    lock = FileLock(Path(tempfile.gettempdir()) / f"textgym-{name.hexdigest()}.lock")
    with contextlib.ExitStack() as opened:
        with lock:
            absent = [each for each in files if not each.exists()]
            try:
                store = opened.enter_context(PreferenceStore(where))
                access = Access.of_file(path, config.annotators)
                study = _study(config, store, skipped)
            except BaseException:
                opened.close()  # before its file goes
                for each in absent:
                    each.unlink(missing_ok=True)
                raise
        yield access, study


def _store_of(config: LabelConfig) -> str:
    """Where the answers are.

    Raises:
        CommandError: If the source is neither a store nor a table.
        FileNotFoundError: If there is no such store.
    """
    source = config.source
    if is_database_url(source):
        return source
    if is_table(source):
        return config.store or str(Path(source).with_suffix(".sqlite"))
    if Path(source).suffix.lower() not in (".sqlite", ".db"):
        raise CommandError(
            f"{source} is nothing to compare; give a store (.sqlite, .db, or postgresql://...), or "
            "a .jsonl, .csv or .parquet file"
        )
    if config.store is not None:
        raise CommandError(f"--store is for a file's answers, but {source} is a store itself")
    if not Path(source).is_file():  # opening it would make an empty one
        raise FileNotFoundError(f"there is no store {source}; name one, or a file of texts")
    return source


def _study(config: LabelConfig, store: PreferenceStore, skipped: SkippedRows | None) -> Study:
    """Says what is to be answered, in its order, and what people are told.

    Raises:
        CommandError: If there is nothing to compare.
        ValueError: If a setting, the file, or the reward cannot be used.
    """
    from reward_models.feedback.application import Study

    title, rubric = _TITLES[config.question]
    if config.rubric is not None:
        rubric = config.rubric.read_text(encoding="utf-8")
    name = hashlib.blake2b(rubric.encode(), digest_size=8).hexdigest()
    handing = HandoutConfig(
        answers=config.answers,
        lease_seconds=60 * config.lease_minutes,
        known_every=config.known_every,
        repeat_every=config.repeat_every,
        seed=config.seed,
    )
    handout = Handout(store, handing, question=config.question, rubric=name)
    if config.question == "compare":
        _fill_pairs(config, store, handout, skipped)
    else:
        _fill_sheets(config, config.question, store, handout, skipped)
    return Study(store=store, handout=handout, rubric=rubric, title=title)


def _fill_pairs(
    config: LabelConfig, store: PreferenceStore, handout: Handout, skipped: SkippedRows | None
) -> None:
    """Says which pairs are compared, and in which order."""
    selection = SelectionConfig(rule=config.rule, control=config.control, seed=config.seed)
    expected: dict[str, Side] = {}
    asked: dict[str, Question] = {}
    if is_table(config.source):
        material = read_material(
            config.source,
            seed=config.seed,
            columns=parse_columns(config.columns),
            on_bad=skipped,
        )
        store.add_pairs(material.pairs, material.provenance)
        expected = dict(material.expected)
        asked = {pair.pair_id: material.question for pair in material.pairs}
    pairs = store.pairs(config.split)
    if not pairs:
        of_split = f" of the split {config.split}" if config.split else ""
        raise CommandError(f"{_plain(config.source)} holds no pairs{of_split} to compare")
    lead = None
    if config.reward is not None:
        lead = lead_of(named_reward(config.reward, chosen_device(config.device)), pairs)
    items = handout.items()
    expected = {item.subject: item.expected for item in items if item.expected} | expected
    asked = {item.subject: item.question for item in items} | asked
    handout.fill(arrange(pairs, selection, lead, expected, asked))


def _fill_sheets(
    config: LabelConfig,
    question: SheetQuestion,
    store: PreferenceStore,
    handout: Handout,
    skipped: SkippedRows | None,
) -> None:
    """Says which texts are ranked, rated or marked; a store without any asks about its pairs'.

    Raises:
        CommandError: If there is nothing to ask about, or pairs are to be chosen.
    """
    if config.rule != "random":
        raise CommandError(
            f"--rule {config.rule} chooses pairs; --question {question} takes random"
        )
    if is_table(config.source):
        columns = parse_columns(config.columns)
        texts, origins = read_texts(config.source, columns=columns, on_bad=skipped)
        sheets = make_sheets(texts, question, most=config.texts, seed=config.seed)
        store.add_sheets(sheets, origins_of_sheets(sheets, origins))
    elif not store.sheets(question, config.split):
        splits: dict[str, list[Pair]] = {}
        for pair in store.pairs(config.split):
            splits.setdefault(pair.split, []).append(pair)
        for split, pairs in splits.items():
            texts, origins = texts_of_pairs(pairs), origins_of_pairs(pairs, store.provenance())
            sheets = make_sheets(texts, question, most=config.texts, seed=config.seed, split=split)
            store.add_sheets(sheets, origins_of_sheets(sheets, origins))
    sheets = store.sheets(question, config.split)
    if not sheets:
        of_split = f" of the split {config.split}" if config.split else ""
        raise CommandError(f"{_plain(config.source)} holds no texts{of_split} to ask about")
    handout.fill(arrange_sheets(sheets, config.seed))


def _announce(config: LabelConfig, console: Console, access: Access, url: str, path: Path) -> None:
    """Prints the links, and opens the owner's."""

    def link(token: str, annotator: str) -> str:
        name = f"&annotator={quote(annotator)}" if annotator else ""
        return f"{url}/#token={token}{name}"

    own = link(access.owner, config.annotator)
    say(console, f"Compare texts at {own}")
    for name in config.annotators:
        say(console, f"{name}: {link(access.annotators[name], name)}")
    say(
        console,
        f"Whoever has a link can answer; the tokens are in {path}. Ctrl-C stops the page.",
    )
    if config.browser and sys.stdout.isatty():
        # A token in a program's arguments could be read by every user of this machine.
        page = path.with_suffix(".html")
        write_privately(page, f'<meta http-equiv="refresh" content="0; url={own}">\n')
        webbrowser.open(page.resolve().as_uri())


def _beside(where: str, suffix: str) -> Path:
    if is_database_url(where):
        return Path(f"textgym.{suffix}")
    return Path(where).with_suffix(f".{suffix}")


def _plain(where: str) -> str:
    """The store's name without a password."""
    return where.rpartition("@")[2] if is_database_url(where) else where
