"""How a reward model is trained, and what on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from textgym.pretrained.precision import Bfloat16  # noqa: TC001 - fields are checked by it
from textgym.ranges import COUNT, NOT_NEGATIVE, POSITIVE, TRAINER_SEED, Range, require_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reward_models.preferences.rankings import Item
    from reward_models.preferences.traces import Traces

__all__ = ["RewardTrainingConfig", "RewardTrainingData"]

_COUNTS = (
    *("epochs", "batch_size", "accumulation", "save_steps", "logging_steps"),
    *("max_length", "lora", "eval_steps", "patience"),  # or None
)
_RANGES = {
    **dict.fromkeys(_COUNTS, COUNT),
    **dict.fromkeys(("learning_rate", "max_grad_norm"), POSITIVE),
    **dict.fromkeys(("margin_scale", "centring", "weight_decay"), NOT_NEGATIVE),
    "label_noise": Range(0, 1, below=True),
    "warmup": Range(0, 1, below=True),
    "seed": TRAINER_SEED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTrainingConfig:
    """How a reward model is trained. The defaults suit a model of four million parameters."""

    learning_rate: float = 5e-4
    """Highest step size of AdamW; it falls to 0 along a line. Higher learns faster, or nothing;
    pretrained models of more than 100 million parameters want about 1e-5."""
    epochs: int = 1
    """Passes over the comparisons. Answers are noisy, and a second pass learns the noise too."""
    batch_size: int = 32
    """Comparisons that are read at once. More takes more memory, and makes an update smoother."""
    accumulation: int = 1
    """Batches whose gradients make one update. More is as a larger batch, in the memory of one."""
    lora: int | None = None
    """Rank of adapters to train instead of a pretrained model's weights; they are merged into it at
    the end. None trains all. More can learn more; far less memory than all."""
    max_length: int | None = None
    """Most tokens of prompt and completion; of a longer text the last ones are read. More is
    slower, and sees more. None is what the model has room for, up to 1,024."""
    pooling: Literal["mean", "last", "first"] = "mean"
    """How a text's states become one: their mean, or the last token's, or an encoder's first."""
    label_noise: float = 0.0
    """Share of the answers taken for coin tosses; twice the share that is turned round. More
    makes the model less sure, and deaf to single absurd answers."""
    ties: Literal["half", "threshold"] = "half"
    """A tie is half an answer for either text, or a lead below a threshold that is learned as well
    (Rao and Kupper)."""
    margin_scale: float = 1.0
    """What margins in the data are multiplied by; more pulls clear winners further away, 0 ignores
    margins."""
    rating_loss: Literal["auto", "differences", "squared", "cross_entropy"] = "auto"
    """What of ratings is learned: their differences within a prompt, their values, or (between the
    lowest and the highest) the probability of a good text. auto takes what learns from them all:
    differences where each has another one to differ from, else cross_entropy of two values, such
    as thumbs, and squared of more."""
    centring: float = 0.01
    """Weight of the squared sum of a pair's scores. More keeps scores nearer 0; 0 leaves their
    level free."""
    warmup: float = 0.05
    """Share of the updates in which the step size rises from 0. More is gentler to the start."""
    weight_decay: float = 0.01
    """AdamW's weight decay. More keeps weights smaller."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm. More lets odd batches move the model further."""
    bf16: Bfloat16 = False
    """Compute in bfloat16. It is faster on some machines and slower on others: auto tries for a
    second."""
    seed: int = 0
    """Decides the first weights of what is new and the order of the comparisons."""
    save_steps: int = 100
    """Updates between checkpoints. More loses more work when a run is killed, and writes less."""
    eval_steps: int | None = None
    """Updates between two looks at the held-out comparisons; None looks at the end alone. Fewer see
    the best moment better, and cost time."""
    patience: int | None = None
    """Stop after so many looks in a row without a lower loss, and keep the weights of the lowest;
    needs eval_steps. More waits longer."""
    logging_steps: int = 25
    """Updates between two reports to the callbacks. More makes reports smoother and rarer."""

    def __post_init__(self) -> None:
        """Checks what is out of range, or cannot go together.

        Raises:
            ValueError: If a number is, ties have a threshold and answers are noisy, or patience has
                nothing to look at.
        """
        require_ranges(self, _RANGES)
        if self.patience is not None and self.eval_steps is None:
            raise ValueError(
                "patience counts looks at held-out comparisons, and there are none: set eval_steps"
            )
        if self.ties == "threshold" and self.label_noise:
            raise ValueError(
                f"label_noise is {self.label_noise}, but the loss with a threshold for ties knows "
                "no noise: set it to 0, or ties to 'half'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTrainingData:
    """What a reward model is trained and measured on.

    Attributes:
        train: What to learn from: preferences, rankings or ratings, all of one kind.
        evaluation: Held-out ones of the same kind; empty for none.
        reference: ``(prompt, completion)`` texts of the reference policy whose scores shall have
            mean 0 and variance 1; empty takes all completions of 500 to learn from.
        before: What the first weights learned from already, where it is known.
    """

    train: Sequence[Item]
    evaluation: Sequence[Item] = ()
    reference: Sequence[tuple[str, str]] = ()
    before: Traces | None = None
