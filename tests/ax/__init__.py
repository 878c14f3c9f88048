"""Tests of the tuner inside Ax."""
