"""From answers, ratings or labels to a model that scores."""
