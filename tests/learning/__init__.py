"""Tests of `horizon_bo.learning`."""
