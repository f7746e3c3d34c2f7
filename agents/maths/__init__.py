"""The mathematics of learning: pure functions of tensors, their papers named."""
