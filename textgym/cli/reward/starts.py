"""What a reward model starts from: a pretrained model's folder, an LSTM, or nothing.

Simplification: what starts from nothing has one shape; other shapes are made in Python.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.sft import SFTConfig, make_language_model
from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.models.transformer import (
    MOST_TOKENS,
    PreferenceModel,
    PreferenceModelConfig,
    load_reward,
)
from reward_models.preferences.traces import Traces, read_traces
from reward_models.reading.readers import PretrainedReader
from reward_models.reading.scoring import TRACES_FILE
from textgym.cli.parsing import CommandError
from textgym.pretrained.checkpoints import PACKAGED, find_checkpoint, model_type, require_files
from textgym.tokenizers import load_tokenizer, train_tokenizer
from textgym.tokenizers.characters import ALPHABET_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reward_models.learning.settings import RewardTrainingConfig
    from reward_models.reading.scoring import Reader

__all__ = ["STARTS", "Start", "make_start", "open_language_model"]

STARTS = ("scratch", "lstm")
"""What is no folder."""

_TRAINED_HERE = (PreferenceModelConfig.model_type, LSTMScorerConfig.model_type)
_VOCABULARIES = (4096, 2048, 1024, 512)
_TOKENIZER_TEXTS = 4000
_TEXTS_TO_MEASURE = 1000
_MANY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A model with its first weights.

    Attributes:
        model: A ``ScorerModel``.
        tokenizer: Its tokenizer.
        says: What it is, in a few words.
        cut: The share of texts that are longer than it reads.
        learned: What it learned from before, where that is known.
    """

    model: Any
    tokenizer: Reader
    says: str
    cut: float
    learned: Traces | None = None


def make_start(
    name: str, settings: RewardTrainingConfig, tokenizer: str | None, texts: Sequence[str]
) -> Start:
    """Makes the first weights.

    Args:
        name: The folder of a language model, of an encoder, or of a reward model to train further;
            the name of a package that ships one; ``scratch`` (a GPT-2 of random weights) or
            ``lstm``.
        settings: How it will be trained: the length, the pooling and the seed.
        tokenizer: What ``load_tokenizer`` takes; None finds a folder's own, or trains one.
        texts: What a new tokenizer is trained on.

    Raises:
        CommandError: If there is no such model, no tokenizer, the two do not fit, or more than half
            of the texts would be cut and nobody said that they may.
        ModuleNotFoundError: If a package is missing.
    """
    learned = None
    try:
        if name == "lstm":
            read = _new_tokenizer(tokenizer, texts)
            shape = LSTMScorerConfig(
                vocab_size=read.vocab_size,
                max_tokens=settings.max_length or MOST_TOKENS,
                output="score",
                pooling="last" if settings.pooling == "last" else "mean",
            )
            model: Any = LSTMScorer.from_seed(shape, settings.seed)
        elif name == "scratch":
            read = _new_tokenizer(tokenizer, texts)
            model = _from_nothing(settings, read)
        elif _is_reward(_folder(name)):
            model, read, learned = _from_reward(_folder(name))
        else:
            folder = _folder(name)
            read = _own_tokenizer(folder) if tokenizer is None else load_tokenizer(tokenizer)
            model = _from_folder(folder, settings)
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise CommandError(" ".join(str(error).split())) from error
    size = sum(weight.numel() for weight in model.parameters())
    cut = _share_cut(model, read, texts)
    if settings.max_length is None and cut > _MANY:
        raise CommandError(
            f"{name} reads {model.config.max_tokens} tokens, and {cut:.0%} of the texts are "
            "longer: take a model that reads more, or let it read their ends alone by --max-length "
            f"{model.config.max_tokens}"
        )
    says = f"{name}, {size / 1e6:.1f} million parameters"
    return Start(model=model, tokenizer=read, says=says, cut=cut, learned=learned)


@contextlib.contextmanager
def open_language_model(
    name: str, settings: RewardTrainingConfig, tokenizer: str | None, texts: Sequence[str]
) -> Iterator[tuple[Path, Any]]:
    """Gives the folder of a language model, and its tokenizer, to make a scorer of tokens of.

    Args:
        name: A folder, the name of a package that ships one, or ``scratch``.
        settings: The length and the seed of a new one.
        tokenizer: As of ``make_start``.
        texts: As of ``make_start``.

    Raises:
        CommandError: If there is no such model, or no tokenizer.
    """
    if name == "lstm":
        raise CommandError("an lstm scores whole texts; marked spans need scratch or a folder")
    with tempfile.TemporaryDirectory() as new:
        try:
            if name == "scratch":
                folder, read = Path(new), _new_tokenizer(tokenizer, texts)
                tokens = settings.max_length or MOST_TOKENS
                shape = SFTConfig(row_tokens=tokens, seed=settings.seed)
                make_language_model(shape, read).save_pretrained(folder)
            else:
                folder = _folder(name)
                read = _own_tokenizer(folder) if tokenizer is None else load_tokenizer(tokenizer)
        except (ValueError, TypeError, FileNotFoundError) as error:
            raise CommandError(" ".join(str(error).split())) from error
        yield folder, read


def _share_cut(model: Any, tokenizer: Any, texts: Sequence[str]) -> float:
    """The share of texts longer than the model reads, of a thousand spread over them all."""
    some = texts[:: max(1, len(texts) // _TEXTS_TO_MEASURE)]
    around = len(getattr(tokenizer, "head", (0,))) + len(getattr(tokenizer, "tail", ()))
    room = int(model.config.max_tokens) - around
    lengths = [len(ids) for ids in tokenizer.encode_batch(some)]
    return sum(length > room for length in lengths) / max(1, len(lengths))


def _folder(name: str) -> Path:
    folder = Path(find_checkpoint(name))
    if not folder.is_dir():
        raise CommandError(
            f"there is no model {name}; give the folder of one, {', '.join(STARTS)}, or "
            f"{', '.join(PACKAGED)}"
        )
    return folder


def _is_reward(folder: Path) -> bool:
    require_files(folder, "config.json", what="model")
    try:
        kind, _ = model_type(folder)
    except (ValueError, TypeError) as error:
        raise CommandError(
            f"{folder} holds no whole model: config.json cannot be read ({error})"
        ) from error
    return kind in _TRAINED_HERE


def _from_folder(folder: Path, settings: RewardTrainingConfig) -> PreferenceModel:
    return PreferenceModel.from_language_model(
        folder, pooling=settings.pooling, max_length=settings.max_length, seed=settings.seed
    )


def _from_reward(folder: Path) -> tuple[Any, Reader, Traces | None]:
    """A reward model that was trained before, to learn more; its scale is set anew."""
    reward: Any = load_reward(folder)
    if hasattr(reward.model.config, "output"):
        reward.model.config.output = "score"
    traces = folder / TRACES_FILE
    return reward.model, reward.tokenizer, read_traces(traces) if traces.is_file() else None


def _from_nothing(settings: RewardTrainingConfig, tokenizer: Any) -> PreferenceModel:
    shape = SFTConfig(row_tokens=settings.max_length or MOST_TOKENS, seed=settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        make_language_model(shape, tokenizer).save_pretrained(folder)
        return _from_folder(Path(folder), settings)


def _new_tokenizer(name: str | None, texts: Sequence[str]) -> Any:
    """The one that was named, or one of as many ids as the texts allow."""
    if name is not None:
        return load_tokenizer(name)
    for vocabulary in _VOCABULARIES:
        try:
            return train_tokenizer(texts, vocabulary, max_texts=_TOKENIZER_TEXTS)
        except ValueError:  # too few texts for so many ids
            continue
    return load_tokenizer()  # the shipped one spells what it does not know in bytes


def _own_tokenizer(folder: Path) -> Reader:
    """A folder's own, or the one beside it, where the quickstart puts it."""
    if (folder / "tokenizer.json").is_file():
        return PretrainedReader.open(folder)
    if (folder / ALPHABET_FILE).is_file():
        return load_tokenizer(folder)
    for place in (folder / "tokenizer.model", folder.parent / "tokenizer.model"):
        if place.is_file():
            return load_tokenizer(place)
    raise CommandError(
        f"{folder} holds no tokenizer.json or tokenizer.model, and neither does the folder above "
        "it: name the one that the model was trained with, --tokenizer FILE"
    )
