"""Surrogate: cell summaries, blurring and draws agree with the dense formulas they abbreviate."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_triangular
from scipy.stats import chi2, multivariate_normal, norm

from horizon_bo.core.conditioning import blur, condition, draw_departures, event_weight, token_slope
from horizon_bo.core.points import MOST_CELLS, Cells, Points, Runs, assign_cells
from horizon_bo.core.priors import coefficients
from horizon_bo.core.surrogate import AMPLITUDE, cell_covariance
from tests.dense import dense, loading, log_events
from tests.near import close
from tests.priors import PRIORS
from tests.strategies import seeds
from tests.worlds import drawn_world, runs_at

#: Three cells, one of another recipe; one loss is a mean of three; one run diverged.
ONCE = runs_at(
    log_lr=[-7.5, -6.4, -5.0, -6.9, -5.8, -6.1, -4.4],
    log_scales=[[-2, -1, 0]] * 3 + [[-1, -2, -0.7]] * 2 + [[-1, -1, 0]] * 2,
    loss=[1.21, 1.18, 1.26, 1.14, 1.13, 1.07, math.nan],
    source=[0, 0, 0, 0, 0, 1, 1],
    known_sd=2e-3,
)
RUNS = replace(ONCE, count=np.array([1, 1, 3, 1, 1, 1, 2], dtype=float))


def among_many_cells(runs: Runs) -> Runs:
    """The same runs with cells added where no run is, so that runs are fewer than departures."""
    empty = np.arange(1.0, 1 + len(runs.loss))[:, None] * np.ones((1, 3))
    return replace(
        runs,
        cells=Cells(
            np.concat([runs.cells.log_scales, empty]),
            np.concat([runs.cells.source, np.zeros(len(empty), dtype=int)]),
        ),
    )


def among_few_cells(runs: Runs) -> Runs:
    """The same runs three times over: more runs than departures."""
    return runs.select(np.tile(np.arange(len(runs.loss)), 3))


BOTH_PATHS = pytest.mark.parametrize("arranged", [among_many_cells, among_few_cells])


def coordinates(seed: int, runs: Runs, sets: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Coefficient sets of moderate size and noise factors of the runs."""
    generator = np.random.default_rng(seed)
    columns = len(PRIORS) + int(runs.points.source.max())
    z = 0.7 * generator.standard_normal((sets, columns))
    noise_scale = 0.5 + generator.random((sets, len(runs.loss)))
    return z, noise_scale


@BOTH_PATHS
@pytest.mark.parametrize("seed", range(4))
def test_the_likelihood_is_that_of_the_dense_normal_and_of_the_events(arranged, seed):
    runs = arranged(RUNS)
    z, noise_scale = coordinates(seed, runs)
    ours = condition(z, noise_scale, runs, PRIORS).log_likelihood
    for k in range(len(z)):
        basis, departures, mean, noise = dense(z[k], runs)
        rows, done = loading(basis, runs), ~runs.diverged
        covariance = rows @ departures @ rows.T + np.diag(noise * noise_scale[k])
        normal = multivariate_normal(mean[done], covariance[done][:, done])
        expected = normal.logpdf(runs.loss[done]) + log_events(z[k], runs).sum()
        # a level of sd 1 and noise of sd 1e-3 leave 1e-16 · 1e6 of each
        close(ours[k], expected, rtol=1e-7, atol=1e-7)


@settings(max_examples=20)
@given(seeds)
def test_summaries_of_cells_say_the_same_as_the_runs_themselves(seed):
    many = among_few_cells(RUNS)
    z, noise_scale = coordinates(seed, many)
    by_cells = condition(z, noise_scale, many, PRIORS)
    by_runs = condition(z, noise_scale, among_many_cells(many), PRIORS)
    assert by_cells.design is None
    assert by_runs.design is not None
    close(by_cells.log_likelihood, by_runs.log_likelihood, rtol=1e-7, atol=1e-7)
    slopes = [token_slope(by_cells, many), token_slope(by_runs, among_many_cells(many))]
    close(*slopes, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("power", [1e-3, 0.3, 1.0])
def test_losses_felt_to_a_power_are_blurred_and_events_count_less(power):
    runs = runs_at([-5.9, -5.0], [[-1.0, -2.0, 0.5]] * 2, [1.2, math.nan])
    z, noise_scale = coordinates(5, runs, 1)
    basis, departures, mean, noise = dense(z[0], runs)
    done = ~runs.diverged
    rows = loading(basis, runs)[done]
    variance = (rows @ departures @ rows.T + np.diag((noise * noise_scale[0])[done])).item()
    normal = norm(mean[done], math.sqrt(variance + blur(power)))
    expected = normal.logpdf(runs.loss[done]).item()
    expected += event_weight(power) * log_events(z[0], runs).sum().item()
    ours = condition(z, noise_scale, runs, PRIORS, power).log_likelihood.item()
    assert ours == pytest.approx(expected, rel=1e-7)


def test_at_power_one_nothing_is_blurred_and_every_event_counts():
    assert (blur(1.0), event_weight(1.0)) == (0.0, 1.0)
    assert blur(1e-9) > 100 > 1 > blur(1e-3)


@BOTH_PATHS
def test_draws_of_departures_have_the_moments_of_the_dense_formula(arranged):
    # false-alarm rate 1e-4 for the mean and 1e-4 for each of 3·cells variances and their sum
    runs = arranged(RUNS)
    z, noise_scale = coordinates(2, runs, 1)
    basis, departures, mean, noise = dense(z[0], runs)
    done = ~runs.diverged
    rows = loading(basis, runs)[done]
    gram = rows @ departures @ rows.T + np.diag((noise * noise_scale[0])[done])
    gain = np.linalg.solve(gram, rows @ departures).T
    center = gain @ (runs.loss - mean)[done]
    covariance = departures - gain @ rows @ departures
    root = np.linalg.cholesky(covariance)

    count = 4000
    fit = condition(z, noise_scale, runs, PRIORS)
    draws = draw_departures(fit, np.random.default_rng(0), count).reshape(count, -1)
    white = solve_triangular(root, (draws - center).T, lower=True)
    free = len(white)
    assert count * (white.mean(1) ** 2).sum() < chi2.isf(1e-4, free)
    squares = (white**2).sum(1)
    low, high = chi2.ppf([5e-5, 1 - 5e-5], count)
    assert ((squares > low) & (squares < high)).all()
    products = (np.tril(white @ white.T, -1) ** 2).sum() / count
    assert products < chi2.isf(1e-4, free * (free - 1) // 2)


@BOTH_PATHS
def test_a_diverged_run_contributes_its_hazard_and_nothing_else(arranged):
    without = arranged(RUNS.select(~RUNS.diverged))
    extra = RUNS.select(RUNS.diverged)
    per_run = ("loss", "variance", "count", "cell")
    joined = {name: np.concat([getattr(without, name), getattr(extra, name)]) for name in per_run}
    together = replace(without, points=Points.cat(without.points, extra.points), **joined)
    z, noise_scale = coordinates(1, together)
    alone = condition(z, noise_scale[:, :-1], without, PRIORS)
    both = condition(z, noise_scale, together, PRIORS)
    hazard = np.stack([log_events(one, extra).sum() for one in z])
    close(both.log_likelihood - alone.log_likelihood, hazard, rtol=1e-9, atol=1e-9)
    # factors over all runs and over those that ended differ by rounding
    close(both.center, alone.center, rtol=1e-7, atol=1e-7)


@settings(max_examples=20)
@given(st.permutations(range(len(RUNS.loss))), seeds)
def test_the_order_of_runs_does_not_change_their_likelihood(order, seed):
    z, noise_scale = coordinates(seed, RUNS)
    index = np.array(order)
    ours = condition(z, noise_scale, RUNS, PRIORS).log_likelihood
    theirs = condition(z, noise_scale[:, index], RUNS.select(index), PRIORS).log_likelihood
    close(ours, theirs, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_names_of_recipes_are_immaterial(seed):
    rates, log_scales = [-6.0, -5.5, -5.0, -6.5], [[-1.0, -1.0, 0.0]] * 4
    runs = runs_at(rates, log_scales, [1.1, 1.2, 1.3, 1.1], [0, 1, 2, 1])
    swapped = runs_at(rates, log_scales, [1.1, 1.2, 1.3, 1.1], [0, 2, 1, 2])
    z, noise_scale = coordinates(seed, runs)
    exchanged = np.concat([z[:, :-2], z[:, [-1, -2]]], 1)
    close(
        condition(z, noise_scale, runs, PRIORS).log_likelihood,
        condition(exchanged, noise_scale, swapped, PRIORS).log_likelihood,
        rtol=1e-9,
        atol=1e-8,
    )


def test_losses_can_be_computed_from_departures():
    world = drawn_world(3)
    fit = condition(world.z, np.ones((1, 6)), world.runs, PRIORS)
    basis, _, mean, _ = dense(world.z[0], world.runs)
    expected = mean + loading(basis, world.runs) @ world.departures.flatten()
    ours = fit.expected(world.departures[:, :, world.runs.cell], world.runs)[0]
    close(ours, expected, rtol=1e-12, atol=0)


def test_more_runs_at_one_place_leave_departures_less_uncertain():
    runs = runs_at([-6.0], [[-1.0, -1.0, 0.0]])
    z, _ = coordinates(0, runs, 1)
    spread = []
    for repeats in (1, 4, 16):
        many = runs.select(np.zeros(repeats, dtype=int))
        fit = condition(z, np.ones((1, repeats)), many, PRIORS)
        draws = draw_departures(fit, np.random.default_rng(0), 2000)
        spread.append(fit.expected(draws[:, 0][:, :, many.cell], many).std(0)[0])
    # σ/√n while the prior is wide; a standard deviation of 2,000 draws errs by 1.6 %, 6 of them
    assert spread[1] / spread[0] == pytest.approx(1 / 2, rel=0.13)
    assert spread[2] / spread[0] == pytest.approx(1 / 4, rel=0.13)


def test_an_e_fold_of_tokens_buys_what_the_law_says():
    # without runs the amplitude is its prior mean
    runs = runs_at([], [])
    z, noise_scale = np.zeros((1, len(PRIORS))), np.ones((1, 0))
    fit = condition(z, noise_scale, runs, PRIORS)
    expected = fit.coefficients.law.tokens_exponent * AMPLITUDE[0]
    close(token_slope(fit, runs), expected, rtol=1e-12, atol=0)


@BOTH_PATHS
@pytest.mark.parametrize("seed", [1, 3, 4])
def test_the_amplitude_of_the_fall_with_tokens_is_its_dense_posterior_mean(arranged, seed):
    runs = arranged(RUNS)
    z, noise_scale = coordinates(seed, runs, 1)
    basis, departures, mean, noise = dense(z[0], runs)
    done = ~runs.diverged
    rows = loading(basis, runs)[done]
    gram = rows @ departures @ rows.T + np.diag((noise * noise_scale[0])[done])
    c = coefficients(z, PRIORS)
    growth = np.expm1(-c.law.tokens_exponent * runs.points.log_scales[done, 1])
    change = AMPLITUDE[1] ** 2 * growth @ np.linalg.solve(gram, (runs.loss - mean)[done])
    assert AMPLITUDE[0] + change > 0.01  # smaller ones are held there
    fit = condition(z, noise_scale, runs, PRIORS)
    expected = c.law.tokens_exponent * (AMPLITUDE[0] + change)
    # the jitter of 1e-10 moves amplitudes in the sixth digit
    close(token_slope(fit, runs), expected, rtol=1e-4, atol=0)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(-6, 2), st.integers(-6, 2)), min_size=1, max_size=MOST_CELLS - 1
    ),
    st.integers(0, 1),
)
def test_up_to_a_limit_every_place_and_recipe_is_a_cell_of_its_own(corners, recipe):
    log_scales = np.array([[n, d, 0] for n, d in corners], dtype=float)
    source = np.array([recipe * (k % 2) for k in range(len(corners))])
    cell, cells = assign_cells(Points(np.zeros(len(source)), log_scales, source))
    close(cells.log_scales[cell], log_scales, rtol=0, atol=0)
    close(cells.source[cell], source)
    assert cells.log_scales[0].tolist() == [0, 0, 0]
    assert cells.source[0] == 0
    distinct = {(0, 0, 0), *((n, d, s) for (n, d), s in zip(corners, source.tolist(), strict=True))}
    assert len(cells) == len(distinct)


def test_beyond_the_limit_runs_join_the_nearest_cell_of_their_recipe():
    generator = np.random.default_rng(0)
    log_scales = -6 * generator.random((4 * MOST_CELLS, 3))
    source = np.arange(len(log_scales)) % 2
    cell, cells = assign_cells(Points(np.zeros(len(source)), log_scales, source))
    assert len(cells) == MOST_CELLS
    assert cells.log_scales[0].tolist() == [0, 0, 0]
    assert (cells.source[cell] == source).all()
    for run in range(len(log_scales)):
        own = cells.log_scales[cells.source == source[run]]
        nearest = np.linalg.norm(own - log_scales[run], axis=1).min()
        ours = np.linalg.norm(cells.log_scales[cell[run]] - log_scales[run])
        assert ours == pytest.approx(nearest, abs=1e-9)


def test_cells_decorrelate_twice_as_fast_in_batch_as_in_size_and_tokens():
    def curvatures(*scales: float) -> np.ndarray:
        origin = np.zeros(1)
        here = Points(origin, np.zeros((1, 3)), origin.astype(int))
        there = replace(here, log_scales=np.array([scales], dtype=float))
        return cell_covariance(coefficients(np.zeros((1, len(PRIORS))), PRIORS), here, there)[:, 2]

    close(curvatures(0.0, 0.0, 0.7), curvatures(1.4, 0.0, 0.0))
    close(curvatures(0.0, 0.0, 0.7), curvatures(0.0, 1.4, 0.0))


@BOTH_PATHS
def test_mean_departures_are_those_of_the_dense_formula(arranged):
    runs = arranged(RUNS)
    z, noise_scale = coordinates(2, runs, 1)
    basis, departures, mean, noise = dense(z[0], runs)
    done = ~runs.diverged
    rows = loading(basis, runs)[done]
    gram = rows @ departures @ rows.T + np.diag((noise * noise_scale[0])[done])
    expected = departures @ rows.T @ np.linalg.solve(gram, (runs.loss - mean)[done])
    ours = condition(z, noise_scale, runs, PRIORS).mean_departures
    # losses known to a thousandth lose six digits in either formula
    close(ours.flatten(), expected, rtol=1e-5, atol=1e-8)
