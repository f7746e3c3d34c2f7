"""``textgym generate``: what a policy writes, after prompts that are given or an environment's."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations
from typing import TYPE_CHECKING, Annotated, Literal

import torch
import tyro
from rich.console import Console

from agents.maths.distributions import Sampling
from agents.models.loading import tokenizer_of
from agents.models.tokenizer_fit import WidthError
from agents.rollouts.texts import prompt_envs, write_texts
from agents.training.guards import explained_memory
from textgym.cli.console import chosen_device, use_quiet_transformers
from textgym.cli.parsing import CommandError
from textgym.cli.policy.policies import (
    environment_arguments,
    make_envs,
    make_policy,
    require_no_run,
)
from textgym.cli.policy.running import FORESEEABLE
from textgym.cli.policy.writing import writer
from textgym.data import read_text
from textgym.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from agents.models.policy import TransformerPolicy
    from textgym.envs.vector import TextVectorEnv

__all__ = ["GenerateConfig", "generate"]

_LINE_END = re.compile(r"\r\n?|\n")

_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateConfig:
    """Let a policy write, after given prompts or those of an environment, which scores the texts.

    Each text is a line: the prompt, a bar, and the completion; behind an environment's, the score.
    A few hundred are played at a time, and written before the next, so a stop keeps what there is.
    """

    policy: str
    """The policy: a folder, such as runs/ppo/policy, or smollm2, hub:NAME, scratch:..."""
    prompt: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A text to go on from; may be given several times."""
    prompts: str | None = None
    """A file with a text to go on from in each line, or - for standard input."""
    env: str | None = None
    """An environment whose prompts are taken and which scores; instead of --prompt
    and --prompts."""
    env_kwargs: str = "{}"
    """Arguments of the environment as JSON, such as '{"split": "test"}'."""
    count: int = 1
    """Completions of each prompt; of an environment, how many of its prompts, from the first on.
    More take longer."""
    completion_tokens: int | None = None
    """The most tokens of a completion, with --prompt; None takes 64, or as many as the model has
    room for. More is slower."""
    temperature: float = 1.0
    """Divides the logits. Higher is more varied, and 0.01 nearly always the likeliest token."""
    top_k: int | None = None
    """Draw from the so many likeliest tokens alone; None draws from all. More is more varied."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that hold this share of the probability. Higher is more
    varied."""
    tokenizer: str | None = None
    """For a policy without one of its own: a name or a file, as of the environment's."""
    seed: int = 0
    """Decides what is drawn."""
    num_envs: int = 64
    """Texts that are written at once. More are faster on a GPU, and take more memory. On a GPU, and
    where drafts are edited, it decides what is drawn as well."""
    out: Path | None = None
    """Write the texts into this file instead, as JSON Lines with prompt, completion and, of an
    environment's, score. It must not be there yet."""
    device: str = "auto"
    """Where the policy runs: cpu, cuda, or auto for cuda if there is one."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Of the policy's weights; None takes what its folder was saved with, and else float32."""
    attention: str | None = None
    """How attention is computed, by its name in transformers, such as eager or sdpa; None takes
    what the policy's folder was saved with, and else eager."""


def generate(config: GenerateConfig, console: Console | None = None) -> None:
    """Writes texts and prints them.

    Args:
        config: What and how.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If something in the command is wrong.
    """
    console = console or Console()
    use_quiet_transformers()
    try:
        _check(config)
        config = replace(config, device=chosen_device(config.device))
        sampling = Sampling(temperature=config.temperature, top_k=config.top_k, top_p=config.top_p)
        with explained_memory("the policy's size"):
            made = _prompted(config) if config.env is None else _environment(config)
            envs, policy, ids = made
        generator = torch.Generator(config.device).manual_seed(config.seed)
    except FORESEEABLE as error:
        raise CommandError(" ".join(str(error).split())) from error
    scored = config.env is not None
    with writer(len(ids), console, config.out, scored=scored) as texts:
        for piece in write_texts(envs, policy, ids, sampling=sampling, generator=generator):
            texts.add(piece)
    texts.say_end()


def _check(config: GenerateConfig) -> None:
    """Requires settings that make sense together, before anything is loaded."""
    given = bool(config.prompt) or config.prompts is not None
    if given == (config.env is not None):
        raise ValueError(
            "give either --prompt TEXT, --prompts FILE or --env ID: what shall be gone on from?"
        )
    if config.out is not None and config.out.exists():
        raise ValueError(f"--out {config.out} is there already: name another file, or remove it")
    require_no_run(config.policy)


def _all_prompts(config: GenerateConfig) -> list[str]:
    """The given prompts, then those of the file."""
    name, lines = config.prompts, list[str]()
    if name is not None:
        try:
            text = sys.stdin.read() if name == "-" else read_text(name)
        except (OSError, ValueError) as error:
            raise ValueError(f"--prompts {name} cannot be read as text: {error}") from error
        # Other characters that end a line for str.splitlines are part of a prompt.
        lines = [line for line in _LINE_END.split(text) if line.strip()]
        if not lines:
            raise ValueError(f"--prompts {name} has no line with a text")
    return [*config.prompt, *lines]


def _prompted(config: GenerateConfig) -> tuple[TextVectorEnv, TransformerPolicy, list[int]]:
    """Makes an environment of given prompts, of as many tokens as the policy has room for.

    Returns:
        It, the policy, and which of the prompts to go on from, in order.
    """
    name = config.tokenizer or tokenizer_of(config.policy)
    if name is None:
        raise ValueError(
            f"{config.policy} has no tokenizer of its own: give --tokenizer, the one that it was "
            "trained with"
        )
    tokenizer = load_tokenizer(name)
    prompts = _all_prompts(config)
    ids = [number for number in range(len(prompts)) for _ in range(config.count)]

    def made(tokens: int) -> tuple[TextVectorEnv, TransformerPolicy, list[int]]:
        envs = prompt_envs(
            prompts,
            tokenizer,
            completion_tokens=tokens,
            rows=min(config.num_envs, len(ids)),
            device=config.device,
        )
        return envs, _policy(config, envs), ids

    try:
        return made(config.completion_tokens or _TOKENS)
    except WidthError as error:
        longest = 1 + max(len(ids) for ids in tokenizer.encode_batch(prompts))
        room = error.most - longest
        if config.completion_tokens is None and room > 0:
            return made(room)
        wanted = f"give --completion-tokens {room} or fewer" if room > 0 else "give shorter ones"
        raise ValueError(
            f"the longest prompt has {longest} tokens of the {error.most} that {config.policy} "
            f"reads: {wanted}"
        ) from error


def _environment(config: GenerateConfig) -> tuple[TextVectorEnv, TransformerPolicy, list[int]]:
    """As ``_prompted``, of an environment."""
    arguments = environment_arguments(config.env_kwargs, config.policy)
    if config.tokenizer is not None:
        arguments["tokenizer"] = config.tokenizer
    rows = min(config.num_envs, config.count)
    envs = make_envs(str(config.env), arguments, num_envs=rows, device=config.device)
    ids = [number % envs.num_examples for number in range(config.count)]
    return envs, _policy(config, envs), ids


def _policy(config: GenerateConfig, envs: TextVectorEnv) -> TransformerPolicy:
    return make_policy(
        config.policy,
        envs,
        device=config.device,
        dtype=config.dtype,
        attention=config.attention,
    )
