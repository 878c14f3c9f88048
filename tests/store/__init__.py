"""Tests of `horizon_bo.store`."""
