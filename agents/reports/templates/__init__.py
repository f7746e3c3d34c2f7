"""The HTML templates of this package; they are read as package data."""
