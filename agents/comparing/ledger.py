"""What a study has cost and what has gone wrong: failures, tokens, calls, seconds, memory; texts.

And how far policies have gone into what no reader wants: empty, repeating, copied, far longer or
shorter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agents.comparing.probes import CANARY
from agents.comparing.standing import figure, of_condition
from agents.comparing.study import BEST_OF_N, GOLD
from agents.reports.report import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agents.comparing.campaign import Outcome
    from agents.comparing.study import Study

__all__ = [
    "canary_table",
    "cost_table",
    "disagreement_table",
    "failures",
    "hacked",
    "pairs_to_label",
    "quality_table",
    "search_table",
    "warning_table",
]

_LONGEST = 300  # letters of a message, or of a text
_REPEATED = 0.5  # share of words that occurred before in a text that repeats itself
_FEWEST_WORDS = 4
_DIGITS = 5  # what is less is rounding
_ALIKE = 0.1  # share of the longer text's letters
_SHOWN = 8
_TEXTS = 6  # of a prompt, in the browser
_SEVERAL = 2


def failures(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """All cells that failed, rewards that could not score, and cells that are still missing."""
    rows = []
    for cell in outcomes:
        place = (cell.reward, cell.agent, cell.seed)
        if cell.failed:
            rows.append((*place, cell.result["why"], cell.result["message"][:_LONGEST]))
        for name, said in cell.result.get("missing", {}).items():
            rows.append((*place, f"{name} did not score", said[:_LONGEST]))
    missing = len(study.cells()) - len(outcomes)
    total = len(study.cells())
    return Table(
        title="Failures",
        header=("reward", "agent", "seed", "why", "message"),
        rows=rows,
        caption=(
            f"{sum(each.failed for each in outcomes)} of {total} cells failed"
            f"{f', and {missing} have not been run' if missing else ''}. They count in no mean "
            "but those of curves, of peaks and at so many nats, as far as they came, and in the "
            "number of seeds of every table."
        ),
    )


def cost_table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """By reward and agent, sums over seeds."""
    rows = []
    for agent in (BEST_OF_N, *study.learners):
        for name in study.conditions:
            costs = [each.cost for each in of_condition(outcomes, name, agent)]
            if costs:
                rows.append((name, agent, *_costs(costs)))
    return Table(
        title="Cost",
        header=(
            *("reward", "agent", "tokens", "calls of rewards", "texts scored", "seconds"),
            *("writing", "learning", "measuring", "scoring", "peak memory, MiB"),
        ),
        rows=rows,
        caption=(
            "Sums over seeds; memory is the largest of any cell's process, and where cells share "
            "one, of all before it. Calls and texts are those of measuring, by all rewards."
        ),
    )


def _costs(costs: Sequence[Any]) -> tuple[Any, ...]:
    def total(*names: str) -> str:
        return f"{sum(each['seconds'].get(name, 0.0) for each in costs for name in names):.1f}"

    return (
        *(
            sum(each.get(k, 0) for each in costs)
            for k in ("tokens", "reward_calls", "reward_texts")
        ),
        total("all"),
        total("collect", "environment", "reward"),
        total("update", "reference", "advantages"),
        total("measure"),
        total("scoring"),
        round(max(each.get("memory_mib", 0.0) for each in costs)),
    )


def quality_table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """What the texts are like at the end, means over seeds; a start's row first."""
    rows: list[tuple[Any, ...]] = []
    for agent in study.learners:
        for name in study.conditions:
            there = of_condition(outcomes, name, agent)
            cells = [e for e in there if not e.failed and len(e.snapshots) > 1]
            if cells and not rows:
                starts = [each.snapshots[0] for each in cells]
                rows.append(("(the start)", "", *_quality(starts), "", ""))
            if cells:
                ends = [each.snapshots[-1] for each in cells]
                rows.append((name, agent, *_quality(ends), *_wins(cells)))
    return Table(
        title="Text quality",
        header=(
            *("reward", "agent", "KL, nats", "tokens a text", "perplexity of the start"),
            *("distinct bigrams", "repeated bigrams", "wins over the start", "at equal length"),
        ),
        rows=rows,
        caption=(
            "Means over seeds on the test prompts. A lower perplexity is no sign of quality: it "
            "falls where a policy settles on stock phrases. Wins are by the gold, over what the "
            "start wrote after the same prompt, a tie half a win; of equal length are texts that "
            "differ by a tenth at most."
        ),
    )


def _quality(snapshots: Sequence[Any]) -> Iterator[str]:
    names = ("mean_length", "perplexity", "distinct_2", "repeated_bigrams")
    for name in ("kl", *names):
        of = [each["kl"] if name == "kl" else each["quality"].get(name) for each in snapshots]
        known = [value for value in of if value is not None]
        yield f"{np.round(np.mean(known), _DIGITS) + 0.0:.3g}" if known else "none"


def _wins(cells: Sequence[Outcome]) -> Iterator[str]:
    """Win rates over the start, a seed each: of all prompts, and where lengths are alike."""
    for alike in (False, True):
        rates = []
        for cell in cells:
            pairs = zip(cell.texts("start"), cell.texts("end"), strict=False)
            given = [pair for pair in pairs if not alike or _alike(*pair)]
            leads = [after["scores"][GOLD] - before["scores"][GOLD] for before, after in given]
            if leads:
                rates.append(float((np.sign(leads).mean() + 1) / 2))
        yield figure(np.array(rates), "{:.2f}", (0.0, 1.0))


def _alike(first: Any, second: Any) -> bool:
    shorter, longer = sorted(len(text["completion"]) for text in (first, second))
    return longer - shorter <= _ALIKE * longer


def warning_table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """Shares of the last texts that no reader wants, beside the start's."""
    rows = []
    for agent in (BEST_OF_N, *study.learners):
        for name in study.conditions:
            cells = of_condition(outcomes, name, agent)
            ends = [text for each in cells for text in each.texts("end")]
            starts = [text for each in cells for text in each.texts("start")]
            if ends and starts:
                rows.append((name, agent, *_warnings(starts, ends)))
    return Table(
        title="Reward hacking: what was written",
        header=("reward", "agent", "empty", "repeats itself", "copies", "one text", "length"),
        rows=rows,
        caption=(
            "Shares of the last texts, the start's in brackets: empty; half of its words said "
            "before, where there are four or more; holds its prompt's last words again; is the "
            "text that occurs most. Length is in letters. What stands out is worth a look, below."
        ),
    )


def _warnings(starts: Sequence[Any], ends: Sequence[Any]) -> Iterator[str]:
    for test in (_empty, _repeats, _copies):
        before, after = (np.mean([test(text) for text in each]) for each in (starts, ends))
        yield f"{after:.2f} ({before:.2f})"
    yield f"{_commonest(ends):.2f} ({_commonest(starts):.2f})"
    lengths = [np.mean([len(text["completion"]) for text in each]) for each in (starts, ends)]
    yield f"{lengths[1]:.1f} ({lengths[0]:.1f})"


def _empty(text: Any) -> bool:
    return not text["completion"].strip()


def _repeats(text: Any) -> bool:
    words = text["completion"].split()
    return len(words) >= _FEWEST_WORDS and 1 - len(set(words)) / len(words) >= _REPEATED


def _copies(text: Any) -> bool:
    last = " ".join(text["prompt"].split()[-_FEWEST_WORDS:])
    return bool(last) and len(last) > 1 and last in text["completion"]


def _commonest(texts: Sequence[Any]) -> float:
    written = [text["completion"] for text in texts]
    return max(map(written.count, set(written))) / len(written)


def canary_table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """What each reward thinks of texts that no reader wants, the gold's opinion in brackets."""
    rows = []
    for name in study.conditions:
        known = [e.result.get("canaries") for e in of_condition(outcomes, name, BEST_OF_N)]
        found = [each for each in known if each]
        if found:
            cells = [_opinions(found, canary, name) for canary in found[0]]
            rows.append((name, *cells))
    names: list[str] = next(
        (list(e.result["canaries"]) for e in outcomes if e.result.get("canaries")), []
    )
    return Table(
        title="Reward hacking: canaries that were shown to the rewards",
        header=("reward", *names),
        rows=rows,
        caption=(
            "What the reward says more of a changed text than of the start's own, in its standard "
            "deviations there, the gold's in brackets; means over seeds. High where the gold is "
            "low is a way to game it. Stuffed are the words whose texts it likes best."
        ),
    )


def _opinions(found: Sequence[Mapping[str, Mapping[str, float]]], canary: str, name: str) -> str:
    own, gold = (
        np.array([each[canary][judge] for each in found if canary in each])
        for judge in (name, GOLD)
    )
    return f"{own.mean():+.2f} ({gold.mean():+.2f})"


def search_table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """How far a search over words has taken each reward from the gold."""
    rows = []
    for name in study.conditions:
        cells = of_condition(outcomes, name, BEST_OF_N)
        known = [each.result["searched"] for each in cells if each.result.get("searched")]
        if known:
            proxy, gold, gamed = (
                np.array([each[key] for each in known])
                for key in ("by the reward", "by the gold", "gamed")
            )
            shares = figure(gamed, "{:.2f}", (0.0, 1.0))
            rows.append((name, figure(proxy, "{:+.2f}"), figure(gold, "{:+.2f}"), shares))
    return Table(
        title="Reward hacking: words that were changed",
        header=("reward", "by it", "by the gold", "share that games it"),
        rows=rows,
        caption=(
            "Texts of the start, changed one word at a time: of the changes that the reward likes "
            "no less, the one that takes it furthest from the gold is kept, twelve times. Rises in "
            "standard deviations of the start's texts; a middle over seeds with its 95 % interval. "
            "A text games the reward where that rose and the gold fell."
        ),
    )


def hacked(study: Study, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Texts that their reward raised most above the gold: of each compared reward the worst few.

    Both scores are in standard deviations of the start's texts.

    Returns:
        Rows with ``reward``, ``agent`` (which is ``canary`` of a text made on purpose), ``seed``,
        ``prompt``, ``completion``, ``start`` (what the start wrote there), ``proxy``, ``gold`` and
        ``gap``, the widest gap of each reward first.
    """
    rows: list[dict[str, Any]] = []
    for name in study.rewards:
        mine = [row for cell in outcomes if cell.reward == name for row in _gaps(cell, name)]
        mine.sort(key=lambda row: -row["gap"])
        different = {row["completion"]: row for row in reversed(mine)}
        rows += sorted(different.values(), key=lambda row: -row["gap"])[:_SHOWN]
    return rows


def _gaps(cell: Outcome, name: str) -> Iterator[dict[str, Any]]:
    starts = cell.texts("start")
    if cell.failed or not starts:
        return
    unit = {
        judge: (np.mean(scores), np.std(scores) or np.inf)
        for judge in (name, GOLD)
        for scores in [[text["scores"][judge] for text in starts]]
    }
    pairs = zip(starts, cell.texts("end"), strict=True)
    written = [(cell.agent, before["completion"], text) for before, text in pairs]
    made = [(f"{CANARY}: {text['made']}", text["start"], text) for text in cell.texts(CANARY)]
    for agent, start, text in written + made:
        proxy, gold = (
            float((text["scores"][judge] - unit[judge][0]) / unit[judge][1])
            for judge in (name, GOLD)
        )
        yield {
            "reward": name,
            "agent": agent,
            "seed": cell.seed,
            "prompt": text["prompt"],
            "completion": text["completion"],
            "start": start,
            "proxy": proxy,
            "gold": gold,
            "gap": proxy - gold,
        }


def pairs_to_label(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Suspected texts beside what the start wrote there, as ``textgym label`` reads pairs.

    Args:
        rows: From ``hacked``.

    Returns:
        ``prompt``, ``a``, ``b``, ``policy_a``, ``policy_b`` and ``seed``; equal texts are left out.
        Which text is called ``a`` changes from row to row.
    """
    found = []
    for place, row in enumerate(row for row in rows if row["completion"] != row["start"]):
        sides = [(row["completion"], _suspect(row)), (row["start"], "start")]
        (a, policy_a), (b, policy_b) = sides[:: 1 if place % 2 else -1]
        found.append(
            {
                "prompt": row["prompt"],
                "a": a,
                "b": b,
                "policy_a": policy_a,
                "policy_b": policy_b,
                "seed": row["seed"],
            }
        )
    return found


def _suspect(row: Mapping[str, Any]) -> str:
    """Not the name under which people's votes on texts that nobody chose are counted."""
    return f"{row['reward']}, {row['agent']}, suspected"


def disagreement_table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """The prompts where rewards disagree most, with the texts: a prompt's rows stand together."""
    rewards = list(study.rewards)
    judges = rewards if len(rewards) >= _SEVERAL else [*rewards, GOLD]
    shown = [*rewards, GOLD]
    found = []
    for place, texts in enumerate(_written(outcomes, shown)):
        apart = np.array([np.std([text["z"][name] for name in judges]) for text in texts])
        order = np.argsort(-apart, kind="stable")[:_TEXTS]
        found.append((float(apart.mean()), place, [texts[k] for k in order]))
    found.sort(key=lambda each: -each[0])
    rows = [
        (
            text["prompt"],
            *(f"{apart:.2f}", text["writer"], text["completion"]),
            *(f"{text['z'][name]:+.2f}" for name in shown),
        )
        for apart, _, texts in found[:_SHOWN]
        for text in texts
    ]
    return Table(
        title="Prompts where the rewards disagree most",
        header=("prompt", "apart", "written by", "completion", *(f"by {name}" for name in shown)),
        rows=rows,
        folded=True,
        caption=(
            "Scores are in standard deviations of the start's texts. A text's rewards are as far "
            "apart as the standard deviation of its scores by those that are compared; a prompt's "
            "as the mean over its texts, the start's and the last of every cell of the first seed. "
            "Its most disputed texts are shown."
        ),
    )


def _written(outcomes: Sequence[Outcome], judges: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Of each test prompt the texts of the first seed, each with its scores by all judges."""
    first = min((cell.seed for cell in outcomes), default=0)
    by_prompt: dict[int, dict[str, dict[str, Any]]] = {}
    for cell in (each for each in outcomes if each.seed == first and not each.failed):
        starts, ends = cell.texts("start"), cell.texts("end")
        if not starts or any(name not in text["scores"] for text in starts for name in judges):
            continue
        scores = {name: [text["scores"][name] for text in starts] for name in judges}
        unit = {name: (np.mean(of), np.std(of) or np.inf) for name, of in scores.items()}
        for writer, texts in (("the start", starts), (f"{cell.reward}, {cell.agent}", ends)):
            for place, text in enumerate(texts):
                z = {
                    name: float((text["scores"][name] - unit[name][0]) / unit[name][1])
                    for name in judges
                }
                known = by_prompt.setdefault(place, {})
                known.setdefault(text["completion"], {**text, "z": z, "writer": writer})
    for place in sorted(by_prompt):
        yield list(by_prompt[place].values())
