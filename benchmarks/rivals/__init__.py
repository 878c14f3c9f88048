"""Rivals: other ways to choose the learning rate, each by its own library, in one protocol."""
