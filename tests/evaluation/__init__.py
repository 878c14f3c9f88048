"""Tests of `horizon_bo.evaluation`."""
