"""The judge: what a text is worth, and the people who say so.

Importing this package loads nothing heavy; its modules are imported by name, for instance
``from reward_models.learning.training import train_reward_model``.
"""

__all__ = [
    "agreement",
    "batching",
    "best_of_n",
    "bootstrap",
    "caching",
    "calibration",
    "card",
    "charts",
    "classifier",
    "endpoint",
    "ensemble",
    "evaluation",
    "fitting",
    "gold",
    "judge",
    "judgements",
    "labelled",
    "loading",
    "losses",
    "lstm",
    "metrics",
    "preferences",
    "pretrained",
    "process",
    "readers",
    "scoring",
    "steps",
    "stepwise",
    "training",
    "transformer",
]
