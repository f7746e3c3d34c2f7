"""Whether a batch of texts and a policy go together, and if not, what to change."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import AutoresetMode

from agents.models.policy import TransformerPolicy
from textgym.envs.vector import TextVectorEnv
from textgym.messages import shown

__all__ = ["require_batch", "require_fitting"]

_MADE = 'gym.make_vec(ID, num_envs=64, backend="torch", autoreset_mode="Disabled")'


def require_batch(envs: Any) -> None:
    """Requires a batch of texts; raises a ``TypeError`` that says how to make one if it is none."""
    if not isinstance(getattr(envs, "unwrapped", envs), TextVectorEnv):
        raise TypeError(f"{shown(envs)} is no batch of texts: make one with {_MADE}")


def require_fitting(envs: TextVectorEnv, policy: TransformerPolicy) -> None:
    """Requires an environment that a policy can be collected from.

    Raises:
        TypeError: If they are no batch of texts and no policy.
        ValueError: If it is another; the message says what to change.
    """
    require_batch(envs)
    if not isinstance(policy, TransformerPolicy):
        raise TypeError(f"{shown(policy)} is no policy: make one with TransformerPolicy(model)")
    mode = envs.autoreset_mode
    if not envs.metadata.get("torch") or mode is not AutoresetMode.DISABLED:
        backend = "torch" if envs.metadata.get("torch") else "numpy"
        raise ValueError(
            f'the environment has backend="{backend}" and autoreset_mode="{mode.value}": make it '
            f"with {_MADE}"
        )
    here, there = envs.device, policy.device
    if here.type != there.type or here.index not in {None, there.index}:
        raise ValueError(
            f"the environment is on {here} and the policy on {there}: make the environment with "
            f'device="{there}"'
        )
    if envs.action_kind == "edit" and policy.edit_head is None:
        raise ValueError(
            "this environment edits and the policy cannot: make it with "
            "TransformerPolicy(model, edits=True)"
        )
    if envs.tokenizer.vocab_size != policy.vocab_size:
        raise ValueError(
            f"the policy has {policy.vocab_size} actions, the environment's tokenizer "
            f"{envs.tokenizer.vocab_size} ids: load the tokenizer that the model was trained with"
        )
    width, most = envs.prompt_tokens + envs.completion_tokens, policy.most_tokens
    if most is not None and width > most:
        raise ValueError(
            f"texts of the environment have {width} tokens and the model reads at most {most}: "
            "make the environment with fewer prompt_tokens or completion_tokens"
        )
