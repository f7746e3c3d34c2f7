"""Tokenizers of transformers of every kind of vocabulary, each with an end and a mark of turns."""

from tokenizers import (
    AddedToken,
    ByteLevelBPETokenizer,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
)
from transformers import PreTrainedTokenizerFast

from textgym.tokenizers import HuggingFaceTokenizer

END, TURN, UNKNOWN = "<|end|>", "<|turn|>", "[UNK]"
STOP = "<|tend|>"  # special, and named nowhere but among the added tokens, as in Llama 3
THOUGHT = "<untrue>"  # added behind it, and no special one
LETTERS = "<|>endtur ab"
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content | trim }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


def wrapped(backend):
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END, unk_token=UNKNOWN, chat_template=CHAT
    )
    fast.add_special_tokens({"additional_special_tokens": [TURN]})
    fast.add_tokens([AddedToken(STOP, special=True), AddedToken(THOUGHT, special=False)])
    return HuggingFaceTokenizer(fast)


def byte_level():
    backend = ByteLevelBPETokenizer()
    texts = [f"the end {END} of a turn {TURN}", "a film"] * 3
    backend.train_from_iterator(texts, 400, special_tokens=[END, TURN, UNKNOWN])
    return wrapped(backend._tokenizer)


def merged():
    """Its merges lead to the spelling of the end, as if it had been read a thousand times."""
    pieces = [END[: size + 1] for size in range(len(END))]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys([*pieces, *LETTERS]))}
    merges = [(pieces[size], END[size + 1]) for size in range(len(END) - 1)]
    vocabulary |= {TURN: len(vocabulary), UNKNOWN: len(vocabulary) + 1}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token=UNKNOWN))
    backend.decoder = decoders.Fuse()
    return wrapped(backend)


def unigram():
    """Its pieces are those of sentencepiece, the control pieces among them, at no cost."""
    pieces = [(UNKNOWN, 0.0), (END, 0.0), (TURN, 0.0), *((letter, -3.0) for letter in LETTERS)]
    backend = Tokenizer(models.Unigram([*pieces, ("end", -2.0)], unk_id=0, byte_fallback=False))
    backend.decoder = decoders.Fuse()
    return wrapped(backend)


def words():
    """Whole words, of which the specials are some; what is no known word is unknown."""
    vocabulary = {word: number for number, word in enumerate([UNKNOWN, END, TURN, "a", "b", "end"])}
    backend = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return wrapped(backend)


def word_pieces():
    pieces = [UNKNOWN, END, TURN, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.WordPiece(prefix="##")
    return wrapped(backend)


KINDS = {make.__name__: make() for make in (byte_level, merged, unigram, words, word_pieces)}


def special_ids(tokenizer):
    plain = tokenizer._tokenizer
    return {plain.convert_tokens_to_ids(piece) for piece in (END, TURN, STOP)}
