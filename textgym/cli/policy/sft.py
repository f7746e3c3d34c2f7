"""``textgym train sft``: a language model of your own texts, or a pretrained one taught by them.

``--out`` becomes the folder of a model, which ``--policy``, ``tokenizer=`` and reward models take.
"""

from __future__ import annotations

import argparse
import json
import shutil
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import torch
import tyro
from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agents.models.loading import load_model, save_model
from agents.models.scratch import SCRATCH_PREFIX
from agents.sft import SFTConfig, fit_language_model, make_language_model
from agents.training.distributed import current_processes
from agents.training.guards import explained_memory
from textgym.cli.console import (
    bar,
    chosen_device,
    keep_large_blocks,
    say,
    use_quiet_transformers,
)
from textgym.cli.parsing import CommandError
from textgym.cli.policy.material import Material, read_material
from textgym.cli.policy.policies import one_line
from textgym.cli.policy.running import FORESEEABLE
from textgym.cli.training import TrainingBar
from textgym.files import atomic_file, exclusive_folder, files_of_folder, write_json
from textgym.pretrained.adapters import AdapterConfig
from textgym.provenance import code_version, named_contents
from textgym.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedModel

    from agents.models.documents import Document
    from textgym.types import Tokenizer

__all__ = ["SFTTraining", "start_from_model", "train_sft"]

_RECORD, _SAMPLES = "training.json", "samples.jsonl"
_PROMPTS, _OPENING, _WRITTEN = 3, 8, 40  # samples of a look; ids of a text that they start from
_LETTERS = 80
_PRETRAINED = SFTConfig(
    epochs=1.0,
    batch_size=8,
    accumulation=2,
    row_tokens=256,
    packing=True,
    optimizer="adamw",
    rate=2e-5,
    warmup=0.03,
)
_SIZES: Mapping[str, SFTConfig] = MappingProxyType(
    {
        "tiny": SFTConfig(layers=2, width=64, heads=2, packing=True),
        "small": SFTConfig(packing=True),
        "base": SFTConfig(
            layers=8,
            width=512,
            heads=8,
            steps=2000,
            batch_size=16,
            accumulation=3,
            row_tokens=256,
            packing=True,
        ),
    }
)
_RATE_OF_ADAPTERS = 2e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class SFTTraining:
    """Train a language model on texts, completions or chats; the same command goes on after a stop.

    A file with a column text is learned as a whole; with prompt and completion, or messages, only
    what is to be answered is. The folder that is written is a model: give it as --policy, as
    --model of textgym reward train, or here again.
    """

    data: tuple[str, ...]
    """What to learn: .jsonl, .csv, .parquet and the like with the columns text, or prompt and
    completion, or messages (lists of role and content); or texts as textgym data collect reads
    them: files, folders, package:reviews."""
    out: Path
    """The folder to write: the model, its tokenizer, training.json, which says what it was made
    from, and samples.jsonl, what it wrote at each look."""
    model: str = "small"
    """What to start from: tiny, small or base, from scratch, of about 0.4, 4 and 28 million
    weights; a folder, smollm2, hub:NAME, or random weights of a shape, scratch:llama?layers=4. The
    settings below have other defaults for pretrained models."""
    tokenizer: str | None = None
    """A folder of textgym tokenizer train, or another tokenizer; None takes the model's own, and
    from scratch reviews-4096, which is of English reviews."""
    validation: tuple[str, ...] = ()
    """What to measure on, such as the validation.jsonl of textgym data split. None named: a share
    of the data, --held-out."""
    held_out: float = 0.05
    """The share of the texts, or of the prompts, that only measure, where --validation names none.
    """
    columns: str | None = None
    """Which of a file's columns are which, as in prompt=question,completion=answer."""
    whole: bool = True
    """Learn also what of a text does not fit into a row, as texts of its own, which begin in the
    middle; else it is left out."""
    lora: int | None = None
    """Rank of adapters to train instead of all weights; None trains all. Needs the extra lora."""
    skip_bad_rows: bool = False
    """Leave rows out that cannot be read, and say how many, instead of stopping at the first."""
    device: str = "auto"
    """Where to compute: cpu, cuda, or auto for cuda if there is one; of several processes, started
    by torchrun or accelerate, each on a GPU of its own."""
    training: Annotated[SFTConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=lambda: _SIZES["small"]
    )
    """The training itself."""


def start_from_model(arguments: Sequence[str]) -> SFTTraining:
    """What the command's own flags change: the settings that suit its ``--model``.

    Args:
        arguments: The command's words.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model", nargs="?", default="small")
    parser.add_argument("--lora", nargs="?")
    known = parser.parse_known_args(arguments)[0]
    settings = _SIZES.get(str(known.model), _PRETRAINED)
    if str(known.model).startswith(SCRATCH_PREFIX):
        settings = _SIZES["small"]
    elif known.lora not in {None, "None"}:
        settings = replace(settings, rate=_RATE_OF_ADAPTERS, optimizer="adamw")
    return SFTTraining(data=tyro.MISSING, out=tyro.MISSING, training=settings)


def train_sft(config: SFTTraining, console: Console | None = None) -> None:
    """Trains, saves, and says how well it predicts what it has not seen.

    Args:
        config: What to do.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If the data, the model or the settings cannot work.
        FolderInUseError: If another run writes into the folder.
        FileNotFoundError: If a file is not there.
    """
    use_quiet_transformers()
    keep_large_blocks()
    try:
        config = replace(config, device=chosen_device(config.device))
        is_main = current_processes(config.device).is_main
    except FORESEEABLE as error:
        raise CommandError(" ".join(str(error).split())) from error
    # Several processes train one model, and the main one writes.
    console = (console or Console()) if is_main else Console(quiet=True)
    with exclusive_folder(config.out) if is_main else nullcontext():
        if (config.out / _RECORD).exists() or (config.out / "config.json").exists():
            raise CommandError(
                f"{config.out} holds a model already; choose another --out, or remove it"
            )
        try:
            with explained_memory("--batch-size, and raise --accumulation as much"):
                _train(config, console, is_main=is_main)
        except FORESEEABLE as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise CommandError(" ".join(str(error).split())) from error


def _train(config: SFTTraining, console: Console, *, is_main: bool) -> None:
    learned, measured = _material(config)
    model, tokenizer = _start(config)
    length = config.training.row_tokens
    documents = learned.documents(tokenizer, length, whole=config.whole)
    held_out = measured.documents(tokenizer, length, whole=config.whole)
    learns = sum(p.numel() for p in model.parameters() if p.requires_grad)
    say(
        console,
        f"{len(learned):,} texts, completions and chats to learn from as {len(documents):,} "
        f"documents, {len(measured):,} to measure on",
        f"model: {config.model}, {learns / 1e6:.1f} million weights learn",
        *(f"  {note}" for note in learned.notes),
    )
    samples = _Samples(console, tokenizer, held_out or documents, config)
    with bar("Language model", console) as shown:
        figures = fit_language_model(
            config.training,
            model,
            tokenizer,
            documents,
            config.out / "checkpoints",
            held_out=held_out,
            device=config.device,
            callbacks=[TrainingBar(shown, ("loss", "eval_perplexity")), *[samples] * is_main],
        )
    if not is_main:
        return
    samples.write(model, int(figures["steps"]))
    _save(config, model, tokenizer, figures)
    seen = f"; held-out perplexity {figures['perplexity']:.2f}" if "perplexity" in figures else ""
    say(
        console,
        f"{figures['steps']:.0f} updates, loss {figures['train_loss']:.3f}{seen}",
        f"the model is in {config.out}: textgym generate --policy {config.out}",
    )


def _material(config: SFTTraining) -> tuple[Material, Material]:
    """What is learned and what measures.

    Raises:
        ValueError: If there is nothing.
    """
    material = read_material(config.data, config.columns, skip_bad=config.skip_bad_rows)
    if not len(material):
        raise ValueError(f"there is nothing to learn from in {' '.join(config.data)}")
    if config.validation:
        skip = config.skip_bad_rows
        return material, read_material(config.validation, config.columns, skip_bad=skip)
    return material.divided(config.held_out)


def _start(config: SFTTraining) -> tuple[PreTrainedModel, Tokenizer]:
    """The first weights and the tokenizer."""
    settings = config.training
    adapters = None if config.lora is None else AdapterConfig(rank=config.lora, seed=settings.seed)
    from_scratch = config.model in _SIZES or config.model.startswith(SCRATCH_PREFIX)
    tokenizer: Any = None
    if config.tokenizer is not None or from_scratch:
        tokenizer = load_tokenizer(config.tokenizer or "reviews-4096")
    if config.model in _SIZES:
        if adapters is not None:
            raise ValueError("--lora is for pretrained models: random weights must learn as well")
        return make_language_model(settings, tokenizer), tokenizer
    return load_model(config.model, tokenizer, lora=adapters, width=settings.row_tokens)


class _Samples(TrainerCallback):
    """Lets the model write at each look."""

    def __init__(
        self,
        console: Console,
        tokenizer: Tokenizer,
        documents: Sequence[Document],
        config: SFTTraining,
    ) -> None:
        self._console, self._tokenizer, self._config = console, tokenizer, config
        # A completion's prompt, or how a text opens.
        self._prompts = [
            one.ids[: max(1, min(len(one.ids) - 1, one.start if one.start > 1 else _OPENING))]
            for one in documents[:_PROMPTS]
        ]

    def on_evaluate(
        self,
        args: TrainingArguments,  # noqa: ARG002 - Trainer's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        metrics: dict[str, float] | None = None,
        **known: Any,
    ) -> None:
        """Says the perplexity, and shows a text."""
        found = (metrics or {}).get("eval_perplexity", float("nan"))
        say(self._console, f"  update {state.global_step}: held-out perplexity {found:.2f}")
        self.write(known["model"], state.global_step)

    def write(self, model: Any, step: int) -> None:
        """Writes after a few prompts, into ``samples.jsonl``; one of them is shown.

        What was written there at this update or later, before a kill, is replaced.
        """
        path = self._config.out / _SAMPLES
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines if json.loads(line)["step"] < step]
        seed = self._config.training.seed
        for prompt in self._prompts:
            text = self._written(model, prompt, seed)
            said = {"step": step, "prompt": self._tokenizer.decode(prompt), "text": text}
            kept.append(json.dumps(said, ensure_ascii=False))
        with atomic_file(path) as temporary:
            temporary.write_text("\n".join(kept) + "\n", encoding="utf-8")
        last = json.loads(kept[-1])
        say(self._console, f"  {one_line(last['prompt'], last['text'], letters=_LETTERS)}")

    @torch.no_grad()
    def _written(self, model: Any, prompt: Sequence[int], seed: int) -> str:
        """Lets the model go on, without a change of the generators that training draws from."""
        room = max(1, min(_WRITTEN, self._config.training.row_tokens - len(prompt)))
        was_training = model.training
        model.eval()
        given = torch.tensor([list(prompt)], device=model.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            ids = model.generate(
                given, attention_mask=torch.ones_like(given), max_new_tokens=room, do_sample=True
            )
        model.train(was_training)
        return self._tokenizer.decode(ids[0, len(prompt) :].tolist())


def _save(
    config: SFTTraining, model: PreTrainedModel, tokenizer: Tokenizer, figures: dict[str, float]
) -> None:
    """Writes beside the files of ``--out``, then moves each.

    The configuration and the record come last: by them a folder is taken for finished.
    """
    settings = json.loads(json.dumps(asdict(config), default=str))
    record = {
        "settings": settings,
        "made from": {
            "contents": named_contents(
                [*config.data, *config.validation, config.model, config.tokenizer]
            ),
            "code": code_version(),
        },
        "figures": figures,
    }
    with files_of_folder(config.out) as folder:
        save_model(model, folder, tokenizer)
    write_json(config.out / _RECORD, record)
    shutil.rmtree(config.out / "checkpoints", ignore_errors=True)
