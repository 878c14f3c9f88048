"""Curves of runs: points read between points, and what a Gaussian process makes of them."""

import math

import numpy as np
import pytest

from horizon_bo.core.checks.curves import Curve, CurveProcess, Points, likeliest

SPREADS = (0.02, 0.01, 0.003)


def law(places: np.ndarray) -> np.ndarray:
    """Log losses of a world that bends in the rate alone."""
    n, s, u, x = places.T
    return 1.1 - 0.07 * n - 0.1 * s + 0.05 * (1 - u * u) + 0.02 * x * x


def known(noise: float = 0.0, sizes: tuple[float, ...] = (-3.0, -2.0), seed: int = 0) -> Points:
    """Curves of eight points at four rates of each size."""
    shares = np.geomspace(0.05, 1, 8)
    places, runs = [], []
    for size in sizes:
        for x in (-1.0, 0.0, 1.0, 2.0):
            ones = np.ones_like(shares)
            places.append(np.stack([size * ones, np.log(shares) - 2, shares, x * ones], axis=1))
            runs.append(len(runs) * ones)
    at = np.concat(places)
    generator = np.random.default_rng(seed)
    return Points(at, np.concat(runs), law(at) + noise * generator.standard_normal(len(at)))


def test_a_power_law_is_read_exactly_between_points_however_far_apart_and_lost_losses_are_skipped():
    tokens = np.array([1e6, 2e6, 9e6, 8e7, 1e8])
    losses = 40 * tokens**-0.2
    at = np.array([1.5e6, 5e6, 3e7, 9.9e7])
    np.testing.assert_allclose(
        Curve(tokens, losses).log_losses(at), np.log(40 * at**-0.2), rtol=1e-5
    )
    lost = Curve(np.append(tokens, 3e7), np.append(losses, math.nan))
    np.testing.assert_allclose(lost.log_losses(at), Curve(tokens, losses).log_losses(at))


def test_a_prediction_is_the_likelihood_of_one_more_loss():
    points, place = known(noise=0.01), np.array([[0.0, -1.0, 0.4, 0.3]])
    process = CurveProcess(points, SPREADS)
    mean, sd = process.at(place)
    for away in (0.0, 1.0, -2.5):  # p(new | points) = p(points, new) / p(points)
        losses = np.append(points.log_losses, mean + away * sd)
        more = Points(np.concat([points.places, place]), np.append(points.runs, -1.0), losses)
        ratio = CurveProcess(more, SPREADS).log_likelihood - process.log_likelihood
        assert ratio == pytest.approx(-(away**2) / 2 - math.log(sd[0]), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_larger_run_of_a_plain_law_lies_within_its_band_and_the_band_grows_with_distance(
    seed: int,
):
    process = likeliest(known(noise=0.01, seed=seed))
    places = np.array([[-2.5, -3.0, 0.3, 0.0], [0.0, -3.0, 0.05, 0.0], [0.0, -0.5, 0.6, 0.0]])
    mean, sd = process.at(places)
    assert np.all(abs(mean - law(places)) < 2 * sd)
    assert sd[0] < sd[1] < sd[2]


def test_spreads_are_chosen_as_large_as_the_scatter():
    assert likeliest(known(noise=0.003)).spreads[2] == 0.003
    assert likeliest(known(noise=0.03)).spreads[2] == 0.03
