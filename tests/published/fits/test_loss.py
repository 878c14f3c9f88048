"""Fits recover laws they were given, say how sure they are, and refuse tables that cannot tell."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from horizon_bo.errors import InvalidSpaceError, InvalidTableError
from horizon_bo.published.fits.loss import fit_loss_law
from horizon_bo.published.fits.posterior import sample_posterior
from horizon_bo.published.fits.robust import HUBER_DELTA, fit_curves, huber
from horizon_bo.published.loss import LOSS_LAWS
from tests.published.sweeps import CHINCHILLA, chinchilla_table

KAPLAN, MUENNIGHOFF = LOSS_LAWS["kaplan-loss"], LOSS_LAWS["muennighoff"]

CHINCHILLA_TRUTH = {"E": 1.69, "A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28}


def noisy(loss, seed: int = 0, noise: float = 0.002) -> list[float]:
    rng = np.random.default_rng(seed)
    return (loss * np.exp(noise * rng.standard_normal(len(loss)))).tolist()


def test_chinchilla_is_recovered_within_its_intervals():
    fit = fit_loss_law(chinchilla_table(), "chinchilla", draws=200)
    for name, truth in CHINCHILLA_TRUTH.items():
        low, high = fit.intervals_90[name]
        # five 90 % intervals: all within twice their width but once in 10,000 seeds
        assert low - (high - low) / 2 < truth < high + (high - low) / 2, name
    assert fit.covariance.shape == (5, 5)
    assert math.isclose(fit.diagnostics.residual_sd, 0.004, rel_tol=0.2)
    assert fit.extrapolation_error is not None
    assert fit.extrapolation_error < 0.01


def test_exact_data_give_the_law_back():
    fit = fit_loss_law(chinchilla_table(noise=0.0), "chinchilla", draws=10)
    for name, truth in CHINCHILLA_TRUTH.items():
        assert math.isclose(fit.coefficients[name], truth, rel_tol=1e-3), name


def test_a_prediction_beyond_the_data_covers_the_truth():
    fit = fit_loss_law(chinchilla_table(), "chinchilla", draws=200)
    middle, low, high = fit.predict(params=1e11, tokens=1e13)
    truth = float(CHINCHILLA.loss(1e11, 1e13))
    assert low - 0.01 < truth < high + 0.01
    assert math.isclose(middle, truth, rel_tol=0.01)
    with pytest.raises(InvalidTableError, match="expected also tokens"):
        fit.predict(params=1e11)


def test_posterior_and_bootstrap_agree_on_the_spread():
    table = chinchilla_table()
    sampled = fit_loss_law(table, "chinchilla", draws=1000, bayesian=True)
    resampled = fit_loss_law(table, "chinchilla", draws=300)
    ratio = sampled.draws[:, 2].std() / resampled.draws[:, 2].std()
    # the median-like fit of the bootstrap is up to √(π/2) wider than the Huber posterior
    assert 0.6 < ratio < 1.2
    low, high = sampled.intervals_90["alpha"]
    assert low - 0.01 < 0.34 < high + 0.01


def test_one_outlier_does_not_move_the_law():
    table = chinchilla_table()
    clean = fit_loss_law(table, "chinchilla", draws=10)
    table["loss"][7] *= 1.5
    dirty = fit_loss_law(table, "chinchilla", draws=10)
    assert math.isclose(clean.coefficients["alpha"], dirty.coefficients["alpha"], rel_tol=0.01)
    assert dirty.diagnostics.outliers == (7,)
    assert any("outlying runs" in text for text in dirty.remarks)


def test_kaplans_joint_law_is_recovered():
    table = chinchilla_table(rows=200)
    table["loss"] = noisy(KAPLAN.loss(np.array(table["params"]), np.array(table["tokens"])))
    fit = fit_loss_law(table, "kaplan-loss", draws=50)
    assert math.isclose(fit.coefficients["alpha_N"], 0.076, rel_tol=0.05)
    assert math.isclose(fit.coefficients["alpha_D"], 0.103, rel_tol=0.05)
    assert math.isclose(math.log(fit.coefficients["N_c"]), math.log(6.4e13), rel_tol=0.05)
    assert math.isclose(math.log(fit.coefficients["D_c"]), math.log(1.8e13), rel_tol=0.05)


def test_the_data_constrained_law_is_recovered():
    table = chinchilla_table(rows=500)
    rng = np.random.default_rng(3)
    unique = np.array(table["tokens"]) / np.exp(rng.uniform(0, 4.5, 500))
    losses = MUENNIGHOFF.loss(np.array(table["params"]), np.array(table["tokens"]), unique)
    table |= {"unique_tokens": unique.tolist(), "loss": noisy(losses, noise=5e-4)}
    fit = fit_loss_law(table, "muennighoff", draws=20)
    assert math.isclose(fit.coefficients["R_D"], 15.4, rel_tol=0.1)
    assert math.isclose(fit.coefficients["R_N"], 5.3, rel_tol=0.25)
    assert math.isclose(fit.coefficients["alpha"], 0.34, rel_tol=0.05)


@pytest.mark.parametrize("column", ["params", "tokens", "flops"])
def test_a_broken_power_law_is_recovered(column):
    x = np.geomspace(1e6, 1e12, 60)
    # Caballero et al. (2023), eq. 1, with one break
    loss = 1.0 + 20.0 * x**-0.1 * (1 + (x / 1e9) ** (1 / 0.3)) ** (-0.25 * 0.3)
    fit = fit_loss_law({column: x, "loss": noisy(loss, noise=2e-4)}, f"bnsl-{column}", draws=20)
    assert math.isclose(fit.coefficients["c0"], 0.1, rel_tol=0.1)
    assert math.isclose(math.log10(fit.coefficients["d"]), 9.0, abs_tol=0.3)
    predicted = [fit.predict(**{column: value})[0] for value in x]
    np.testing.assert_allclose(predicted, loss, rtol=1e-3)


def test_the_convex_bound_is_recovered():
    rate, steps = np.meshgrid(np.geomspace(1e-4, 1e-2, 9), np.geomspace(1e3, 3e4, 4))
    rate, steps = rate.ravel(), steps.ravel()
    loss = 2.5 + 0.4**2 / (steps * rate) + 6.0**2 * rate
    table = {"learning_rate": rate, "steps": steps, "loss": noisy(loss, noise=5e-4)}
    fit = fit_loss_law(table, "convex", draws=20)
    assert math.isclose(fit.coefficients["L_inf"], 2.5, rel_tol=0.01)
    assert math.isclose(fit.coefficients["q1"], 0.4, rel_tol=0.05)
    assert math.isclose(fit.coefficients["q2"], 6.0, rel_tol=0.05)


@pytest.mark.slow
def test_a_thousand_bootstraps_of_a_thousand_runs_take_half_a_minute_at_most():
    table = chinchilla_table(rows=1000)
    start = time.process_time()  # which other tests on the machine do not stretch
    fit = fit_loss_law(table, "chinchilla", draws=1000)
    assert time.process_time() - start < 30
    assert fit.draws.shape == (1000, 5)


def test_resampling_cells_sees_errors_that_runs_share():
    rng = np.random.default_rng(5)
    base = chinchilla_table(rows=40, noise=0.0)
    table = {name: np.repeat(column, 8) for name, column in base.items()}
    shared = np.repeat(0.01 * rng.standard_normal(40), 8)
    table["loss"] = table["loss"] * np.exp(shared + 0.001 * rng.standard_normal(320))
    runs, cells = (fit_loss_law(table, "chinchilla", draws=200, by=by) for by in ("run", "cell"))
    assert cells.draws[:, 2].std() > 1.5 * runs.draws[:, 2].std()


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({"params": [1e9] * 40}, "3 different params .there are 1."),
        ({"tokens": [1e10] * 40}, "3 different tokens .there are 1."),
        ({"rows": 4}, "more than 5 usable runs .there are 4."),
        ({"tokens": "20 N"}, "params and tokens that do not move together"),
    ],
)
def test_tables_that_do_not_identify_the_law_are_refused_with_what_is_missing(change, lacking):
    table = chinchilla_table(rows=change.pop("rows", 40))
    if change.get("tokens") == "20 N":
        change = {"tokens": [20 * params for params in table["params"]]}
    with pytest.raises(InvalidTableError, match=lacking):
        fit_loss_law(table | change, "chinchilla")


def test_nan_rows_and_diverged_rows_are_counted_and_named():
    table = chinchilla_table(rows=60)
    table["loss"][3] = math.nan
    table["loss"][8] = math.nan
    table["diverged"] = [row == 5 for row in range(60)]
    fit = fit_loss_law(table, "chinchilla", draws=5)
    assert fit.rows == 57
    assert "1 rows left out because diverged: rows 5" in fit.remarks
    assert "2 rows left out because loss is not a positive number: rows 3, 8" in fit.remarks


def test_missing_columns_and_families_are_named():
    with pytest.raises(InvalidTableError, match="expected also tokens"):
        fit_loss_law({"params": [1.0], "loss": [1.0]}, "chinchilla")
    with pytest.raises(InvalidSpaceError, match="expected one of chinchilla"):
        fit_loss_law({}, "no")
    with pytest.raises(InvalidTableError, match="column loss"):
        fit_loss_law({"params": [1.0], "tokens": [1.0], "loss": ["low"]}, "chinchilla")


def test_the_best_of_each_cell_is_what_a_sweep_of_rates_offers():
    base = chinchilla_table(rows=50, noise=0.001)
    table = {name: column * 3 for name, column in base.items()}
    table["loss"] = [*base["loss"], *(1.1 * loss for loss in base["loss"]), *base["loss"]]
    fit = fit_loss_law(table, "chinchilla", draws=5, best_only=True)
    alone = fit_loss_law(base, "chinchilla", draws=5)
    assert fit.rows == 50
    assert math.isclose(fit.coefficients["E"], alone.coefficients["E"], rel_tol=1e-4)


def test_without_enough_left_the_extrapolation_error_is_said_to_be_unknown():
    table = chinchilla_table(rows=27)
    grid = [(n, d) for n in (1e8, 1e9, 1e10) for d in (1e9, 1e10, 1e11)][:9]
    table["params"], table["tokens"] = map(list, zip(*grid, strict=True))
    table["loss"] = noisy(CHINCHILLA.loss(np.array(table["params"]), np.array(table["tokens"])))
    fit = fit_loss_law(table, "chinchilla", draws=5)
    assert fit.extrapolation_error is not None
    six = {name: [*column[:6], column[8]] for name, column in table.items()}
    poor = fit_loss_law(six, "chinchilla", draws=5)
    assert poor.extrapolation_error is None
    assert any("extrapolation error is unknown" in text for text in poor.remarks)


@given(st.floats(-1, 1))
def test_the_huber_loss_is_quadratic_then_linear(residual):
    size, delta = abs(residual), HUBER_DELTA
    expected = size**2 / 2 if size <= delta else delta * (size - delta / 2)
    assert math.isclose(huber(np.array([residual]))[0], expected, rel_tol=1e-9, abs_tol=1e-300)


def test_the_batched_solver_agrees_with_scipy():
    rng = np.random.default_rng(2)
    x = np.linspace(-1, 1, 50)
    observed = 0.5 + 2.0 * x + 0.01 * rng.standard_normal(50)
    bounds = np.array([[-10.0, -10.0], [10.0, 10.0]])
    found = fit_curves(
        lambda theta: theta[:, :1] + theta[:, 1:] * x, np.zeros((3, 2)), observed, bounds
    )
    scipys = minimize(
        lambda t: huber(t[0] + t[1] * x - observed).mean(), [0.4, 1.9], method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 4000},
    )  # fmt: skip
    assert (found.objective <= scipys.fun * (1 + 1e-5)).all()


def test_problems_may_differ_in_what_was_observed():
    rng = np.random.default_rng(3)
    x = np.linspace(-1, 1, 20)
    observed = rng.standard_normal((4, 2)) @ [np.ones(20), x] + 1e-4 * rng.standard_normal((4, 20))
    line = lambda theta: theta[:, :1] + theta[:, 1:] * x  # noqa: E731
    bounds = np.array([[-10.0, -10.0], [10.0, 10.0]])
    together = fit_curves(line, np.zeros((4, 2)), observed, bounds).coefficients
    for row, alone in zip(observed, together, strict=True):
        (single,) = fit_curves(line, np.zeros((1, 2)), row, bounds).coefficients
        np.testing.assert_allclose(alone, single, rtol=1e-6)


def test_the_sampler_draws_from_a_known_normal():
    covariance = np.array([[1.0, 0.9], [0.9, 1.0]])
    precision = np.linalg.inv(covariance)
    draws = sample_posterior(
        lambda x: -0.5 * np.einsum("pi,ij,pj->p", x, precision, x),
        np.zeros(2), 0.1 * np.eye(2), 8000, np.random.default_rng(0),
    )  # fmt: skip
    # about 2,000 independent draws: 0.1 is four standard errors
    np.testing.assert_allclose(draws.mean(0), 0.0, atol=0.1)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.12)
