"""The mathematics of learning: pure functions of tensors, each with its paper."""
