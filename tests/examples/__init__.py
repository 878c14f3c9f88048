"""Tests of `horizon_bo.examples`."""
