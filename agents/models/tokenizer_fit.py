"""Whether a language model fits its tokenizer and its environment, and small repairs if not.

A model has as many rows in its embedding as its makers liked, and most tokenizers have no padding
id. An environment has as many actions as its tokenizer has ids. So the rows are cut, or one is
added, until both numbers are one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from agents.forward.requirements import shortest_window
from textgym.tokenizers import legal_ids

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from textgym.types import Tokenizer

__all__ = [
    "WidthError",
    "fit_vocabulary",
    "require_causal",
    "require_width",
    "use_special_ids",
    "write_as_trained",
]

_ROUNDING = 1e-4  # of how much logits vary
_SHORTER = "make the environment with smaller prompt_tokens and completion_tokens, or rows shorter"
# What two vocabularies of one size are told apart by.
_PROBE = "The film isn't bad: 3 of 10 people, naïve or not, liked its ending.\n"


def use_special_ids(config: PreTrainedConfig, tokenizer: Tokenizer) -> None:
    """Writes the tokenizer's special ids into a model's config, before the model is made.

    An embedding gives its padding id no gradient. Many models pad with their end of text, whose
    embedding would then stay as it is, though an agent writes it.
    """
    text = config.get_text_config()  # of a model that also sees or hears; else the same
    for part in (config, text):
        part.bos_token_id, part.eos_token_id = tokenizer.bos_id, tokenizer.eos_id
        part.pad_token_id = tokenizer.pad_id if tokenizer.pad_id < text.vocab_size else None


def write_as_trained(model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Lets transformers' ``generate`` write as the policy does, also from a folder.

    It ends at the tokenizer's end of text, and draws from what the model says. The settings that a
    model came with, such as other ends, top-k or a penalty of repetitions, are those of its makers.
    """
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call] # transformers' is
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
    )


def fit_vocabulary(
    model: PreTrainedModel, tokenizer: Tokenizer, own: Tokenizer | None = None, *, name: str
) -> None:
    """Gives a model exactly the tokenizer's ids, in place.

    Rows behind the last id are cut off, if it is known that they mean nothing. A padding id one
    past the rows gets a row, the mean of the others; nothing reads it and no action is it.

    Args:
        model: A causal language model.
        tokenizer: The tokenizer to be used with it.
        own: The one that came with the model, if there is one.
        name: What a message calls the model.

    Raises:
        ValueError: If the model lacks an id that a text may hold, ``tokenizer`` spells otherwise
            than ``own``, or there are rows too many and no ``own``.
    """
    rows, size = _rows(model), tokenizer.vocab_size
    if own is not None and (size != own.vocab_size or _spell(tokenizer) != _spell(own)):
        raise ValueError(
            f"the tokenizer, of {size} ids, is not the one that came with the model {name}, of "
            f"{own.vocab_size}; leave it out, or make the environment with the model's"
        )
    needed = {tokenizer.bos_id, *legal_ids(tokenizer).nonzero()[0].tolist()}
    if max(needed) >= rows or size > rows + 1 or (own is None and size < rows):
        raise ValueError(
            f"the model {name} knows {rows} ids and the tokenizer has {size}; give the tokenizer "
            "that belongs to this model"
        )
    if size != rows:
        _resize(model, size)
    for part in (model.config, model.config.get_text_config()):
        part.pad_token_id = tokenizer.pad_id


def _spell(tokenizer: Tokenizer) -> list[int] | None:
    try:
        return tokenizer.encode(_PROBE)
    except ValueError:  # an alphabet that lacks a letter
        return None


def _rows(model: PreTrainedModel) -> int:
    return cast("int", cast("Any", model.get_input_embeddings()).num_embeddings)


@torch.no_grad()
def _resize(model: PreTrainedModel, size: int) -> None:
    rows = _rows(model)
    with torch.random.fork_rng(devices=[]):  # it draws what is overwritten below
        model.resize_token_embeddings(size, mean_resizing=False)
    output = cast("nn.Linear", model.get_output_embeddings())  # type: ignore[no-untyped-call] # transformers' is
    for layer in (model.get_input_embeddings(), output):
        weight = cast("nn.Parameter", layer.weight)
        weight[rows:] = weight[:rows].float().mean(dim=0).to(weight.dtype)
    if output.bias is not None:
        output.bias[rows:] = output.bias[:rows].float().mean().to(output.bias.dtype)


def require_causal(model: PreTrainedModel, *, name: str) -> None:
    """Requires that what a model says of a text does not depend on how the text goes on.

    Args:
        model: A language model in evaluation mode.
        name: What the message calls the model.

    Raises:
        ValueError: If it reads ahead, as BERT does, or cannot read a text.
    """
    try:
        reads_ahead = _reads_ahead(model)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"the model {name} ({type(model).__name__}) cannot read a plain text: {reason}"
        ) from error
    if reads_ahead:
        raise ValueError(
            f"the model {name} ({type(model).__name__}) reads ahead: take a decoder, which sees "
            "only what stands before"
        )


def _reads_ahead(model: PreTrainedModel) -> bool:
    ids = torch.arange(4, device=model.device)[None] % _rows(model)
    given: dict[str, Any] = {"attention_mask": torch.ones_like(ids), "use_cache": False}
    with torch.enable_grad():
        vectors = cast("Any", model.get_input_embeddings())(ids).detach().requires_grad_()
        try:
            # A causal mask makes these derivatives 0, not just small.
            logits = model(inputs_embeds=vectors * 1, **given).logits
            (slope,) = torch.autograd.grad(logits[:, :3].float().square().sum(), vectors)
        except (RuntimeError, TypeError, ValueError, NotImplementedError):
            pass  # it takes ids alone, or computes what has no derivative
        else:
            return bool(slope[:, 3].any())
    with torch.no_grad():
        other = torch.cat([ids[:, :3], (ids[:, 3:] + 1) % _rows(model)], dim=1)
        before, after = (
            model(input_ids=one, **given).logits[:, :3].float() for one in (ids, other)
        )
    spread: Tensor = before.std()
    return bool((before - after).abs().max() > _ROUNDING * spread)


class WidthError(ValueError):
    """A model reads shorter texts than it was to be given.

    Attributes:
        most: The most tokens that it reads.
    """

    def __init__(self, message: str, most: int) -> None:
        """Takes what it says and knows."""
        super().__init__(message)
        self.most = most


def require_width(model: PreTrainedModel, width: int, *, name: str) -> None:
    """Requires that a model can read texts of ``width`` tokens, each token all before it.

    Args:
        model: A language model.
        width: The environment's T, prompt and completion.
        name: What the message calls the model.

    Raises:
        WidthError: If it cannot.
    """
    config = model.config.get_text_config()
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and width > most:
        raise WidthError(
            f"texts have {width} tokens and the model {name} reads {most}; {_SHORTER}",
            most,
        )
    window = shortest_window(model)
    if window is not None and width > window:
        raise WidthError(
            f"texts have {width} tokens and the model {name} looks back {window} at most; "
            f"{_SHORTER}",
            window,
        )
