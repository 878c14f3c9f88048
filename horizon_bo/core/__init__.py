"""Core: the mathematics, from a study to the next run and the rate to train with."""
