"""Training: a small, correct language-model trainer that needs nothing but a Python install.

It is the built-in objective of the tuner and imports nothing of it.
"""
