"""Sampler: its particles are draws of the posterior, the same ones each time."""

import math

import numpy as np
import pytest
from scipy.special import log_ndtr, logsumexp, softmax
from scipy.stats import chi2, invgamma, kstest

from horizon_bo.core.conditioning import draw_departures
from horizon_bo.core.points import Points
from horizon_bo.core.priors import Coefficients, Prior, Priors, coefficients
from horizon_bo.core.sampler import likeliest, sample
from horizon_bo.core.surrogate import (
    CLIFF_WIDTH,
    NOISE_FREEDOM,
    cell_covariance,
    features,
    level_mean,
)
from tests.priors import PRIORS
from tests.worlds import drawn_world, runs_at

#: SBC compares worlds drawn from these priors. The optimum's is narrow enough that a few runs land
#: in its bowl, else there would be next to nothing to infer.
NARROWER = PRIORS.held({"log_optimum": Prior(-6.5, 0.7, heavy=True)})


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pinned(**free: Prior) -> Priors:
    """Priors with all coefficients but the given ones held at their locations."""
    held = {name: Prior(PRIORS[name].location, 1e-9) for name in PRIORS.names}
    return PRIORS.held({**held, **free})


def test_without_runs_the_particles_are_draws_of_the_prior():
    # false-alarm rate 1e-3 over all coordinates, far less because the points are spread evenly
    posterior = sample(runs_at([], []), PRIORS, generator())
    columns = posterior.z.T.tolist()
    assert len(columns) == len(PRIORS)
    for column in columns:
        assert kstest(column, "norm").pvalue > 1e-3 / len(columns)
    # independent coordinates: z tanh r ~ N(0, 1/n) for each pair
    correlation = np.abs(np.tril(np.corrcoef(posterior.z.T), -1)).max()
    assert math.atanh(correlation) * math.sqrt(len(posterior.z) - 3) < 5.1  # 1e-3 over 153 pairs


def test_the_same_runs_and_seed_give_the_same_particles_bit_for_bit():
    world = drawn_world(1)
    once, again = (sample(world.runs, PRIORS, generator(5), 64) for _ in range(2))
    assert np.array_equal(once.z, again.z)
    assert np.array_equal(once.noise_scale, again.noise_scale)
    other = sample(world.runs, PRIORS, generator(6), 64)
    assert not np.array_equal(once.z, other.z)


def test_a_run_that_diverged_far_above_the_optimum_says_nothing_of_its_noise():
    # the noise factors of a diverged run stay draws of their prior; false-alarm rate 1e-4,
    # counting a quarter of the particles because resampling repeats them
    runs = runs_at([-6.5, -3.0], [[-1.0, -1.0, 0.0]] * 2, [1.1, math.nan])
    posterior = sample(runs, PRIORS, generator(), 1024)
    half = NOISE_FREEDOM / 2
    assert (
        kstest(posterior.noise_scale[::4, 1].tolist(), invgamma(half, scale=half).cdf).pvalue > 1e-4
    )


def exact_optimum(
    loss: np.ndarray, log_lr: np.ndarray, grid: np.ndarray, prior: Prior
) -> tuple[float, float, float]:
    """Mean and standard deviation of ln η* at the target where all else is pinned; ln evidence.

    Student-t noise is averaged over 14 quantiles of each run's noise factor, the cell's departures
    are integrated in closed form, and the optimum is summed over a grid.
    """
    count = len(log_lr)
    z = np.zeros((len(grid), len(PRIORS)))
    z[:, 0] = (grid - prior.location) / prior.scale
    c = coefficients(z, pinned(log_optimum=prior))
    points = Points(log_lr, np.zeros((count, 3)), np.zeros(count, dtype=int))
    f = features(c, points)
    departures = cell_covariance(c, points, points)
    left = f.basis
    covariance = (left[..., None] * departures * left[..., None, :]).sum(1)
    half = NOISE_FREEDOM / 2
    factors = invgamma(half, scale=half).ppf((np.arange(14) + 0.5) / 14)
    combined = np.stack(np.meshgrid(*[factors] * count), -1).reshape(-1, count)  # combination run
    noise = (f.variance[:, None] * combined)[..., None] * np.eye(count)
    full = covariance[:, None] + noise
    missed = (loss - level_mean(c, points.log_scales) - f.mean)[:, None, :, None]
    squares = (missed * np.linalg.solve(full, missed)).sum((-1, -2))
    log_density = -(squares + np.linalg.slogdet(2 * math.pi * full)[1]) / 2
    safety = log_ndtr((grid[:, None] + c.cliff[:, None] - log_lr) / CLIFF_WIDTH)
    log_likelihood = logsumexp(log_density, 1) + safety.sum(1)
    joint = log_likelihood - z[:, 0] ** 2 / 2
    weight = softmax(joint)
    mean = (weight * grid).sum()
    evidence = logsumexp(joint) + math.log((z[1, 0] - z[0, 0]) / math.sqrt(2 * math.pi))
    return float(mean), math.sqrt((weight * (grid - mean) ** 2).sum()), float(evidence)


def test_with_all_else_pinned_the_optimum_has_its_exact_posterior():
    # false-alarm rate 1e-4 each for mean and spread, of 1,024 particles worth at least 256
    prior = Prior(-6.5, 1.0)
    log_lr = np.array([-7.2, -6.0, -5.2])
    loss = np.array([1.012, 1.003, 1.001])
    mean, spread, _ = exact_optimum(loss, log_lr, np.linspace(-10, -2, 321), prior)
    runs = runs_at(log_lr.tolist(), [[0.0, 0.0, 0.0]] * 3, loss.tolist())
    posterior = sample(runs, pinned(log_optimum=prior), generator(), 1024)
    ours = posterior.fit.coefficients.law.log_optimum
    assert 0.1 < spread < 0.8  # the runs say something
    assert abs(ours.mean() - mean) < 3.9 * spread / math.sqrt(256)
    low, high = chi2.ppf([5e-5, 1 - 5e-5], 255) / 255
    assert low < (ours.std(ddof=1) / spread) ** 2 < high


def test_evidence_tells_priors_apart_as_the_exact_one_does():
    log_lr, loss = np.array([-7.2, -6.0, -5.2]), np.array([1.012, 1.003, 1.001])
    runs = runs_at(log_lr.tolist(), [[0.0, 0.0, 0.0]] * 3, loss.tolist())
    told, exact = [], []
    for location in (-6.0, -9.0):
        prior = Prior(location, 1.0)
        grid = np.linspace(location - 6, location + 6, 481)
        exact.append(exact_optimum(loss, log_lr, grid, prior)[2])
        told.append(sample(runs, pinned(log_optimum=prior), generator(), 2048).log_evidence)
    assert exact[0] - exact[1] > 2
    # weights of 2,048 particles, a fifth effective: five standard errors of some six stages
    assert told[0] - told[1] == pytest.approx(exact[0] - exact[1], abs=0.6)


def test_of_several_populations_the_one_that_finds_the_runs_likeliest_is_taken():
    runs = drawn_world(1).runs
    source = generator(3)
    each = [sample(runs, PRIORS, source, 64) for _ in range(3)]
    best = likeliest(runs, PRIORS, generator(3), 64, 3)
    assert best.log_evidence == max(one.log_evidence for one in each)
    assert len({one.log_evidence for one in each}) == 3


#: What the ranks are checked of; the last is the target's own optimum.
CLAIMS = ["log_optimum", "optimum_per_tokens", "log_curvature", "noise_sd", "drifted_optimum"]


def claims(c: Coefficients, drift: np.ndarray) -> np.ndarray:
    """Values of `CLAIMS`, one row a claim."""
    optimum = c.law.log_optimum
    rows = [optimum, c.law.optimum_per_tokens, c.law.log_curvature, c.noise_sd, optimum + drift]
    return np.stack(rows)


@pytest.fixture(scope="module")
def ranks() -> np.ndarray:
    """How many of 120 worlds drawn from the model have their truth in each eighth of the draws."""
    counts = np.zeros((len(CLAIMS), 8))
    for seed in range(120):
        world = drawn_world(seed, priors=NARROWER)
        posterior = sample(world.runs, NARROWER, generator(seed), 128)
        drift = draw_departures(posterior.fit, generator(seed))[0, :, 1, 0]
        truth = claims(coefficients(world.z, NARROWER), world.departures[:, 1, 0])
        below = claims(posterior.fit.coefficients, drift) < truth
        counts[range(len(CLAIMS)), np.minimum((8 * below.mean(1)).astype(int), 7)] += 1
    return counts


@pytest.mark.calibration
@pytest.mark.slow
@pytest.mark.parametrize("claim", CLAIMS)
def test_ranks_of_the_truth_among_posterior_draws_are_uniform(ranks, claim):
    # Simulation-based calibration, Talts et al. (2018), arXiv:1804.06788, by chi-square with a
    # false-alarm rate of 1e-3 for each claim.
    counts = ranks[CLAIMS.index(claim)]
    expected = counts.sum() / 8
    assert ((counts - expected) ** 2).sum() / expected < chi2.isf(1e-3, 7), counts
