"""``textgym tokenizer``: a vocabulary of your own texts, and what any vocabulary makes of them."""
