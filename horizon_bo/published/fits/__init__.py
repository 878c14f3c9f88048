"""Fits: what do a user's own runs say about a published law?"""
