"""From prompts to a ``Rollout`` of whole episodes, whoever writes them."""
