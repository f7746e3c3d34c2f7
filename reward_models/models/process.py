"""Scores of parts: one for every token or step of a completion, and one for the whole of them.

How it becomes an environment's dense reward: with ``dense=True`` an environment asks for the score
of the text so far, and pays each step what that has changed. The score of a text is its steps'
scores made one, by ``config.reduction``. With ``sum``, what completes a step is paid that step's
own score; with ``last``, the change from the step before; with ``min``, only what it worsens.
``ProcessReward.payments`` lists it. That is exact where the trunk is causal, because later tokens
then leave earlier scores alone; an encoder reads everything anew, and corrects itself each time.
The last step counts as it stands, finished or not.

Simplifications: a step is scored at its last token; tokens that are cut off a long text have no
score; prompt and steps are encoded apart from each other, so that a step has tokens of its own.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from transformers import PretrainedConfig, PreTrainedModel

from reward_models.models.steps import REDUCTIONS, lay_out, reduce_steps, split_steps
from reward_models.models.transformer import draw_head, read, require_room
from reward_models.reading.batching import batches, pad_rows, right_padded, spare_pads
from reward_models.reading.loading import open_learned
from reward_models.reading.scoring import join_texts, save_learned
from textgym.pretrained.checkpoints import find_checkpoint
from textgym.pretrained.models import make_trunk, open_trunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reward_models.models.steps import Reduction
    from reward_models.reading.scoring import Reader

__all__ = [
    "ProcessReward",
    "TokenScorer",
    "TokenScorerConfig",
    "load_process",
]


class TokenScorerConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """What a ``TokenScorer`` is made of, and how its scores are read; stored as ``config.json``.

    Attributes:
        trunk: The trunk's own configuration as a dictionary, ``model_type`` included.
        max_tokens: The most tokens that are read, special ones included.
        delimiter: What ends a step, such as a line break; None makes every token a step.
        reduction: How steps' scores become the completion's: the ``last``, their ``sum``, ``min``
            or ``mean``.
        output: What a step's score is: the ``probability`` that it is right, or the ``score``
            before the sigmoid.
    """

    model_type = "textgym-process"

    def __init__(
        self,
        trunk: dict[str, Any] | None = None,
        max_tokens: int = 128,
        delimiter: str | None = None,
        reduction: Reduction = "last",
        output: Literal["probability", "score"] = "score",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction is {reduction!r}; choose one of {', '.join(REDUCTIONS)}")
        if output not in ("probability", "score"):
            raise ValueError(f"output is {output!r}; choose 'probability' or 'score'")
        if delimiter == "":
            raise ValueError("delimiter is empty; None makes every token a step")
        self.trunk = {"model_type": "gpt2"} if trunk is None else trunk
        self.max_tokens = max_tokens
        self.delimiter = delimiter
        self.reduction = reduction
        self.output = output


class TokenScorer(PreTrainedModel):
    """A trunk and a linear head that gives one number for every token."""

    config: TokenScorerConfig
    config_class = TokenScorerConfig
    base_model_prefix = "trunk"
    main_input_name = "input_ids"

    def __init__(self, config: TokenScorerConfig) -> None:
        super().__init__(config)
        self.trunk = make_trunk(config.trunk)
        self.head = torch.nn.Linear(self.trunk.config.hidden_size, 1)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_language_model(cls, folder: str | Path, *, seed: int = 0, **settings: Any) -> Self:
        """Starts from the trunk of a pretrained model, as ``PreferenceModel`` does.

        Args:
            folder: What ``save_pretrained`` wrote, or the name of a package that ships it.
            seed: Decides the head.
            **settings: ``TokenScorerConfig``'s, without ``trunk``.

        Raises:
            FileNotFoundError: If ``folder`` holds no model.
            ValueError: If weights are missing, or a setting does not fit.
        """
        found = find_checkpoint(folder)
        trunk = open_trunk(found)
        config = TokenScorerConfig(trunk=trunk.config.to_dict(), **settings)
        require_room(trunk, config.max_tokens, found)
        with torch.random.fork_rng(devices=[]):
            model = cls(config)
        model.trunk.load_state_dict(trunk.state_dict())
        draw_head(model.head, seed)
        return model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Gives the raw score of each token; 0 for padding.

        Args:
            input_ids: Token ids padded on one side, ``(N, L)`` int64.
            attention_mask: 1 for real tokens and 0 for padding, ``(N, L)`` int64.

        Returns:
            ``(N, L)`` float32, each score where its token stands.

        Raises:
            ValueError: If a row is empty or has padding between its tokens.
        """
        ids, mask = right_padded(input_ids, attention_mask)
        states = read(self.trunk, ids, mask)
        with torch.autocast(states.device.type, enabled=False):
            scores = self.head(states.float()).squeeze(-1) * mask
        width = ids.shape[1]
        start = attention_mask.int().argmax(dim=1, keepdim=True)
        places = (torch.arange(width, device=ids.device) - start) % width
        back: torch.Tensor = scores.gather(1, places)
        return back

    def normalise(self, raw: torch.Tensor) -> torch.Tensor:
        """Gives probabilities or the scores themselves, as ``config.output`` says."""
        return torch.sigmoid(raw) if self.config.output == "probability" else raw


class ProcessReward:
    """The reward function around a ``TokenScorer``, and the scores of the parts."""

    def __init__(
        self, model: TokenScorer, tokenizer: Reader, *, device: str = "cpu", batch_size: int = 64
    ) -> None:
        """Takes a model over, in evaluation mode and on ``device``.

        Args:
            model: The model. It is moved, not copied.
            tokenizer: The tokenizer that the model was trained with.
            device: Where scores are computed, such as ``cpu`` or ``cuda``.
            batch_size: The most texts in one forward pass; no score depends on it.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; a batch has at least one text")
        self.model = model
        module: torch.nn.Module = model  # whose to() and eval() have types; transformers' have not
        module.to(device).eval()
        self.tokenizer = tokenizer
        self.batch_size = batch_size

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores each completion by its steps, ``(N,)``; one without any step has the score 0."""
        how = self.model.config.reduction
        return [reduce_steps(steps, how) for steps in self.step_scores(prompts, completions)]

    def step_scores(self, prompts: Sequence[str], completions: Sequence[str]) -> list[list[float]]:
        """Scores each step of each completion; without a delimiter, each token.

        Args:
            prompts: The prompts' texts, ``(N,)``.
            completions: The completions' texts, ``(N,)``.

        Returns:
            ``N`` lists, of as many scores as the completion has steps that are read to the end.

        Raises:
            ValueError: If there are not as many completions as prompts.
            TypeError: If one of them is no text.
        """
        join_texts(prompts, completions)
        delimiter = self.model.config.delimiter
        steps = [split_steps(completion, delimiter) for completion in completions]
        rows, ends = lay_out(
            self.tokenizer,
            prompts,
            steps,
            self.model.config.max_tokens,
            every_token=delimiter is None,
        )
        return [
            [scores[place] for place in places]
            for scores, places in zip(self.token_rows(rows), ends, strict=True)
        ]

    def payments(self, prompts: Sequence[str], completions: Sequence[str]) -> list[list[float]]:
        """What an environment with ``dense=True`` pays for each step, if the trunk is causal.

        Returns:
            ``N`` lists of differences, as long as ``step_scores``; their sums are the scores.
        """
        how = self.model.config.reduction
        paid = []
        for steps in self.step_scores(prompts, completions):
            potential = [reduce_steps(steps[:count], how) for count in range(len(steps) + 1)]
            paid.append([after - before for before, after in itertools.pairwise(potential)])
        return paid

    def save(self, folder: str | Path) -> None:
        """Writes what ``load_reward`` reads; the folder is whole or absent."""
        save_learned(self.model, self.tokenizer, Path(folder))

    def token_rows(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Scores every token of rows of ids, ``(N,)`` lists; each as long as its row."""
        scores: list[list[float]] = [[] for _ in rows]
        with torch.inference_mode():
            for batch in batches(
                [len(row) for row in rows], self.batch_size, spare_pads(self.model)
            ):
                ids, mask = pad_rows([rows[row] for row in batch], self.tokenizer.pad_id)
                raw = self.model(ids.to(self.model.device), mask.to(self.model.device))
                for row, values in zip(
                    batch, self.model.normalise(raw.cpu().double()), strict=True
                ):
                    scores[row] = values[: len(rows[row])].tolist()
        return scores


def load_process(folder: Path, *, device: str = "cpu", batch_size: int = 64) -> ProcessReward:
    """Loads what ``save`` wrote; ``load_reward`` comes here by ``config.json``."""
    model, tokenizer = open_learned(TokenScorer, folder)
    return ProcessReward(model, tokenizer, device=device, batch_size=batch_size)
