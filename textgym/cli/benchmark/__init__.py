"""Rewards and policies compared: a study and its page, and policies side by side."""
