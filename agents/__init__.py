"""The writer: transformer policies and the algorithms that train them in text environments."""
