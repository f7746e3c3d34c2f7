"""The commands that train a policy and let it write."""
