"""From texts to rows of ids to scores, in batches of like length that change no score."""
