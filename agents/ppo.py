"""Proximal policy optimisation on text, from its settings to its log.

One iteration: collect completions; compare them with the frozen reference; turn rewards into
advantages; update on shuffled minibatches of whole texts; log. The KL divergence from the
reference is paid per token inside the reward (Ziegler et al. 2019, section 2.1), or added to the
loss.

What differs from the published set-ups: the score belongs to the last action itself, the end of
text included, so no step beyond the end is trained; in bfloat16, and with a critic of its own, the
old log-probabilities and values are computed anew by the update's own forward pass, so that the
first ratio is 1, and the sampler's own are kept to check them by. Where an iteration makes a single
update, the first ratio is the only one, and in bfloat16 rewards and advantages are made of the
sampler's own. ``agents.presets`` has published settings.

Simplification: the logged ``entropy`` is the mean surprisal of the sampled actions. With an entropy
bonus, ``exact_entropy`` is that of the distributions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from agents.config import LearnerConfig, require_dual_clip
from agents.learner import Learner
from agents.maths.advantages import (
    explained_variance,
    generalised_advantages,
    masked_mean,
    standardise,
    to_unit_variance,
)
from agents.maths.importance import corrected, largest_weight
from agents.maths.kl import ESTIMATORS, adapted_coefficient, k3, sequence_kl
from agents.maths.losses import clipped_policy_loss, clipped_value_loss, token_weights, weighted_sum
from agents.maths.running_scale import RunningScale
from agents.rollouts.metrics import collection_metrics
from agents.training.guards import require_agreement
from agents.training.reference import final_values
from textgym.types import StopReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agents.models.episodes import Evaluation
    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from agents.training.updates import PhaseClock

__all__ = ["PPO", "PPOConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PPOConfig(LearnerConfig):
    """Settings of PPO. The defaults suit a pretrained model of any size."""

    epochs: int = 2
    """Passes over one collection. More use it better, and move further from where it was made."""
    minibatches: int = 4
    """Updates in a pass. More of them are smaller and noisier."""
    kl_coefficient: float = 0.05
    """Price of one nat from the reference, in units of reward. Lower lets the reward be gamed.
    With a target, only where the price starts."""
    kl_target: float | None = None
    """Nats from the reference, a text, that the price is moved to hold; None keeps it fixed. A
    fixed price buys more nats the better the reward can be told apart, and so differs by run."""
    kl_gain: float = 0.2
    """How fast the price follows the target; higher overshoots. It moves by at most a fifth of
    this an iteration."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Where the price is paid: by each action's reward, or by a term of the loss, whose gradient
    knows only the states that were visited."""
    kl_estimator: Literal["k1", "k2", "k3"] | None = None
    """What is paid for an action: k1 is unbiased and may be negative; k2 and k3 never are. None is
    k1 in the reward and k2 in the loss, where k1's gradient is 0 on average and k3's is biased."""
    clip: float = 0.2
    """How far a probability ratio may move in one iteration before it stops paying."""
    dual_clip: float | None = None
    """The probability ratio at which an action with a negative advantage stops costing more, above
    1; None for no such bound. Lower lets odd actions weigh less."""
    critic_learning_rate: float | None = None
    """Highest step size of the value head, and of a critic with weights of its own; None for the
    learning rate. A critic that starts at nothing may need a higher one."""
    value_clip: float | None = None
    """How far a value prediction may move in one iteration; None leaves it free."""
    value_weight: float = 0.1
    """Weight of the value loss. Higher pulls a shared trunk towards predicting returns, as larger
    rewards do, whose squares it grows by: hold those with scale_rewards. A critic of its own hardly
    knows it, as Adam's steps do not: see critic_learning_rate."""
    entropy_coefficient: float = 0.0
    """What an action's entropy pays in the loss, exactly and over what was legal. Higher keeps
    trying other actions for longer, and never settles for the best one."""
    gamma: float = 1.0
    """Discount per token; 1 since all that counts is the finished text."""
    lam: float = 1.0
    """Weight of longer advantage estimates; higher is less biased, noisier. The score comes last,
    and a young value function misleads more than the noise does."""
    whiten_advantages: Literal["batch", "minibatch", "off"] = "batch"
    """Over what advantages are scaled to mean 0 and variance 1."""
    whiten_rewards: bool = False
    """Scale rewards to variance 1 over the batch, KL included, and keep their mean."""
    scale_rewards: bool = False
    """Divide scores by the standard deviation of all scores so far, so that one learning rate and
    one KL price suit rewards of any size."""
    reward_clip: float | None = None
    """What is paid at once beyond this, either way and after scaling, counts as this; that is the
    score, or with ``dense=True`` a difference of scores. None leaves it."""
    missing_end_penalty: float = 0.0
    """Taken off the score of a text that the allowance cut off. Higher teaches to end in time."""
    critic_warmup: int = 0
    """First iterations that train the value function alone. More protect the policy longer from a
    critic that knows nothing."""
    target_kl: float | None = None
    """Ends an iteration's updates once the policy has moved by 1.5 times so many nats a token;
    None makes them all. Higher lets it move further."""
    adam_epsilon: float = 1e-5
    """Added to Adam's denominator. Higher slows parameters with small gradients."""
    adam: Literal["torch", "tensorflow"] = "torch"
    """Where Adam adds epsilon: after correcting the second moment's bias, or before. The second
    makes the first steps much smaller (Huang et al. 2023)."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: If a setting is out of its range.
        """
        LearnerConfig.__post_init__(self)
        positive = (
            "clip",
            "critic_learning_rate",
            "kl_target",
            "value_clip",
            "reward_clip",
            "target_kl",
            "adam_epsilon",
        )
        for name in positive:
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("gamma", "lam", "kl_gain"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in (
            "kl_coefficient",
            "critic_warmup",
            "missing_end_penalty",
            "value_weight",
            "entropy_coefficient",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        require_dual_clip(self.dual_clip)
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError(
                "kl_estimator k1 has no gradient in the loss: take k2 or k3, or pay in the reward"
            )
        if self.kl_target is not None and self.kl_coefficient == 0:
            raise ValueError(
                "kl_target moves the price of KL by factors, and kl_coefficient=0 stays 0: start "
                "above 0, or leave kl_target out"
            )

    @property
    def price_estimator(self) -> Callable[[Tensor], Tensor]:
        """From log-ratios to what is paid for them."""
        usual = "k1" if self.kl_in == "reward" else "k2"
        return ESTIMATORS[self.kl_estimator or usual]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What the update learns from, all ``(N, C)``."""

    old_log_probs: Tensor | None
    """``None`` where those of the only update are the same."""
    old_values: Tensor
    reference_log_probs: Tensor
    advantages: Tensor
    returns: Tensor


class PPO(Learner):
    """Trains a policy in a text environment; everything a resumed run needs is in its state.

    Attributes:
        kl_coefficient: The price of a nat as it is now.
    """

    config: PPOConfig
    config_type: ClassVar[type[LearnerConfig]] = PPOConfig

    def __init__(
        self,
        policy: TransformerPolicy,
        envs: Any,
        config: PPOConfig | None = None,
        *,
        reference: TransformerPolicy | None = None,
    ) -> None:
        """Prepares training.

        Args:
            policy: Trained in place.
            envs: A text environment with the torch backend and autoreset disabled.
            config: The settings; ``None`` for the defaults.
            reference: The frozen policy that KL is measured against, with weights of its own;
                ``None`` for the policy as it is, see ``Learner``.

        Raises:
            ValueError: If policy and reference share weights, the environment is another, or there
                are fewer texts than minibatches.
        """
        config = PPOConfig() if config is None else config
        super().__init__(policy, envs, config, reference=reference)
        if config.critic_learning_rate is not None:
            self.learning_rates = (self.learning_rates[0], config.critic_learning_rate)
        self.kl_coefficient = config.kl_coefficient
        self._scale = RunningScale()

    def iterate(self, clock: PhaseClock) -> tuple[dict[str, float], Rollout]:
        """One iteration; see ``Learner.iterate``."""
        config = self.config
        with clock.phase("collect"):
            rollout = self.collect()
        with clock.phase("reference"):
            reference = self.reference_log_probs(
                rollout, beside_sampler=self._is_own(rollout) and config.kl_in == "reward"
            )
        with clock.phase("advantages"):
            batch, metrics = self._learnable(rollout, reference)
        with clock.phase("update"), self.updates() as updates:
            for _ in range(config.epochs):
                for minibatch in updates.minibatches(len(rollout)):
                    whitened = self._whitened(batch, rollout.mask, minibatch)
                    actions = rollout.mask[minibatch].sum()
                    for part in updates.parts(minibatch, rollout.read_lengths[minibatch]):
                        new = self.policy.evaluate(
                            rollout,
                            part,
                            config.temperature,
                            bf16=self.bf16,
                            entropies=config.entropy_coefficient > 0,
                            detach_values=self._warms_up,
                        )
                        updates.require_unmoved(new, rollout, part, batch.old_log_probs)
                        weights = token_weights(rollout.mask[part], actions)
                        updates.backward(*self._loss(new, rollout, whitened, part, weights))
                    self._prepare_step()
                    step = updates.step()
                    if config.target_kl is not None and (
                        step["approximate_kl"] > 1.5 * config.target_kl
                    ):
                        updates.stop()
        metrics |= updates.means()
        if config.kl_target is not None and not self._warms_up:
            self.kl_coefficient = adapted_coefficient(
                self.kl_coefficient, metrics["kl"], target=config.kl_target, gain=config.kl_gain
            )
        return metrics, rollout

    def _is_own(self, rollout: Rollout) -> bool:
        """Whether the policy of the only update is the one that acted, and nothing is evaluated."""
        return self.bf16 and self.config.updates_on_policy and rollout.values is not None

    @torch.no_grad()
    def _learnable(self, rollout: Rollout, reference: Tensor) -> tuple[_Batch, dict[str, float]]:
        """Turns rewards and KL into advantages and returns."""
        config, mask = self.config, rollout.mask
        old_log_probs, old_values = rollout.log_probs, rollout.values
        is_own = self._is_own(rollout)
        if old_values is None or (self.bf16 and not is_own):
            old = self.evaluate(self.policy, rollout)
            gap = float(masked_mean((old.log_probs - rollout.log_probs).abs(), mask))
            require_agreement(gap, bf16=self.samples_apart, engine=self.engine is not None)
            old_log_probs, old_values = old.log_probs, old.values
        log_ratio = torch.where(mask, old_log_probs - reference, 0.0)
        rewards = self._shaped(rollout)
        if config.kl_in == "reward":
            rewards = rewards - self.kl_coefficient * config.price_estimator(log_ratio)
        if config.whiten_rewards:
            rewards = to_unit_variance(rewards, mask)
        advantages, returns = generalised_advantages(
            rewards,
            old_values,
            mask,
            gamma=config.gamma,
            lam=config.lam,
            bootstrap=final_values(
                self.policy,
                rollout,
                most_tokens=config.micro_batch_tokens,
                processes=self.processes,
            ),
        )
        if config.whiten_advantages == "batch":
            advantages = standardise(advantages, mask)
        metrics = {
            **collection_metrics(rollout),
            "kl": float(sequence_kl(log_ratio, mask)),
            "kl_coefficient": self.kl_coefficient,
            "kl_k3": float(sequence_kl(k3(log_ratio), mask)),
            "explained_variance": float(explained_variance(old_values, returns, mask)),
        }
        return _Batch(
            old_log_probs=None if is_own else old_log_probs,
            old_values=old_values,
            reference_log_probs=reference,
            advantages=advantages,
            returns=returns,
        ), metrics

    def _shaped(self, rollout: Rollout) -> Tensor:
        """The environment's rewards, scaled, clipped and with the missing end taken off."""
        config, rewards = self.config, rollout.rewards
        if config.missing_end_penalty:
            cut_off = torch.from_numpy(rollout.stop_reasons == StopReason.LENGTH)
            last = rollout.mask.sum(dim=1, keepdim=True) - 1
            penalty = config.missing_end_penalty * cut_off.to(rewards).unsqueeze(1)
            rewards = rewards.scatter_add(1, last, -penalty)
        if config.scale_rewards:
            self._scale.add(rewards.sum(dim=1))
            rewards = rewards / self._scale.deviation
        if config.reward_clip is not None:
            rewards = rewards.clamp(-config.reward_clip, config.reward_clip)
        return rewards

    def _whitened(self, batch: _Batch, mask: Tensor, minibatch: Tensor) -> _Batch:
        """The batch with the advantages of a minibatch whitened, if it is done by minibatches."""
        if self.config.whiten_advantages != "minibatch":
            return batch
        advantages = batch.advantages.clone()
        advantages[minibatch] = standardise(advantages[minibatch], mask[minibatch])
        return replace(batch, advantages=advantages)

    def _loss(
        self, new: Evaluation, rollout: Rollout, batch: _Batch, part: Tensor, weights: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A part's share of the loss, and of what is measured."""
        config, acted = self.config, batch.old_log_probs
        old = new.log_probs.detach() if acted is None else acted[part]
        cap = largest_weight(config.importance_cap, is_own=self.engine is None)
        policy = clipped_policy_loss(
            new.log_probs,
            old,
            corrected(batch.advantages[part], old - rollout.log_probs[part], cap),
            weights,
            config.clip,
            dual_clip=config.dual_clip,
        )
        value_loss = clipped_value_loss(
            new.values, batch.old_values[part], batch.returns[part], weights, config.value_clip
        )
        measured = {"value_loss": value_loss, **policy.measured()}
        loss = policy.loss + config.value_weight * value_loss
        if config.kl_in == "loss":
            log_ratio = new.legal_log_probs - batch.reference_log_probs[part]
            price = config.price_estimator(log_ratio)
            loss = loss + self.kl_coefficient * weighted_sum(price, weights)
        if new.entropies is not None:
            measured["exact_entropy"] = weighted_sum(new.entropies, weights)
            loss = loss - config.entropy_coefficient * measured["exact_entropy"]
        return config.value_weight * value_loss if self._warms_up else loss, measured

    @property
    def _warms_up(self) -> bool:
        """Whether the value function learns alone."""
        return self.iteration < self.config.critic_warmup

    def _prepare_step(self) -> None:
        """Gives Adam its epsilon.

        TensorFlow's epsilon is added before the bias is corrected, which is that of the steps that
        a group's own weights have made.
        """
        for group in self.optimizer.param_groups:
            group["eps"] = self.config.adam_epsilon
            if self.config.adam == "tensorflow":
                states = (self.optimizer.state.get(p, {}) for p in group["params"])
                made = max((int(state["step"]) for state in states if state), default=0)
                group["eps"] /= (1 - group["betas"][1] ** (made + 1)) ** 0.5

    def record(self) -> dict[str, Any]:
        """The price of KL and the scale of rewards."""
        return {
            "kl_coefficient": self.kl_coefficient,
            "scale": self._scale.record(),
        }

    def recall(self, record: Mapping[str, Any]) -> None:
        """Takes them over."""
        self.kl_coefficient = record["kl_coefficient"]
        self._scale = RunningScale(**record["scale"])
