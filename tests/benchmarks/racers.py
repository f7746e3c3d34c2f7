"""One PPO in a process of its own, ours or TRL's, for ``race.py``: it learns and leaves policies.

Both start from the language model of a quickstart, are paid by its reward model, and pay the same
price for a nat. What both have as a setting has one value, below; what one of them alone has is as
it comes: TRL's clip of values, our limit of gradients. TRL's values have a network of their own;
ours have the policy's trunk, or with ``critic`` a network of their own as well.
"""

import argparse
import json
import shutil
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from textgym.cli.console import keep_large_blocks

ROWS, EPOCHS, MINIBATCHES = 128, 2, 4
TEMPERATURE, KL_PRICE, VALUE_WEIGHT, CLIP, LAM = 0.9, 0.25, 0.1, 0.2, 1.0


class Laps:
    """The processor's seconds of this process, and the wall's, without what is written down."""

    def __init__(self, out):
        self._out, self.laps = out, []
        self._start = self._now()

    @staticmethod
    def _now():
        return time.process_time(), time.perf_counter()

    def lap(self, iteration, every, reward, save):
        """Notes an iteration's reward; saves the policy after every few."""
        spent = [now - start for now, start in zip(self._now(), self._start, strict=True)]
        self.laps.append(
            {"iteration": iteration, "reward": reward, "cpu": spent[0], "wall": spent[1]}
        )
        if iteration % every == 0:
            save(self._out / f"policy-{iteration}")
        self._start = tuple(n - s for n, s in zip(self._now(), spent, strict=True))

    def write(self):
        (self._out / "laps.json").write_text(json.dumps(self.laps), encoding="utf-8")


def make_envs(run, split, rows=ROWS):
    """The quickstart's environment, paid by its reward model."""
    import gymnasium as gym

    return gym.make_vec(
        "textgym:TextGym/Sentiment-v0",
        num_envs=rows,
        split=split,
        reward="model",
        reward_kwargs={"path": str(run / "reward_model")},
        tokenizer=str(run / "tokenizer.model"),
        autoreset_mode="Disabled",
        backend="torch",
    ).unwrapped


def ours(given, *, critic=False):
    """PPO of ``agents``, its values read from the policy's trunk or from a critic's."""
    from agents.models.policy import TransformerPolicy
    from agents.ppo import PPO, PPOConfig

    envs = make_envs(given.run, "train")
    start = given.run / "language_model"
    policy = TransformerPolicy.from_pretrained(start, critic=start if critic else None)
    config = PPOConfig(
        iterations=given.iterations,
        epochs=EPOCHS,
        minibatches=MINIBATCHES,
        learning_rate=given.rate,
        final_rate=0.0,
        temperature=TEMPERATURE,
        kl_coefficient=KL_PRICE,
        value_weight=VALUE_WEIGHT,
        clip=CLIP,
        lam=LAM,
        seed=given.seed,
    )
    ppo = PPO(policy, envs, config)
    laps = Laps(given.out)
    while ppo.iteration < given.iterations:
        metrics, _ = ppo.step()
        laps.lap(
            ppo.iteration,
            given.every,
            metrics["reward"],
            lambda folder: ppo.actor.save_pretrained(folder, envs.tokenizer),
        )
    laps.write()


class _Reward(nn.Module):
    """The reward model in the shape that TRL asks: a trunk whose last states are the scores."""

    base_model_prefix = "trunk"

    def __init__(self, score, tokenizer, completion_tokens):
        super().__init__()
        self.trunk, self.score = _Scores(score, tokenizer, completion_tokens), nn.Identity()


class _Scores(nn.Module):
    def __init__(self, score, tokenizer, completion_tokens):
        super().__init__()
        self._score, self._tokenizer, self._tokens = score, tokenizer, completion_tokens

    def forward(self, input_ids, attention_mask, **_):
        def texts(where):
            pairs = zip(
                input_ids[:, where].tolist(), attention_mask[:, where].tolist(), strict=True
            )
            return self._tokenizer.decode_batch(
                [[i for i, kept in zip(*pair, strict=True) if kept] for pair in pairs]
            )

        prompts, completions = texts(slice(-self._tokens)), texts(slice(-self._tokens, None))
        scores = torch.tensor(self._score(prompts, completions), dtype=torch.float32)
        return SimpleNamespace(
            hidden_states=[scores[:, None, None].expand(*input_ids.shape, 1).clone()]
        )


def _tokenizer(names, pad, eos):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, names[pad]))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, padding_side="left", pad_token=names[pad], eos_token=names[eos]
    )


def theirs(given):
    """PPO of TRL."""
    from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel, TrainerCallback
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    from reward_models import load_reward

    torch.manual_seed(given.seed)
    envs = make_envs(given.run, "train")
    ours = envs.tokenizer
    # As the environment lays them out: a long prompt keeps its end.
    room = envs.prompt_tokens - 1
    encoded = ours.encode_batch([e.prompt for e in envs.task.examples("train")])
    prompts = [[ours.bos_id, *ids[-room:]] for ids in encoded]
    folder = given.run / "language_model"
    policy = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="sdpa")
    value = GPT2ForSequenceClassification.from_pretrained(
        folder, num_labels=1, attn_implementation="sdpa"
    )
    reward = _Reward(load_reward(given.run / "reward_model"), ours, envs.completion_tokens)
    laps, log = Laps(given.out), []

    def save(folder):
        policy.save_pretrained(folder)
        shutil.copy(given.run / "language_model" / "tokenizer.model", folder)
        shutil.copy(given.run / "language_model" / "loading.json", folder)

    class Watch(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            log.append(logs.get("objective/scores", float("nan")))

        def on_step_end(self, args, state, control, **_):
            laps.lap(state.global_step, given.every, log[-1], save)

    config = PPOConfig(
        output_dir=str(given.out / "trl"),
        per_device_train_batch_size=ROWS,
        gradient_accumulation_steps=1,  # with more, accelerate steps once for several minibatches
        num_ppo_epochs=EPOCHS,
        num_mini_batches=MINIBATCHES,
        total_episodes=ROWS * given.iterations,
        local_rollout_forward_batch_size=ROWS,
        response_length=envs.completion_tokens,
        stop_token="eos",  # noqa: S106 - no password
        temperature=TEMPERATURE,
        kl_coef=KL_PRICE,
        vf_coef=VALUE_WEIGHT,
        cliprange=CLIP,
        gamma=1.0,
        lam=LAM,
        learning_rate=given.rate,
        lr_scheduler_type="linear",
        warmup_steps=0,
        weight_decay=0.0,
        adam_epsilon=1e-5,
        num_sample_generations=0,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        seed=given.seed,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
    )
    dataset = [{"input_ids": ids} for ids in prompts]
    PPOTrainer(
        args=config,
        processing_class=_tokenizer(
            [str(i) for i in range(ours.vocab_size)], ours.pad_id, ours.eos_id
        ),
        model=policy,
        ref_model=GPT2LMHeadModel.from_pretrained(folder, attn_implementation="sdpa"),
        reward_model=reward,
        value_model=value,
        train_dataset=dataset,
        eval_dataset=dataset,
        callbacks=[Watch()],
    ).train()
    laps.write()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("racer", choices=["ours", "critic", "theirs"])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--every", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_large_blocks()
    given.out.mkdir(parents=True, exist_ok=True)
    racers = {"ours": ours, "critic": partial(ours, critic=True), "theirs": theirs}
    racers[given.racer](given)


if __name__ == "__main__":
    main()
