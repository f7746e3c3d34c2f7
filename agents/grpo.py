"""Group relative policy optimisation: no critic, the other answers to a prompt are the baseline.

One iteration: write several completions of each prompt; compare each with the others of its group;
update by PPO's clipped surrogate, in which every token has its completion's advantage, with the
divergence from the reference in the loss.

Source: Shao et al. 2024 (DeepSeekMath), section 4.1. Its successors are settings here:

| successor | settings |
| --- | --- |
| Dr. GRPO, Liu et al. 2025 | ``scale_by_spread=False, weigh="constant", kl_coefficient=0`` |
| DAPO, Yu et al. 2025 | ``weigh="tokens", clip_high=0.28, kl_coefficient=0`` |
| GSPO, Zheng et al. 2025 | ``ratio="text", clip=3e-4, clip_high=4e-4, kl_coefficient=0`` |
| CISPO, MiniMax 2025 | ``surrogate="cispo", weigh="tokens", kl_coefficient=0`` |

Simplifications: the reward is the whole episode's, which is 0 where an outside limit cut it off;
groups whose completions all have one score are kept, and teach nothing but the KL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from agents.config import LearnerConfig, require_dual_clip, require_group_size, require_whole_groups
from agents.learner import Learner
from agents.maths.advantages import group_advantages
from agents.maths.kl import ESTIMATORS, sequence_kl
from agents.maths.losses import (
    PolicyLoss,
    cispo_loss,
    clipped_policy_loss,
    text_means,
    text_weights,
    token_weights,
    weighted_sum,
)
from agents.rollouts.metrics import group_metrics

if TYPE_CHECKING:
    from agents.models.episodes import Evaluation
    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from agents.training.updates import PhaseClock

__all__ = ["GRPO", "GRPOConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPOConfig(LearnerConfig):
    """Settings of GRPO. The defaults suit a model of a few million parameters."""

    group_size: int = 8
    """Completions of each prompt. More make a better baseline, of fewer prompts."""
    scale_by_spread: bool = True
    """Divide a group's advantages by their standard deviation."""
    weigh: Literal["texts", "tokens", "constant"] = "texts"
    """What counts the same in the loss: each text, as in the paper; each token, in the mean over a
    minibatch's tokens; or each token of a whole run, by a constant: the sum over tokens is divided
    by the texts of a minibatch times the most actions of a text."""
    kl_coefficient: float = 0.04
    """Weight of the divergence from the reference in the loss. Lower lets the reward be gamed; 0
    does without a reference."""
    kl_estimator: Literal["k2", "k3"] = "k3"
    """Its estimator; the paper's is k3."""
    ratio: Literal["token", "text"] = "token"
    """What has a probability ratio: each token, or the text as a whole: the geometric mean of its
    tokens' ratios, which is clipped, and learned from, as one. It moves little, so its clips are
    thousandths."""
    surrogate: Literal["clip", "cispo"] = "clip"
    """PPO's clipped surrogate, which lets go of what has moved far, or CISPO's: the log-probability
    times a ratio without a gradient, at most 1 + ``clip_high`` and with no lower bound, so that no
    token is let go."""
    clip: float = 0.2
    """How far a probability ratio may fall below 1 before it stops paying; not of CISPO."""
    clip_high: float | None = None
    """The same upwards; None for ``clip``. Higher lets rare tokens grow faster."""
    dual_clip: float | None = None
    """The probability ratio at which an action with a negative advantage stops costing more, above
    1; None for no such bound. Lower lets odd actions weigh less."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: If a setting is out of its range.
        """
        LearnerConfig.__post_init__(self)
        require_group_size(self.group_size)
        require_dual_clip(self.dual_clip)
        if self.kl_coefficient < 0:
            raise ValueError(f"kl_coefficient must not be negative, got {self.kl_coefficient}")
        if not self.clip > 0 or not (self.clip_high is None or self.clip_high > 0):
            raise ValueError(f"clip must be above 0, got {self.clip} and {self.clip_high}")
        if self.surrogate == "cispo" and self.dual_clip is not None:
            raise ValueError("dual_clip is of the clipped surrogate: leave it out for cispo")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What the update learns from."""

    old_log_probs: Tensor | None
    """``(N, C)``; ``None`` where those of the only update are the same."""
    reference_log_probs: Tensor | None
    """``(N, C)``; ``None`` where the divergence costs nothing."""
    advantages: Tensor
    """``(N,)``, of whole texts."""


class GRPO(Learner):
    """Trains a policy in a text environment; see ``Learner`` for what else it can do."""

    config: GRPOConfig
    config_type: ClassVar[type[LearnerConfig]] = GRPOConfig

    def __init__(
        self,
        policy: TransformerPolicy,
        envs: Any,
        config: GRPOConfig | None = None,
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
        config = GRPOConfig() if config is None else config
        priced = config.kl_coefficient > 0
        super().__init__(policy, envs, config, reference=reference, needs_reference=priced)
        require_whole_groups(self.episodes, config.group_size)

    def iterate(self, clock: PhaseClock) -> tuple[dict[str, float], Rollout]:
        """One iteration; see ``Learner.iterate``."""
        config = self.config
        prompts = self.next_examples(self.episodes // config.group_size)
        with clock.phase("collect"):
            repeated = [i for i in prompts for _ in range(config.group_size)]
            rollout = self.collect(repeated, group=config.group_size)
        scores = rollout.rewards.sum(dim=1)
        metrics = group_metrics(rollout, scores, config.group_size)
        with clock.phase("reference"):
            is_own = config.bf16 and config.updates_on_policy
            old = None if is_own else self.old_log_probs(rollout)
            reference = self.reference_log_probs(rollout) if config.kl_coefficient > 0 else None
            if old is not None and reference is not None:
                metrics["kl"] = float(sequence_kl(old - reference, rollout.mask))
        advantages = group_advantages(scores, config.group_size, scale=config.scale_by_spread)
        batch = _Batch(old_log_probs=old, reference_log_probs=reference, advantages=advantages)
        with clock.phase("update"), self.updates() as updates:
            for _ in range(config.epochs):
                for minibatch in updates.minibatches(len(rollout)):
                    for part in updates.parts(minibatch, rollout.read_lengths[minibatch]):
                        new = self.policy.evaluate(
                            rollout, part, config.temperature, bf16=config.bf16
                        )
                        updates.require_unmoved(new, rollout, part, old)
                        weights = self._weights(rollout.mask, minibatch, part)
                        updates.backward(*self._loss(new, rollout, batch, part, weights))
                    updates.step()
        return metrics | updates.means(), rollout

    def _weights(self, mask: Tensor, minibatch: Tensor, part: Tensor) -> Tensor:
        """How much each action of a part counts in the loss of its minibatch."""
        if self.config.weigh == "texts":
            return text_weights(mask[part], len(minibatch))
        if self.config.weigh == "tokens":
            return token_weights(mask[part], mask[minibatch].sum())
        texts = self.episodes / self.config.minibatches
        return token_weights(mask[part], texts * self.envs.max_actions)

    def _loss(
        self, new: Evaluation, rollout: Rollout, batch: _Batch, part: Tensor, weights: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A part's share of the loss, and of what is measured."""
        config, reference = self.config, batch.reference_log_probs
        policy = self._policy_loss(new, rollout.mask[part], batch, part, weights)
        measured = policy.measured()
        if reference is None:
            return policy.loss, measured
        log_ratio = new.legal_log_probs - reference[part]
        price = ESTIMATORS[config.kl_estimator](log_ratio)
        measured["kl_loss"] = config.kl_coefficient * weighted_sum(price, weights)
        if batch.old_log_probs is None:
            nats = torch.where(rollout.mask[part], log_ratio, 0.0)
            measured["kl"] = nats.sum() / len(rollout)
        return policy.loss + measured["kl_loss"], measured

    def _policy_loss(
        self, new: Evaluation, mask: Tensor, batch: _Batch, part: Tensor, weights: Tensor
    ) -> PolicyLoss:
        """A part's share of the surrogate, in which a text may be one action."""
        config, now, acted = self.config, new.log_probs, batch.old_log_probs
        acted = now.detach() if acted is None else acted[part]
        if config.ratio == "text":
            now, acted = text_means(now, mask), text_means(acted, mask)
            weights = weights.sum(dim=1, keepdim=True)
        advantages = batch.advantages[part, None]
        if config.surrogate == "cispo":
            high = config.clip if config.clip_high is None else config.clip_high
            return cispo_loss(now, acted, advantages, weights, high)
        return clipped_policy_loss(
            now, acted, advantages, weights, config.clip, config.clip_high, config.dual_clip
        )
