"""Direct preference optimisation: learn from which of two texts is better, without a reward model.

One iteration: take pairs, from a list of answers (offline), or by writing ``group_size``
completions of each prompt and comparing every two by the environment's score (online); sum both
texts' log-probabilities under the frozen reference; raise the chosen text's above the rejected
one's, each counted from there.

Source: Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward
Model" (2023), equation 7. Online: Guo et al., "Direct Language Model Alignment from Online AI
Feedback" (2024), with the environment as the annotator and two completions of a prompt. With
``sft_weight``: Pang et al., "Iterative Reasoning Preference Optimization" (2024), equation 1.

What to know: only the difference within a pair is learned, so both log-probabilities may fall;
``chosen_log_prob`` shows it, and ``sft_weight`` is against it. The optimum is the reference times
``exp(reward / beta)``, as PPO's, where answers follow Bradley-Terry and every two completions can
be compared. No clip bounds how far an iteration moves: the size and number of its steps do, and
beta.

A given pair may be a tie or a soft label: its loss is that of both orders, each weighed by how
likely it is.

Simplifications: written pairs of equal score teach nothing and are left out; every pair counts the
same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from agents.config import LearnerConfig, require_group_size, require_whole_groups
from agents.learner import Learner
from agents.maths.kl import sequence_kl
from agents.maths.losses import dpo_loss, ipo_loss
from agents.rollouts.metrics import group_metrics
from agents.rollouts.pairs import encode_pairs, fingerprint
from agents.training.guards import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from agents.training.updates import PhaseClock

__all__ = ["DPO", "DPOConfig"]

_PAIR = 2
_MEASURED = (
    "loss",
    "sft_loss",
    "accuracy",
    "margin",
    "chosen_log_prob",
    "rejected_log_prob",
    "gradient_norm",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DPOConfig(LearnerConfig):
    """Settings of DPO. An iteration has ``episodes`` texts; of given pairs, half as many pairs."""

    beta: float = 0.1
    """Price of one nat from the reference, in units of the implicit reward. Higher keeps the policy
    nearer to the reference."""
    group_size: int = 2
    """Completions of each prompt, every two of which are compared; given pairs leave it unread.
    More compare a text with more others, so that chance has less say, on fewer prompts."""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """DPO's own, or the square of IPO, which does not run away from answers that never differ."""
    sft_weight: float = 0.0
    """Weight of the chosen texts' negative log-probability, in nats an action, beside the loss of
    pairs. Higher keeps the chosen texts likely, and learns more from them than from comparing."""
    label_smoothing: float = 0.0
    """Share of the answers taken to be the wrong way round; only of the sigmoid. Higher trusts each
    of them less."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: If a setting is out of its range.
        """
        LearnerConfig.__post_init__(self)
        require_group_size(self.group_size)
        if self.importance_cap is not None:
            raise ValueError(
                "importance_cap is of learners by probability ratios, and DPO has none: leave it "
                "out"
            )
        if not self.beta > 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if self.sft_weight < 0:
            raise ValueError(f"sft_weight must not be negative, got {self.sft_weight}")
        if not 0 <= self.label_smoothing < 0.5:  # noqa: PLR2004 - at a half, answers say nothing
            raise ValueError(f"label_smoothing must be in [0, 0.5), got {self.label_smoothing}")
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError("label_smoothing is of the sigmoid loss: set it to 0 for ipo")


class DPO(Learner):
    """Trains a policy on pairs of texts; see ``Learner`` for what else it can do.

    Attributes:
        pairs: The given pairs as ids, chosen and rejected in turn; ``None`` online.
        dropped: How many of them were left out, see ``EncodedPairs``.
    """

    config: DPOConfig
    config_type: ClassVar[type[LearnerConfig]] = DPOConfig

    def __init__(
        self,
        policy: TransformerPolicy,
        envs: Any,
        config: DPOConfig | None = None,
        *,
        reference: TransformerPolicy | None = None,
        pairs: Sequence[tuple[str, str, str]] | None = None,
        probabilities: Sequence[float] | None = None,
    ) -> None:
        """Prepares training.

        Args:
            policy: Trained in place.
            envs: A text environment with the torch backend and autoreset disabled. Offline, what
                it gives is the tokenizer and the lengths of texts.
            config: The settings; ``None`` for the defaults.
            reference: See ``Learner``.
            pairs: Prompt, chosen and rejected completion, to learn from these (offline); ``None``
                to write and rank texts (online).
            probabilities: How likely the chosen completion of each given pair is the better one,
                0.5 for a tie; ``None`` for surely.

        Raises:
            ValueError: As ``Learner`` and ``encode_pairs``, or if an iteration's texts are no
                pairs, or the probabilities are none of the pairs.
        """
        super().__init__(
            policy, envs, DPOConfig() if config is None else config, reference=reference
        )
        self._group = self.config.group_size if pairs is None else _PAIR
        require_whole_groups(self.episodes, self._group)
        self.pairs: Rollout | None = None
        self._reference_of_pairs: Tensor | None = None
        self.dropped = 0
        if pairs is not None:
            self.pairs, self.dropped = encode_pairs(self.envs, pairs, policy.device)
        self._doubts = self._doubts_of(self.pairs, probabilities, len(pairs or ()))

    def iterate(self, clock: PhaseClock) -> tuple[dict[str, float], Rollout]:
        """One iteration; see ``Learner.iterate``."""
        config, size = self.config, self._group
        numbers = self.next_examples(self.episodes // size)
        with clock.phase("collect"):
            if self.pairs is None:
                rollout, pairs, metrics = self._ranked(numbers)
            else:
                rollout, pairs, metrics = self._given(self.pairs, numbers)
        with clock.phase("reference"):
            if self.pairs is None:
                by_action = self.reference_log_probs(rollout)
                log_ratio = self.old_log_probs(rollout) - by_action
                metrics["kl"] = float(sequence_kl(log_ratio, rollout.mask))
                reference = by_action.sum(dim=1)
            else:
                reference = self._given_reference(self.pairs, numbers)
        actions, doubts = rollout.mask.sum(dim=1), self._doubts_in(numbers, len(pairs))
        group_of_pair = pairs[:, 0] // size
        counts = group_of_pair.bincount()
        groups = counts.nonzero().flatten()
        longest = rollout.read_lengths.reshape(-1, size).max(dim=1).values
        with clock.phase("update"), self.updates() as updates:
            for _ in range(config.epochs):
                for minibatch in updates.minibatches(len(groups)):
                    chosen = groups[minibatch]
                    total, lengths = int(counts[chosen].sum()), longest[chosen]
                    for part in updates.parts(chosen, lengths, tokens=size * lengths):
                        texts = self._texts_of(part)  # read once for all of their pairs
                        new = self.policy.evaluate(
                            rollout, texts, config.temperature, bf16=self.bf16
                        )
                        log_probs = torch.zeros_like(reference)
                        whole = new.legal_log_probs.sum(dim=1)
                        log_probs = log_probs.index_copy(0, texts, whole)
                        mine = torch.isin(group_of_pair, part)
                        few = pairs[mine]
                        share = self._loss(
                            log_probs[few], reference[few], actions[few], doubts[mine], total
                        )
                        updates.backward(*share)
                    updates.step()
        nothing = dict.fromkeys(_MEASURED, float("nan"))
        return {"pairs": float(len(pairs)), **metrics, **nothing, **updates.means()}, rollout

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
        now = self.evaluate(self.policy, texts).log_probs
        raised = (now - self.reference_log_probs(texts)).sum(dim=1).reshape(-1, _PAIR)
        return float(self._told_apart(raised[:, 0] - raised[:, 1]).mean()), len(raised)

    def _given(
        self, given: Rollout, numbers: Sequence[int]
    ) -> tuple[Rollout, Tensor, dict[str, float]]:
        """Given pairs: their texts, and the rows of chosen and rejected ones, ``(P, 2)``."""
        rows = self._texts_of(torch.tensor(numbers, device=self.policy.device))
        every = torch.arange(len(rows), device=rows.device)
        return given.take(rows), every.reshape(-1, _PAIR), {}

    def _given_reference(self, given: Rollout, numbers: Sequence[int]) -> Tensor:
        """The reference's log-probabilities of given pairs' texts, ``(2 * P,)``.

        Where a run reads pairs more than once, the reference reads all of them in its first
        iteration, and no more.
        """
        rows = self._texts_of(torch.tensor(numbers, device=self.policy.device))
        if self.config.iterations * self.episodes <= len(given):
            return self.reference_log_probs(given.take(rows)).sum(dim=1)
        if self._reference_of_pairs is None:
            self._reference_of_pairs = self.reference_log_probs(given).sum(dim=1)
        return self._reference_of_pairs[rows]

    def _ranked(self, numbers: Sequence[int]) -> tuple[Rollout, Tensor, dict[str, float]]:
        """Writes a group a prompt; the rows of its better and worse texts, none of them cut off."""
        size = self._group
        rollout = self.collect([number for number in numbers for _ in range(size)], group=size)
        paid = rollout.rewards.sum(dim=1)
        apart, whole = paid.reshape(-1, size), ~rollout.truncated.reshape(-1, size)
        better = apart.unsqueeze(2) > apart.unsqueeze(1)
        found = (better & whole.unsqueeze(2) & whole.unsqueeze(1)).nonzero()
        return rollout, found[:, :1] * size + found[:, 1:], group_metrics(rollout, paid, size)

    def _texts_of(self, groups: Tensor) -> Tensor:
        """The rows of the texts of some groups, ``(n * group_size,)`` int64."""
        first = groups.unsqueeze(1) * self._group
        return (first + torch.arange(self._group).to(groups)).flatten()

    @staticmethod
    def _doubts_of(
        given: Rollout | None, probabilities: Sequence[float] | None, number: int
    ) -> Tensor | None:
        """How likely each given pair is the wrong way round, ``(P,)`` float32; None if none is."""
        if probabilities is None:
            return None
        if given is None or len(probabilities) != number:
            raise ValueError(
                f"{len(probabilities)} probabilities for {number} pairs; give one each"
            )
        every = torch.tensor(probabilities, dtype=torch.float32)
        if not bool(((every >= 1 / 2) & (every <= 1)).all()):
            raise ValueError("a probability is not in [0.5, 1]: name the likelier text as chosen")
        doubts = 1 - every[torch.from_numpy(given.example_ids[::_PAIR])].to(given.tokens.device)
        return doubts if bool(doubts.any()) else None

    def _doubts_in(self, numbers: Sequence[int], pairs: int) -> Tensor:
        """Those of an iteration's pairs, ``(P,)``."""
        if self._doubts is None:
            return torch.zeros(pairs, device=self.policy.device)
        return self._doubts[torch.tensor(numbers, device=self._doubts.device)]

    def _loss(
        self, log_probs: Tensor, reference: Tensor, actions: Tensor, doubts: Tensor, total: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The share of some pairs in the loss of a minibatch, and in what is measured.

        Args:
            log_probs: Of the chosen and the rejected texts, ``(P, 2)``, with gradient.
            reference: The same under the reference, ``(P, 2)``.
            actions: How many they have, ``(P, 2)`` int64.
            doubts: How likely each pair is the wrong way round, ``(P,)``.
            total: How many pairs the minibatch has.
        """
        config, raised = self.config, log_probs - reference
        margins = raised[:, 0] - raised[:, 1]
        weights = torch.full_like(margins, 1 / total)
        if config.loss == "ipo":
            loss = ipo_loss(margins, weights, config.beta, doubts)
        else:
            smoothing = config.label_smoothing
            wrong = smoothing + (1 - 2 * smoothing) * doubts
            loss = dpo_loss(margins, weights, config.beta, wrong)
        likely = torch.stack([1 - doubts, doubts], dim=1)
        imitation = -(likely * log_probs / actions).sum() / total
        told = self._told_apart(margins)
        return loss + config.sft_weight * imitation, {
            "loss": loss,
            "sft_loss": imitation,
            "accuracy": (told + (1 - 2 * told) * doubts).sum() / total,
            "margin": config.beta * margins.sum() / total,
            "chosen_log_prob": log_probs[:, 0].sum() / total,
            "rejected_log_prob": log_probs[:, 1].sum() / total,
        }

    def _told_apart(self, margins: Tensor) -> Tensor:
        """1 where the chosen text was raised by more, 0 where the rejected one was, ``(P,)``.

        A margin within rounding is neither and counts as a half: before the first update all are.
        """
        blind = margins.abs() <= ROUNDING[self.bf16]
        return torch.where(blind, 0.5, (margins > 0).float())

    def record(self) -> dict[str, Any]:
        """Which pairs were given, and how sure they are."""
        if self.pairs is None:
            return {"pairs": None}
        doubts = () if self._doubts is None else (self._doubts,)
        return {"pairs": fingerprint(self.pairs, *doubts)}

    def recall(self, record: Mapping[str, Any]) -> None:
        """Requires the same pairs, and forgets what another reference said of them.

        Raises:
            ValueError: If others were given, or none.
        """
        if record["pairs"] != self.record()["pairs"]:
            raise ValueError(
                "the checkpoint was made with other pairs: make the agent with the same ones, then "
                "restore"
            )
        self._reference_of_pairs = None
