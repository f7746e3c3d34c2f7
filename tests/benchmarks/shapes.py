"""What the benchmarks of policies share: prompts, a free reward, and models of two sizes."""

from types import SimpleNamespace
from typing import NamedTuple

import gymnasium as gym

from textgym.types import Example

ROWS, PROMPT, NEW, SPECIAL = 128, 16, 48, 3


class Shape(NamedTuple):
    """Of a GPT-2; its first three ids are special."""

    vocabulary: int
    layers: int
    width: int
    heads: int

    @property
    def letters(self):
        """One for each id that is not special; from U+20000 on there is room for any vocabulary."""
        return "".join(chr(0x20000 + i) for i in range(self.vocabulary - SPECIAL))

    @property
    def prompts(self):
        """Of one token less than ``PROMPT``, before which stands the beginning of text."""
        return prompts_of(self.letters, PROMPT)

    def config(self, kind, attention="eager", **more):
        """Makes transformers' configuration of class ``kind``."""
        return kind(
            vocab_size=self.vocabulary,
            n_embd=self.width,
            n_layer=self.layers,
            n_head=self.heads,
            n_positions=PROMPT + NEW,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            attn_implementation=attention,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            **more,
        )


SHAPES = {"S": Shape(4096, 4, 256, 4), "M": Shape(8192, 6, 512, 8)}


def free(prompts, completions, **columns):
    """Costs nothing to speak of, and differs, so that there is something to learn."""
    return [float(ord(text[0]) % 7) if text else 0.0 for text in completions]


def prompts_of(letters, tokens):
    """512 texts that are one token shorter, before which stands the beginning of text."""
    twice = letters * (1 + (512 + tokens) // len(letters))
    return [twice[i : i + tokens - 1] for i in range(512)]


def make_envs(shape, rows=ROWS, backend="torch", *, prompt=PROMPT, new=NEW, **kwargs):
    """Our environment with such prompts and that reward.

    Args:
        shape: Whose letters.
        rows: How many are played at once.
        backend: numpy or torch.
        prompt: Tokens of a prompt.
        new: Tokens of a completion at most.
        **kwargs: Of the environment.
    """
    letters = shape.letters
    task = SimpleNamespace(
        name="Speed",
        prompt_tokens=prompt,
        completion_tokens=new,
        tokenizer="characters:" + letters,
        reward=free,
        splits=("train",),
        examples=lambda split: [Example(prompt=text) for text in prompts_of(letters, prompt)],
    )
    return gym.make_vec(
        "TextGym/Alphabet-v0",
        num_envs=rows,
        task=task,
        reward=free,
        backend=backend,
        autoreset_mode="Disabled",
        **kwargs,
    ).unwrapped
