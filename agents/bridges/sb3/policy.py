"""A ``TransformerPolicy`` as the actor-critic policy of Stable-Baselines3's algorithms.

The language model's logits at a text's last token, under the temperature and the fixed mask, are
the action's logits, and the value head's output is the value: what is trained is the
``TransformerPolicy`` itself, in place. ``agents.bridges.sb3.ppo`` makes algorithms of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from agents.models.policy import TransformerPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gymnasium import Space
    from stable_baselines3.common.type_aliases import Schedule
    from transformers import PreTrainedModel

    _Base = ActorCriticPolicy
else:
    _Base = object

__all__ = [
    "ActionLogits",
    "StateValues",
    "TextActorCriticPolicy",
    "TextFeatures",
    "TextNetworks",
]


class TextFeatures(BaseFeaturesExtractor):
    """The trunk's hidden state at the last token of each text, and the critic's, if there is one.

    Attributes:
        language_model: The policy.
        pad_id: Stands behind a text; never within it.
        temperature: Divides the logits.
        legal: ``(V,)`` bool, the actions that are ever legal.
    """

    def __init__(
        self,
        observation_space: Space[Any],
        language_model: TransformerPolicy,
        pad_id: int,
        temperature: float,
        legal: Sequence[bool],
    ) -> None:
        """Keeps what the networks are made of; nothing is copied."""
        widths = [m.config.get_text_config().hidden_size for m in _models(language_model)]
        super().__init__(observation_space, features_dim=sum(widths))
        self.language_model = language_model
        self.pad_id, self.temperature, self.legal = pad_id, temperature, tuple(legal)

    def forward(self, observations: Tensor | dict[str, Tensor]) -> Tensor:
        """Reads texts.

        Args:
            observations: ``(N, T)`` ids, as the floats that Stable-Baselines3 makes of them, or a
                dictionary with such ``tokens``.

        Returns:
            ``(N, width)``; behind it the critic's width, if there is one.
        """
        given = observations["tokens"] if isinstance(observations, dict) else observations
        tokens = given.long()
        lengths = (tokens != self.pad_id).sum(dim=1)
        tokens = tokens[:, : int(lengths.max())]
        models = _models(self.language_model)
        return torch.cat([_last_states(model, tokens, lengths) for model in models], dim=1)


def _models(policy: TransformerPolicy) -> list[PreTrainedModel]:
    return [model for model in (policy.model, policy.critic) if model is not None]


def _last_states(model: PreTrainedModel, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Transformers' own forward; in the tests, what a learner of ours runs is compared with it."""
    output = model.base_model(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False
    )
    rows = torch.arange(len(tokens), device=tokens.device)
    return cast("Tensor", output.last_hidden_state[rows, lengths - 1])


class ActionLogits(nn.Module):
    """The language model's own output layer, with temperature and mask."""

    legal: Tensor

    def __init__(self, features: TextFeatures) -> None:
        """Shares the weights of the language model."""
        super().__init__()
        self.head = features.language_model.head
        self.temperature = features.temperature
        self.register_buffer("legal", torch.tensor(features.legal), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``(N, V)`` float32 by the policy's own states; minus infinity if illegal."""
        logits: Tensor = self.head(features[:, : self.head.in_features]).float()
        return (logits / self.temperature).masked_fill(~self.legal, -torch.inf)


class StateValues(nn.Module):
    """The value head, on the critic's states or, without one, on the policy's."""

    def __init__(self, features: TextFeatures) -> None:
        """Shares the weights of the policy."""
        super().__init__()
        self.head = features.language_model.value_head

    def forward(self, features: Tensor) -> Tensor:
        """Values, ``(N, 1)``."""
        values: Tensor = self.head(features[:, -self.head.in_features :])
        return values


class TextNetworks(_Base):
    """Turns an actor-critic policy of Stable-Baselines3 into one that is a ``TransformerPolicy``.

    Comes before the class that it changes: ``class Mine(TextNetworks, ActorCriticPolicy)``.
    """

    features_extractor: TextFeatures

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        lr_schedule: Schedule,
        *,
        language_model: TransformerPolicy | str | Path,
        pad_id: int,
        legal: Sequence[bool],
        temperature: float = 1.0,
        **settings: Any,
    ) -> None:
        """Makes the policy; ``text_policy_kwargs`` gives what is named.

        Args:
            observation_space: Of the environment.
            action_space: Of the environment: the ids of the vocabulary.
            lr_schedule: The learning rate by the share of training that remains.
            language_model: The policy, trained in place; or a folder to load it from, of which
                Stable-Baselines3's ``save`` remembers the name.
            pad_id: The padding's id.
            legal: ``(V,)`` bools, which actions are ever legal.
            temperature: Divides the logits.
            **settings: Stable-Baselines3's, such as ``optimizer_class``.

        Raises:
            ValueError: If the actions are not the vocabulary's ids, or the temperature is not
                positive.
        """
        if not isinstance(language_model, TransformerPolicy):
            language_model = TransformerPolicy.from_pretrained(language_model)
        if not getattr(action_space, "n", None) == language_model.vocab_size == len(legal):
            raise ValueError(
                f"the language model has {language_model.vocab_size} ids, the mask {len(legal)}, "
                f"and the actions are {action_space}: use an environment that appends tokens of "
                "the language model's own tokenizer"
            )
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[],
            ortho_init=False,
            features_extractor_class=TextFeatures,
            features_extractor_kwargs={
                "language_model": language_model,
                "pad_id": pad_id,
                "temperature": temperature,
                "legal": legal,
            },
            **settings,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        self._build_mlp_extractor()  # nothing, as net_arch is empty
        self.action_net = ActionLogits(self.features_extractor)
        self.value_net = StateValues(self.features_extractor)  # type: ignore[assignment] # any module
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg] # every optimizer has it
            **self.optimizer_kwargs,
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **self.features_extractor_kwargs,
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


class TextActorCriticPolicy(TextNetworks, ActorCriticPolicy):
    """The policy class for Stable-Baselines3's PPO and A2C."""
