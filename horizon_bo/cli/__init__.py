"""Command line: the package in a shell."""
