"""The steps of one round: write pairs, have them answered, learn a reward, optimise, evaluate.

Each is done anew where it was interrupted, and goes on from what the store and the checkpoints
hold: pairs are added all or none, an answer is kept once it was acknowledged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from agents.maths.distributions import Sampling
from agents.measuring.evaluation import evaluate_policy
from agents.measuring.metrics_log import MetricsLog
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.rollouts.texts import write_texts
from agents.training.guards import GuardError
from reward_models.feedback.selection import CONTROL, SelectionConfig, arrange, lead_of
from reward_models.learning.settings import RewardTrainingConfig, RewardTrainingData
from reward_models.learning.training import fit_reward_model
from reward_models.measuring.ability import ability_shares
from reward_models.measuring.pairs import evaluate_reward
from reward_models.measuring.ratings import order_share
from reward_models.models.ensemble import EnsembleConfig, EnsembleReward
from reward_models.preferences import Preference, build_pairs, majority, vote_shares
from reward_models.reading.loading import load_reward
from textgym.cli.feedback.asking import answer_all, wait_for_people
from textgym.cli.feedback.compare import origins_of
from textgym.cli.parsing import CommandError
from textgym.cli.policy.policies import environment_arguments, make_envs, make_policy
from textgym.cli.reward.data import shown_left
from textgym.cli.reward.starts import make_start
from textgym.files import atomic_folder, checkpoint_folder, last_checkpoint, prune
from textgym.statistics.bootstrap import cluster_mean_interval
from textgym.statistics.comparisons import win_rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reward_models.preferences import Pair, PreferenceStore, SimulatedAnnotator
    from textgym.cli.stages import Run
    from textgym.envs.vector import TextVectorEnv
    from textgym.types import RewardFunction

__all__ = ["RoundSettings", "Rounds", "start_policy"]

_SAVE_EVERY = 5  # iterations of PPO between checkpoints
_EVALUATION_SEED = 1_000_003


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSettings:
    """What rounds are made of; ``textgym loop`` shows it as its options."""

    env: str
    """The environment's id, such as TextGym/Sentiment-v0, whose prompts are gone on from."""
    out: Path
    """The folder to write: preferences.sqlite, a folder for each round, and report.md."""
    policy: str
    """Who writes in the first round: a folder, smollm2, hub:NAME, or scratch:..."""
    env_kwargs: str = "{}"
    """Arguments of the environment as JSON."""
    evaluation_kwargs: str = "{}"
    """What of them is another where policies are measured, such as '{"split": "test"}'."""
    rounds: int = 3
    """How often it goes round. More answers, and a policy further from its start."""
    pairs: int = 128
    """Pairs that are answered in a round."""
    answers: int = 1
    """How many people answer each pair; of simulated annotators all do."""
    annotators: tuple[str, ...] = ()
    """Simulated annotators instead of people: average, careful, careless, one-sided, wordy, tired
    or undecided, with numbers as in average?flip=0.2&left=1."""
    truth: str | None = None
    """The reward that simulated annotators secretly go by, and that gold is measured by; the policy
    never sees it."""
    rule: Literal["random", "even", "disagreement"] = "random"
    """Which of the written pairs are answered: any; where the last round's reward is nearest to
    even; or where its --members differ most. In the first round it is chance."""
    pool: int = 4
    """Under a rule, how many pairs are written for each that is answered. More choice."""
    control: float = 0.2
    """The share of pairs that is drawn by chance under every rule."""
    votes: Literal["majority", "shares", "ability"] = "majority"
    """What several answers to a pair become, as of textgym reward train."""
    held_out: float = 0.2
    """The share of each round's pairs that only measures the reward."""
    members: int = 1
    """Reward models, trained with seeds of their own, whose mean is the reward. More are slower;
    --rule disagreement needs two."""
    model: str | None = None
    """What the reward model starts from in each round, as of textgym reward train; None takes the
    policy that the first round starts from."""
    num_envs: int = 64
    """Texts that are written at once."""
    temperature: float = 1.0
    """Of the sampler that writes pairs. Higher is more varied."""
    evaluation_texts: int = 256
    """Texts by which each round's policy is measured. More make intervals narrower."""
    seed: int = 0
    """Decides what is drawn, in every step."""
    device: str = "auto"
    """Where everything runs."""
    reward: RewardTrainingConfig = field(default_factory=RewardTrainingConfig)
    """How the reward model is trained in each round, on the answers of all rounds so far."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """How the policy goes on in each round; --ppo.iterations are those of one round."""

    def reward_training(self, member: int) -> RewardTrainingConfig:
        """The settings of one reward model, whose seed is its own."""
        return replace(self.reward, seed=self.reward.seed + member)


def start_policy(config: RoundSettings, out: Path) -> None:
    """Saves what the first round's policy starts from, with its tokenizer, as a folder."""
    envs = make_envs(
        config.env,
        environment_arguments(config.env_kwargs, config.policy),
        num_envs=config.num_envs,
        device=config.device,
    )
    policy = make_policy(config.policy, envs, device=config.device)
    with atomic_folder(out / "start") as folder:
        policy.save_pretrained(folder, envs.tokenizer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """The steps of all rounds, each of which takes a run and the number of a round, from 1.

    Attributes:
        config: The command.
        store: The pairs and answers of all rounds; the pairs of round n are its split n.
        annotators: Who answers; empty for people.
        truth: What simulated annotators go by, and gold is measured by; None where nobody knows.
    """

    config: RoundSettings
    store: PreferenceStore
    annotators: Sequence[SimulatedAnnotator]
    truth: RewardFunction | None

    def write(self, run: Run, number: int) -> Mapping[str, Any]:
        """The current policy writes pairs, of which some are chosen to be answered."""
        split = _split(number)
        config = self.config
        policy = self._policy(run, number - 1)
        rng = np.random.default_rng([config.seed, number])
        wanted = config.pairs * (1 if config.rule == "random" or number == 1 else config.pool)
        envs = self._envs(run, 2 * wanted)
        examples = rng.integers(envs.num_examples, size=wanted)
        generator = torch.Generator(config.device).manual_seed(int(rng.integers(2**62)))
        pieces = write_texts(
            envs,
            policy,
            np.repeat(examples, 2).tolist(),
            sampling=Sampling(temperature=config.temperature),
            generator=generator,
        )
        texts = [(text.prompt, text.completion) for piece in pieces for text in piece]
        pairs: dict[str, Pair] = {}
        for place in range(wanted):
            made = build_pairs(
                texts[2 * place : 2 * place + 2],
                seed=config.seed,
                policy=f"round {number - 1}",
                split=split,
            )
            pairs.update({pair.pair_id: pair for pair in made})
        candidates = list(pairs.values())
        if not candidates:
            raise CommandError(
                f"in round {number} the policy wrote each text twice: nothing is left to compare; "
                "raise --temperature or --ppo.entropy-coefficient"
            )
        rule = config.rule if number > 1 else "random"
        selection = SelectionConfig(
            rule=rule, control=config.control, seed=config.seed * 1000 + number
        )
        lead = None
        if rule != "random":
            lead = lead_of(load_reward(self._folder(run, number - 1) / "reward"), candidates)
        order = arrange(candidates, selection, lead)[: config.pairs]
        chosen = {item.subject for item in order}
        if not self.store.pairs(split):  # those of an attempt that was stopped just now
            added = [pair for pair in candidates if pair.pair_id in chosen]
            origins = {f"round {number - 1}": str(self._written_by(run, number - 1))}
            self.store.add_pairs(added, origins_of(added, origins))
        by_chance = [item.subject for item in order if item.chosen_by in ("random", CONTROL)]
        return {"pairs": len(chosen), "candidates": len(candidates), "control": by_chance}

    def ask(self, run: Run, number: int) -> Mapping[str, Any]:
        """Simulated annotators answer, or people do, who are waited for."""
        split = _split(number)
        if self.annotators:
            answer_all(self.store, self.annotators, split)
        else:
            path = self.config.out / "preferences.sqlite"
            how = (
                f'round {number} waits for answers: textgym label {path} --split "{split}" '
                f"--answers {self.config.answers}"
            )
            wait_for_people(self.store, split, self.config.answers, how, run.console)
        counts = self.store.answer_counts(split)
        return {"answers": sum(counts.values()), "ties": counts["tie"], "skips": counts["skip"]}

    def learn(self, run: Run, number: int) -> Mapping[str, Any]:
        """The reward learns from the answers of all rounds, but for some pairs that measure it."""
        config = self.config
        learned, fresh = self._divided(run, number)
        if not learned:
            raise CommandError(
                f"no pair of round {number} and before was decided: there is nothing to learn from"
            )
        texts = [p.prompt + text for p in learned for text in (p.chosen, p.rejected)]
        out = self._folder(run, number) / "reward"
        members: list[RewardFunction] = []
        for member in range(config.members):
            training = config.reward_training(member)
            start = make_start(config.model or str(run.out / "start"), training, None, texts)
            folder = out if config.members == 1 else out.with_name(f"reward_{member}")
            fit_reward_model(
                training,
                RewardTrainingData(train=learned),
                start.model,
                start.tokenizer,
                folder,
                config.device,
            )
            members.append(load_reward(folder, device=config.device))
        if config.members > 1:
            prompts = [p.prompt for p in learned]
            completions = [p.chosen for p in learned]
            both = (prompts * 2, completions + [p.rejected for p in learned])
            EnsembleReward.fit(members, *both, EnsembleConfig(how="mean")).save(out)
        figures: dict[str, Any] = {"learned_from": len(learned), "held_out": len(fresh)}
        if fresh:
            figures["accuracy"] = evaluate_reward(
                load_reward(out, device=config.device), fresh
            ).accuracy
            if number > 1:  # how far the last round's reward holds for what was written by it
                before = load_reward(self._folder(run, number - 1) / "reward", device=config.device)
                figures["accuracy_of_the_one_before"] = evaluate_reward(before, fresh).accuracy
        return figures

    def optimise(self, run: Run, number: int) -> Mapping[str, Any]:
        """PPO goes on from the last policy with the new reward, KL counted from the start."""
        config, folder = self.config, self._folder(run, number)
        envs = self._envs(run, config.num_envs, reward=str(folder / "reward"))
        start = TransformerPolicy.from_pretrained(run.out / "start", config.device)
        ppo = PPO(self._policy(run, number - 1), envs, config.ppo, reference=start)
        checkpoints = folder / "policy.checkpoints"
        last = last_checkpoint(checkpoints)
        if last is not None:
            ppo.restore(last)
        total = config.ppo.iterations
        with (
            MetricsLog(folder / "logs", resume_after=ppo.iteration) as log,
            run.bar(f"PPO, round {number}") as bar,
        ):
            while ppo.iteration < total:
                try:
                    metrics, _ = ppo.step()
                except GuardError as error:
                    raise CommandError(
                        f"PPO stopped in iteration {ppo.iteration + 1} of round {number}: {error}"
                    ) from error
                log.write(metrics)
                note = "reward {reward:.2f}  KL {kl:.1f}".format(**metrics)
                bar.update(ppo.iteration, total, note)
                if ppo.iteration % _SAVE_EVERY == 0:
                    ppo.save(checkpoint_folder(checkpoints, ppo.iteration))
                    prune(checkpoints, keep=1)
        with atomic_folder(folder / "policy") as written:
            ppo.policy.save_pretrained(written, envs.tokenizer)
        return {"iterations": ppo.iteration, "samples": ppo.iteration * ppo.episodes}

    def evaluate(self, run: Run, number: int) -> Mapping[str, Any]:
        """Measures the round's policy, or in round 0 the start: gold, KL, win rate, length."""
        config = self.config
        arguments = dict(json.loads(config.evaluation_kwargs))
        if config.truth is not None:
            arguments["reward"] = config.truth
        envs = self._envs(run, config.evaluation_texts, **arguments)
        ids = [place % envs.num_examples for place in range(config.evaluation_texts)]
        start = TransformerPolicy.from_pretrained(run.out / "start", config.device)

        def measured(policy: TransformerPolicy) -> Any:
            return evaluate_policy(
                policy,
                start,
                envs,
                example_ids=ids,
                temperature=config.ppo.temperature,
                seed=config.seed + _EVALUATION_SEED,
            )

        report = measured(self._policy(run, number))
        figures: dict[str, Any] = {
            "kl": report.kl,
            "tokens": report.mean_length,
            "distinct_2": report.distinct_2,
        }
        if config.truth is not None:
            scores = report.rewards
            rng = np.random.default_rng(config.seed)
            clusters = ids if len(set(ids)) > 1 else list(range(len(ids)))
            low, high = cluster_mean_interval(scores, clusters, rng)
            figures |= {"gold": float(scores.mean()), "gold_low": low, "gold_high": high}
            if number:
                figures["win_rate"] = win_rate(scores, measured(start).rewards).rate
                prompts = [envs.examples[example].prompt for example in ids]
                learned = load_reward(self._folder(run, number) / "reward", device=config.device)
                said = np.asarray(learned(prompts, report.completions), dtype=np.float64)
                figures["order"] = order_share(said, scores)
        return figures

    def _envs(self, run: Run, texts: int, **arguments: Any) -> TextVectorEnv:
        """The environment for so many texts at least; another reward comes without settings."""
        config = self.config
        given = environment_arguments(config.env_kwargs, str(run.out / "start"))
        if "reward" in arguments:
            given.pop("reward_kwargs", None)
        given.update(arguments)
        rows = min(config.num_envs, texts)
        return make_envs(config.env, given, num_envs=rows, device=config.device)

    def _folder(self, run: Run, number: int) -> Path:
        return run.out / f"round_{number}"

    def _written_by(self, run: Run, number: int) -> Path:
        """The policy that a round ended with; round 0 is the start."""
        return self._folder(run, number) / "policy" if number else run.out / "start"

    def _policy(self, run: Run, number: int) -> TransformerPolicy:
        folder = self._written_by(run, number)
        return TransformerPolicy.from_pretrained(folder, self.config.device)

    def _divided(self, run: Run, number: int) -> tuple[list[Preference], list[Preference]]:
        """What is learned from, of all rounds, and what is held out, of this one.

        What measures was drawn by chance, whatever rule chose the others, and stays apart for ever.
        """
        learned: list[Preference] = []
        fresh: list[Preference] = []
        for round_ in range(1, number + 1):
            written = run.figures[f"round_{round_}_write"]
            apart = set(written["control"][: round(self.config.held_out * written["pairs"])])
            answers = self.store.preferences(_split(round_), ties=self.config.votes != "majority")
            learned += [answer for answer in answers if answer.pair_id not in apart]
            if round_ == number:
                fresh = [answer for answer in answers if answer.pair_id in apart]
        if self.config.votes == "ability":
            return ability_shares(learned, shown_left(self.store)), majority(fresh)
        combine = majority if self.config.votes == "majority" else vote_shares
        return combine(learned), majority(fresh)


def _split(number: int) -> str:
    return f"round {number}"
