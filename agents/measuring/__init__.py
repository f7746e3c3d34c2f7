"""Measurements of a policy, and their log; nothing here trains."""
