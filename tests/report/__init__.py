"""Tests of `horizon_bo.report`."""
