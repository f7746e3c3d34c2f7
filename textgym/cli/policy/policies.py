"""An environment and a policy from a command's words, each fitted to the other.

A policy that came with a tokenizer brings it into the environment, unless the arguments name one;
a policy of random weights takes the environment's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.envs.registration import ENV_ID_RE
from gymnasium.error import UnregisteredEnv

from agents.models.loading import keep_lowest_layers, load_model, tokenizer_of
from agents.models.policy import TransformerPolicy
from textgym.cli.reward.naming import rewards_on_device
from textgym.files import last_checkpoint
from textgym.messages import did_you_mean
from textgym.pretrained.adapters import AdapterConfig
from textgym.provenance import json_hash, named_contents
from textgym.registration import registered_ids
from textgym.rewards.factories import load_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgym.envs.vector import TextVectorEnv

__all__ = [
    "contents_of",
    "environment_arguments",
    "make_envs",
    "make_policy",
    "one_line",
    "read_arguments",
    "require_no_run",
]

_CRITIC = "critic"  # in a policy's folder
_SET = {
    "num_envs": "leave it out, and give --num-envs",
    "device": "leave it out, and give --device",
    "backend": "leave it out",
    "autoreset_mode": "leave it out",
}


def environment_arguments(text: str, policy: str) -> dict[str, Any]:
    """Reads an environment's arguments, the policy's tokenizer among them if none is named.

    Args:
        text: ``--env-kwargs``.
        policy: ``--policy``.

    Raises:
        ValueError: If they are no JSON object, or have what the command sets itself.
        FileNotFoundError: If there is no such policy.
    """
    given = read_arguments(text)
    require_no_run(policy)
    own = tokenizer_of(policy)
    return given if own is None else {"tokenizer": own, **given}


def read_arguments(text: str) -> dict[str, Any]:
    """Reads an environment's arguments.

    Args:
        text: ``--env-kwargs``.

    Raises:
        ValueError: If they are no JSON object, or have what the command sets itself.
    """
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--env-kwargs is no JSON ({error}): {text}") from error
    if not isinstance(given, dict):
        raise ValueError(f"--env-kwargs must be a JSON object, got {text}")  # noqa: TRY004 - as above, the text is wrong
    for name in given.keys() & _SET.keys():
        raise ValueError(f"--env-kwargs has {name!r}, which the command sets: {_SET[name]}")
    return given


def make_envs(
    env: str, arguments: Mapping[str, Any], *, num_envs: int, device: str
) -> TextVectorEnv:
    """Makes the environment as learners want it.

    Args:
        env: Its id, with or without ``textgym:``.
        arguments: Its arguments.
        num_envs: How many rows.
        device: Where they are, and the models of their reward, unless it says where.

    Raises:
        ValueError: If there is no such environment, or it is none of texts.
        ModuleNotFoundError: If there is no such module before its colon.
    """
    module, colon, inside = env.partition(":")
    named = inside if colon else env
    if not ENV_ID_RE.fullmatch(named) or ":" in named or (colon and not module):
        raise ValueError(f"the environment {env!r} is no id; textgym envs lists them")
    if colon:
        load_module("environment", env, module)
    placed = rewards_on_device(arguments, device)
    given = {"backend": "torch", "device": device, "autoreset_mode": "Disabled", **placed}
    try:
        envs: Any = gym.make_vec(env, num_envs=num_envs, **given)
    except UnregisteredEnv as error:
        # Whoever writes a task's name means its id.
        meant = f"TextGym/{env.rpartition('/')[2].removesuffix('-v0')}-v0"
        near = did_you_mean(meant, registered_ids())
        raise ValueError(f"unknown environment {env}{near}; textgym envs lists them") from error
    except TypeError as error:
        if "'backend'" not in str(error):
            raise
        raise ValueError(
            f"{env} is no environment of texts, which is what this needs; textgym envs lists them"
        ) from error
    return envs.unwrapped  # type: ignore[no-any-return] # make_vec says VectorEnv


def contents_of(named: Any, env: str, envs: TextVectorEnv) -> dict[str, str]:
    """Hashes what decides a run besides its settings, by what to call it.

    Args:
        named: Settings that name files, folders and modules, see ``named_contents``.
        env: The environment's id.
        envs: The environment, whose prompts count wherever they come from.
    """
    prompts = [[example.prompt, repr(example.columns)] for example in envs.examples]
    return {**named_contents(named), f"the prompts of {env}": json_hash(prompts)}


def require_no_run(policy: str) -> None:
    """Requires a policy's folder, and not that of the run or the checkpoint that it is in.

    Raises:
        ValueError: If it is that; the message says where the policy is.
    """
    last = last_checkpoint(Path(policy) / "checkpoints")
    for folder in (Path(policy), *([] if last is None else [last])):
        inner = folder / "policy"
        if inner.is_dir() and not list(Path(policy).glob("*.safetensors")):
            raise ValueError(f"{policy} is a run, and its policy is in {inner}: give that")
        if inner.is_dir() and (Path(policy) / "state.json").is_file():
            raise ValueError(f"{policy} is a checkpoint, and its policy is in {inner}: give that")


def make_policy(
    spec: str,
    envs: TextVectorEnv,
    *,
    device: str,
    lora: int | None = None,
    critic: bool = False,
    critic_layers: int | None = None,
    dtype: str | None = None,
    attention: str | None = None,
) -> TransformerPolicy:
    """Makes a policy for an environment, with the heads and the critic that its folder keeps.

    Args:
        spec: As of ``agents.models.loading.load_model``.
        envs: Whose tokenizer, width and kind of action it must fit.
        device: Where it is.
        lora: Rank of adapters to put on it; ``None`` for none.
        critic: Whether its values have a trunk of their own: the one in its folder, or a copy.
        critic_layers: How many blocks such a copy keeps, the lowest; ``None`` for all.
        dtype: Of its weights, see ``load_model``.
        attention: How attention is computed, see ``load_model``.
    """
    width = envs.prompt_tokens + envs.completion_tokens
    settings: dict[str, Any] = {
        "device": device,
        "width": width,
        "dtype": dtype,
        "attention": attention,
    }
    if critic_layers is not None and not critic:
        raise ValueError("--critic-layers is of a critic: give --critic as well")
    adapters = None if lora is None else AdapterConfig(rank=lora)
    model, _ = load_model(spec, envs.tokenizer, lora=adapters, **settings)
    own_critic = None
    if critic:
        kept = Path(spec) / _CRITIC
        own_critic, _ = load_model(kept if kept.is_dir() else spec, envs.tokenizer, **settings)
        if not kept.is_dir():
            keep_lowest_layers(own_critic, critic_layers)
    policy = TransformerPolicy(model, own_critic, edits=envs.action_kind == "edit")
    policy.load_heads(Path(spec))
    return policy


def one_line(prompt: str, completion: str, *, letters: int | None) -> str:
    """A prompt and a completion, with a bar between them and on one line.

    Args:
        prompt: Of a longer text the end is shown.
        completion: Of a longer text the beginning is shown.
        letters: The most of each; ``None`` for all.
    """
    before, after = (text.replace("\n", "\\n") for text in (prompt, completion))
    if letters is not None:
        before = before if len(before) <= letters else f"...{before[-letters:]}"
        after = after if len(after) <= letters else f"{after[:letters]}..."
    return f"{before}|{after}"
