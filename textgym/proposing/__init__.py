"""What can be chosen, and what an edit starts from."""
