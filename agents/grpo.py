"""Group relative policy optimisation: no critic, the other answers to a prompt are the baseline.

One iteration: write several completions of each prompt, and of further prompts where groups without
contrast are replaced; compare each with the others of its group; update by PPO's clipped surrogate,
in which every token has its completion's advantage, with the divergence from the reference in the
loss.

Source: Shao et al. 2024 (DeepSeekMath), section 4.1. Its successors are settings here:

| successor | settings |
| --- | --- |
| Dr. GRPO, Liu et al. 2025 | ``scale_by_spread=False, weigh="constant", kl_coefficient=0`` |
| DAPO, Yu et al. 2025 | ``weigh="tokens", clip_high=0.28, kl_coefficient=0``; ``draws``; |
| | ``overlong="filter"`` or ``overlong_buffer`` |
| GSPO, Zheng et al. 2025 | ``ratio="text", clip=3e-4, clip_high=4e-4, kl_coefficient=0`` |
| CISPO, MiniMax 2025 | ``surrogate="cispo", weigh="tokens", kl_coefficient=0`` |
| GDPO, Liu et al. 2026 | ``parts="apart"``, for a reward that is a weighted sum |

Simplifications: the reward is the whole episode's, which is 0 where an outside limit cut it off;
with ``draws=1`` groups whose completions all have one score are kept, and teach nothing but the KL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from agents.config import (
    LearnerConfig,
    require_dual_clip,
    require_group_size,
    require_whole_groups,
)
from agents.learner import Learner
from agents.maths.advantages import (
    decoupled_advantages,
    group_advantages,
    has_contrast,
    overlong_punishment,
)
from agents.maths.importance import corrected, largest_weight
from agents.maths.kl import ESTIMATORS, k3, sequence_kl
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
from agents.rollouts.rollout import Rollout
from agents.training.sampler_gap import GAP_FIGURES
from textgym.types import StopReason

if TYPE_CHECKING:
    from agents.models.episodes import Evaluation
    from agents.models.policy import TransformerPolicy
    from agents.training.updates import PhaseClock

__all__ = ["GRPO", "GRPOConfig"]

_MEASURED = ("policy_loss", "clip_fraction", "approximate_kl", "bounded_fraction")


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPOConfig(LearnerConfig):
    """Settings of GRPO. The defaults suit a pretrained model of any size."""

    group_size: int = 8
    """Completions of each prompt. More make a better baseline, of fewer prompts."""
    draws: int = 1
    """How often an iteration writes its number of texts at most, until enough groups have scores
    that differ; the others are then not learned from. More fill the batch more surely, at the price
    of texts; with 1, it is taken as it is."""
    overlong: Literal["keep", "filter"] = "keep"
    """Whether texts that did not end by themselves are left out of the loss. They are compared with
    either way."""
    overlong_buffer: int | None = None
    """How many of the last actions that a text may have cost something: the first one little, the
    last one 1, in units of reward; None for none. More warn longer texts earlier."""
    parts: Literal["sum", "apart"] = "sum"
    """Whether texts are compared by their score, or, where that is a weighted sum, by each part of
    it apart, after which advantages are added with its weights and scaled over the batch. A price
    of length is a part of weight 1."""
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
        for name in ("draws", "overlong_buffer"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What the update learns from."""

    old_log_probs: Tensor | None
    """``(N, C)``; ``None`` where those of the only update are the same."""
    reference_log_probs: Tensor | None
    """``(N, C)``; ``None`` where the divergence costs nothing."""
    advantages: Tensor
    """``(N,)``, of whole texts."""
    counts: Tensor
    """Which actions are learned from, ``(N, C)`` bool."""


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
            ValueError: As ``Learner``, or if the texts of an iteration are no whole groups, or a
                reward that is to be taken apart is no weighted sum.
        """
        config = GRPOConfig() if config is None else config
        priced = config.kl_coefficient > 0
        super().__init__(policy, envs, config, reference=reference, needs_reference=priced)
        require_whole_groups(self.episodes, config.group_size)
        if config.parts == "apart" and self.envs.reward_weights is None:
            raise ValueError(
                "the environment's reward is no weighted sum of rewards, which parts='apart' takes "
                "apart: make it with reward=[['length', 1.0], ['repetition', -0.5]] or the like"
            )

    def iterate(self, clock: PhaseClock) -> tuple[dict[str, float], Rollout]:
        """One iteration; see ``Learner.iterate``."""
        config = self.config
        with clock.phase("collect"):
            rollout = self.collected = written = self._write()
            if config.draws > 1:
                rollout = self._with_contrast(written)
        metrics = group_metrics(written, self._scores(written), config.group_size)
        metrics["draws"] = len(written) / self.episodes
        metrics["texts_learned"] = float(len(rollout))
        with clock.phase("reference"):
            is_own = self.samples_apart and (config.updates_on_policy or not len(rollout))
            old = None if is_own else self.old_log_probs(rollout)
            reference = self.reference_log_probs(rollout) if config.kl_coefficient > 0 else None
            if old is not None and reference is not None:
                metrics["kl"] = float(sequence_kl(old - reference, rollout.mask))
        batch = _Batch(
            old_log_probs=old,
            reference_log_probs=reference,
            advantages=self._advantages(rollout),
            counts=self._counts(rollout),
        )
        with clock.phase("update"), self.updates() as updates:
            for _ in range(config.epochs):
                for minibatch in updates.minibatches(len(rollout)):
                    for part in updates.parts(minibatch, rollout.read_lengths[minibatch]):
                        new = self.policy.evaluate(
                            rollout, part, config.temperature, bf16=self.bf16
                        )
                        updates.require_unmoved(new, rollout, part, old)
                        weights = self._weights(batch.counts, minibatch, part)
                        updates.backward(*self._loss(new, rollout, batch, part, weights))
                    updates.step()
        return {**self._nothing(), **metrics, **updates.means()}, written

    @property
    def most_texts(self) -> int:
        """How many texts an iteration writes at most."""
        return self.episodes * self.config.draws

    def _write(self) -> Rollout:
        """Writes groups, and again where too few of them have contrast; all that was written."""
        written = self._draw()
        for _ in range(1, self.config.draws):
            if len(self._contrasting(written)) >= self.episodes // self.config.group_size:
                break
            written = Rollout.join([written, self._draw()])
        return written

    def _draw(self) -> Rollout:
        """Writes the groups of the next prompts."""
        size = self.config.group_size
        prompts = self.next_examples(self.episodes // size)
        return self.collect([i for i in prompts for _ in range(size)], group=size)

    def _with_contrast(self, written: Rollout) -> Rollout:
        """The first groups whose texts teach something, as many as an iteration has at most."""
        size = self.config.group_size
        groups = self._contrasting(written)[: self.episodes // size].unsqueeze(1)
        return written.take((groups * size + torch.arange(size).to(groups)).flatten())

    def _contrasting(self, rollout: Rollout) -> Tensor:
        """The numbers of the groups whose texts are not all scored alike, in order."""
        return has_contrast(self._scores(rollout), self.config.group_size).nonzero().flatten()

    def _scores(self, rollout: Rollout) -> Tensor:
        """What texts are compared by, ``(N,)``, or ``(N, K)``, less the cost of length."""
        scores, buffer = rollout.rewards.sum(dim=1), self.config.overlong_buffer
        cost = torch.zeros_like(scores)
        if buffer is not None:
            cost = overlong_punishment(rollout.mask.sum(dim=1), self.envs.max_actions, buffer)
        if self.config.parts == "sum":
            return scores + cost
        # What was cut off by an outside limit was paid nothing.
        terms = torch.from_numpy(rollout.terms).nan_to_num().to(scores)
        return torch.cat([terms, cost.unsqueeze(1)], dim=1)

    def _advantages(self, rollout: Rollout) -> Tensor:
        """How much better each text is than the others of its group, ``(N,)``."""
        config, scores = self.config, self._scores(rollout)
        if config.parts == "sum":
            return group_advantages(scores, config.group_size, scale=config.scale_by_spread)
        weights = torch.tensor([*(self.envs.reward_weights or ()), 1.0]).to(scores)
        return decoupled_advantages(
            scores, weights, config.group_size, scale=config.scale_by_spread
        )

    def _counts(self, rollout: Rollout) -> Tensor:
        """Which actions are learned from, ``(N, C)`` bool."""
        if self.config.overlong == "keep":
            return rollout.mask
        ended = torch.from_numpy(rollout.stop_reasons == StopReason.END_OF_TEXT)
        return rollout.mask & ended.to(rollout.mask.device).unsqueeze(1)

    def _nothing(self) -> dict[str, float]:
        """What is measured of updates, where no group had anything to teach."""
        priced = ("kl_loss", "kl") if self.config.kl_coefficient > 0 else ()
        unknown = dict.fromkeys((*_MEASURED, *GAP_FIGURES, *priced), float("nan"))
        return {**unknown, "gradient_norm": 0.0}

    def _weights(self, counts: Tensor, minibatch: Tensor, part: Tensor) -> Tensor:
        """How much each action of a part counts in the loss of its minibatch."""
        if self.config.weigh == "texts":
            texts = counts[minibatch].any(dim=1).sum().clamp(min=1)
            return text_weights(counts[part], texts)
        if self.config.weigh == "tokens":
            return token_weights(counts[part], counts[minibatch].sum().clamp(min=1))
        each = self.episodes / self.config.minibatches
        return token_weights(counts[part], each * self.envs.max_actions)

    def _loss(
        self, new: Evaluation, rollout: Rollout, batch: _Batch, part: Tensor, weights: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A part's share of the loss, and of what is measured."""
        config, reference = self.config, batch.reference_log_probs
        policy = self._policy_loss(new, rollout, batch, part, weights)
        measured = policy.measured()
        if config.ratio == "text" and batch.old_log_probs is not None:
            moved = k3(batch.old_log_probs[part] - new.log_probs.detach())
            measured["approximate_kl"] = weighted_sum(moved, weights)  # per action, as everywhere
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
        self, new: Evaluation, rollout: Rollout, batch: _Batch, part: Tensor, weights: Tensor
    ) -> PolicyLoss:
        """A part's share of the surrogate, in which a text may be one action."""
        config, now, acted = self.config, new.log_probs, batch.old_log_probs
        acted, sampled = now.detach() if acted is None else acted[part], rollout.log_probs[part]
        cap = largest_weight(config.importance_cap, is_own=self.engine is None)
        if config.ratio == "text":
            mask = rollout.mask[part]
            now, acted, sampled = (text_means(each, mask) for each in (now, acted, sampled))
            weights = weights.sum(dim=1, keepdim=True)
        advantages = corrected(batch.advantages[part, None], acted - sampled, cap)
        if config.surrogate == "cispo":
            high = config.clip if config.clip_high is None else config.clip_high
            return cispo_loss(now, acted, advantages, weights, high)
        return clipped_policy_loss(
            now, acted, advantages, weights, config.clip, config.clip_high, config.dual_clip
        )
