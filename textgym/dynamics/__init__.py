"""What an action does to texts: pure functions over ``(N, T)`` arrays, a kind of action a file."""
