"""The sizes of a quickstart, full or smoke, in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agents.ppo import PPOConfig
from agents.sft import SFTConfig
from reward_models.learning.settings import RewardTrainingConfig

if TYPE_CHECKING:
    from textgym.pretrained.precision import Bfloat16

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run does, derived from its config.

    Attributes:
        seed: Of every stage.
        device: Where to compute.
        report_on: The split whose prompts the report is about.
        texts: Reviews of each pool, at most; None takes all.
        vocabulary: Ids of the tokenizer.
        tokenizer_texts: Reviews that the tokenizer is trained on.
        judge_texts: Labelled reviews that the gold judge learns from; the pool's others test it.
        rows: Completions written at a time.
        pair_batches: Batches of ``rows / 2`` pairs that are compared.
        pair_temperature: Of the sampler that writes the pairs. A little cooler than the policy's:
            the annotator then has more to judge, and at equal numbers of answers the reward model
            learns more, also about the policy's own texts.
        annotators: How many compare each pair, each with slips of its own; an odd number. The
            reward model learns from their majority, which costs it nothing.
        held_out: Share of the pairs' prompts whose pairs only measure the reward model.
        report_prompts: Prompts of the report.
        language_model: The language model and its training.
        reward_model: The reward model's training.
        ppo: The optimisation.
        critic_layers: Blocks of the critic, the lowest of the language model's: half of them, which
            saves half of its time.
    """

    seed: int
    device: str
    report_on: str
    texts: int | None = None
    vocabulary: int = 4096
    tokenizer_texts: int = 2000
    judge_texts: int = 4400
    rows: int = 128
    pair_batches: int = 96
    pair_temperature: float = 0.8
    annotators: int = 7
    held_out: float = 0.2
    report_prompts: int = 768
    language_model: SFTConfig
    reward_model: RewardTrainingConfig
    ppo: PPOConfig
    critic_layers: int

    def computing_in(self, *, bf16: bool) -> Plan:
        """The same plan with one precision in every stage."""
        return replace(
            self,
            language_model=replace(self.language_model, bf16=bf16),
            reward_model=replace(self.reward_model, bf16=bf16),
            ppo=replace(self.ppo, bf16=bf16),
        )


def make_plan(
    *,
    seed: int,
    device: str,
    report_on: str,
    kl_coefficient: float,
    kl_target: float | None,
    bf16: Bfloat16,
    smoke: bool,
) -> Plan:
    """Sets every size.

    Args:
        seed: Of every stage.
        device: Where to compute.
        report_on: The split whose prompts the report is about.
        kl_coefficient: The price of moving that PPO starts from.
        kl_target: The KL, in nats a text, that it adapts the price to; None keeps the price.
        bf16: Whether to compute in bfloat16, in every stage.
        smoke: Whether it shall take about a minute.

    Raises:
        ValueError: If the price or the target is out of its range.
    """
    # What suits a model of four million weights that is trained for a minute.
    ppo = PPOConfig(
        seed=seed,
        learning_rate=4e-4,
        # Its value head begins at nothing. Three times the rate: .05 more of gold (seed 4).
        critic_learning_rate=1.2e-3,
        temperature=0.9,
        # Keeps the policy from stock phrases: a tenth more variety for .01 to .02 of gold (seed 0).
        entropy_coefficient=0.012,
        kl_coefficient=kl_coefficient,
        kl_target=kl_target,
        bf16=bf16,
    )
    if smoke:
        return Plan(
            seed=seed,
            device=device,
            report_on=report_on,
            texts=1600,
            vocabulary=1024,
            tokenizer_texts=300,
            judge_texts=600,
            rows=32,
            pair_batches=16,
            report_prompts=64,
            language_model=SFTConfig(
                seed=seed, layers=2, width=64, heads=2, steps=60, save_steps=20, bf16=bf16
            ),
            reward_model=RewardTrainingConfig(
                seed=seed, max_length=64, bf16=bf16, learning_rate=1e-3
            ),
            ppo=replace(ppo, iterations=4),
            critic_layers=1,
        )
    return Plan(
        seed=seed,
        device=device,
        report_on=report_on,
        language_model=SFTConfig(seed=seed, bf16=bf16),
        reward_model=RewardTrainingConfig(
            seed=seed, max_length=64, bf16=bf16, learning_rate=1e-3, save_steps=40
        ),
        ppo=ppo,
        critic_layers=2,
    )
