"""The commands that train, measure and compare rewards."""
