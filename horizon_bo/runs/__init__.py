"""Runs: how is what was suggested trained?"""
