"""Prompts that were laid out once are what they would be if they were laid out again."""

import numpy as np
import pytest

from textgym import Example
from textgym.dynamics import states
from textgym.envs import prompts
from textgym.envs.prompts import Prompts
from textgym.tokenizers import CharacterTokenizer

PAD, BOS, EOS = 0, 1, 2
A, B = 3, 4
TEXTS = ["", "a", "ab", "abba", "bbb"]
RULES = states.Rules(
    prompt_tokens=3,
    completion_tokens=2,
    max_actions=2,
    pad_id=PAD,
    bos_id=BOS,
    eos_id=EOS,
    legal=np.ones(5, dtype=bool),
)


class Counting(CharacterTokenizer):
    """Notes what it encodes."""

    def __init__(self):
        super().__init__("ab")
        self.encoded = []

    def encode_batch(self, texts):
        self.encoded += texts
        return super().encode_batch(texts)


def make(texts=TEXTS):
    tokenizer = Counting()
    return Prompts([Example(prompt=text) for text in texts], tokenizer, RULES), tokenizer


def test_examples_start_with_their_prompts():
    made, _ = make()
    state = made.start(np.array([3, 0, 2, 3]))
    assert state.tokens.tolist() == [
        [BOS, B, A, PAD, PAD],
        [BOS, PAD, PAD, PAD, PAD],
        [BOS, A, B, PAD, PAD],
        [BOS, B, A, PAD, PAD],
    ]
    assert state.prompt_length.tolist() == state.length.tolist() == [3, 1, 3, 3]
    assert state.steps.tolist() == state.stop_reason.tolist() == [0] * 4


def test_each_example_is_encoded_once():
    made, tokenizer = make()
    for numbers in ([1, 1], [2, 1], [2]):
        made.start(np.array(numbers))
    made.row(1), made.row(4)
    assert tokenizer.encoded == ["a", "ab", "bbb"]


def test_a_row_is_a_new_array():
    made, _ = make()
    tokens, length = made.row(2)
    assert (tokens.tolist(), length) == ([BOS, A, B, PAD, PAD], 3)
    tokens[:] = 9
    assert made.row(2)[0].tolist() == [BOS, A, B, PAD, PAD]


def test_what_is_too_much_is_forgotten_and_learned_again(monkeypatch):
    """Many more examples than are kept, and more of them at once than are kept."""
    monkeypatch.setattr(prompts, "_MOST_IDS", 2 * RULES.width)
    made, tokenizer = make()
    for numbers in ([0, 1], [2], [3, 1], [4, 3, 2, 1, 0], [1]):
        state = made.start(np.array(numbers))
        expected = states.lay_out(
            [CharacterTokenizer("ab").encode(TEXTS[n]) for n in numbers], RULES
        )
        assert expected.tokens.tolist() == state.tokens.tolist()
        assert expected.length.tolist() == state.length.tolist()
    assert len(tokenizer.encoded) > len(TEXTS)


def test_room_grows_as_examples_come():
    texts = ["ab" * (number % 3) for number in range(300)]
    made, _ = make(texts)
    for first in range(0, 300, 7):
        made.start(np.arange(first, min(first + 7, 300)))
    state = made.start(np.arange(300))
    assert state.length.tolist() == [(1, 3, 3)[number % 3] for number in range(300)]


def test_a_prompt_that_fails_leaves_the_others_known():
    made, tokenizer = make([*TEXTS, "?"])
    made.start(np.array([0, 1]))
    with pytest.raises(ValueError, match=r"'\?' in '\?' is not in the alphabet"):
        made.start(np.array([2, 5]))
    assert made.start(np.array([1, 0])).length.tolist() == [2, 1]
    assert tokenizer.encoded == ["", "a", "ab", "?"]
