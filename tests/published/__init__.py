"""Tests of what the literature says."""
