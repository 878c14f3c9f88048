"""Benchmarks: problems, measurements and what came of them."""
