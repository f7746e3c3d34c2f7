"""A language model behind an HTTP endpoint as the judge."""
