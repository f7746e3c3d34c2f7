"""What every learner has besides its algorithm: prompts in order, phases, checkpoints, habits.

An algorithm is a file of its own with a config and an ``iterate`` to be read from top to bottom;
this is what they would otherwise all repeat, and none of it knows what is learned from a rollout.
``learn``, ``predict``, ``save`` and ``load`` are Stable-Baselines3's words, and mean the same.
"""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch

from agents.config import LearnerConfig, Scoring
from agents.maths.advantages import masked_mean
from agents.models.heads import silenced
from agents.rollouts.checks import require_fitting
from agents.rollouts.collect import Manner, play
from agents.rollouts.predict import predict_actions
from agents.rollouts.vllm_server import open_engine
from agents.training.checkpoint import load_learner, restore_learner
from agents.training.distributed import current_processes, fingerprint
from agents.training.guards import (
    SMALLER_PASSES,
    explained_memory,
    require_agreement,
    require_progress,
)
from agents.training.loop import Functions, Saves, only_functions, run, undone_on_failure
from agents.training.optimizers import adam, share_of_rate, usual_rate
from agents.training.precision import Sampler, agreed_precision, require_float32
from agents.training.randomness import RandomState
from agents.training.reference import evaluate_all, frozen_reference
from agents.training.updates import PhaseClock, Updates
from textgym.messages import shown
from textgym.pretrained.adapters import adapters_off

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.type_aliases import MaybeCallback
    from torch import Tensor

    from agents.models.episodes import Evaluation
    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from agents.training.checkpoint import WrittenReference
    from textgym.envs.vector import TextVectorEnv

__all__ = ["Learner"]


class Learner:
    """A policy, where it acts, and everything that a resumed run needs.

    Attributes:
        policy: What learns.
        actor: The policy without its critic.
        reference: The frozen policy that KL is measured against, without a critic; ``None`` where
            that is the policy without its adapters.
        envs: Where it acts.
        config: The settings.
        bf16: Whether passes compute in bfloat16, as decided where the setting was ``auto``.
        is_auto: Whether it was; a checkpoint that is gone on from then decides.
        learning_rates: The highest of what acts, and of what gives values alone.
        optimizer: Adam; its second group is what gives values alone, its first what acts.
        iteration: How many iterations have been made.
        num_timesteps: How many actions have been taken, since ``learn`` last counted from 0.
        random: The generators, and the prompts that wait.
        collected: What the latest iteration has collected; ``None`` until it has.
        failure_folder: Where the batch goes that a guard refuses.
        written_reference: Where the reference was written, or read from, last.
        changes: What of the settings is not as it was in the checkpoint that was gone on from.
        is_whole: Whether the weights are those between two iterations. A failure before the first
            update of one leaves it so, and all else as it was, to be saved or gone on from.
        engine: Who writes instead of the policy; ``None`` if it does itself.
        processes: Who trains the same policy, see ``agents.training.distributed``.
    """

    config_type: ClassVar[type[LearnerConfig]] = LearnerConfig

    def __init__(
        self,
        policy: TransformerPolicy,
        envs: Any,
        config: LearnerConfig,
        *,
        reference: TransformerPolicy | None,
        needs_reference: bool = True,
    ) -> None:
        """Prepares training.

        Args:
            policy: Trained in place.
            envs: A text environment with the torch backend and autoreset disabled.
            config: The settings.
            reference: The frozen policy that KL is measured against, with weights of its own;
                ``None`` for the policy as it is: a copy, or, where adapters learn, what is below
                them.
            needs_reference: Whether the algorithm measures against one at all.

        Raises:
            TypeError: If policy, environment or config are something else.
            ValueError: If policy and reference share weights, the environment is another, or there
                are fewer texts than minibatches.
        """
        if not isinstance(config, self.config_type):
            raise TypeError(
                f"{type(self).__name__} takes a {self.config_type.__name__}, got {shown(config)}"
            )
        self.envs: TextVectorEnv = getattr(envs, "unwrapped", envs)
        require_fitting(self.envs, policy)
        require_float32(policy)
        if config.gradient_checkpointing:
            policy.recompute_activations()
        self.processes = current_processes(policy.device, config)
        self.is_auto = config.bf16 == "auto"
        config = replace(config, bf16=agreed_precision(config.bf16, policy, self.processes))
        self.episodes = config.num_texts(self.envs.num_envs * self.processes.count)
        self.processes.start_alike(
            policy,
            algorithm=type(self).__name__,
            **asdict(config),
            num_envs=self.envs.num_envs,
            num_examples=self.envs.num_examples,
        )
        if needs_reference or reference is not None:
            reference = frozen_reference(policy, reference)
        if reference is not None:
            self.processes.start_alike(reference)
        self.policy, self.reference, self.config = policy, reference, config
        self.engine = open_engine(config, self.envs)
        self._copies = Sampler(policy, self.processes)
        self.actor = self._copies.actor
        self.compute_in(bf16=bool(config.bf16))
        self._copies.cut(reference)
        self.optimizer = adam(policy, config)
        self.learning_rates = (config.learning_rate or usual_rate(policy),) * 2
        self.is_whole, self.changes = True, list[str]()
        self._without_gradient = self.iteration = self.num_timesteps = 0
        self.optimizer.register_step_pre_hook(self._begin_update)
        self.failure_folder = Path(tempfile.gettempdir())
        self.written_reference: WrittenReference | None = None
        self._saves = Saves()
        self.random = RandomState(config.seed, policy.device)
        self.collected: Rollout | None = None

    def iterate(self, clock: PhaseClock) -> tuple[dict[str, float], Rollout]:
        """Collects once and learns from it: the algorithm.

        Returns:
            The iteration's metrics by name, and what was collected.
        """
        raise NotImplementedError

    def step(self) -> tuple[dict[str, float], Rollout]:
        """Runs one iteration.

        Returns:
            Its metrics by name, seconds by phase among them, and what was collected.

        Raises:
            GuardError: If an invariant of training is broken, or memory runs out; the message says
                which, and where the batch was saved.
            RewardError: If the reward fails; nothing was learned, and the same draws come again.
        """
        if self.processes.count > 1:
            self.processes.require_same(
                iteration=self.iteration,
                weights=fingerprint(self._copies.whole),
                order=zlib.crc32(repr(self.random.record()).encode()),
            )
        self._saves.make(self)
        share = share_of_rate(self.config, self.iteration)
        for group, highest in zip(self.optimizer.param_groups, self.learning_rates, strict=True):
            group["lr"] = highest * share
        clock = PhaseClock(self.policy.device)
        with undone_on_failure(self):
            metrics, rollout = self.iterate(clock)
            # From the start alone: later it is what success looks like.
            still = metrics.get("gradient_norm") == 0.0 == metrics.get("critic_gradient_norm", 0.0)
            if still and self._without_gradient == self.iteration:
                self._without_gradient += 1
                require_progress(self._without_gradient)
        if self.processes.sharded:
            self._copies.refresh()
        clock.move("collect", "environment", rollout.env_seconds)
        clock.move("environment", "reward", rollout.reward_seconds)
        self.iteration += 1
        self.num_timesteps += rollout.num_actions
        figures = {"iteration": float(self.iteration), **metrics, "bf16": float(self.bf16)}
        figures["learning_rate"] = self.learning_rates[0] * share
        return figures | {f"seconds_{n}": x for n, x in clock.seconds.items()}, rollout

    def learn(
        self,
        total_timesteps: int | None = None,
        callback: MaybeCallback = None,
        *,
        logger: Logger | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Trains until this call has taken so many actions, or a callback says stop.

        Args:
            total_timesteps: Actions of this call, as of Stable-Baselines3's; the last iteration is
                finished. ``None`` makes the iterations that are left of the config's.
            callback: A function of ``locals`` and ``globals`` that returns whether to go on, see
                ``agents.training.loop``; one of Stable-Baselines3's, see
                ``agents.bridges.sb3.callbacks`` for which of them work; or a list.
            logger: Of Stable-Baselines3's ``configure``.
            reset_num_timesteps: Whether ``num_timesteps``, and so the log, counts from 0 again.
                Iterations, and with them the learning rate, go on in any case.
            progress_bar: Whether to show tokens per second, reward and KL.

        Raises:
            TypeError: If ``total_timesteps`` is no number, or ``callback`` no callback.
        """
        every: list[Any] = [callback]
        if total_timesteps is None:
            left = max(0, self.config.iterations - self.iteration)
            total_timesteps = left * self.most_texts * self.envs.max_actions
            every.append(lambda *_: self.iteration < self.config.iterations)
        elif not isinstance(total_timesteps, int | float):
            raise TypeError(
                f"total_timesteps must be a number of actions, got {shown(total_timesteps)}"
            )
        if reset_num_timesteps:
            self.num_timesteps = 0
        last, functions = self.num_timesteps + total_timesteps, only_functions(every)
        said: dict[str, Any] = {"progress_bar": progress_bar, "processes": self.processes}
        with self._saves.later(self):
            if functions is not None and logger is None:
                run(self, last, Functions(functions), **said)
            else:
                # Stable-Baselines3 takes a second to import, and only what is its own needs it.
                from agents.bridges.sb3.callbacks import drive

                drive(self, last, every, logger, **said)
        return self

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,  # noqa: ARG002 - Stable-Baselines3's signature
        deterministic: bool = False,
        *,
        action_masks: Any = None,
    ) -> tuple[npt.NDArray[np.int64], Any]:
        """Chooses the next actions of texts; see ``agents.rollouts.predict``.

        Returns:
            Actions, ``()`` or ``(N,)`` int64, and ``state`` as it is: a text is all the state.
        """
        actions = predict_actions(
            self._copies.whole,
            self.envs,
            observation,
            sampling=self.config.sampling,
            generator=None if deterministic else self.random.predict,
            action_masks=action_masks,
        )
        return actions, state

    def collect(self, example_ids: list[int] | None = None, *, group: int = 1) -> Rollout:
        """Writes an iteration's texts with the policy as it is.

        Args:
            example_ids: Their prompts; ``None`` takes the next ones.
            group: How many that follow each other start alike.
        """
        actor = self._copies.refresh()
        with self.processes.together():
            if self.engine is not None and self.processes.is_main:
                self.engine.refresh(self._copies.whole_actor)
        if example_ids is None:
            example_ids = self.next_examples(self.episodes)
        with self.processes.together(), explained_memory("num_envs, then episodes"):
            own = play(
                self.envs,
                actor,
                sampling=self.config.sampling,
                generator=self.random.sampler,
                example_ids=example_ids,
                group=group,
                share=self.processes.share(len(example_ids)),
                manner=Manner(
                    engine=self.engine,
                    scoring=Scoring.of(self.config),
                    pass_tokens=self.config.micro_batch_tokens,
                ),
            )
        rollout = self.processes.gather_rollout(own, len(example_ids))
        self.collected = rollout if self.policy.critic is None else replace(rollout, values=None)
        return self.collected

    def evaluate(self, policy: TransformerPolicy, rollout: Rollout) -> Evaluation:
        """Evaluates a whole rollout without gradients, each of the processes its share.

        Args:
            policy: Whose log-probabilities and values.
            rollout: The texts.
        """
        every = torch.arange(len(rollout), device=rollout.tokens.device)
        with self.processes.passes(), explained_memory(SMALLER_PASSES):
            result = evaluate_all(
                policy,
                rollout,
                temperature=self.config.temperature,
                bf16=self.bf16,
                most_tokens=self.config.micro_batch_tokens,
                wanted=self.processes.deal(every, rollout.read_lengths),
                processes=self.processes,
            )
        self.processes.sum_([result.log_probs, result.values])
        return result

    def reference_log_probs(self, rollout: Rollout, *, beside_sampler: bool = False) -> Tensor:
        """The reference's log-probabilities of actions, over all that was legal, ``(N, C)``.

        Args:
            rollout: The texts.
            beside_sampler: Whether they are compared with the sampler's own log-probabilities. In
                bfloat16 anything else is computed by the update's kernels, as what it is compared
                with is: an unmoved policy is then no nat from its reference.
        """
        # Over all that was legal: what top-k and top-p cut away still costs.
        rollout = replace(rollout, kept=None)
        if self.reference is not None:
            return self.evaluate(self._fast(self.reference, beside_sampler), rollout).log_probs
        with adapters_off(self.policy), silenced(self.policy.edit_head):
            return self.evaluate(self._fast(self._copies.base, beside_sampler), rollout).log_probs

    def old_log_probs(self, rollout: Rollout) -> Tensor:
        """The log-probabilities under the old policy, which acted, for ratios, ``(N, C)``.

        Where samples come from another function than the update, that computes them anew, and the
        sampler's own must be near.

        Raises:
            GuardError: If they are not.
        """
        if not self.samples_apart:
            return rollout.log_probs
        log_probs = self.evaluate(self.policy, rollout).log_probs
        gap = masked_mean((log_probs - rollout.log_probs).abs(), rollout.mask)
        require_agreement(float(gap), bf16=True, engine=self.engine is not None)
        return log_probs

    def updates(self) -> Updates:
        """The gradient steps of this iteration, see ``Updates``."""
        return Updates(
            self.policy,
            self.optimizer,
            self.config,
            generator=self.random.sampler,
            processes=self.processes,
            iteration=self.iteration,
            engine=self.engine is not None,
        )

    @property
    def samples_apart(self) -> bool:
        """Whether another function than the update's samples: one in bfloat16, or an engine."""
        return self.bf16 or self.engine is not None

    @property
    def num_prompts(self) -> int:
        """How many prompts there are to learn from."""
        return self.envs.num_examples

    @property
    def most_texts(self) -> int:
        """How many texts an iteration writes at most."""
        return self.episodes

    def next_examples(self, count: int) -> list[int]:
        """Takes the next prompts: every one is used once before any is used again."""
        return self.random.next_examples(count, self.num_prompts)

    def record(self) -> dict[str, Any]:
        """What an algorithm has to remember beside weights and generators, as JSON holds it."""
        return {}

    def recall(self, record: Mapping[str, Any]) -> None:
        """Takes over what ``record`` gave."""

    def save(self, folder: str | Path) -> None:
        """Writes everything that a resumed run needs; a kill leaves the last whole checkpoint.

        Only the main process writes. Nobody waits for it, unless weights are cut: then all call
        this, or a callback of the main process does, and it is done before the next iteration.

        Args:
            folder: Replaced if it is there. ``folder/policy`` is a model that transformers loads.
        """
        self._saves.ask(self, Path(folder))

    def restore(self, folder: str | Path) -> Self:
        """Goes on where ``save`` left off, bit for bit if no setting has changed.

        Raises:
            FileNotFoundError: If there is no checkpoint.
            ValueError: If it was made by another algorithm or model, or with a setting that must
                stay, see ``agents.training.changes``.
        """
        restore_learner(self, Path(folder))
        return self

    @classmethod
    def load(
        cls,
        folder: str | Path,
        envs: Any,
        device: str | None = None,
        *,
        config: LearnerConfig | None = None,
    ) -> Self:
        """Makes the agent anew from a checkpoint, and goes on where ``save`` left off.

        Args:
            folder: What ``save`` wrote.
            envs: The environment to go on in.
            device: Where to put the weights; ``None`` for where the environment is.
            config: What to go on with, see ``restore``; ``None`` for the checkpoint's settings.
        """
        return load_learner(cls, Path(folder), envs, device, config)

    def compute_in(self, *, bf16: bool) -> None:
        """Sets the precision of sampler and passes."""
        self.bf16, self.config = bf16, replace(self.config, bf16=bf16)
        self._copies.compute_in(bf16=bf16, writes=self.engine is None)

    def _begin_update(self, *_: Any) -> None:
        self.is_whole = False

    def _fast(self, reference: TransformerPolicy, beside_sampler: bool) -> TransformerPolicy:
        if self.processes.sharded or (self.bf16 and not beside_sampler):
            return reference
        dtype = torch.bfloat16 if self.bf16 else reference.dtype
        return reference.packed(self.config.micro_batch_tokens, dtype)
