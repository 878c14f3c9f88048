"""Priors: coordinates become coefficients, alone or together, and stretch where tails are heavy."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from horizon_bo.core.hierarchy import Population
from horizon_bo.core.laws import HorizonLaw
from horizon_bo.core.priors import (
    EXPECTED,
    EXPONENTS,
    NAMES,
    UNLIKENESS,
    Coefficients,
    Prior,
    coefficients,
    study_priors,
)
from tests.near import close
from tests.priors import PRIORS

SIZE = len(NAMES)


def test_shapes_and_dtypes_are_checked_at_run_time():
    with pytest.raises(TypeCheckError, match="coefficients"):
        coefficients(np.zeros((2, len(NAMES)), dtype=int), PRIORS)


def value_of(c: Coefficients, name: str) -> np.ndarray:
    """The coefficient that a prior is named after; priors of logs are of the coefficient's log."""
    for owner in (c.law, c):
        if name in {f.name for f in fields(owner)}:
            return getattr(owner, name)
        if name.removeprefix("log_") in {f.name for f in fields(owner)}:
            return np.log(getattr(owner, name.removeprefix("log_")))
    raise AssertionError(f"{name} names no coefficient")


def at(name: str, z: float) -> float:
    """The coefficient at one coordinate, all others 0."""
    coordinates = np.zeros((1, len(NAMES)))
    coordinates[0, NAMES.index(name)] = z
    return value_of(coefficients(coordinates, PRIORS), name).item()


@pytest.mark.parametrize("name", NAMES)
def test_at_zero_every_coefficient_is_its_prior_location(name):
    assert at(name, 0.0) == pytest.approx(PRIORS[name].location, rel=1e-14)


@pytest.mark.parametrize("name", [name for name in NAMES if not PRIORS[name].heavy])
@given(z=st.floats(-6, 6))
def test_normal_coefficients_move_in_proportion(name, z):
    prior = PRIORS[name]
    assert at(name, z) == pytest.approx(prior.location + prior.scale * z, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("name", [name for name in NAMES if PRIORS[name].heavy])
@given(z=st.floats(-6, 6), step=st.floats(1e-3, 1))
def test_heavy_tailed_coefficients_move_ever_faster(name, z, step):
    prior = PRIORS[name]
    moved = (at(name, z) - prior.location) / prior.scale
    assert moved == pytest.approx(z + z**3 / 12, abs=1e-12)
    assert at(name, z + step) > at(name, z)


def test_every_coefficient_of_the_law_has_a_prior():
    needed = {f.name for f in fields(HorizonLaw)}
    named = {name.removeprefix("log_") if "exponent" in name else name for name in NAMES}
    assert needed <= named


def population() -> Population:
    generator = np.random.default_rng(3)
    root = np.tril(generator.normal(size=(SIZE - 1, SIZE - 1)))
    return Population(generator.normal(size=SIZE - 1), root @ root.T)


def test_exponents_vary_together_as_the_population_does():
    learnt = population()
    priors = study_priors(-6.0, 1.0, learnt)
    light = replace(priors, tail=np.zeros_like(priors.tail))
    generator = np.random.default_rng(0)
    z = generator.standard_normal((20_000, len(priors)))
    z[:, -1] = 0.0  # as unlike the population as recipes are
    drawn = coefficients(z, light)
    values = np.stack([value_of(drawn, name) for name in EXPONENTS], -1)
    expected = learnt.covariance[:3, :3]
    scale = np.sqrt(expected.diagonal())
    error = (np.cov(values.T) - expected) / scale / scale[:, None]
    assert float(np.abs(error).max()) < 0.05  # five standard errors of 20,000 draws
    close(values.mean(0) / scale, learnt.mean[:3] / scale, atol=0.04, rtol=0)


def test_a_study_expects_the_populations_exponents_and_its_own_guess():
    learnt = population()
    priors = study_priors(-6.0, 0.7, learnt)
    assert priors["log_optimum"] == Prior(-6.0, pytest.approx(0.7), heavy=True)
    for k, name in enumerate(EXPONENTS):
        sd = float(np.sqrt(learnt.covariance[k, k]))
        assert priors[name] == Prior(pytest.approx(learnt.mean[k]), pytest.approx(sd), heavy=True)
    for name, expected in EXPECTED.items():
        assert priors[name] == expected


def test_a_coefficient_held_otherwise_leaves_the_others_as_they_were():
    priors = study_priors(-6.0, 0.7, population())
    held = priors.held({NAMES[-1]: Prior(3.0, 0.25, heavy=True)})
    assert held[NAMES[-1]] == Prior(3.0, 0.25, heavy=True)
    for name in NAMES[:-1]:
        assert held[name] == priors[name]


def test_an_unlike_recipe_is_so_many_times_as_far_from_the_population_in_all_but_its_best_rate():
    priors = study_priors(-6.0, 0.7, population())
    assert priors.names == (*NAMES, UNLIKENESS)
    z = np.tile(np.linspace(-2, 2, len(priors)), (2, 1))
    z[1, -1] = math.log(3.0) / priors[UNLIKENESS].scale
    z[0, -1] = 0.0
    usual, unlike = coefficients(z, priors).law.mapped(lambda v: v[0]), coefficients(z, priors).law
    assert unlike.log_optimum[1] == usual.log_optimum
    for name in (*EXPONENTS, "log_curvature", "asymmetry"):
        center = priors[name].location
        away = getattr(unlike, name)[1] - center
        close(away, 3.0 * (getattr(usual, name) - center), rtol=1e-12, atol=1e-12)


def test_coordinates_past_the_priors_offset_other_recipes_and_never_the_own():
    z = np.zeros((2, len(NAMES) + 2))
    z[:, len(NAMES) :] = np.array([[1.0, -2.0], [0.0, 3.0]])
    # 0.6: the root mean square of four pairs measured on small runs, 0.1 to 1.1
    expected = 0.6 * np.array([[0, 1.0, -2.0], [0, 0, 3.0]])
    close(coefficients(z, PRIORS).source_offset, expected)
