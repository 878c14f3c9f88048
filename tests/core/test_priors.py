"""Priors: what is believed before the first run is what the table of priors says."""

from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from horizon_bo.core.laws import HorizonLaw
from horizon_bo.core.priors import (
    DEFAULT_PRIORS,
    MUP_OPTIMUM_PER_PARAMS,
    Coefficients,
    coefficients,
    study_priors,
)

close = torch.testing.assert_close
NAMES = list(DEFAULT_PRIORS)


def test_shapes_and_dtypes_are_checked_at_run_time():
    with pytest.raises(TypeCheckError, match="coefficients"):
        coefficients(torch.zeros(2, len(NAMES), dtype=torch.int64))


def value_of(c: Coefficients, name: str) -> torch.Tensor:
    """The coefficient that a prior is named after; priors of logs are of the coefficient's log."""
    for owner in (c.law, c):
        if name in {f.name for f in fields(owner)}:
            return getattr(owner, name)
        if name.removeprefix("log_") in {f.name for f in fields(owner)}:
            return getattr(owner, name.removeprefix("log_")).log()
    raise AssertionError(f"{name} names no coefficient")


def at(name: str, z: float) -> float:
    """The coefficient at one coordinate, all others 0."""
    coordinates = torch.zeros(1, len(NAMES), dtype=torch.float64)
    coordinates[0, NAMES.index(name)] = z
    return value_of(coefficients(coordinates), name).item()


@pytest.mark.parametrize("name", NAMES)
def test_at_zero_every_coefficient_is_its_prior_location(name):
    assert at(name, 0.0) == pytest.approx(DEFAULT_PRIORS[name].location, rel=1e-14)


@pytest.mark.parametrize("name", [name for name in NAMES if not DEFAULT_PRIORS[name].heavy])
@given(z=st.floats(-6, 6))
def test_normal_coefficients_move_in_proportion(name, z):
    prior = DEFAULT_PRIORS[name]
    assert at(name, z) == pytest.approx(prior.location + prior.scale * z, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("name", [name for name in NAMES if DEFAULT_PRIORS[name].heavy])
@given(z=st.floats(-6, 6), step=st.floats(1e-3, 1))
def test_heavy_tailed_coefficients_move_ever_faster(name, z, step):
    prior = DEFAULT_PRIORS[name]
    moved = (at(name, z) - prior.location) / prior.scale
    assert moved == pytest.approx(z + z**3 / 12, abs=1e-12)
    assert at(name, z + step) > at(name, z)


def test_optimum_and_curvature_may_lie_far_from_what_is_expected():
    heavy = {name for name in NAMES if DEFAULT_PRIORS[name].heavy}
    assert heavy == {"log_optimum", "log_curvature"}


def test_every_coefficient_of_the_law_has_a_prior():
    needed = {f.name for f in fields(HorizonLaw)}
    named = {name.removeprefix("log_") if "exponent" in name else name for name in NAMES}
    assert needed <= named


@given(center=st.floats(-12, 0), spread=st.floats(0.1, 3))
def test_a_guess_of_the_optimum_changes_nothing_else(center, spread):
    priors = study_priors(center, spread, "standard")
    changed = {name for name in NAMES if priors[name] != DEFAULT_PRIORS[name]}
    assert changed <= {"log_optimum"}
    assert (priors["log_optimum"].location, priors["log_optimum"].scale) == (center, spread)


def test_the_mup_prior_changes_only_the_size_exponent():
    standard, mup = study_priors(-6.0, 1.0, "standard"), study_priors(-6.0, 1.0, "mup")
    assert {name for name in NAMES if mup[name] != standard[name]} == {"optimum_per_params"}
    assert mup["optimum_per_params"] == MUP_OPTIMUM_PER_PARAMS
    assert MUP_OPTIMUM_PER_PARAMS.location == 0
    assert MUP_OPTIMUM_PER_PARAMS.scale < DEFAULT_PRIORS["optimum_per_params"].scale


def test_coordinates_past_the_priors_offset_other_recipes_and_never_the_own():
    z = torch.zeros(2, len(NAMES) + 2, dtype=torch.float64)
    z[:, len(NAMES) :] = torch.tensor([[1.0, -2.0], [0.0, 3.0]])
    # 0.6: the root mean square of four pairs measured on small runs, 0.1 to 1.1
    expected = 0.6 * torch.tensor([[0, 1.0, -2.0], [0, 0, 3.0]], dtype=torch.float64)
    close(coefficients(z).source_offset, expected)
