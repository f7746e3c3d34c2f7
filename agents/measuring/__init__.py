"""Numbers about a policy; nothing here trains."""
