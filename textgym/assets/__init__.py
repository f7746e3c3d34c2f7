"""Files that are shipped; ``README.md`` here says what they are and how they were made."""
