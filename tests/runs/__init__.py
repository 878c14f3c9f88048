"""Tests of `horizon_bo.runs`."""
