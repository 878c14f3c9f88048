"""Versions: one file for each format, which says how the format before becomes it."""
