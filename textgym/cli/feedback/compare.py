"""``textgym compare``: which of several policies people prefer, blind, and what is settled."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
import tyro
from rich.console import Console

from agents.maths.distributions import Sampling
from agents.rollouts.texts import write_texts
from reward_models.measuring.tournament import hold_tournament
from reward_models.preferences import PreferenceStore, Provenance, build_pairs
from textgym.cli.console import bar, chosen_device, say, use_quiet_transformers
from textgym.cli.feedback.asking import answer_all, make_annotators, truth_of
from textgym.cli.parsing import CommandError
from textgym.cli.policy.policies import (
    environment_arguments,
    make_envs,
    make_policy,
)
from textgym.cli.policy.running import FORESEEABLE
from textgym.files import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reward_models.measuring.tournament import Matchup, Tournament
    from reward_models.preferences import Pair
    from textgym.cli.console import Bar

__all__ = ["CompareConfig", "compare", "matched", "origins_of", "verdict_lines"]

_FEWEST = 2
_ENDS = {"more": "is better", "less": "is worse", "even": "is as good", "open": "open"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """Let people say which policy writes better, without knowing which is which.

    The first call lets every policy write on the same prompts, and puts pairs into a store, every
    two policies equally often and on sides that are drawn. People answer them by textgym label.
    The same command then says what the answers tell: ratings with the ranks that each may have, win
    rates also at equal length, and what is settled. Call it as often as you like: looking early
    makes no error likelier.
    """

    policies: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Two policies or more: folders, smollm2, hub:NAME, or scratch:..."""
    env: str
    """The environment's id, whose prompts they go on from."""
    store: Path
    """The store of pairs and answers, a .sqlite file; it is made."""
    env_kwargs: str = "{}"
    """Arguments of the environment as JSON, such as '{"split": "test"}'."""
    pairs: int = 200
    """Pairs to be compared in all. A win rate of .6 needs about 200 answers, one of .55 about 800,
    for each two policies."""
    temperature: float = 1.0
    """Of all samplers. Higher is more varied."""
    annotators: tuple[str, ...] = ()
    """Simulated annotators instead of people, as of textgym loop."""
    truth: str | None = None
    """The reward that simulated annotators secretly go by."""
    seed: int = 0
    """Decides prompts, texts, and sides."""
    num_envs: int = 64
    """Texts that are written at once."""
    device: str = "auto"
    """Where the policies run."""


def compare(config: CompareConfig, console: Console | None = None) -> None:
    """Writes pairs if there are none, and says what the answers tell.

    Args:
        config: Whom, and on what.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If a setting is wrong, or the store holds another comparison.
        StoreError: If the store cannot be used.
    """
    console = console or Console()
    use_quiet_transformers()
    _check(config)
    config = replace(config, device=chosen_device(config.device))
    annotators = make_annotators(config.annotators, truth_of(config.truth), config.seed)
    # A store is made once there is something to put into it.
    made = None if config.store.is_file() else _written(config, console)
    with PreferenceStore(config.store) as store:
        if not store.pairs():
            pairs, same = made or _written(config, console)
            store.add_pairs(pairs, origins_of(pairs))
            left_out = f"; {same} were left out, whose texts are the same" if same else ""
            say(console, f"{len(pairs)} pairs to compare in {config.store}{left_out}")
        _require_same(config, store.pairs(), store.provenance())
        answer_all(store, annotators)
        pairs, answers = store.pairs(), store.answers()
    answered = len({answer.pair_id for answer in answers})
    if answered < len(pairs):
        say(
            console,
            f"{answered} of {len(pairs)} pairs are answered; people answer by\n"
            f"  textgym label {config.store} --rule balanced",
        )
    if not answers:
        return
    try:
        found = hold_tournament(pairs, answers, np.random.default_rng(config.seed))
    except ValueError as error:
        say(console, str(error))
        return
    out = config.store.with_suffix(".json")
    write_json(out, found.as_json())
    for line in verdict_lines(found):
        say(console, line)
    say(console, f"all figures: {out}")


def _check(config: CompareConfig) -> None:
    """Requires settings that make sense.

    Raises:
        CommandError: If they make none.
    """
    if len(config.policies) < _FEWEST or len(set(config.policies)) < len(config.policies):
        raise CommandError(
            f"give two different policies or more to compare, got {' '.join(config.policies)}"
        )


def _written(config: CompareConfig, console: Console) -> tuple[list[Pair], int]:
    """As ``_write``, with a bar, and what is foreseeable in one line."""
    with bar("Texts", console) as shown:
        try:
            return _write(config, shown)
        except FORESEEABLE as error:
            raise CommandError(" ".join(str(error).split())) from error


def _write(config: CompareConfig, shown: Bar) -> tuple[list[Pair], int]:
    """Lets each policy write where its pairs need it.

    Returns:
        The pairs, and how many were left out since both texts are the same.
    """
    matchups = list(combinations(range(len(config.policies)), 2))
    rng = np.random.default_rng(config.seed)
    arguments = [environment_arguments(config.env_kwargs, policy) for policy in config.policies]
    texts: dict[tuple[int, int], tuple[str, str]] = {}
    examples: list[int] = []
    for number, policy in enumerate(config.policies):
        places = [p for p in range(config.pairs) if number in matchups[p % len(matchups)]]
        envs = make_envs(
            config.env,
            arguments[number],
            num_envs=max(1, min(config.num_envs, len(places))),
            device=config.device,
        )
        if not examples:
            examples = _examples(rng, envs.num_examples, config.pairs, len(matchups))
        pieces = write_texts(
            envs,
            make_policy(policy, envs, device=config.device),
            [examples[place] for place in places],
            sampling=Sampling(temperature=config.temperature),
            generator=torch.Generator(config.device).manual_seed(config.seed * 1000 + number),
        )
        written = [(text.prompt, text.completion) for piece in pieces for text in piece]
        texts |= {(place, number): text for place, text in zip(places, written, strict=True)}
        shown.update(number + 1, len(config.policies), policy)
    pairs: dict[str, Pair] = {}
    for place in range(config.pairs):
        one, other = matchups[place % len(matchups)]
        two = {config.policies[number]: texts[place, number] for number in (one, other)}
        pair = matched(two, config.seed, place)
        if pair is not None:
            pairs[pair.pair_id] = pair
    return list(pairs.values()), config.pairs - len(pairs)


def _examples(rng: np.random.Generator, number: int, pairs: int, matchups: int) -> list[int]:
    """Which prompt each pair is of: every two policies get the same ones, as far as there are."""
    prompts = -(-pairs // matchups)
    order = [rng.permutation(number) for _ in range(-(-prompts // number))]
    drawn = np.concatenate(order)[:prompts]
    return [int(drawn[place // matchups]) for place in range(pairs)]


def matched(written: Mapping[str, tuple[str, str]], seed: int, place: int) -> Pair | None:
    """Makes a pair whose ``a`` says nothing of who wrote it.

    Args:
        written: The prompt and the completion of each of two policies, by its name.
        seed: Of the comparison.
        place: The pair's number in it.

    Returns:
        The pair, or None of two equal texts.
    """
    made = build_pairs(list(written.values()), seed=seed * 1_000_003 + place, policy=str(place))
    if not made:
        return None
    names = {text: policy for policy, (_, text) in written.items()}
    pair = made[0]
    return replace(pair, policy_a=names[pair.a], policy_b=names[pair.b], split="comparison")


def _sides(pair: Pair) -> tuple[tuple[Literal["a"], str], tuple[Literal["b"], str]]:
    return ("a", pair.policy_a), ("b", pair.policy_b)


def origins_of(pairs: Sequence[Pair], folders: Mapping[str, str] | None = None) -> list[Provenance]:
    """Says where each text came from, with the hash of the weights where there are any.

    Args:
        pairs: What the policies wrote.
        folders: Where a policy of that name is, if the name does not say so.
    """
    places = folders or {}
    names = {name for pair in pairs for name in (pair.policy_a, pair.policy_b)}
    hashes = {name: _weights(Path(places.get(name, name))) for name in names}
    return [
        Provenance(
            pair_id=pair.pair_id,
            side=side,
            policy=policy,
            checkpoint=hashes[policy],
            prompt=pair.prompt,
            seed=pair.seed,
        )
        for pair in pairs
        for side, policy in _sides(pair)
    ]


def _weights(folder: Path) -> str:
    """A hash of a folder's weights; empty where there is no folder."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return ""
    whole = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                whole.update(block)
    return whole.hexdigest()


def _require_same(
    config: CompareConfig, pairs: Sequence[Pair], origins: Sequence[Provenance]
) -> None:
    """Requires that the store is of these policies, as they are now where they are there.

    Raises:
        CommandError: If it is of others.
    """
    written = {name for pair in pairs for name in (pair.policy_a, pair.policy_b)}
    if pairs and written != set(config.policies):
        raise CommandError(
            f"{config.store} compares {', '.join(sorted(written)) or 'texts of unknown writers'}: "
            "name the same policies, or another --store"
        )
    now = {name: _weights(Path(name)) for name in config.policies}
    others = {text.policy for text in origins if now.get(text.policy) and text.checkpoint}
    others -= {text.policy for text in origins if text.checkpoint == now.get(text.policy)}
    if others:
        raise CommandError(
            f"{config.store} compares texts that {' and '.join(sorted(others))} wrote with other "
            "weights: name the policies as they were, or another --store"
        )
    if not pairs:
        raise CommandError(
            "the policies wrote the same text everywhere: there is nothing to compare; raise "
            "--temperature"
        )


def verdict_lines(found: Tournament) -> list[str]:
    """What people think, a line each."""
    lines = []
    if found.ratings is None:
        lines.append(f"no ratings: {found.why}")
    else:
        rows = zip(found.ratings.players, found.ratings.ratings, found.ratings.ranks, strict=True)
        for name, rating, (best, worst) in rows:
            rank = f"rank {best}" if best == worst else f"rank {best} to {worst}"
            lines.append(
                f"{name}: {rating.value:+.2f} ({rating.low:+.2f} to {rating.high:+.2f}), {rank}"
            )
    lines += [_matchup(each) for each in found.matchups]
    lines += [f"left out: {number} {reason}" for reason, number in found.left_out.items()]
    return lines


def _matchup(each: Matchup) -> str:
    """One line about two policies."""
    said = f"{each.first} against {each.second}: "
    if each.rates is not None:
        raw, equal = each.rates.raw, each.rates.equal
        said += (
            f"wins {raw.value:.3f} ({raw.low:.3f} to {raw.high:.3f}), at equal length "
            f"{equal.value:.3f} ({equal.low:.3f} to {equal.high:.3f}); "
        )
    verdict = each.verdict
    if verdict.said == "open":
        said += f"not settled by {each.answers} answers"
        if each.needed is not None:
            said += f"; a rate like this one needs about {each.needed}, planned at once"
    else:
        said += f"settled by {each.answers} answers: it {_ENDS[verdict.said]}"
    return said
