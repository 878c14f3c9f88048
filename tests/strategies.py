"""Hypothesis strategies for the domain: plausible laws, coordinates and runs, in float64."""

from dataclasses import fields

import numpy as np
from hypothesis import strategies as st

from horizon_bo.core.laws import HorizonLaw
from tests.priors import PRIORS


def within(name: str, width: float = 3.0) -> st.SearchStrategy[float]:
    """Values of a coefficient up to so many prior scales from its prior's location."""
    prior = PRIORS[name]
    return st.floats(prior.location - width * prior.scale, prior.location + width * prior.scale)


def vectors(size: int, low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    """Vectors of that size with entries in a range."""
    return st.lists(st.floats(low, high), min_size=size, max_size=size).map(np.array)


laws = st.builds(
    HorizonLaw,
    params_exponent=st.floats(0.05, 1.0),
    tokens_exponent=st.floats(0.05, 1.0),
    **{f.name: within(f.name) for f in fields(HorizonLaw) if not f.name.endswith("_exponent")},
)
log_units = st.floats(-7.0, 7.0).map(np.asarray)
seeds = st.integers(0, 2**31 - 1)
