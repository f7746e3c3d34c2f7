"""Stable-Baselines3's PPO with a transformer of ours as its policy network.

The language model's logits at a text's last token, under the temperature and the fixed mask, are
the action's logits, and the value head's output is the value: what is trained is the
``TransformerPolicy`` itself, in place. So a learner of ours and theirs can be compared on one
policy, and what either has trained, the other can go on with.

``make_ppo`` puts a policy and a batch of texts together; with ``masked=True`` it is sb3-contrib's
``MaskablePPO``, which constraints need. With environments of your own, give ``text_policy_kwargs``
and ``agents.bridges.sb3.policy.TextActorCriticPolicy`` to ``PPO``, or
``MaskableTextActorCriticPolicy``, which is here where sb3-contrib is installed, to ``MaskablePPO``.

What it costs: Stable-Baselines3 learns from single transitions, so a text of T tokens takes T
forward passes from its beginning, where a learner of ours makes one; and it has no key-value cache
for writing. There is no reference policy, so nothing holds the policy near where it started.
``save`` of Stable-Baselines3 writes pickles; ``policy.save_pretrained`` writes weights alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stable_baselines3 import PPO

from agents.bridges.sb3.logger import quiet_logger
from agents.bridges.sb3.policy import TextActorCriticPolicy, TextNetworks
from agents.bridges.sb3.vec_env import TextVecEnv
from agents.models.policy import TransformerPolicy

try:
    from sb3_contrib import MaskablePPO
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
except ModuleNotFoundError:
    _CAN_MASK = False  # it comes with the extra "baselines"
else:
    _CAN_MASK = True

    class MaskableTextActorCriticPolicy(TextNetworks, MaskableActorCriticPolicy):  # type: ignore[misc] # what differs is only how masks come in
        """The policy class for sb3-contrib's MaskablePPO."""


if TYPE_CHECKING:
    from pathlib import Path

    from textgym.envs.single import TextEnv
    from textgym.envs.vector import TextVectorEnv

__all__ = ["MaskableTextActorCriticPolicy", "make_ppo", "text_policy_kwargs"]


def text_policy_kwargs(
    language_model: TransformerPolicy | str | Path,
    env: TextEnv | TextVectorEnv,
    *,
    temperature: float = 1.0,
    masked: bool = False,
) -> dict[str, Any]:
    """Makes the ``policy_kwargs`` that the policy classes here need for a text environment.

    Args:
        language_model: The policy, trained in place, or a folder to load it from.
        env: Where it acts, without wrappers. It is reset, and asked which actions are legal.
        temperature: Divides the logits.
        masked: Whether the algorithm asks for masks by itself, as ``MaskablePPO`` does.

    Raises:
        ValueError: If what is legal changes from state to state and the algorithm asks no masks.
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
    if masked and not _CAN_MASK:
        raise ModuleNotFoundError(
            'masked=True needs sb3-contrib: pip install "textgym[baselines]"', name="sb3_contrib"
        )
    given = text_policy_kwargs(language_model, envs, temperature=temperature, masked=masked)
    if isinstance(language_model, TransformerPolicy):
        settings.setdefault("device", language_model.device)
    settings.setdefault("device", "cpu")
    settings["policy_kwargs"] = given | settings.pop("policy_kwargs", {})
    agent: PPO | MaskablePPO
    if masked:
        agent = MaskablePPO(MaskableTextActorCriticPolicy, TextVecEnv(envs), **settings)
    else:
        agent = PPO(TextActorCriticPolicy, TextVecEnv(envs), **settings)
    if agent.tensorboard_log is None:
        agent.set_logger(quiet_logger(verbose=agent.verbose))
    return agent
