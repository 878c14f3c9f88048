"""Tests of `horizon_bo.tables`."""
