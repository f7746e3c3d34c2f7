r"""Where two texts part: what they have in common is the prompt, what follows are completions.

Conversations become text as ``User: ...\nBot: ...``, which is how the task Dialogue writes them. A
model that has a chat template of its own is better served by texts that were made with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["prompt_and_completions", "render", "split_texts"]

_SPEAKERS = {"system": "System", "user": "User", "human": "User", "assistant": "Bot", "gpt": "Bot"}
_ANSWERS = "Bot:"
_TURN = re.compile(r"\n\nAssistant:")


def render(messages: Sequence[Any]) -> list[str]:
    """Writes each message of a conversation as text, as in ``"User: Hello"``.

    Args:
        messages: ``{"role": ..., "content": ...}``, or the same as ``from`` and ``value``.

    Raises:
        ValueError: If one of them is no message of text.
    """
    lines = []
    for message in messages:
        role = message.get("role", message.get("from")) if isinstance(message, dict) else None
        content = message.get("content", message.get("value")) if role else None
        if role not in _SPEAKERS or not isinstance(content, str):
            raise ValueError(
                f'{message!r:.80} is no message; one is {{"role": ..., "content": "text"}}, with a '
                f"role out of {', '.join(_SPEAKERS)}"
            )
        lines.append(f"{_SPEAKERS[role]}: {content}")
    return lines


def prompt_and_completions(
    prompt: str | list[Any] | None, texts: Sequence[str | list[Any]]
) -> tuple[str, list[str]]:
    """Makes a prompt and the completions that follow it, all text.

    Args:
        prompt: A text or a conversation; None if the texts begin with it.
        texts: Texts, or conversations; two if there is no prompt.

    Returns:
        The prompt, and a completion a text. Prompt and completion, put together, are the whole. A
        completion of a conversation begins with a space.

    Raises:
        ValueError: If texts and conversations are mixed, or an answer is not the assistant's.
    """
    kinds = {isinstance(text, list) for text in texts}
    if len(kinds) > 1 or (isinstance(prompt, list) and kinds != {True}):
        raise ValueError("conversations and plain texts are mixed; make all of them lists, or none")
    if kinds == {False}:
        if prompt is not None:
            return str(prompt), [str(text) for text in texts]
        common, one, other = split_texts(str(texts[0]), str(texts[1]))
        return common, [one, other]
    turns = [render(text) for text in texts]
    if prompt is None:
        shared = _shared(turns)
        head, turns = turns[0][:shared], [rest[shared:] for rest in turns]
    else:
        head = render(prompt) if isinstance(prompt, list) else [str(prompt)]
    if not all(rest and rest[0].startswith(_ANSWERS) for rest in turns):
        raise ValueError("what follows the prompt does not begin with a message of the assistant")
    completions = ["\n".join(rest).removeprefix(_ANSWERS) for rest in turns]
    return "\n".join([*head, _ANSWERS]), completions


def split_texts(one: str, other: str) -> tuple[str, str, str]:
    r"""Takes off what two whole texts begin with in common.

    In transcripts whose turns begin with ``\n\nHuman:`` and ``\n\nAssistant:`` it ends with the
    last ``Assistant:`` that both have, and an answer may be empty; in other texts, before the space
    in front of the first word that differs, so that neither rest is empty.

    Returns:
        What they have in common, the rest of the first, the rest of the second.
    """
    shortest = min(len(one), len(other))
    common = _common_length(one, other)
    ends = [turn.end() for turn in _TURN.finditer(one[:common])]
    if ends:
        cut = ends[-1]
    else:
        places = range(min(common, shortest - 1), 0, -1)
        cut = next((i for i in places if one[i].isspace() and other[i].isspace()), 0)
    return one[:cut], one[cut:], other[cut:]


def _common_length(one: str, other: str) -> int:
    """How many characters two texts begin with in common, found by halving: texts are long."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _shared(turns: Sequence[Sequence[str]]) -> int:
    """How many messages all conversations begin with; each keeps one at least."""
    most = min(map(len, turns)) - 1
    return next(
        (i for i in range(most) if len({conversation[i] for conversation in turns}) > 1), most
    )
