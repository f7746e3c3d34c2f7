"""Texts for the eye: styled spans for a terminal, and pictures of them."""
