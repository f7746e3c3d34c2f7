"""REINFORCE++: PPO's clipped surrogate and per-token KL, without a critic.

One iteration: write a completion of each prompt; an action's return is what is paid from it on, the
price of KL included; scale all returns of the batch to mean 0 and variance 1; update.

Source: Hu et al. 2025, "REINFORCE++", section 3. It is PPO with values of 0 and lambda of 1.

Simplifications: what an outside limit cut off is worth 0, as there is no critic to ask; no reward
model's normalisation of its own; use a combinator of rewards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from agents.config import LearnerConfig
from agents.learner import Learner
from agents.maths.advantages import generalised_advantages, standardise
from agents.maths.importance import corrected
from agents.maths.kl import sequence_kl
from agents.maths.losses import clipped_policy_loss, token_weights
from agents.rollouts.metrics import collection_metrics

if TYPE_CHECKING:
    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from agents.training.updates import PhaseClock

__all__ = ["Reinforce", "ReinforceConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforceConfig(LearnerConfig):
    """Settings of REINFORCE++. The defaults suit a pretrained model of any size."""

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
        """Prepares training; see ``Learner`` for the arguments and what is raised."""
        config = ReinforceConfig() if config is None else config
        super().__init__(policy, envs, config, reference=reference)

    def iterate(self, clock: PhaseClock) -> tuple[dict[str, float], Rollout]:
        """One iteration; see ``Learner.iterate``."""
        config = self.config
        with clock.phase("collect"):
            rollout = self.collect()
        mask = rollout.mask
        with clock.phase("reference"):
            old = self.old_log_probs(rollout)
            reference = self.reference_log_probs(rollout)
        log_ratio = torch.where(mask, old - reference, 0.0)
        rewards = rollout.rewards - config.kl_coefficient * log_ratio
        no_values = torch.zeros_like(rewards)
        _, returns = generalised_advantages(rewards, no_values, mask, gamma=config.gamma, lam=1.0)
        advantages = standardise(returns, mask)
        metrics = collection_metrics(rollout)
        metrics["kl"] = float(sequence_kl(log_ratio, mask))
        with clock.phase("update"), self.updates() as updates:
            for _ in range(config.epochs):
                for minibatch in updates.minibatches(len(rollout)):
                    actions = mask[minibatch].sum()
                    for part in updates.parts(minibatch, rollout.read_lengths[minibatch]):
                        new = self.policy.evaluate(
                            rollout, part, config.temperature, bf16=self.bf16
                        )
                        updates.require_unmoved(new, rollout, part, old)
                        policy = clipped_policy_loss(
                            new.log_probs,
                            old[part],
                            corrected(
                                advantages[part],
                                old[part] - rollout.log_probs[part],
                                config.importance_cap,
                            ),
                            token_weights(mask[part], actions),
                            config.clip,
                        )
                        updates.backward(policy.loss, policy.measured())
                    updates.step()
        return metrics | updates.means(), rollout
