"""What a policy is, how one is made from a line, and what it says of an action."""
