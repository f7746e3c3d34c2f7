"""The commands that make a corpus: collect, clean, split, check."""
