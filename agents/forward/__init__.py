"""Ways to run one transformer, tested to be the same; the only room that knows kernels."""
