"""What was written, on disk and again."""
