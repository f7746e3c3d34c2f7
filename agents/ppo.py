"""Proximal policy optimisation on text, from its settings to its log.

One iteration: collect one completion a prompt; compare it with the frozen reference; turn rewards
into advantages; update on shuffled minibatches of whole texts; log. The KL divergence from the
reference is paid per token inside the reward (Ziegler et al. 2019, section 2.1).

What differs from the published set-ups: the score belongs to the last action itself, the end of
text included, so no step beyond the end is trained; the old log-probabilities and values are
computed anew by the update's own forward pass, so that the first ratio is 1 also in bfloat16, and
the sampler's own are kept to check them by; gradients are clipped.

Simplifications: policy and value share one trunk; one device.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agents.advantages import generalised_advantages, masked_mean, standardise
from agents.guards import GuardError, require_agreement, require_gradient, require_unit_ratio
from agents.kl import adapted_coefficient, k1, k3, sequence_kl
from agents.losses import clipped_policy_loss, clipped_value_loss
from agents.rollout import Rollout, collect
from agents.training_state import load_training_state, read_record, save_training_state

if TYPE_CHECKING:
    from pathlib import Path

    from agents.policy import Evaluation, TransformerPolicy
    from textgym.vector import TextVectorEnv

__all__ = ["PPO", "GuardError", "PPOConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PPOConfig:
    """Settings of PPO. The defaults suit a model of a few million parameters."""

    iterations: int = 36
    """Collections and updates; the learning rate falls to ``final_rate`` of itself over them."""
    epochs: int = 2
    """Passes over one collection. More use it better, and move further from where it was made."""
    minibatches: int = 4
    """Updates in a pass."""
    learning_rate: float = 4e-4
    """Highest step size of Adam. Higher learns faster until the KL divergence jumps."""
    final_rate: float = 0.1
    """What is left of the learning rate at the end, as a fraction."""
    kl_coefficient: float = 0.19
    """Price of one nat from the reference, in units of reward. Lower lets the reward be gamed.
    With a target, only where the price starts."""
    kl_target: float | None = None
    """Nats from the reference, a text, that the price is moved to hold; None keeps it fixed. A
    fixed price buys more nats the better the reward can be told apart, and so differs by run."""
    kl_gain: float = 0.2
    """How fast the price follows the target; higher overshoots. It moves by at most a fifth of
    this an iteration."""
    clip: float = 0.2
    """How far a probability ratio may move in one iteration before it stops paying."""
    value_clip: float | None = None
    """How far a value prediction may move in one iteration; None leaves it free."""
    value_weight: float = 0.1
    """Weight of the value loss. Higher pulls the shared trunk towards predicting returns."""
    gamma: float = 1.0
    """Discount per token; 1 since all that counts is the finished text."""
    lam: float = 1.0
    """Weight of longer advantage estimates; higher is less biased, noisier. The score comes last,
    and a young value function misleads more than the noise does."""
    max_gradient_norm: float = 1.0
    """Longer gradients are scaled down to this."""
    temperature: float = 0.9
    """Divides the logits in the sampler, the update and the reference alike."""
    bf16: bool = False
    """Run the update's and the reference's forward passes in bfloat16; weights stay float32."""
    seed: int = 0
    """Of the sampler, the minibatches and the order of the prompts."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: If a setting is out of its range.
        """
        for name in ("iterations", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "temperature", "clip", "max_gradient_norm", "kl_target"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("gamma", "lam", "final_rate", "kl_gain"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What the update learns from, all ``(N, C)``."""

    old_log_probs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor


class PPO:
    """Trains a policy in a text environment; everything a resumed run needs is in its state."""

    def __init__(
        self,
        policy: TransformerPolicy,
        reference: TransformerPolicy,
        envs: TextVectorEnv,
        config: PPOConfig,
    ) -> None:
        """Prepares training.

        Args:
            policy: Trained in place.
            reference: The frozen policy that KL is measured against: another object with weights
                of its own.
            envs: A text environment with the torch backend and autoreset disabled.
            config: The settings.

        Raises:
            ValueError: If policy and reference share weights, or there are fewer rows than
                minibatches.
        """
        shared = {p.data_ptr() for p in policy.parameters()} & {
            p.data_ptr() for p in reference.parameters()
        }
        if shared:
            raise ValueError("policy and reference share weights: load the reference a second time")
        if envs.num_envs < config.minibatches:
            raise ValueError(
                f"{config.minibatches} minibatches need as many rows, but num_envs={envs.num_envs}"
            )
        self.policy, self.envs, self.config = policy, envs, config
        self.reference = reference.requires_grad_(requires_grad=False)
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate, eps=1e-5)
        self.iteration = 0
        self.kl_coefficient = config.kl_coefficient
        self._generator = torch.Generator(policy.device).manual_seed(config.seed)
        self._order = np.random.default_rng(config.seed)
        self._queue: list[int] = []

    def step(self) -> tuple[dict[str, float], Rollout]:
        """Runs one iteration.

        Returns:
            Its metrics by name, and what was collected.

        Raises:
            GuardError: If an invariant of training is broken.
            RewardError: If the reward fails.
        """
        config = self.config
        rollout = collect(
            self.envs,
            self.policy,
            temperature=config.temperature,
            generator=self._generator,
            example_ids=self._next_examples(),
        )
        batch, metrics = self._learnable(rollout)
        rate = 1 - (1 - config.final_rate) * self.iteration / config.iterations
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate
        metrics |= self._update(rollout, batch)
        if config.kl_target is not None:
            self.kl_coefficient = adapted_coefficient(
                self.kl_coefficient, metrics["kl"], target=config.kl_target, gain=config.kl_gain
            )
        self.iteration += 1
        return {"iteration": float(self.iteration), **metrics}, rollout

    def _next_examples(self) -> list[int]:
        """Takes the next prompts: every one is used once before any is used again."""
        while len(self._queue) < self.envs.num_envs:
            self._queue += self._order.permutation(self.envs.num_examples).tolist()
        taken, self._queue = (
            self._queue[: self.envs.num_envs],
            self._queue[self.envs.num_envs :],
        )
        return taken

    def _evaluate(
        self, policy: TransformerPolicy, rollout: Rollout, rows: Tensor | slice
    ) -> Evaluation:
        legal = rollout.legal if rollout.legal.ndim == 1 else rollout.legal[rows]
        with torch.autocast(policy.device.type, torch.bfloat16, enabled=self.config.bf16):
            return policy.evaluate(
                rollout.tokens[rows],
                rollout.prompt_lengths[rows],
                rollout.actions[rows],
                legal,
                self.config.temperature,
            )

    @torch.no_grad()
    def _learnable(self, rollout: Rollout) -> tuple[_Batch, dict[str, float]]:
        """Adds what the update needs to a rollout: KL, rewards with it, advantages, returns."""
        config, mask = self.config, rollout.mask
        old = self._evaluate(self.policy, rollout, slice(None))
        reference = self._evaluate(self.reference, rollout, slice(None))
        gap = float(masked_mean((old.log_probs - rollout.log_probs).abs(), mask))
        require_agreement(gap, bf16=config.bf16)
        log_ratio = old.log_probs - reference.log_probs
        rewards = rollout.rewards - self.kl_coefficient * torch.where(mask, k1(log_ratio), 0.0)
        bootstrap = None
        if bool(rollout.truncated.any()):
            lengths = rollout.prompt_lengths + mask.sum(dim=1)
            values = self.policy.state_values(rollout.tokens, lengths)
            bootstrap = torch.where(rollout.truncated, values, 0.0)
        advantages, returns = generalised_advantages(
            rewards, old.values, mask, gamma=config.gamma, lam=config.lam, bootstrap=bootstrap
        )
        variance = masked_mean((returns - masked_mean(returns, mask)) ** 2, mask)
        residual = masked_mean((returns - old.values) ** 2, mask)
        metrics = {
            "reward": float(rollout.rewards.sum(dim=1).mean()),
            "reward_std": float(rollout.rewards.sum(dim=1).std(correction=0)),
            "kl": float(sequence_kl(log_ratio, mask)),
            "kl_coefficient": self.kl_coefficient,
            "kl_k3": float(sequence_kl(k3(log_ratio), mask)),
            "entropy": float(masked_mean(old.entropy, mask)),
            "length": float(mask.sum(dim=1).float().mean()),
            "explained_variance": float(1 - residual / (variance + 1e-8)),
            "sampler_gap": gap,
        }
        return _Batch(
            old_log_probs=old.log_probs,
            old_values=old.values,
            advantages=standardise(advantages, mask),
            returns=returns,
        ), metrics

    def _update(self, rollout: Rollout, batch: _Batch) -> dict[str, float]:
        """Makes the gradient steps of one iteration; returns their mean statistics."""
        config = self.config
        history: list[dict[str, float]] = []
        for _ in range(config.epochs):
            order = torch.randperm(
                self.envs.num_envs, generator=self._generator, device=self.policy.device
            )
            for rows in order.chunk(config.minibatches):
                mask = rollout.mask[rows]
                new = self._evaluate(self.policy, rollout, rows)
                if not history:
                    old = batch.old_log_probs[rows]
                    require_unit_ratio(new.log_probs, old, mask, bf16=config.bf16)
                policy = clipped_policy_loss(
                    new.log_probs,
                    batch.old_log_probs[rows],
                    batch.advantages[rows],
                    mask,
                    config.clip,
                )
                value_loss = clipped_value_loss(
                    new.values, batch.old_values[rows], batch.returns[rows], mask, config.value_clip
                )
                loss = policy.loss + config.value_weight * value_loss
                norm = self._descend(loss)
                history.append(
                    {
                        "policy_loss": float(policy.loss.detach()),
                        "value_loss": float(value_loss.detach()),
                        "clip_fraction": float(policy.clip_fraction),
                        "approximate_kl": float(policy.approximate_kl),
                        "gradient_norm": norm,
                    }
                )
        return {name: float(np.mean([step[name] for step in history])) for name in history[0]}

    def _descend(self, loss: Tensor) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without types
        norm = float(
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_gradient_norm)
        )
        require_gradient(norm, self.iteration + 1)
        self.optimizer.step()
        return norm

    def save(self, folder: Path) -> None:
        """Writes everything that a resumed run needs into ``folder``, which must exist."""
        save_training_state(
            folder,
            policy=self.policy,
            optimizer=self.optimizer,
            generator=self._generator,
            record={
                "iteration": self.iteration,
                "kl_coefficient": self.kl_coefficient,
                "queue": self._queue,
                "order": self._order.bit_generator.state,
                "config": asdict(self.config),
            },
        )

    def load(self, folder: Path) -> None:
        """Goes on where ``save`` left off, bit for bit.

        Raises:
            ValueError: If the checkpoint was made with other settings.
        """
        made_with, config = read_record(folder)["config"], asdict(self.config)
        changed = sorted(name for name in config if made_with.get(name) != config[name])
        if changed:
            raise ValueError(f"checkpoint {folder} was made with another {', '.join(changed)}")
        record = load_training_state(
            folder, policy=self.policy, optimizer=self.optimizer, generator=self._generator
        )
        self._queue = record["queue"]
        self._order.bit_generator.state = record["order"]
        self.kl_coefficient = record["kl_coefficient"]
        self.iteration = record["iteration"]
