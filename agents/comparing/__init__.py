"""Many rewards, agents and seeds from one start: the study, its cells, its tables and its page."""
