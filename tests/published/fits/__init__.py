"""Tests of `horizon_bo.published.fits`."""
