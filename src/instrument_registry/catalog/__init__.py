"""The catalogue: instruments, their names, their broker tokens, in time."""
