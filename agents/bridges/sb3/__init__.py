"""Stable-Baselines3's PPO with our policy, and its callbacks and logger with our learners."""
