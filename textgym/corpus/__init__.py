"""From raw files to a clean corpus: what is collected, mended, dropped and divided, and why."""
