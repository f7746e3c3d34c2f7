r"""Where two texts part: what they have in common is the prompt, what follows are completions.

Conversations become text as ``User: ...\nBot: ...``, which is how the task Dialogue writes them. A
model that has a chat template of its own is better served by texts that were made with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_turns", "prompt_and_completions", "render", "split_texts"]

_SPEAKERS = {
    **dict.fromkeys(("system", "developer"), "System"),
    **dict.fromkeys(("user", "human", "prompter"), "User"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt"), "Bot"),
    **dict.fromkeys(("tool", "function", "observation", "ipython"), "Tool"),
}
_ANSWERS = "Bot:"
_TURN = re.compile(r"\n\nAssistant:")


def render(messages: Sequence[Any]) -> list[str]:
    """Writes each message of a conversation as text, as in ``"User: Hello"``.

    Args:
        messages: ``{"role": ..., "content": ...}``, or the same as ``from`` and ``value``. A
            content is a text, or a list of parts that are texts: ``{"type": "text", "text": ...}``.

    Raises:
        ValueError: If one of them is no message of text.
    """
    lines = []
    for message in messages:
        role = message.get("role", message.get("from")) if isinstance(message, dict) else None
        content = _content(message.get("content", message.get("value"))) if role else None
        speaker = _SPEAKERS.get(role.lower()) if isinstance(role, str) else None
        if speaker is None or content is None:
            raise ValueError(
                f'{message!r:.80} is no message; one is {{"role": ..., "content": "text"}}, with a '
                f"role out of {', '.join(_SPEAKERS)}"
            )
        lines.append(f"{speaker}: {content}")
    return lines


def as_turns(prompt: Sequence[str | None], answers: Sequence[str | None]) -> list[dict[str, Any]]:
    """Makes a conversation of what a user said by and by, and what was answered each time.

    Raises:
        ValueError: If there are not as many answers as there is to answer.
    """
    if len(prompt) != len(answers):
        raise ValueError(f"{len(answers)} answers to {len(prompt)} turns; give one each")
    turns = (
        ({"role": "user", "content": said or ""}, {"role": "assistant", "content": answer or ""})
        for said, answer in zip(prompt, answers, strict=True)
    )
    return [message for turn in turns for message in turn]


def prompt_and_completions(
    prompt: str | list[Any] | None, texts: Sequence[str | list[Any]]
) -> tuple[str, list[str]]:
    """Makes a prompt and the completions that follow it, all text.

    Args:
        prompt: A text or a conversation; None if the texts begin with it.
        texts: Texts, or conversations, which may begin with the prompt as well; two if there is no
            prompt. Where there is a conversation, a text is a message of the assistant.

    Returns:
        The prompt, and a completion a text. Prompt and completion, put together, are the whole. A
        completion of a conversation begins with a space.

    Raises:
        ValueError: If texts and conversations are mixed without a prompt, or an answer is not the
            assistant's.
    """
    if not isinstance(prompt, list) and all(isinstance(text, str) for text in texts):
        if prompt is not None:
            return prompt, [str(text) for text in texts]
        common, one, other = split_texts(str(texts[0]), str(texts[1]))
        return common, [one, other]
    if prompt is None and not all(isinstance(text, list) for text in texts):
        raise ValueError("conversations and plain texts are mixed; make all of them lists, or none")
    turns = [
        render(text if isinstance(text, list) else [{"role": "assistant", "content": text}])
        for text in texts
    ]
    head, turns = _head(prompt, turns)
    if not all(rest and rest[0].startswith(_ANSWERS) for rest in turns):
        raise ValueError("what follows the prompt does not begin with a message of the assistant")
    completions = ["\n".join(rest).removeprefix(_ANSWERS) for rest in turns]
    return "\n".join([*head, _ANSWERS]), completions


def _head(
    prompt: str | list[Any] | None, turns: Sequence[list[str]]
) -> tuple[list[str], list[list[str]]]:
    """What comes before the answers, and what is left of each conversation."""
    if isinstance(prompt, list):
        head = render(prompt)
        repeated = all(conversation[: len(head)] == head for conversation in turns)
        return head, [rest[len(head) * repeated :] for rest in turns]
    shared = _shared(turns)
    if prompt is not None and all(rest[0].startswith(_ANSWERS) for rest in turns):
        return [prompt], list(turns)
    head = turns[0][:shared]
    if prompt is not None and not any(prompt.strip() in message for message in head):
        raise ValueError("what both conversations begin with has nothing of the prompt")
    return head, [rest[shared:] for rest in turns]


def _content(value: Any) -> str | None:
    """The text of a message; None if it is made of something else."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return None
    text = ""
    for part in value:
        is_text = isinstance(part, dict) and part.get("type", "text") == "text"
        said = part.get("text") if is_text else part
        if not isinstance(said, str):
            return None
        text += said
    return text


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
