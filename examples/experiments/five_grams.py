"""A language model's perplexity beside that of interpolated 5-grams, on the same held-out tokens.

``python examples/experiments/five_grams.py --model runs/lm --data runs/parts/train.jsonl
--validation runs/parts/validation.jsonl`` prints both, where ``runs/lm`` is what ``textgym train
sft`` has made of that data. The 5-grams learn from the same documents, cut where the model's were,
and what is predicted, and after what, is the same.

Modified Kneser-Ney smoothing, interpolated (Chen and Goodman 1998, "An Empirical Study of Smoothing
Techniques for Language Modeling"), in arrays. NLTK's class smooths by one discount, and goes
through all its contexts for each token.
"""

import argparse
import math
import time

import numpy as np

from agents.models.documents import mean_nats
from agents.models.loading import load_model
from textgym.cli.policy.material import read_material

ORDER = 5


class KneserNey:
    """Interpolated n-grams of the ids 0 to V - 1; below the unigrams all are equally likely.

    A document is a list of ids, the first of which is given. An n-gram below the highest order
    counts as often as there are different ids before it, the beginning of a document being one; one
    that begins with the beginning of text counts as often as it is there.
    """

    def __init__(self, documents, vocabulary, bos, order=ORDER):
        self.vocabulary = vocabulary
        tokens, place, left = flattened(documents)
        self.keys, nodes, firsts = [], [np.zeros(len(tokens), np.int64)], []
        for size in range(1, order + 1):
            starts = np.flatnonzero(left >= size)
            ends = nodes[-1][starts] * vocabulary + tokens[starts + size - 1]
            keys, at, named = np.unique(ends, return_index=True, return_inverse=True)
            nodes.append(np.full(len(tokens), -1))
            nodes[-1][starts] = named
            self.keys.append(keys)
            firsts.append(starts[at])
        self.smoothed = []
        for size in range(1, order + 1):
            node = nodes[size]
            counts = np.bincount(node[node >= 0])
            if size < order:
                before = np.bincount(node[firsts[size] + 1], minlength=len(counts))
                before[np.unique(node[(place == 0) & (node >= 0)])] += 1
                counts = np.where(tokens[firsts[size - 1]] == bos, counts, before)
            if size == 1:
                counts[self.keys[0] == bos] = 0  # which is never predicted
            contexts = 1 if size == 1 else len(self.keys[size - 2])
            self.smoothed.append(smoothed(counts, self.keys[size - 1] // vocabulary, contexts))

    def log_probs(self, documents):
        """The log-probability of each id but a document's first, all documents in a row."""
        tokens, place, _ = flattened(documents)
        found = np.full(len(tokens), 1 / self.vocabulary)
        for size, (counts, discounts, totals, backs) in enumerate(self.smoothed):
            ends = np.flatnonzero(place >= size)
            context = np.zeros(len(ends), np.int64)
            for level in range(size):
                context = self.node(level, context, tokens[ends - size + level])
            node = self.node(size, context, tokens[ends])
            own = np.where(node >= 0, counts[node] - discounts[node], 0)
            known = (context >= 0) & (totals[context] > 0)
            mixed = (own + backs[context] * found[ends]) / np.maximum(totals[context], 1)
            found[ends] = np.where(known, mixed, found[ends])
        return np.log(found[place > 0])

    def node(self, level, context, tokens):
        """The number of the n-gram that goes on from another one; -1 if it was never seen."""
        keys, asked = self.keys[level], context * self.vocabulary + tokens
        at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return np.where((context >= 0) & (keys[at] == asked), at, -1)


def flattened(documents):
    """All ids in a row, each one's place in its document, and how many are left from it on."""
    lengths = np.array([len(ids) for ids in documents])
    tokens = np.concatenate([np.asarray(ids, np.int64) for ids in documents])
    place = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return tokens, place, np.repeat(lengths, lengths) - place


def smoothed(counts, context, contexts):
    """Counts, what is taken off each, and of each context the sums of both."""
    once, twice, thrice, often = (max(1, int((counts == n).sum())) for n in (1, 2, 3, 4))
    share = once / (once + 2 * twice)
    taken = np.array(
        [
            1 - 2 * share * twice / once,
            2 - 3 * share * thrice / twice,
            3 - 4 * share * often / thrice,
        ]
    )
    # Of few counts the formulas may give what is no discount.
    taken = np.where((taken > 0) & (taken < [1, 2, 3]), taken, [0.5, 1, 1.5])
    discounts = np.array([0, *taken])[np.minimum(counts, 3)]
    sums = (np.bincount(context, each, contexts) for each in (counts, discounts))
    return counts, discounts, *sums


def options():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--model", required=True, help="the folder of a language model")
    parser.add_argument("--data", nargs="+", required=True, help="what it has learned from")
    parser.add_argument("--validation", nargs="+", required=True, help="what is predicted")
    parser.add_argument("--row-tokens", type=int, default=64, help="as of its training")
    parser.add_argument("--no-whole", action="store_true", help="as of its training")
    return parser.parse_args()


def main():
    given = options()
    model, tokenizer = load_model(given.model)
    learned, asked = (
        read_material(files, None, skip_bad=False).documents(
            tokenizer, given.row_tokens, whole=not given.no_whole
        )
        for files in (given.data, given.validation)
    )
    rows = [[document] for document in asked]
    nats = mean_nats(model.eval(), rows, tokenizer.pad_id, 64)
    start = time.process_time()
    grams = KneserNey([one.ids for one in learned], tokenizer.vocab_size, tokenizer.bos_id)
    found = grams.log_probs([one.ids for one in asked])
    print(f"{sum(len(one.ids) - 1 for one in learned):,} tokens learned, {len(found):,} predicted")
    print(f"{given.model}: perplexity {math.exp(nats):.1f}")
    spent = time.process_time() - start
    print(f"interpolated {ORDER}-grams: perplexity {math.exp(-found.mean()):.1f}, {spent:.0f} s")


if __name__ == "__main__":
    main()
