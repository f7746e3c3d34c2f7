"""Rows of the files that people publish, each of which says who preferred what to what."""
