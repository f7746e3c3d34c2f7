"""The commands that ask people."""
