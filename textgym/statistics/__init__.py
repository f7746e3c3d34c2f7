"""How sure one can be of a number: the only room with intervals; numpy and scipy alone."""
