"""The reward card: what a reward is worth, as one JSON file and one self-contained page."""

from reward_models.card.assembly import CardConfig, make_card
from reward_models.card.data import CardData, card_data, read_card_data
from reward_models.card.page import draw_card, render_card, write_card

__all__ = [
    "CardConfig",
    "CardData",
    "card_data",
    "draw_card",
    "make_card",
    "read_card_data",
    "render_card",
    "write_card",
]
