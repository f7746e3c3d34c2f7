"""REINFORCE++: PPO's clipped surrogate and per-token KL, without a critic.

One iteration: write a completion of each prompt, or a group of them; an action's return is what is
paid from it on, the price of KL included, less the mean of its group; scale all returns of the
batch to mean 0 and variance 1; update.

Source: Hu et al. 2025, "REINFORCE++: Stabilizing Critic-Free Policy Optimization with Global
Advantage Normalization". It is PPO with values of 0 and lambda of 1, but for its loss, which is the
mean over texts of the means over their actions (equation 1). Its other variant, REINFORCE++ with a
baseline, is ``group_size=8, kl_in="loss"``.

Simplifications: what an outside limit cut off is worth 0, as there is no critic to ask; no reward
model's normalisation of its own; use a combinator of rewards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from agents.config import LearnerConfig, require_whole_groups
from agents.learner import Learner
from agents.maths.advantages import generalised_advantages, less_group_mean, standardise
from agents.maths.importance import corrected, largest_weight
from agents.maths.kl import k2, sequence_kl
from agents.maths.losses import clipped_policy_loss, text_weights, token_weights, weighted_sum
from agents.rollouts.metrics import collection_metrics, group_metrics

if TYPE_CHECKING:
    from torch import Tensor

    from agents.models.episodes import Evaluation
    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from agents.training.updates import PhaseClock

__all__ = ["Reinforce", "ReinforceConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforceConfig(LearnerConfig):
    """Settings of REINFORCE++. The defaults suit a pretrained model of any size."""

    group_size: int = 1
    """Completions of each prompt; above 1, the mean of their scores is taken off each. More make a
    better baseline, of fewer prompts."""
    weigh: Literal["texts", "tokens"] = "texts"
    """Whether each text counts the same in the loss, as in the paper, or each token."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Where KL is paid: in the reward, by k1, or in the loss, by k2, as the paper does where there
    are groups."""
    kl_coefficient: float = 0.05
    """Price of one nat from the reference, in units of reward. Lower lets the reward be gamed."""
    gamma: float = 1.0
    """Discount per token. Lower lets an action answer for what is paid soon after it."""
    clip: float = 0.2
    """How far a probability ratio may move in one iteration before it stops paying."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: If a setting is out of its range.
        """
        LearnerConfig.__post_init__(self)
        if self.group_size < 1:
            raise ValueError(f"group_size must be at least 1, got {self.group_size}")
        if self.kl_coefficient < 0:
            raise ValueError(f"kl_coefficient must not be negative, got {self.kl_coefficient}")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma must be in [0, 1], got {self.gamma}")
        if not self.clip > 0:
            raise ValueError(f"clip must be above 0, got {self.clip}")


class Reinforce(Learner):
    """Trains a policy in a text environment; see ``Learner`` for what else it can do."""

    config: ReinforceConfig
    config_type: ClassVar[type[LearnerConfig]] = ReinforceConfig

    def __init__(
        self,
        policy: TransformerPolicy,
        envs: Any,
        config: ReinforceConfig | None = None,
        *,
        reference: TransformerPolicy | None = None,
    ) -> None:
        """Prepares training; see ``Learner`` for the arguments and what else is raised.

        Raises:
            ValueError: If the texts of an iteration are no whole groups.
        """
        config = ReinforceConfig() if config is None else config
        super().__init__(policy, envs, config, reference=reference)
        require_whole_groups(self.episodes, config.group_size)

    def iterate(self, clock: PhaseClock) -> tuple[dict[str, float], Rollout]:
        """One iteration; see ``Learner.iterate``."""
        config, size = self.config, self.config.group_size
        prompts = self.next_examples(self.episodes // size)
        with clock.phase("collect"):
            rollout = self.collect([i for i in prompts for _ in range(size)], group=size)
        mask = rollout.mask
        with clock.phase("reference"):
            old = self.old_log_probs(rollout)
            reference = self.reference_log_probs(rollout)
        log_ratio = torch.where(mask, old - reference, 0.0)
        rewards = rollout.rewards if size == 1 else less_group_mean(rollout.rewards, mask, size)
        if config.kl_in == "reward":
            rewards = rewards - config.kl_coefficient * log_ratio
        no_values = torch.zeros_like(rewards)
        _, returns = generalised_advantages(rewards, no_values, mask, gamma=config.gamma, lam=1.0)
        advantages = standardise(returns, mask)
        metrics = self._metrics(rollout)
        metrics["kl"] = float(sequence_kl(log_ratio, mask))
        cap = largest_weight(config.importance_cap, is_own=self.engine is None)
        with clock.phase("update"), self.updates() as updates:
            for _ in range(config.epochs):
                for minibatch in updates.minibatches(len(rollout)):
                    for part in updates.parts(minibatch, rollout.read_lengths[minibatch]):
                        new = self.policy.evaluate(
                            rollout, part, config.temperature, bf16=self.bf16
                        )
                        updates.require_unmoved(new, rollout, part, old)
                        weights = self._weights(mask, minibatch, part)
                        gap = old[part] - rollout.log_probs[part]
                        worth = corrected(advantages[part], gap, cap)
                        policy = clipped_policy_loss(
                            new.log_probs, old[part], worth, weights, config.clip
                        )
                        price, measured = self._price(new, reference[part], weights)
                        updates.backward(policy.loss + price, policy.measured() | measured)
                    updates.step()
        return metrics | updates.means(), rollout

    def _metrics(self, rollout: Rollout) -> dict[str, float]:
        """What is logged of a collection, in groups or not."""
        if self.config.group_size == 1:
            return collection_metrics(rollout)
        return group_metrics(rollout, rollout.rewards.sum(dim=1), self.config.group_size)

    def _weights(self, mask: Tensor, minibatch: Tensor, part: Tensor) -> Tensor:
        """How much each action of a part counts in the loss of its minibatch."""
        if self.config.weigh == "texts":
            return text_weights(mask[part], len(minibatch))
        return token_weights(mask[part], mask[minibatch].sum())

    def _price(
        self, new: Evaluation, reference: Tensor, weights: Tensor
    ) -> tuple[Tensor | float, dict[str, Tensor]]:
        """What KL adds to the loss of a part, and to what is measured: nothing, if rewards pay."""
        if self.config.kl_in == "reward":
            return 0.0, {}
        price = weighted_sum(k2(new.legal_log_probs - reference), weights)
        price = self.config.kl_coefficient * price
        return price, {"kl_loss": price}
