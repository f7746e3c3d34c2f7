"""Published settings of PPO on text, as ``PPOConfig``s: to start from, or to compare with.

======================================  ====================  ===================  =============
setting                                 lm-human-preferences  summarize-from-fb.   trl
======================================  ====================  ===================  =============
learning rate, falling linearly to 0    1e-5                  3e-6                 3e-6
texts an iteration; in all              512; 1M               512; 1M              512; 1M
epochs x minibatches                    4 x 1                 4 x 1                4 x 1
price of KL                             0.15, adaptive to 6   0.05                 0.05
temperature                             0.7                   0.7                  0.7
rewards scaled to variance 1            yes                   no                   no
Adam's epsilon                          1e-5, TensorFlow's    1e-5                 1e-8
missing-end penalty                     0                     0                    1
======================================  ====================  ===================  =============

All three: discount 1, lambda 0.95, clip 0.2 for ratios and for values, value weight 0.1, whitened
advantages, no clipping of gradients, KL by k1 in the reward, no dropout.

What differs from the originals, in all three:

* The score is the reward of the last action, which may be the end of text, and no step follows.
  Two of them train a value one step later and mask its log-probability (``padding_mask_p1``).
* A text ends with its end-of-text token. The originals sample a fixed number of tokens and cut the
  text afterwards; ``lm-human-preferences`` at the first full stop after 16 tokens, and it trains on
  all 24.
* Lengths of prompt and completion belong to the environment: 64 and 24 tokens in
  ``lm-human-preferences``, up to 512 and 53 in the others.
* Whitening, where it is on, is over all processes' texts, not over one process's share.
* Plain Adam; ``summarize-from-feedback`` has AdamW with torch's weight decay of 0.01.
* The penalty of ``summarize-from-feedback`` and of ``lm-human-preferences`` for a missing end
  replaces the score by -1, where ours is subtracted from it, so it is left at 0 here. ``trl``
  subtracts it too.
* The caller gives a separate critic: ``lm-human-preferences`` shares the trunk, the other two start
  a critic from the reward model; here the nearest to that is a copy of the policy.
* Every token of a minibatch has the same weight. Two of them average the means of its parts.
* float32: set ``bf16`` for what ``trl`` does.

Sources: ``launch.py`` and ``train_policy.py`` of openai/lm-human-preferences (Ziegler et al. 2019),
its sentiment and descriptiveness tasks; ``ppo.py`` of vwxyzjn/summarize_from_feedback_details
(Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO"); huggingface/trl: the commands
of its PPO's examples (3e-6, a penalty of 1) at the batch of the former, and ``ppo_config.py`` for
what they leave at its default.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from agents.ppo import PPOConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PRESETS", "PresetName", "lm_human_preferences", "summarize_from_feedback", "trl"]

PresetName = Literal["lm-human-preferences", "summarize-from-feedback", "trl"]
"""The names of published settings."""

_TEXTS, _TEXTS_IN_ALL = 512, 1_000_000


def lm_human_preferences() -> PPOConfig:
    """The sentiment and descriptiveness tasks of Ziegler et al. 2019, as their code has them."""
    return dataclasses.replace(
        summarize_from_feedback(),
        learning_rate=1e-5,
        kl_coefficient=0.15,
        kl_target=6.0,
        kl_gain=_TEXTS / 10_000,  # their horizon
        whiten_rewards=True,
        whiten_advantages="minibatch",
        adam="tensorflow",
    )


def summarize_from_feedback() -> PPOConfig:
    """The TL;DR summaries of Huang et al. 2024."""
    return PPOConfig(
        iterations=_TEXTS_IN_ALL // _TEXTS,
        episodes=_TEXTS,
        epochs=4,
        minibatches=1,
        learning_rate=3e-6,
        final_rate=0.0,
        max_gradient_norm=None,
        temperature=0.7,
        kl_coefficient=0.05,
        kl_in="reward",
        kl_estimator="k1",
        kl_target=None,
        clip=0.2,
        value_clip=0.2,
        value_weight=0.1,
        gamma=1.0,
        lam=0.95,
        whiten_advantages="batch",
        whiten_rewards=False,
        adam_epsilon=1e-5,
        adam="torch",
    )


def trl() -> PPOConfig:
    """The examples of TRL's PPO, at the batch of the N+ details, which they repeat."""
    return dataclasses.replace(
        summarize_from_feedback(),
        iterations=-(-_TEXTS_IN_ALL // _TEXTS),  # TRL rounds up
        missing_end_penalty=1.0,
        adam_epsilon=1e-8,
    )


PRESETS: Mapping[PresetName, Callable[[], PPOConfig]] = MappingProxyType(
    {
        "lm-human-preferences": lm_human_preferences,
        "summarize-from-feedback": summarize_from_feedback,
        "trl": trl,
    }
)
"""The functions that make them, by name."""
