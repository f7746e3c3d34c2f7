"""The quickstart's stages that make something: tokenizer, judge, models, preferences, policy."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from agents.maths.distributions import Sampling
from agents.measuring.metrics_log import MetricsLog
from agents.models.documents import perplexity
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO
from agents.rollouts.collect import collect
from agents.sft import make_language_model, train_language_model
from agents.training.guards import GuardError, explained_memory
from reward_models.learning.settings import RewardTrainingData
from reward_models.learning.training import train_reward_model
from reward_models.measuring.pairs import evaluate_reward
from reward_models.metrics import vader
from reward_models.models.gold import GoldJudge
from reward_models.models.transformer import load_reward
from reward_models.preferences import (
    Pair,
    PreferenceStore,
    SimulatedAnnotator,
    build_pairs,
    majority,
)
from textgym.cli.feedback.compare import origins_of
from textgym.cli.quickstart.texts import read_texts
from textgym.cli.stages import Run, RunError
from textgym.cli.training import TrainingBar
from textgym.files import atomic_folder, checkpoint_folder, last_checkpoint, prune
from textgym.pretrained.precision import time_passes
from textgym.tokenizers import load_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from textgym.cli.quickstart.plan import Plan
    from textgym.envs.vector import TextVectorEnv

__all__ = [
    "gather_preferences",
    "make_envs",
    "optimise",
    "train_the_judge",
    "train_the_language_model",
    "train_the_reward_model",
    "train_the_tokenizer",
    "try_precisions",
]

_ENVIRONMENT = "TextGym/Sentiment-v0"
_SAVE_EVERY = 5  # iterations of PPO between checkpoints
_ANSWERS_AT_ONCE = 256


def train_the_tokenizer(run: Run, plan: Plan) -> Mapping[str, Any]:
    """Trains a vocabulary on some of the language model's reviews."""
    texts = [record.text for record in read_texts(run, "language_model")]
    tokenizer = train_tokenizer(
        texts, plan.vocabulary, max_texts=plan.tokenizer_texts, seed=plan.seed
    )
    tokenizer.save(run.out / "tokenizer.model")
    sample = texts[:500]
    ids = tokenizer.encode_batch(sample)
    return {"characters_per_token": sum(map(len, sample)) / sum(map(len, ids))}


def try_precisions(run: Run, plan: Plan) -> Mapping[str, Any]:
    """Decides, once for all later stages, whether to compute in bfloat16."""
    chosen = plan.language_model.bf16
    if chosen != "auto":
        return {"bf16": chosen}
    shape = plan.language_model
    model = make_language_model(shape, load_tokenizer(run.out / "tokenizer.model"))
    seconds = time_passes(
        model.to(plan.device),  # type: ignore[arg-type] # transformers' decorator hides the type
        lambda ids: model(input_ids=ids[:, : shape.row_tokens]).logits,
        vocabulary=model.config.vocab_size,
    )
    return {"bf16": seconds.bf16, "speedup_of_bfloat16": seconds.speedup}


def train_the_judge(run: Run, plan: Plan) -> Mapping[str, Any]:
    """Trains the gold judge on human labels of reviews that nothing else uses."""
    reviews = read_texts(run, "judge")
    texts, labels = [r.text for r in reviews], [r.columns["label"] for r in reviews]
    learn, test = slice(plan.judge_texts), slice(plan.judge_texts, plan.judge_texts + 1000)
    judge = GoldJudge.fit(texts[learn], labels[learn], seed=plan.seed)
    judge.save(run.out / "judge")
    openings = [" ".join(text.split()[:30]) for text in texts[test]]
    positive = judge.score(openings)
    likelihood = np.where(np.asarray(labels[test]) == 1, positive, 1 - positive)
    return {
        "accuracy": judge.accuracy(texts[test], labels[test]),
        "accuracy_on_30_words": judge.accuracy(openings, labels[test]),
        "log_loss_on_30_words": float(-np.log(likelihood).mean()),
    }


class _History(TrainerCallback):
    """Writes a ``Trainer``'s losses to the disk at the end."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - Trainer's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Writes the whole history, an earlier attempt's included."""
        with MetricsLog(self._log) as log:
            for entry in state.log_history:
                if "loss" in entry:
                    log.write({"iteration": float(entry["step"]), "loss": float(entry["loss"])})


def train_the_language_model(run: Run, plan: Plan) -> Mapping[str, Any]:
    """Trains the model that all later stages start from."""
    tokenizer = load_tokenizer(run.out / "tokenizer.model")
    texts = [record.text for record in read_texts(run, "language_model")]
    with run.bar("Language model") as bar:
        figures = train_language_model(
            plan.language_model,
            tokenizer,
            texts,
            run.out / "language_model",
            device=plan.device,
            callbacks=[TrainingBar(bar), _History(run.out / "logs" / "language_model")],
        )
    model = TransformerPolicy.from_pretrained(run.out / "language_model", plan.device).model
    unseen = [record.text for record in read_texts(run, "validation")]
    row = plan.language_model.row_tokens
    return {**figures, "perplexity": perplexity(model, tokenizer, unseen, row)}


def make_envs(
    run: Run, plan: Plan, split: str, reward: str, reward_kwargs: Mapping[str, Any] | None = None
) -> TextVectorEnv:
    """Makes the environment that completions are written in, on the plan's device."""
    envs: Any = gym.make_vec(
        _ENVIRONMENT,
        num_envs=plan.rows,
        split=split,
        reward=reward,
        reward_kwargs=reward_kwargs,
        tokenizer=str(run.out / "tokenizer.model"),
        autoreset_mode="Disabled",
        backend="torch",
        device=plan.device,
    )
    return envs.unwrapped  # type: ignore[no-any-return] # make_vec says VectorEnv


def gather_preferences(run: Run, plan: Plan) -> Mapping[str, Any]:
    """Lets the language model write pairs and noisy simulated annotators compare them."""
    with PreferenceStore(run.out / "preferences.sqlite") as store, run.bar("Preferences") as bar:
        envs = make_envs(run, plan, "preference", "length")
        policy = TransformerPolicy.from_pretrained(run.out / "language_model", plan.device)
        if plan.ppo.bf16:
            # Nothing is learned from these log-probabilities, so half the digits will do.
            policy = policy.frozen_copy(torch.bfloat16)
        written = {pair.seed for pair in store.pairs()}
        for batch in range(plan.pair_batches):
            if batch not in written:
                store.add_pairs(_write_pairs(envs, policy, plan, batch))
            bar.update(batch + 1, plan.pair_batches, "pairs written")
        folders = {"language_model": str(run.out / "language_model")}
        store.add_provenance(origins_of(store.pairs(), folders))
        # What all annotators look at is the same, so it is worked out once.
        known = functools.cache(lambda text: vader([""], [text])[0])

        def score(
            prompts: Sequence[str],  # noqa: ARG001 - a reward's signature
            completions: Sequence[str],
            **_: Sequence[Any],
        ) -> list[float]:
            return [known(text) for text in completions]

        for number in range(plan.annotators):
            annotator = SimulatedAnnotator(
                score=score,
                seed=plan.seed * plan.annotators + number,
                name=f"simulated {number}",
            )
            pending = store.pending(annotator.name)
            for start in range(0, len(pending), _ANSWERS_AT_ONCE):
                store.record_answers(annotator.answer(pending[start : start + _ANSWERS_AT_ONCE]))
                bar.update(min(len(pending), start + _ANSWERS_AT_ONCE), len(pending), "answers")
        held_out = store.preferences("held_out")
        ceiling = evaluate_reward(vader, held_out).accuracy
        return {"pairs": len(store.pairs()), "held_out": len(held_out), "label_ceiling": ceiling}


def _write_pairs(
    envs: TextVectorEnv, policy: TransformerPolicy, plan: Plan, batch: int
) -> list[Pair]:
    """Two completions for each of ``rows / 2`` prompts; the same for the same seed and batch."""
    rng = np.random.default_rng([plan.seed, batch])
    chosen = rng.choice(envs.num_examples, envs.num_envs // 2, replace=False)
    rollout_seed = int(rng.integers(2**62))
    with explained_memory():
        collect(
            envs,
            policy,
            sampling=Sampling(temperature=plan.pair_temperature),
            generator=torch.Generator(plan.device).manual_seed(rollout_seed),
            example_ids=np.repeat(chosen, 2).tolist(),
        )
    pairs = []
    samples = list(zip(*envs.texts(), strict=True))
    learned_from = round(envs.num_examples * (1 - plan.held_out))
    for row, example in enumerate(chosen):
        split = "train" if example < learned_from else "held_out"
        two = samples[2 * row : 2 * row + 2]
        pairs += build_pairs(two, seed=batch, policy="language_model", split=split)
    return pairs


def train_the_reward_model(run: Run, plan: Plan) -> Mapping[str, Any]:
    """Trains a reward model on the answers; measures it on pairs of prompts it has not seen."""
    out = run.out / "reward_model"
    with PreferenceStore(run.out / "preferences.sqlite") as store:
        train, held_out = majority(store.preferences("train")), store.preferences("held_out")
        pairs = store.pairs("held_out")
    with run.bar("Reward model") as bar:
        figures = train_reward_model(
            plan.reward_model,
            RewardTrainingData(train=train),
            run.out / "language_model",
            load_tokenizer(run.out / "tokenizer.model"),
            out,
            plan.device,
            callbacks=[TrainingBar(bar), _History(run.out / "logs" / "reward_model")],
        )
    reward = load_reward(out, device=plan.device)
    noisy = evaluate_reward(reward, held_out)
    true = evaluate_reward(reward, SimulatedAnnotator(score=vader).true_order(pairs))
    return {
        **figures,
        "accuracy_noisy": noisy.accuracy,
        "accuracy_noisy_interval": [noisy.low, noisy.high],
        "accuracy_true": true.accuracy,
        "accuracy_true_interval": [true.low, true.high],
    }


def optimise(run: Run, plan: Plan) -> Mapping[str, Any]:
    """Trains the policy by PPO against the learned reward, saving every few iterations."""
    kwargs = {"path": str(run.out / "reward_model"), "device": plan.device}
    envs = make_envs(run, plan, "train", "model", kwargs)
    judge = GoldJudge.load(run.out / "judge")
    start = run.out / "language_model"
    # A critic of its own: on a shared trunk the policy learns less from a text, and pays more KL.
    policy = TransformerPolicy.from_pretrained(
        start, plan.device, critic=start, critic_layers=plan.critic_layers
    )
    ppo = PPO(policy, envs, plan.ppo)
    checkpoints = run.out / "policy.checkpoints"
    last = last_checkpoint(checkpoints)
    if last is not None:
        ppo.restore(last)
    log = MetricsLog(run.out / "logs" / "ppo", resume_after=ppo.iteration)
    with log, run.bar("PPO") as bar:
        while ppo.iteration < plan.ppo.iterations:
            try:
                metrics, _ = ppo.step()
            except GuardError as error:
                raise RunError(f"PPO stopped in iteration {ppo.iteration + 1}: {error}") from error
            # Watched, never learned from: the policy does not see this number.
            metrics["gold"] = float(np.mean(judge.score(envs.texts()[1])))
            log.write(metrics)
            note = "reward {reward:.2f}  KL {kl:.1f}  gold {gold:.2f}".format(**metrics)
            bar.update(ppo.iteration, plan.ppo.iterations, note)
            if ppo.iteration % _SAVE_EVERY == 0:
                ppo.save(checkpoint_folder(checkpoints, ppo.iteration))
                prune(checkpoints, keep=1)
    with atomic_folder(run.out / "policy") as folder:
        ppo.actor.save_pretrained(folder, envs.tokenizer)
    return {"iterations": ppo.iteration, "completions": ppo.iteration * plan.rows}
