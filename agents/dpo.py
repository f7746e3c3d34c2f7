"""Direct preference optimisation: learn from which of two texts is better, without a reward model.

One iteration: take pairs, from a list of answers (offline), or by writing two completions of each
prompt and ranking them by the environment's score (online); sum both texts' log-probabilities under
the frozen reference; raise the chosen text's above the rejected one's, each counted from there.

Source: Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward
Model" (2023), equation 7. Online: Guo et al., "Direct Language Model Alignment from Online AI
Feedback" (2024), with the environment as the annotator.

What to know: only the difference within a pair is learned, so both log-probabilities may fall;
``chosen_log_prob`` shows it. The optimum is the reference times ``exp(reward / beta)``, as PPO's,
where answers follow Bradley-Terry and every two completions can be compared.

Simplifications: pairs of equal score teach nothing and are left out; every pair counts the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from agents.agent import Agent
from agents.agent_config import AgentConfig
from agents.groups import group_metrics, require_groups
from agents.guards import require_gradient
from agents.improving import minibatches, take_step
from agents.kl import sequence_kl
from agents.losses import dpo_loss, ipo_loss
from agents.text_pairs import encode_pairs, fingerprint, take
from agents.updating import evaluate_rows, parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agents.policy import TransformerPolicy
    from agents.rollout import Rollout
    from agents.updating import PhaseClock

__all__ = ["DPO", "DPOConfig"]

_PAIR = 2
_MEASURED = (
    "loss",
    "accuracy",
    "margin",
    "chosen_log_prob",
    "rejected_log_prob",
    "gradient_norm",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DPOConfig(AgentConfig):
    """Settings of DPO. An iteration has ``episodes`` texts, which are half as many pairs."""

    beta: float = 0.1
    """Price of one nat from the reference, in units of the implicit reward. Higher keeps the policy
    nearer to the reference."""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """DPO's own, or the square of IPO, which does not run away from answers that never differ."""
    label_smoothing: float = 0.0
    """Share of the answers taken to be the wrong way round; only of the sigmoid. Higher trusts each
    of them less."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: If a setting is out of its range.
        """
        AgentConfig.__post_init__(self)
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not 0 <= self.label_smoothing < 0.5:  # noqa: PLR2004 - at a half, answers say nothing
            raise ValueError(f"label_smoothing must be in [0, 0.5), got {self.label_smoothing}")
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError("label_smoothing is of the sigmoid loss: set it to 0 for ipo")


class DPO(Agent):
    """Trains a policy on pairs of texts; see ``Agent`` for what else it can do.

    Attributes:
        pairs: The given pairs as ids, chosen and rejected in turn; ``None`` online.
        dropped: How many of them were left out, see ``EncodedPairs``.
    """

    config: DPOConfig
    config_type: ClassVar[type[AgentConfig]] = DPOConfig

    def __init__(
        self,
        policy: TransformerPolicy,
        envs: Any,
        config: DPOConfig | None = None,
        *,
        reference: TransformerPolicy | None = None,
        pairs: Sequence[tuple[str, str, str]] | None = None,
    ) -> None:
        """Prepares training.

        Args:
            policy: Trained in place.
            envs: A text environment with the torch backend and autoreset disabled. Offline, what
                it gives is the tokenizer and the lengths of texts.
            config: The settings; ``None`` for the defaults.
            reference: See ``Agent``.
            pairs: Prompt, chosen and rejected completion, to learn from these (offline); ``None``
                to write and rank texts (online).

        Raises:
            ValueError: As ``Agent`` and ``encode_pairs``, or if an iteration's texts are no pairs.
        """
        super().__init__(
            policy, envs, DPOConfig() if config is None else config, reference=reference
        )
        require_groups(self.episodes, _PAIR)
        self.pairs: Rollout | None = None
        self.dropped = 0
        if pairs is not None:
            self.pairs, self.dropped = encode_pairs(self.envs, pairs, policy.device)

    def iterate(self, clock: PhaseClock) -> tuple[dict[str, float], Rollout]:
        """One iteration; see ``Agent.iterate``."""
        numbers = self.next_examples(self.episodes // _PAIR)
        with clock.phase("collect"):
            if self.pairs is None:
                rollout, pairs, metrics = self._ranked(numbers)
            else:
                rollout, pairs, metrics = self._given(self.pairs, numbers)
        with clock.phase("reference"):
            reference = self.evaluate_reference(rollout).log_probs
            if self.pairs is None:
                log_ratio = self.acted(rollout) - reference
                metrics["kl"] = float(sequence_kl(log_ratio, rollout.mask))
        with clock.phase("update"):
            metrics |= self._update(rollout, pairs, reference.sum(dim=1))
        return {"pairs": float(len(pairs)), **metrics}, rollout

    @property
    def num_prompts(self) -> int:
        """How many prompts, or given pairs, there are."""
        return self.envs.num_examples if self.pairs is None else len(self.pairs) // _PAIR

    def accuracy(self, pairs: Sequence[tuple[str, str, str]]) -> tuple[float, int]:
        """How often the policy, counted from the reference, gives the chosen text more.

        Args:
            pairs: Prompt, chosen and rejected completion.

        Returns:
            The share, and of how many pairs, which are those that ``encode_pairs`` keeps.
        """
        texts, _ = encode_pairs(self.envs, pairs, self.policy.device)
        now = self.evaluate(self.policy, texts).log_probs
        raised = (now - self.evaluate_reference(texts).log_probs).sum(dim=1).reshape(-1, _PAIR)
        return float((raised[:, 0] > raised[:, 1]).float().mean()), len(raised)

    def _given(
        self, given: Rollout, numbers: Sequence[int]
    ) -> tuple[Rollout, Tensor, dict[str, float]]:
        """Given pairs: their texts, and the rows of chosen and rejected ones, ``(P, 2)``."""
        rows = torch.tensor(numbers, device=self.policy.device).unsqueeze(1) * _PAIR
        rows = torch.cat([rows, rows + 1], dim=1).flatten()
        every = torch.arange(len(rows), device=rows.device)
        return take(given, rows), every.reshape(-1, _PAIR), {}

    def _ranked(self, numbers: Sequence[int]) -> tuple[Rollout, Tensor, dict[str, float]]:
        """Writes two completions a prompt; the same, without pairs of one score or cut off."""
        rollout = self.collect([number for number in numbers for _ in range(_PAIR)], group=_PAIR)
        paid = rollout.rewards.sum(dim=1)
        apart = paid.reshape(-1, _PAIR)
        whole = ~rollout.truncated.reshape(-1, _PAIR).any(dim=1)
        useful = ((apart[:, 0] != apart[:, 1]) & whole).nonzero()
        order = apart[useful.flatten()].argsort(dim=1, descending=True)
        return rollout, useful * _PAIR + order, group_metrics(rollout, paid, _PAIR)

    def _update(self, rollout: Rollout, pairs: Tensor, reference: Tensor) -> dict[str, float]:
        """Makes the gradient steps of one iteration; returns their mean statistics."""
        history: list[dict[str, float]] = []
        lengths = rollout.sizes[pairs].max(dim=1).values
        for chosen_few in minibatches(self, len(pairs)):
            share = partial(self._gradient, rollout, pairs, reference, len(chosen_few))
            history.append(take_step(self, share, chosen_few, lengths[chosen_few]))
        if self.iteration == 0 and history:
            require_gradient(max(step["gradient_norm"] for step in history), self.iteration + 1)
        means = {
            name: float(np.mean([step[name] for step in history])) if history else float("nan")
            for name in _MEASURED
        }
        return {**means, "updates": float(len(history))}

    def _gradient(
        self, rollout: Rollout, pairs: Tensor, reference: Tensor, total: int, numbers: Tensor
    ) -> dict[str, float]:
        """Adds some pairs' gradient to the parameters', both texts of a pair in one pass.

        Args:
            rollout: The texts.
            pairs: Rows of the chosen and the rejected ones, ``(P, 2)``.
            reference: Log-probabilities of the texts, ``(E,)``.
            total: How many pairs the minibatch has.
            numbers: Which of the pairs, ``(n,)`` int64.

        Returns:
            Their shares of means over the minibatch.
        """
        config, pairs, shares = self.config, pairs[numbers], list[Tensor]()
        room = _PAIR * rollout.sizes[pairs].max(dim=1).values
        every = torch.arange(len(pairs), device=room.device)
        for part in parts(every, room, config.micro_batch_tokens):
            rows = pairs[part]
            log_probs = evaluate_rows(
                self.policy,
                rollout,
                rows.flatten(),
                config.temperature,
                bf16=config.bf16,
            ).log_probs.sum(dim=1)
            log_probs = log_probs.reshape(-1, _PAIR)
            raised = log_probs - reference[rows]
            margins = raised[:, 0] - raised[:, 1]
            loss = self._loss(margins, torch.full_like(margins, 1 / total))
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without types
            with torch.no_grad():
                measured = (
                    loss,
                    (margins > 0).float().sum() / total,
                    config.beta * margins.sum() / total,
                    *(log_probs.sum(dim=0) / total),
                )
                shares.append(torch.stack(measured))
        # Brought to the host together, for which it waits once.
        totals = dict.fromkeys(_MEASURED[:-1], 0.0)
        for share in torch.stack(shares).tolist() if shares else ():
            for name, value in zip(totals, share, strict=True):
                totals[name] += value
        return totals

    def _loss(self, margins: Tensor, weights: Tensor) -> Tensor:
        if self.config.loss == "ipo":
            return ipo_loss(margins, weights, self.config.beta)
        return dpo_loss(margins, weights, self.config.beta, self.config.label_smoothing)

    def record(self) -> dict[str, Any]:
        """Which pairs were given."""
        return {"pairs": None if self.pairs is None else fingerprint(self.pairs)}

    def recall(self, record: Mapping[str, Any]) -> None:
        """Requires the same pairs.

        Raises:
            ValueError: If others were given, or none.
        """
        if record["pairs"] != self.record()["pairs"]:
            raise ValueError(
                "the checkpoint was made with other pairs: make the agent with the same ones, then "
                "restore"
            )
