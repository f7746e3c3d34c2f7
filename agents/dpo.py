"""Direct preference optimisation: learn from which of two texts is better, without a reward model.

One iteration: take pairs, from a list of answers (offline), or by writing ``group_size``
completions of each prompt and comparing every two by the environment's score (online); sum both
texts' log-probabilities under the frozen reference; raise the chosen text's above the rejected
one's, each counted from there.

Source: Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward
Model" (2023), equation 7. Online: Guo et al., "Direct Language Model Alignment from Online AI
Feedback" (2024), with the environment as the annotator and two completions of a prompt.

What to know: only the difference within a pair is learned, so both log-probabilities may fall;
``chosen_log_prob`` shows it. The optimum is the reference times ``exp(reward / beta)``, as PPO's,
where answers follow Bradley-Terry and every two completions can be compared. No clip bounds how far
an iteration moves: the size and number of its steps do, and beta.

Simplifications: pairs of equal score teach nothing and are left out; every pair counts the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from agents.config import AgentConfig
from agents.learner import Agent
from agents.maths.kl import sequence_kl
from agents.maths.losses import dpo_loss, ipo_loss
from agents.rollouts.groups import group_metrics, require_contrast, require_groups
from agents.rollouts.pairs import encode_pairs, fingerprint, take
from agents.training.guards import ROUNDING, require_gradient
from agents.training.improving import minibatches, take_step
from agents.training.reference import acted_log_probs, evaluate_reference, evaluate_rollout
from agents.training.updates import evaluate_rows, parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from agents.training.updates import PhaseClock

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
    """Settings of DPO. An iteration has ``episodes`` texts; of given pairs, half as many pairs."""

    beta: float = 0.1
    """Price of one nat from the reference, in units of the implicit reward. Higher keeps the policy
    nearer to the reference."""
    group_size: int = 2
    """Completions of each prompt, every two of which are compared; given pairs leave it unread.
    More compare a text with more others, so that chance has less say, on fewer prompts."""
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
        require_contrast(self.group_size)
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
        self._group = self.config.group_size if pairs is None else _PAIR
        require_groups(self.episodes, self._group)
        self.pairs: Rollout | None = None
        self.dropped = 0
        if pairs is not None:
            self.pairs, self.dropped = encode_pairs(self.envs, pairs, policy.device)

    def iterate(self, clock: PhaseClock) -> tuple[dict[str, float], Rollout]:
        """One iteration; see ``Agent.iterate``."""
        numbers = self.next_examples(self.episodes // self._group)
        with clock.phase("collect"):
            if self.pairs is None:
                rollout, pairs, metrics = self._ranked(numbers)
            else:
                rollout, pairs, metrics = self._given(self.pairs, numbers)
        with clock.phase("reference"):
            reference = evaluate_reference(self, rollout).log_probs
            if self.pairs is None:
                log_ratio = acted_log_probs(self, rollout) - reference
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

        A margin within rounding counts as a half.

        Args:
            pairs: Prompt, chosen and rejected completion.

        Returns:
            The share, and of how many pairs, which are those that ``encode_pairs`` keeps.
        """
        texts, _ = encode_pairs(self.envs, pairs, self.policy.device)
        now = evaluate_rollout(self, self.policy, texts).log_probs
        raised = (now - evaluate_reference(self, texts).log_probs).sum(dim=1).reshape(-1, _PAIR)
        return float(self._told_apart(raised[:, 0] - raised[:, 1]).mean()), len(raised)

    def _given(
        self, given: Rollout, numbers: Sequence[int]
    ) -> tuple[Rollout, Tensor, dict[str, float]]:
        """Given pairs: their texts, and the rows of chosen and rejected ones, ``(P, 2)``."""
        rows = torch.tensor(numbers, device=self.policy.device).unsqueeze(1) * _PAIR
        rows = torch.cat([rows, rows + 1], dim=1).flatten()
        every = torch.arange(len(rows), device=rows.device)
        return take(given, rows), every.reshape(-1, _PAIR), {}

    def _ranked(self, numbers: Sequence[int]) -> tuple[Rollout, Tensor, dict[str, float]]:
        """Writes a group a prompt; the rows of its better and worse texts, none of them cut off."""
        size = self._group
        rollout = self.collect([number for number in numbers for _ in range(size)], group=size)
        paid = rollout.rewards.sum(dim=1)
        apart, whole = paid.reshape(-1, size), ~rollout.truncated.reshape(-1, size)
        better = apart.unsqueeze(2) > apart.unsqueeze(1)
        found = (better & whole.unsqueeze(2) & whole.unsqueeze(1)).nonzero()
        return rollout, found[:, :1] * size + found[:, 1:], group_metrics(rollout, paid, size)

    def _update(self, rollout: Rollout, pairs: Tensor, reference: Tensor) -> dict[str, float]:
        """Makes the gradient steps of one iteration; returns their mean statistics.

        A minibatch has whole groups, so that a text is read once for all of its pairs.
        """
        history: list[dict[str, float]] = []
        counts = (pairs[:, 0] // self._group).bincount()
        groups = counts.nonzero().flatten()
        lengths = self._longest(rollout)[groups]
        for few in minibatches(self, len(groups)):
            total = int(counts[groups[few]].sum())
            share = partial(self._gradient, rollout, pairs, reference, total)
            history.append(take_step(self, share, groups[few], lengths[few]))
        if self.iteration == 0 and history:
            require_gradient(max(step["gradient_norm"] for step in history), self.iteration + 1)
        means = {
            name: float(np.mean([step[name] for step in history])) if history else float("nan")
            for name in _MEASURED
        }
        return {**means, "updates": float(len(history))}

    def _longest(self, rollout: Rollout) -> Tensor:
        """Tokens of each group's longest text, ``(G,)``."""
        return rollout.sizes.reshape(-1, self._group).max(dim=1).values

    def _gradient(
        self, rollout: Rollout, pairs: Tensor, reference: Tensor, total: int, numbers: Tensor
    ) -> dict[str, float]:
        """Adds the gradient of some groups' pairs to the parameters', a group's in one pass.

        Args:
            rollout: The texts.
            pairs: Rows of the chosen and the rejected ones, ``(P, 2)``.
            reference: Log-probabilities of the texts, ``(E,)``.
            total: How many pairs the minibatch has.
            numbers: Which of the groups, ``(n,)`` int64.

        Returns:
            Their shares of means over the minibatch.
        """
        config, shares = self.config, list[Tensor]()
        room = self._group * self._longest(rollout)[numbers]
        for part in parts(numbers, room, config.micro_batch_tokens):
            compared = pairs[torch.isin(pairs[:, 0] // self._group, part)]
            rows = (part.unsqueeze(1) * self._group + torch.arange(self._group).to(part)).flatten()
            read = evaluate_rows(
                self.policy, rollout, rows, config.temperature, bf16=config.bf16
            ).log_probs.sum(dim=1)
            log_probs = torch.zeros_like(reference).index_copy(0, rows, read)[compared]
            raised = log_probs - reference[compared]
            margins = raised[:, 0] - raised[:, 1]
            loss = self._loss(margins, torch.full_like(margins, 1 / total))
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without types
            with torch.no_grad():
                measured = (
                    loss,
                    self._told_apart(margins).sum() / total,
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

    def _told_apart(self, margins: Tensor) -> Tensor:
        """1 where the chosen text was raised by more, 0 where the rejected one was, ``(P,)``.

        A margin within rounding is neither and counts as a half: before the first update all are.
        """
        blind = margins.abs() <= ROUNDING[self.config.bf16]
        return torch.where(blind, 0.5, (margins > 0).float())

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
