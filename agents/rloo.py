"""REINFORCE with a leave-one-out baseline: a whole completion is one action.

One iteration: write several completions of each prompt; take the price of KL off each score;
subtract the mean of the others of the group; one gradient step for log-probabilities of whole
completions.

Source: Ahmadian et al. 2024, "Back to Basics", which has neither ratios nor a clip. A ``clip`` is
for more than one update an iteration, of which the first is the same with and without it. The
logged ``approximate_kl`` is per action, as everywhere.

Simplifications: the reward is the whole episode's, which is 0 where an outside limit cut it off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from agents.config import LearnerConfig, require_group_size, require_whole_groups
from agents.learner import Learner
from agents.maths.advantages import leave_one_out, standardise
from agents.maths.importance import corrected, largest_weight
from agents.maths.kl import k3
from agents.maths.losses import (
    PolicyLoss,
    clipped_policy_loss,
    reinforce_loss,
    token_weights,
    weighted_sum,
)
from agents.rollouts.metrics import group_metrics

if TYPE_CHECKING:
    from torch import Tensor

    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from agents.training.updates import PhaseClock

__all__ = ["RLOO", "RLOOConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RLOOConfig(LearnerConfig):
    """Settings of RLOO. The defaults suit a pretrained model of any size."""

    group_size: int = 4
    """Completions of each prompt. More make a better baseline, of fewer prompts."""
    kl_coefficient: float = 0.05
    """Price of one nat from the reference, in units of reward. Lower lets the reward be gamed."""
    normalise: bool = False
    """Scale an iteration's advantages to mean 0 and variance 1, so that one learning rate suits
    rewards of any size."""
    clip: float | None = None
    """How far the ratio of a whole completion may move from 1 before it stops paying; None for the
    paper's plain log-probability. Give one for several updates an iteration: without it they go as
    far as the learning rate lets them."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: If a setting is out of its range.
        """
        LearnerConfig.__post_init__(self)
        require_group_size(self.group_size)
        if self.kl_coefficient < 0:
            raise ValueError(f"kl_coefficient must not be negative, got {self.kl_coefficient}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be above 0, got {self.clip}")


class RLOO(Learner):
    """Trains a policy in a text environment; see ``Learner`` for what else it can do."""

    config: RLOOConfig
    config_type: ClassVar[type[LearnerConfig]] = RLOOConfig

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
            reference: See ``Learner``.

        Raises:
            ValueError: As ``Learner``, or if the texts of an iteration are no whole groups.
        """
        config = RLOOConfig() if config is None else config
        super().__init__(policy, envs, config, reference=reference)
        require_whole_groups(self.episodes, config.group_size)

    def iterate(self, clock: PhaseClock) -> tuple[dict[str, float], Rollout]:
        """One iteration; see ``Learner.iterate``."""
        config = self.config
        prompts = self.next_examples(self.episodes // config.group_size)
        with clock.phase("collect"):
            repeated = [i for i in prompts for _ in range(config.group_size)]
            rollout = self.collect(repeated, group=config.group_size)
        with clock.phase("reference"):
            old = self.old_log_probs(rollout)
            reference = self.reference_log_probs(rollout)
        scores = rollout.rewards.sum(dim=1)
        divergence = torch.where(rollout.mask, old - reference, 0.0).sum(dim=1)
        advantages = leave_one_out(scores - config.kl_coefficient * divergence, config.group_size)
        if config.normalise:
            advantages = standardise(advantages, torch.ones_like(advantages, dtype=torch.bool))
        metrics = group_metrics(rollout, scores, config.group_size)
        metrics["kl"] = float(divergence.mean())
        cap = largest_weight(config.importance_cap, is_own=self.engine is None)
        with clock.phase("update"), self.updates() as updates:
            for _ in range(config.epochs):
                for minibatch in updates.minibatches(len(rollout)):
                    actions = rollout.mask[minibatch].sum()
                    for part in updates.parts(minibatch, rollout.read_lengths[minibatch]):
                        new = self.policy.evaluate(
                            rollout, part, config.temperature, bf16=self.bf16
                        )
                        updates.require_unmoved(new, rollout, part, old)
                        # A whole completion is one action: arrays of actions are (n, 1).
                        whole, before, sampled = (
                            torch.where(rollout.mask[part], each, 0.0).sum(dim=1, keepdim=True)
                            for each in (new.log_probs, old[part], rollout.log_probs[part])
                        )
                        worth = corrected(advantages[part, None], before - sampled, cap)
                        weights = torch.full_like(before, 1 / len(minibatch))
                        policy = self._loss(whole, before, worth, weights)
                        moved = k3(old[part] - new.log_probs.detach())
                        counts = token_weights(rollout.mask[part], actions)
                        measured = {"approximate_kl": weighted_sum(moved, counts)}
                        updates.backward(policy.loss, policy.measured() | measured)
                    updates.step()
        return metrics | updates.means(), rollout

    def _loss(
        self, whole: Tensor, before: Tensor, advantages: Tensor, weights: Tensor
    ) -> PolicyLoss:
        """A part's share of the loss; each array is ``(n, 1)``."""
        if self.config.clip is None:
            return reinforce_loss(whole, before, advantages, weights)
        return clipped_policy_loss(whole, before, advantages, weights, self.config.clip)
