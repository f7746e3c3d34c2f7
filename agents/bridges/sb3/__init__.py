"""Stable-Baselines3 both ways: its PPO with our policy, our learners with its callbacks."""
