"""Gymnasium's interfaces around the dynamics: one text, and a batch of them."""
