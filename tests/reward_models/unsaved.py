"""A tokenizer that cannot be written down."""

from textgym.tokenizers import CharacterTokenizer


class Unsaved(CharacterTokenizer):
    """As somebody's own may be."""

    @property
    def save(self):
        """Is not there."""
        raise AttributeError("save")
