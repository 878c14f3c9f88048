"""Tests of `horizon_bo.core`."""
