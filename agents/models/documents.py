"""What supervised training reads: documents, which part of each is learned, and rows of them.

A document is a text, or a prompt and its completion, of which the completion alone is learned. Of a
chat each answer is a document, after all that was said before it, written by the tokenizer's
template. Packed, several documents share a row: positions begin anew with each, which is how a
model of transformers knows, without an attention mask, that they do not see each other.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from textgym.types import Tokenizer

__all__ = [
    "IGNORED",
    "Document",
    "chat_documents",
    "collate",
    "completion_documents",
    "mean_nats",
    "packed",
    "perplexity",
    "require_packable",
    "text_documents",
]

IGNORED = -100
"""The label that transformers' losses ignore."""

_ROUNDING = 1e-3  # of how much logits vary


@dataclass(frozen=True, slots=True)
class Document:
    """One text as ids.

    Attributes:
        ids: The beginning of text, the text, and, where there is room, its end.
        start: The place of the first id that is learned; those before it are the prompt.
    """

    ids: list[int]
    start: int = 1


def text_documents(
    tokenizer: Tokenizer, texts: Sequence[str], length: int, *, whole: bool = False
) -> list[Document]:
    """Makes documents of plain texts; empty texts are left out.

    Args:
        tokenizer: Turns them into ids.
        texts: The texts.
        length: The most ids of a document.
        whole: Whether what does not fit is learned as further documents, which begin in the middle
            of a text; else it is dropped. Environments start where a text begins, and at equal
            tokens a model that learned beginnings alone predicts those better.
    """
    documents = []
    for ids in tokenizer.encode_batch([text for text in texts if text]):
        row = [tokenizer.bos_id, *ids, tokenizer.eos_id]
        documents.append(Document(row[:length]))
        # One id of each part is seen before the first that is learned, as of the first part.
        starts = range(length - 1, len(row) - 1, length - 1) if whole and length > 1 else ()
        documents += [Document(row[start : start + length]) for start in starts]
    return documents


def completion_documents(
    tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], length: int
) -> list[Document]:
    """Makes documents of prompts and completions, of which the completions are learned.

    A prompt that leaves no room is left out; a completion that does not fit loses its end, and with
    it the end of text.

    Args:
        tokenizer: Turns them into ids, each by itself, as an environment does.
        pairs: A prompt and a completion each.
        length: The most ids of a document.
    """
    prompts = tokenizer.encode_batch([prompt for prompt, _ in pairs])
    completions = tokenizer.encode_batch([completion for _, completion in pairs])
    documents = []
    for prompt, completion in zip(prompts, completions, strict=True):
        ids = [tokenizer.bos_id, *prompt, *completion, tokenizer.eos_id]
        if len(prompt) + 1 < length:
            documents.append(Document(ids[:length], len(prompt) + 1))
    return documents


def chat_documents(
    tokenizer: Any, chats: Sequence[Sequence[Mapping[str, str]]], length: int
) -> list[Document]:
    """Makes a document of each answer in chats, after all that was said before it.

    Args:
        tokenizer: One with a template for chats.
        chats: Messages with ``role`` and ``content``; what ``assistant`` says is learned.
        length: The most ids of a document.

    Raises:
        ValueError: If the tokenizer has no template, or it refuses a chat.
    """
    if not hasattr(tokenizer, "format_chat"):
        raise ValueError(
            "the data are chats, and this tokenizer has no template for them: start from a model "
            "that has one, or give columns prompt and completion"
        )
    pairs = []
    for messages in chats:
        for place, message in enumerate(messages):
            if message["role"] == "assistant" and place:
                pairs.append((tokenizer.format_chat(messages[:place]), message["content"]))
    return completion_documents(tokenizer, pairs, length)


def packed(documents: Sequence[Document], length: int) -> list[list[Document]]:
    """Puts documents into few rows, the longest first, each where it leaves the least room.

    Args:
        documents: Each of at most ``length`` ids.
        length: Of a row.

    Returns:
        The rows, each with one document or more; every document is in one of them.
    """
    rows: list[list[Document]] = []
    room: list[tuple[int, int]] = []  # what is free in a row, and the row; sorted
    for document in sorted(documents, key=lambda one: -len(one.ids)):
        size = len(document.ids)
        place = bisect.bisect_left(room, (size, -1))
        if place == len(room):
            rows.append([document])
            bisect.insort(room, (length - size, len(rows) - 1))
            continue
        free, row = room.pop(place)
        rows[row].append(document)
        bisect.insort(room, (free - size, row))
    return rows


def collate(rows: Sequence[Sequence[Document]], pad_id: int) -> dict[str, Tensor]:
    """Makes a batch of N rows, padded on the right to the longest, L.

    Returns:
        ``input_ids`` and ``labels``, ``(N, L)`` int64, where what is not learned is ``IGNORED``;
        where a row has several documents, also ``position_ids``, ``(N, L)``, which begin anew with
        each document and with the padding.
    """
    length = max(sum(len(document.ids) for document in row) for row in rows)
    input_ids = torch.full((len(rows), length), pad_id)
    labels = torch.full((len(rows), length), IGNORED)
    positions = torch.zeros((len(rows), length), dtype=torch.int64)
    for n, row in enumerate(rows):
        at = 0
        for document in row:
            end = at + len(document.ids)
            input_ids[n, at:end] = torch.tensor(document.ids)
            labels[n, at + document.start : end] = input_ids[n, at + document.start : end]
            positions[n, at:end] = torch.arange(end - at)
            at = end
        positions[n, at:] = torch.arange(length - at)
    batch = {"input_ids": input_ids, "labels": labels}
    return batch | {"position_ids": positions} if any(len(row) > 1 for row in rows) else batch


@torch.no_grad()
def mean_nats(
    model: Any, rows: Sequence[Sequence[Document]], pad_id: int, batch_size: int
) -> float:
    """The mean over all learned tokens of their negated log-probabilities, in nats.

    Args:
        model: A causal language model, in evaluation mode.
        rows: Rows of documents.
        pad_id: What rows are padded with.
        batch_size: Rows at once.
    """
    total, count = 0.0, 0
    for start in range(0, len(rows), batch_size):
        batch = collate(rows[start : start + batch_size], pad_id)
        labels = batch.pop("labels")[:, 1:].to(model.device)
        given = {name: value.to(model.device) for name, value in batch.items()}
        logits = model(**given, use_cache=False).logits[:, :-1].float()
        total += float(
            torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
            )
        )
        count += int((labels != IGNORED).sum())
    return total / max(1, count)


def perplexity(
    model: PreTrainedModel, tokenizer: Tokenizer, texts: Sequence[str], row_tokens: int
) -> float:
    """The model's perplexity on the first ``row_tokens`` tokens of each text."""
    rows = [[document] for document in text_documents(tokenizer, texts, row_tokens)]
    return math.exp(mean_nats(model, rows, tokenizer.pad_id, 64))


def require_packable(model: PreTrainedModel) -> None:
    """Requires that a model keeps documents in one row apart, given their positions alone.

    Raises:
        ValueError: If what it says of a document depends on the one before, or it takes no
            positions.
    """
    ids = torch.arange(1, 7, device=model.device)[None] % model.config.get_text_config().vocab_size
    places = torch.tensor([[0, 1, 2, 0, 1, 2]], device=model.device)
    was_training = model.training
    model.train(mode=False)
    try:
        with torch.no_grad():
            row = model(input_ids=ids, position_ids=places, use_cache=False).logits[:, 3:].float()
            alone = model(input_ids=ids[:, 3:], use_cache=False).logits.float()
    except TypeError:
        row, alone = torch.ones(1), torch.zeros(1)
    finally:
        model.train(was_training)
    if not (row - alone).abs().max() <= _ROUNDING * alone.std(correction=0):
        raise ValueError(
            f"a {type(model).__name__} does not keep packed documents apart: train without packing"
        )
