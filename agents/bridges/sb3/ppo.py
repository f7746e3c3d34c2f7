"""Stable-Baselines3's PPO with a transformer of ours as its policy network.

The language model's logits at a text's last token, under the temperature and the fixed mask, are
the action's logits, and the value head's output is the value: what is trained is the
``TransformerPolicy`` itself, in place. So a learner of ours and theirs can be compared on one
policy, and what either has trained, the other can go on with.

``make_ppo`` puts a policy and a batch of texts together; with ``masked=True`` it is sb3-contrib's
``MaskablePPO``, which constraints need. With environments of your own, give ``text_policy_kwargs``
and ``agents.bridges.sb3.policy.TextActorCriticPolicy`` to ``PPO``, or
``agents.bridges.sb3.masked.MaskableTextActorCriticPolicy`` to ``MaskablePPO``.

What it costs: Stable-Baselines3 learns from single transitions, so a text of T tokens is read from
its beginning for each of them, where a learner of ours reads it once; and it has no cache for
writing. There is no reference policy, so nothing holds the policy near where it started. ``save``
of Stable-Baselines3 writes pickles; ``policy.save_pretrained`` writes weights alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stable_baselines3 import PPO

from agents.bridges.sb3.logger import quiet_logger
from agents.bridges.sb3.policy import TextActorCriticPolicy
from agents.bridges.sb3.vec_env import TextVecEnv
from agents.models.policy import TransformerPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sb3_contrib import MaskablePPO

    from textgym.envs.single import TextEnv
    from textgym.envs.vector import TextVectorEnv

__all__ = ["make_ppo", "text_policy_kwargs"]


def text_policy_kwargs(
    language_model: TransformerPolicy | str | Path,
    env: TextEnv | TextVectorEnv,
    *,
    temperature: float = 1.0,
    masked: bool = False,
) -> dict[str, Any]:
    """What ``policy_kwargs`` must be for a text environment.

    Args:
        language_model: The policy, trained in place, or a folder to load it from.
        env: Where it acts, without wrappers. It is reset, to ask it what is legal.
        temperature: Divides the logits.
        masked: Whether the algorithm asks for masks by itself, as ``MaskablePPO`` does.

    Raises:
        ValueError: If what is legal changes from state to state and nobody asks.
    """
    env.reset()
    legal = env.action_masks()
    legal = legal if legal.ndim == 1 else legal[0]
    if not env.mask_is_fixed and not masked:
        raise ValueError(
            "what is legal changes from state to state here, and Stable-Baselines3's PPO does not "
            "ask: use masked=True, which is sb3-contrib's MaskablePPO"
        )
    return {
        "language_model": language_model,
        "pad_id": env.tokenizer.pad_id,
        "legal": legal.tolist() if env.mask_is_fixed else [True] * len(legal),
        "temperature": temperature,
    }


def make_ppo(
    language_model: TransformerPolicy | str | Path,
    envs: TextVectorEnv,
    *,
    temperature: float = 1.0,
    masked: bool = False,
    **settings: Any,
) -> PPO | MaskablePPO:
    """Makes Stable-Baselines3's PPO for a policy of ours and a batch of texts.

    It writes no log unless ``tensorboard_log`` or ``set_logger`` says where.

    Args:
        language_model: The policy, trained in place, or a folder to load it from.
        envs: Made with autoreset disabled; may have any backend.
        temperature: Divides the logits, when acting and when learning.
        masked: Whether to use sb3-contrib's ``MaskablePPO``.
        **settings: The algorithm's, such as ``n_steps``. Without ``device`` the policy stays where
            it is; one from a folder goes to the CPU.

    Raises:
        ValueError: If the language model and the environment do not fit.
        ModuleNotFoundError: If ``masked`` and sb3-contrib is not installed.
    """
    given = text_policy_kwargs(language_model, envs, temperature=temperature, masked=masked)
    if isinstance(language_model, TransformerPolicy):
        settings.setdefault("device", language_model.device)
    settings.setdefault("device", "cpu")
    settings["policy_kwargs"] = given | settings.pop("policy_kwargs", {})
    agent: PPO | MaskablePPO
    if masked:
        agent = _maskable_ppo(TextVecEnv(envs), settings)
    else:
        agent = PPO(TextActorCriticPolicy, TextVecEnv(envs), **settings)
    if agent.tensorboard_log is None:
        agent.set_logger(quiet_logger(verbose=agent.verbose))
    return agent


def _maskable_ppo(env: TextVecEnv, settings: Mapping[str, Any]) -> MaskablePPO:
    try:
        from agents.bridges.sb3.masked import make_maskable_ppo
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'masked=True needs sb3-contrib: pip install "textgym[baselines]"', name=error.name
        ) from error
    return make_maskable_ppo(env, settings)
