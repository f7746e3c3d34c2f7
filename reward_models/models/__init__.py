"""What scores a text: learned models, ensembles of them, and the gold judge."""
