"""Somebody else's classifier or reward model as a reward, unchanged.

Any ``AutoModelForSequenceClassification``: one label gives its logit, as TRL's reward models do; of
two or more, the score is how far one label is favoured over the rest. What the model computes is
left alone, the place of its score included: a decoder of transformers reads its score off the last
token that is not its padding id.

Simplification: of a text that is too long its end is kept, also where transformers would keep the
beginning, because the completion stands there.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from reward_models.reading.batching import pad_rows, score_rows, spare_pads
from reward_models.reading.loading import wholeness
from reward_models.reading.readers import Frame, PretrainedReader
from reward_models.reading.scoring import join_texts
from textgym.files import atomic_folder, write_json
from textgym.pretrained.checkpoints import HUB_PREFIX, cached_checkpoint, find_checkpoint
from textgym.pretrained.models import open_classifier, room
from textgym.ranges import COUNT, Range, require_ranges
from textgym.rewards import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ClassifierConfig", "ClassifierReward", "load_classifier", "sequence_classifier"]

_SETTINGS = "reward.json"
_PROBES = ("One short text stands beside another that is a good deal longer.", "One short text.")
_UNBOUNDED = 4096  # where neither model nor tokenizer says how much it reads


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierConfig:
    """How a classifier's labels become a score, and how a text is laid before it."""

    label: str | int | None = None
    """The label that is favoured, by name or number. None is number 1 of two, or the only one."""
    output: Literal["log_odds", "probability"] = "log_odds"
    """``log_odds`` of the label, which for a single label is its logit; or its ``probability``."""
    pair: bool = False
    """Give prompt and completion as two texts, as models of entailment or relevance want them."""
    chat_template: bool = False
    """Write prompt and completion as two turns of the tokenizer's chat template."""
    append_eos: bool = False
    """End the text by the end-of-text token, as TRL does with plain texts when it trains."""
    max_tokens: int | None = None
    """Most tokens that are read. None is what the model has room for; more than that is refused."""

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If one is out of range; the message names it.
        """
        require_ranges(self, {"label": Range(0, COUNT.high), "max_tokens": COUNT})


class ClassifierReward:
    """The reward function around a sequence classifier."""

    def __init__(
        self,
        model: Any,
        reader: PretrainedReader,
        config: ClassifierConfig,
        *,
        device: str = "cpu",
        batch_size: int = 64,
    ) -> None:
        """Takes a model over, in evaluation mode and on ``device``.

        Args:
            model: An ``AutoModelForSequenceClassification``. It is moved, not copied.
            reader: Its tokenizer.
            config: What the score is.
            device: Where scores are computed, such as ``cpu`` or ``cuda``.
            batch_size: The most texts in one forward pass; no score depends on it.

        Raises:
            ValueError: If a setting does not fit the model or its tokenizer.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; a batch has at least one text")
        _require_fitting(config, reader)
        self.config = config
        self.reader = reader
        self.label = _label_number(config.label, model.config)
        self.max_tokens = _max_tokens(config.max_tokens, model, reader)
        self.frame = Frame.of(reader.tokenizer, pair=config.pair)
        self.model = model.to(device).eval()
        self.batch_size = batch_size
        if model.config.get_text_config().pad_token_id is None:
            if reader.tokenizer.pad_token_id is None and reader.tokenizer.eos_token_id is None:
                self.batch_size = 1  # without a pad, the model could not tell a text's end
            else:
                model.config.get_text_config().pad_token_id = reader.pad_id
        # Some families pass their mask by: their texts stand beside others of their length alone.
        self._spare_pads = 0 if self._reads_pads() else spare_pads(self.model)

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores each completion after its prompt, ``(N,)``; see ``RewardFunction``.

        Of a text that is too long, the last tokens count; of a pair, the prompt gives way first.
        """
        scores: list[float] = score_rows(
            self._rows(prompts, completions),
            self._forward,
            self.batch_size,
            self._spare_pads,
        ).tolist()
        return scores

    def save(self, folder: str | Path) -> None:
        """Writes model, tokenizer and settings, which ``load_reward`` reads."""
        with atomic_folder(Path(folder)) as temporary:
            self.model.save_pretrained(temporary)
            self.reader.tokenizer.save_pretrained(str(temporary))
            write_json(temporary / _SETTINGS, asdict(self.config))

    def _rows(
        self, prompts: Sequence[str], completions: Sequence[str]
    ) -> list[tuple[tuple[int, int], ...]]:
        """Lays texts out as rows of ``(id, token type)``."""
        texts = join_texts(prompts, completions)
        end = self.reader.tokenizer.eos_token_id if self.config.append_eos else None
        if self.config.chat_template:
            ids = self.reader.encode_chats(_as_chats(prompts, completions))
            return [self.frame.bare(row, self.max_tokens) for row in ids]
        if self.config.pair:
            first = self.reader.encode_batch(prompts)
            second = self.reader.encode_batch(completions)
        else:
            first, second = [[] for _ in texts], self.reader.encode_batch(texts)
        tail = () if end is None else (int(end),)
        return [
            self.frame.around(before, [*row, *tail], self.max_tokens)
            for before, row in zip(first, second, strict=True)
        ]

    @torch.inference_mode()
    def _reads_pads(self) -> bool:
        """Whether a short text has another score beside a long one.

        Raises:
            ValueError: If the model cannot read a text as it is laid out here.
        """
        try:
            rows = self._rows(["", ""], _PROBES)
            together = self._forward(rows) if self.batch_size > 1 else None
            alone = torch.cat([self._forward([row]) for row in rows])
        except (RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
            said = " ".join(str(error).split())
            raise ValueError(
                f"a {self.model.config.model_type} cannot score a text by its ids alone: {said}"
            ) from error
        if together is None:
            return False
        allowed = math.sqrt(torch.finfo(self.model.dtype).eps) * (1 + alone.abs())
        return bool(((together - alone).abs() > allowed).any())

    def _forward(self, rows: list[tuple[tuple[int, int], ...]]) -> torch.Tensor:
        pad_id = self.model.config.get_text_config().pad_token_id or 0
        ids, mask = pad_rows([[token for token, _ in row] for row in rows], pad_id)
        given = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self.reader.tokenizer.model_input_names:
            given["token_type_ids"], _ = pad_rows([[kind for _, kind in row] for row in rows], 0)
        logits = self.model(**{k: v.to(self.model.device) for k, v in given.items()}).logits
        odds = _log_odds(logits.cpu().double(), self.label, self.model.config.problem_type)
        return torch.sigmoid(odds) if self.config.output == "probability" else odds


@describe(reads=["prompt"], is_factory=True, is_shared=True)
def sequence_classifier(
    path: str | Path,
    device: str = "cpu",
    batch_size: int = 64,
    *,
    download: bool = False,
    trust_remote_code: bool = False,
    **settings: Any,
) -> ClassifierReward:
    """Makes a reward of a classifier; its name is ``sequence_classifier``.

    Args:
        path: A folder that ``save_pretrained`` wrote, or a hub's name that is in the local cache.
        device: Where scores are computed, such as ``cpu`` or ``cuda``.
        batch_size: The most texts in one forward pass; no score depends on it.
        download: Fetch a name that is not in the cache; ``HF_HUB_OFFLINE=1`` forbids it still.
        trust_remote_code: Run the code that lies beside the weights. It can do all that you can.
        **settings: ``ClassifierConfig``'s fields; what is not given is as it was saved.

    Raises:
        FileNotFoundError: If there is no such folder, nor a model of that name in the cache.
        ValueError: If the model is damaged, cannot read a text by its ids alone, or a setting does
            not fit it.
    """
    found = find_checkpoint(path)
    if not Path(found).is_dir():
        found = (
            f"{HUB_PREFIX}{found}"
            if download
            else cached_checkpoint(str(found), remedy="download=True where there is a network")
        )
    with wholeness(found):
        model = open_classifier(found, trust_remote_code=trust_remote_code)
        reader = PretrainedReader.open(found)
        saved = Path(found) / _SETTINGS
        known = json.loads(saved.read_text(encoding="utf-8")) if saved.is_file() else {}
    chosen = ClassifierConfig(**{**known, **settings})
    return ClassifierReward(model, reader, chosen, device=device, batch_size=batch_size)


def load_classifier(
    folder: Path, *, device: str = "cpu", batch_size: int = 64, **settings: Any
) -> ClassifierReward:
    """Loads a folder as it was saved; ``load_reward`` comes here by ``config.json``."""
    return sequence_classifier(folder, device, batch_size, **settings)


def _log_odds(logits: torch.Tensor, label: int, problem_type: str | None) -> torch.Tensor:
    """How far a label is favoured, ``log p - log(1 - p)``, from logits ``(N, C)``; ``(N,)``."""
    if logits.shape[1] == 1 or problem_type == "multi_label_classification":
        return logits[:, label]
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
    return logits[:, label] - torch.logsumexp(others, dim=1)


def _label_number(label: str | int | None, config: Any) -> int:
    names = {int(number): str(name) for number, name in config.id2label.items()}
    count = int(config.num_labels)
    if label is None and count in (1, 2):
        return count - 1
    if isinstance(label, int) and 0 <= label < count:
        return label
    matching = [number for number, name in names.items() if name == label]
    if matching:
        return matching[0]
    listed = ", ".join(f"{number} {name!r}" for number, name in sorted(names.items()))
    raise ValueError(f"label is {label!r}; the model's labels are {listed}: name one of them")


def _max_tokens(wanted: int | None, model: Any, reader: PretrainedReader) -> int:
    limits = [room(model), reader.tokenizer.model_max_length]
    limit = min((int(n) for n in limits if n is not None and n < 10**6), default=_UNBOUNDED)
    if wanted is not None and not 1 <= wanted <= limit:
        raise ValueError(f"max_tokens is {wanted}; the model reads 1 to {limit}")
    return limit if wanted is None else wanted


def _require_fitting(config: ClassifierConfig, reader: PretrainedReader) -> None:
    tokenizer = reader.tokenizer
    if config.output not in ("log_odds", "probability"):
        raise ValueError(f"output is {config.output!r}; choose 'log_odds' or 'probability'")
    if config.chat_template and (config.pair or config.append_eos):
        raise ValueError("chat_template goes with neither pair nor append_eos: it writes both")
    if config.chat_template and not tokenizer.chat_template:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template: leave "
            "chat_template out"
        )
    if config.append_eos and tokenizer.eos_token_id is None:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no end-of-text token: leave "
            "append_eos out"
        )


def _as_chats(prompts: Sequence[str], completions: Sequence[str]) -> list[list[dict[str, str]]]:
    return [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
