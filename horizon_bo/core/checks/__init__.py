"""Checks before and while the large run: what is foretold, and what came of it."""
