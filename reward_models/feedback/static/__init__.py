"""What the pages load: a style and a script each."""
