"""Tests of `horizon_bo.study`."""
