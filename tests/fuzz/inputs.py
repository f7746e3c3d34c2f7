"""What fuzzing tries: any value that JSON has, rows that are nearly right, damaged files."""

import gzip
import json
import math

from hypothesis import strategies as st

from reward_models.preferences.published.table import FORMATS

__all__ = ["FILES", "KWARGS", "LIMITS", "REWARDS", "ROWS", "VALUES", "file_of", "mostly"]

_WORDS = ("", "x", "Yes.", "[", '["a"]', '[{"role": "user"}]', "\u2028", "\ufeff", "\x00", "\ud800",
          "\n\nHuman: a\n\nAssistant: b", "nan", "1e999", "-0", "1_0", "True", "train", "test",
          "model_a", "tie", "null", "é😀", ":smile:", "[bold]", "a" * 300)  # fmt: skip
_NUMBERS = (
    0,
    1,
    2,
    -1,
    0.5,
    1.5,
    3.0,
    1e308,
    -1e308,
    math.nan,
    math.inf,
    -math.inf,
    10**30,
    10**400,
)


def mostly(usual, other, percent=90):
    """Draws of the first strategy as a rule."""
    return st.integers(1, 100).flatmap(lambda n: usual if n <= percent else other)


TEXTS = st.sampled_from(_WORDS) | st.text(max_size=8)
LEAVES = st.none() | st.booleans() | st.sampled_from(_NUMBERS) | st.integers() | st.floats() | TEXTS
ROLES = st.sampled_from(
    ["user", "assistant", "system", "gpt", "human", "tool", "narrator", 3, None]
)
PARTS = st.lists(st.fixed_dictionaries({"type": st.sampled_from(["text", "image"]), "text": TEXTS}))
MESSAGES = st.fixed_dictionaries({"role": ROLES, "content": TEXTS | PARTS | LEAVES}) | (
    st.fixed_dictionaries({"from": ROLES, "value": TEXTS | LEAVES})
)
VALUES = st.recursive(
    LEAVES | MESSAGES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3) | st.lists(TEXTS)
    ),
    max_leaves=6,
)
DEEP = st.integers(90, 3000).map(lambda depth: "[" * depth + "1" + "]" * depth)

_TEXT_COLUMNS = sorted({c for known in FORMATS for group in known.texts for c in group})
_BESIDE = ("prompt", "instruction", "input", "system", "question", "context", "history", "info",
           "conversations", "messages", "annotator", "subset", "split", "pair_id", "strength",
           "probability", "margin", "implicit", "ranks", "best", "reference")  # fmt: skip
GOOD = (
    TEXTS
    | st.lists(MESSAGES, max_size=3)
    | st.lists(TEXTS, max_size=3)
    | st.lists(
        st.fixed_dictionaries({"response": TEXTS, "overall_score": st.integers(1, 10)}), max_size=3
    )
)
SAYS = st.sampled_from([*_NUMBERS[:7], "model_a", "tie", "both_bad", "A>B", True, [1, 2], [2.0, 1]])


@st.composite
def known_rows(draw):
    """Rows of one of the formats, some of whose values are anything."""
    known = draw(st.sampled_from(FORMATS))
    texts = draw(st.sampled_from(known.texts))
    says = draw(st.sampled_from(known.says)) if known.says else ()
    beside = draw(st.lists(st.sampled_from(_BESIDE), max_size=4))
    names = dict.fromkeys(["prompt", *texts, *says, *beside])
    row = {}
    for name in names:
        usual = SAYS if name in says else GOOD
        row[name] = draw(mostly(usual, VALUES))
    return row


ROWS = mostly(
    known_rows(), st.dictionaries(TEXTS | st.sampled_from(_BESIDE), VALUES, max_size=4), 85
)


def _json(value):
    return json.dumps(value, ensure_ascii=False)


@st.composite
def file_of(draw, suffix):
    """A file of rows with that ending, whole or damaged, as bytes."""
    rows = draw(st.lists(ROWS, min_size=1, max_size=4))
    if suffix.startswith(".jsonl"):
        text = "".join(_json(row) + "\n" for row in rows)
    elif suffix.startswith(".json"):
        wrapped = draw(st.sampled_from([rows, {"data": rows}, rows[0], {"a": rows, "b": rows}]))
        text = json.dumps(wrapped, indent=draw(st.sampled_from([None, 1])))
    else:
        text = _delimited(rows, draw(st.sampled_from("\t,;")))
    if draw(st.integers(0, 30)) == 0:
        text = text.replace('"', '{"a":' + draw(DEEP) + '}, "', 1)
    text = text.replace("\n", draw(st.sampled_from(["\n", "\r\n", "\r"])))
    encoding = draw(mostly(st.just("utf-8"), st.sampled_from(["utf-8-sig", "utf-16", "utf-32"])))
    data = text.encode(encoding, "surrogatepass")
    if suffix.endswith(".gz"):
        data = gzip.compress(data, 1)
    return _damaged(draw, data)


def _delimited(rows, by):
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    lines = [columns, *([row.get(name, "") for name in columns] for row in rows)]
    fields = [
        [v if isinstance(v, str) else "" if v is None else _json(v) for v in line] for line in lines
    ]
    quoted = (['"' + field.replace('"', '""') + '"' for field in line] for line in fields)
    return "".join(by.join(line) + "\n" for line in quoted)


def _damaged(draw, data):
    """Bytes, as a rule as they were; else with a piece lost, doubled, or put there."""
    for _ in range(draw(mostly(st.just(0), st.integers(1, 3), 50))):
        start = draw(st.integers(0, max(0, len(data))))
        end = draw(st.integers(start, min(len(data), start + 12)))
        put = draw(st.binary(max_size=4) | st.sampled_from([b"", data[start:end] * 2, b'"', b"\0"]))
        data = data[:start] + put + data[end:]
    return data


FILES = (".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".parquet")

_SIZES = st.sampled_from([None, 0, 1, 2, 8, -1, 2.5, "8", True, 10**30])
KWARGS = st.fixed_dictionaries(
    {},
    optional={
        "action_kind": mostly(st.sampled_from(["append", "choose", "edit"]), LEAVES),
        "tokenizer": mostly(st.sampled_from([None, "characters:abcdefgh", "characters:"]), LEAVES),
        "split": mostly(st.just("train"), LEAVES),
        "obs_mode": mostly(st.sampled_from(["tokens", "dict"]), LEAVES),
        "prompt_tokens": _SIZES,
        "completion_tokens": _SIZES,
        "max_actions": _SIZES,
        "num_choices": _SIZES,
        "dense": mostly(st.booleans(), LEAVES),
        "emit_mask": mostly(st.booleans(), LEAVES),
        "invalid_action": mostly(st.sampled_from(["noop", "raise"]), LEAVES),
        "render_mode": mostly(st.sampled_from([None, "ansi"]), LEAVES),
        "proposer": mostly(st.sampled_from(["ngram", "list"]), VALUES, 50),
        "drafter": mostly(st.sampled_from(["corrupted", "reference"]), VALUES, 50),
        "proposer_kwargs": st.none() | VALUES,
        "drafter_kwargs": st.none() | VALUES,
        "reward_kwargs": st.none() | VALUES,
        "constraints": st.none() | VALUES,
        "reward": st.none() | st.sampled_from(["length", "constant"]) | VALUES,
    },
)

_OPERATIONS = ("clip", "affine", "threshold", "max", "min", "product", "difference", "normalise",
               "chat", "none_as")  # fmt: skip
_SETTINGS = {
    name: LEAVES | st.sampled_from([0.5, 1, -1])
    for name in ("low", "high", "scale", "shift", "at", "value", "above", "below")
}


def _operation(inner):
    arguments = st.fixed_dictionaries(
        {},
        optional={"reward": inner, "rewards": st.lists(inner, max_size=3) | LEAVES, **_SETTINGS},
    )
    return st.sampled_from(_OPERATIONS).flatmap(
        lambda name: arguments.map(lambda given: {name: given})
    )


_NAMED = st.sampled_from(["length", "constant", "repetition", "distinct", "length_window", "vader"])
REWARDS = st.recursive(
    _NAMED | LEAVES | TEXTS | st.dictionaries(_NAMED | TEXTS, VALUES, max_size=2),
    lambda inner: (
        _operation(inner) | st.lists(st.tuples(inner, LEAVES).map(list) | inner, max_size=3)
    ),
    max_leaves=5,
)

_REGEX = st.text("ab[](){}*+?|\\^$.,-019é\n", max_size=8) | st.sampled_from(
    ["a{0,5}", "(?=a)", "[z"]
)
LIMITS = mostly(
    st.fixed_dictionaries(
        {},
        optional={
            "forbid": st.lists(TEXTS | st.integers(-2, 20), max_size=3) | LEAVES,
            "allow": st.lists(TEXTS | st.integers(-2, 20), max_size=3) | LEAVES,
            "min_tokens": st.integers(-1, 7) | LEAVES,
            "regex": _REGEX | LEAVES,
            "choices": st.lists(st.text("abcdefghz", max_size=4), max_size=3) | VALUES,
        },
    ),
    VALUES,
)
