"""Tests of `horizon_bo.cli`."""
