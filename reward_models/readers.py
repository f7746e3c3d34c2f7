"""A pretrained model's own tokenizer, as it reads texts: special ids around them, no generation.

``textgym.tokenizers.HuggingFaceTokenizer`` is for states that grow, and needs an end of text; an
encoder's tokenizer has none, but writes ``[CLS]`` before a text and ``[SEP]`` behind it.

Simplification: fast tokenizers only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgym.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from reward_models.scoring import Reader

__all__ = ["PretrainedReader", "load_reader", "open_tokenizer"]

_FILE = "reader.json"


class PretrainedReader:
    """One of transformers' tokenizers, with the ids that its model wants around a text.

    Attributes:
        head: The ids before a text, at least one, so that an empty text is something to read.
        tail: The ids behind it.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        head: Sequence[int] | None = None,
        tail: Sequence[int] | None = None,
    ) -> None:
        """Wraps a loaded tokenizer.

        Args:
            tokenizer: The tokenizer.
            head: The ids before a text; None takes what the tokenizer writes there, and where
                that is nothing, as with GPT-2, its beginning- or end-of-text id.
            tail: The ids behind it; None takes what the tokenizer writes there.

        Raises:
            ValueError: If the tokenizer has no id to begin with, or is not a fast one.
        """
        if not tokenizer.is_fast:
            raise ValueError(
                f"{tokenizer.name_or_path!r} has a slow tokenizer: save it with a tokenizer.json"
            )
        self.tokenizer = tokenizer
        around = _specials(tokenizer)
        self.head = tuple(around[0] if head is None else head) or _beginning(tokenizer)
        self.tail = tuple(around[1] if tail is None else tail)

    @property
    def vocab_size(self) -> int:
        """The number of ids, special ones included."""
        return len(self.tokenizer)

    @property
    def pad_id(self) -> int:
        """The tokenizer's padding id, or its end of text, or 0: a mask tells it from the text."""
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((int(token) for token in known if token is not None), 0)

    @property
    def bos_id(self) -> int:
        """The id that every row begins with."""
        return self.head[0]

    def encode(self, text: str) -> list[int]:
        """Encodes ``text`` without special ids."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes many texts at once, without special ids."""
        if not texts:
            return []
        encoded: Any = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # a text longer than the model is cut afterwards
        )
        return [list(ids) for ids in encoded["input_ids"]]

    def save(self, path: str | Path) -> None:
        """Writes the tokenizer's files and its special ids into the folder ``path``."""
        self.tokenizer.save_pretrained(str(path))
        (Path(path) / _FILE).write_text(
            json.dumps({"head": self.head, "tail": self.tail}), encoding="utf-8"
        )


def open_tokenizer(name_or_path: str | Path, *, download: bool = False) -> PretrainedReader:
    """Opens the tokenizer of a checkpoint of transformers.

    Args:
        name_or_path: A folder, or a name that is in the local cache.
        download: Fetch a name that is not in the cache.

    Raises:
        ValueError: If there is none, or it cannot be used.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name_or_path, local_files_only=not download, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name_or_path} holds no tokenizer of transformers: {reason}") from error
    return PretrainedReader(tokenizer)


def load_reader(path: Path) -> Reader:
    """Loads what stands beside a reward model: a sentencepiece file, or a tokenizer's folder.

    Raises:
        ValueError: If it is neither.
    """
    if not (path / _FILE).is_file():
        return load_tokenizer(path)
    around = json.loads((path / _FILE).read_text(encoding="utf-8"))
    return PretrainedReader(open_tokenizer(path).tokenizer, around["head"], around["tail"])


def _specials(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """What the tokenizer writes before and behind a text, read off an example."""
    plain: Any = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole: Any = tokenizer("a")["input_ids"]
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start], whole[start + len(plain) :]
    return [], []


def _beginning(tokenizer: PreTrainedTokenizerBase) -> tuple[int]:
    for token in (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id):
        if token is not None:
            return (int(token),)
    raise ValueError(
        f"{tokenizer.name_or_path!r} has no beginning-of-text, [CLS] or end-of-text token, so an "
        "empty text could not be read: set its bos_token first"
    )
