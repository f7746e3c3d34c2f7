"""What a language model must be, so that it can be written step by step and learned from whole.

Asked of the model itself, with the weights that it has: its logits are its output layer applied to
its last hidden state, and a text that is read in part and then written token by token through a
key-value cache has the states of the same text read at once. What fails either is refused in one
line, and so is what cannot be run at all: recurrent states, positions that are counted by a cache
of another kind, windows that end before a text does, frequencies that change with a text's length.

Differences are measured against how much the states themselves vary, so that neither small weights
hide one nor large ones make one up.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

    from agents.forward.contract import Trunk

__all__ = ["UnfitModelError", "require_plain_head", "require_same_steps", "shortest_window"]

_STEPS = 2
_WIDEST_LOGIT = 50.0  # as large as pretrained models' are; what bends logits bends these
# A root mean square of differences over one of states. A wrong position or an unread token makes
# tenths of it; rounding makes some 1e-6 in float32, 1e-3 with TF32, and 1e-2 in bfloat16.
_ALLOWED = {torch.float64: 2e-3, torch.float32: 2e-3}
_ALLOWED_ROUNDED = 0.05


class UnfitModelError(ValueError):
    """A language model cannot be a policy; the message is one line that says why."""

    def __init__(self, model: PreTrainedModel, why: str) -> None:
        """Says it of a model, as in ``"has no output layer"``."""
        super().__init__(f"{type(model).__name__} {why}; such models are not supported as a policy")


def require_plain_head(model: PreTrainedModel, trunk: Trunk) -> None:
    """Requires that a model's logits are its output layer applied to its trunk's hidden state.

    Args:
        model: The language model.
        trunk: What runs it.

    Raises:
        UnfitModelError: If it does more to them, or cannot be run.
    """
    head = cast("nn.Linear | None", model.get_output_embeddings())  # type: ignore[no-untyped-call] # transformers' is
    if head is None:
        raise UnfitModelError(model, "has no output layer of its own")
    ids = torch.arange(4, device=model.device).unsqueeze(0) % head.weight.shape[0]
    read, said = list[Tensor](), list[Tensor]()

    def replaced(_module: nn.Module, given: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        wide = torch.linspace(-_WIDEST_LOGIT, _WIDEST_LOGIT, logits.numel(), device=logits.device)
        read.append(given[0])
        said.append(wide.to(logits.dtype).view_as(logits))
        return said[-1]

    hook = head.register_forward_hook(replaced)
    try:
        with torch.inference_mode(), _refused(model, "be run on a text"):
            mask = torch.ones_like(ids)
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            states = trunk.full(ids)
    finally:
        hook.remove()
    is_plain = len(said) == 1 and logits.shape == said[0].shape
    if not (
        is_plain and torch.equal(logits.float(), said[0].float()) and _are_close(read[0], states)
    ):
        raise UnfitModelError(model, "does more to its logits than its output embedding")


def shortest_window(model: PreTrainedModel) -> int | None:
    """How many tokens a model looks back in each layer, at least; None for all."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    slides = getattr(config, "use_sliding_window", True) and "sliding_attention" in kinds
    return int(window) if window and slides else None


@torch.inference_mode()
def require_same_steps(model: PreTrainedModel, trunk: Trunk, columns: int) -> None:
    """Requires that a text's states do not depend on how much of it is read at once.

    Args:
        model: The language model.
        trunk: What runs it.
        columns: The longest text that is to be written, at least two tokens.

    Raises:
        UnfitModelError: If they do, or the model cannot be run so.
        ValueError: If texts are longer than its window.
    """
    window = shortest_window(model)
    if window is not None and window < columns:
        raise ValueError(
            f"{type(model).__name__} looks back {window} tokens and texts have "
            f"{columns}; use shorter texts or a model without a sliding window"
        )
    rows = cast("Any", model.get_input_embeddings()).weight.shape[0]
    ids = torch.arange(1, columns + 1, device=model.device).unsqueeze(0) * 7 % rows
    ends = [max(1, columns - _STEPS), max(1, columns // 3)]
    with _refused(model, "be written through a key-value cache"):
        whole = trunk.full(ids)[0]
        pairs = [(trunk.full(ids[:, : ends[1]])[0], whole[: ends[1]])]
        cache = trunk.new_cache(len(ends), columns)
        cache.fit(ends[0])
        lengths = torch.tensor(ends, device=ids.device)
        states = trunk.read(ids[:, : ends[0]].expand(2, -1), cache.add(lengths), cache)
        pairs += [(states[row, :end], whole[:end]) for row, end in enumerate(ends)]
        for step in range(min(_STEPS, columns - ends[0])):
            cache.fit(ends[0] + step + 1)
            places = lengths + step
            pairs.append((trunk.step(ids[0, places], cache), whole[places]))
            cache.lengths = cache.lengths + 1
    if not all(_are_close(actual, expected) for actual, expected in pairs):
        raise UnfitModelError(
            model,
            f"reads a text of {columns} tokens otherwise than it writes it, step by step through a "
            "key-value cache",
        )


def _are_close(actual: Tensor, expected: Tensor) -> bool:
    if actual.shape != expected.shape:
        return False
    allowed = _ALLOWED.get(expected.dtype, _ALLOWED_ROUNDED)
    off = (actual.float() - expected.float()).square().mean().sqrt()
    return bool(off <= allowed * expected.float().square().mean().sqrt())


@contextmanager
def _refused(model: PreTrainedModel, what: str) -> Iterator[None]:
    """Says in one line that a model of transformers raised; memory that runs out is no fault of it.

    Raises:
        UnfitModelError: Instead of what it raised.
    """
    try:
        yield
    except (UnfitModelError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnfitModelError(model, f"cannot {what} ({reason})") from error
