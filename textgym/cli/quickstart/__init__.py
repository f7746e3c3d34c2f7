"""The quickstart: its plan, its stages, what is measured, and going on after a stop."""
