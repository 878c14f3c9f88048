"""Measurements: what does the package cost, and what do its parts do for real?"""
