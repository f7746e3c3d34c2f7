"""REINFORCE with a leave-one-out baseline: a whole completion is one action.

One iteration: write several completions of each prompt; take the price of KL off each score;
subtract the mean of the others of the group; one gradient step for log-probabilities of whole
completions.

Source: Ahmadian et al. 2024, "Back to Basics". With more than one update an iteration the ratio of
whole completions is clipped, as in PPO.

Simplifications: the reward is the whole episode's, which is 0 where an outside limit cut it off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from agents.config import AgentConfig
from agents.learner import Agent
from agents.maths.advantages import leave_one_out, standardise
from agents.maths.losses import clipped_policy_loss
from agents.rollouts.groups import group_metrics, require_contrast, require_groups
from agents.training.improving import improve
from agents.training.reference import acted_log_probs, evaluate_reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Evaluation, Rollout
    from agents.training.updates import LossOf, PhaseClock

__all__ = ["RLOO", "RLOOConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RLOOConfig(AgentConfig):
    """Settings of RLOO. The defaults suit a model of a few million parameters."""

    group_size: int = 4
    """Completions of each prompt. More make a better baseline, of fewer prompts."""
    kl_coefficient: float = 0.05
    """Price of one nat from the reference, in units of reward. Lower lets the reward be gamed."""
    normalise: bool = False
    """Scale an iteration's advantages to mean 0 and variance 1, so that one learning rate suits
    rewards of any size."""
    clip: float = 0.2
    """How far the ratio of a whole completion may move from 1 before it stops paying."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: If a setting is out of its range.
        """
        AgentConfig.__post_init__(self)
        require_contrast(self.group_size)
        if self.kl_coefficient < 0:
            raise ValueError(f"kl_coefficient must not be negative, got {self.kl_coefficient}")
        if not self.clip > 0:
            raise ValueError(f"clip must be above 0, got {self.clip}")


class RLOO(Agent):
    """Trains a policy in a text environment; see ``Agent`` for what else it can do."""

    config: RLOOConfig
    config_type: ClassVar[type[AgentConfig]] = RLOOConfig

    def __init__(
        self,
        policy: TransformerPolicy,
        envs: Any,
        config: RLOOConfig | None = None,
        *,
        reference: TransformerPolicy | None = None,
    ) -> None:
        """Prepares training.

        Args:
            policy: Trained in place.
            envs: A text environment with the torch backend and autoreset disabled.
            config: The settings; ``None`` for the defaults.
            reference: See ``Agent``.

        Raises:
            ValueError: As ``Agent``, or if the texts of an iteration are no whole groups.
        """
        config = RLOOConfig() if config is None else config
        super().__init__(policy, envs, config, reference=reference)
        require_groups(self.episodes, config.group_size)

    def iterate(self, clock: PhaseClock) -> tuple[dict[str, float], Rollout]:
        """One iteration; see ``Agent.iterate``."""
        config = self.config
        prompts = self.next_examples(self.episodes // config.group_size)
        with clock.phase("collect"):
            repeated = [i for i in prompts for _ in range(config.group_size)]
            rollout = self.collect(repeated, group=config.group_size)
        with clock.phase("reference"):
            old = acted_log_probs(self, rollout)
            reference = evaluate_reference(self, rollout).log_probs
        scores = rollout.rewards.sum(dim=1)
        divergence = torch.where(rollout.mask, old - reference, 0.0).sum(dim=1)
        advantages = leave_one_out(scores - config.kl_coefficient * divergence, config.group_size)
        if config.normalise:
            advantages = standardise(advantages, torch.ones_like(advantages, dtype=torch.bool))
        metrics = group_metrics(rollout, scores, config.group_size)
        metrics["kl"] = float(divergence.mean())
        with clock.phase("update"):
            metrics |= improve(
                self, rollout, old, lambda rows: self._loss_for(rollout, rows, old, advantages)
            )
        return metrics, rollout

    def _loss_for(self, rollout: Rollout, rows: Tensor, old: Tensor, advantages: Tensor) -> LossOf:
        """The loss of a minibatch; whole completions are ``(n, 1)`` arrays of actions."""
        clip, mask = self.config.clip, rollout.mask

        def loss_of(new: Evaluation, part: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
            whole, before = (
                torch.where(mask[part], each, 0.0).sum(dim=1, keepdim=True)
                for each in (new.log_probs, old[part])
            )
            share = torch.full_like(before, 1 / len(rows))
            policy = clipped_policy_loss(whole, before, advantages[part, None], share, clip)
            return policy.loss, policy.measured()

        return loss_of
