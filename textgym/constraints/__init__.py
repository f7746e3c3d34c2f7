"""What a completion may consist of."""
