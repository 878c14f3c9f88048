"""Fits of the optimum recover known exponents and the published ones from the public sweep."""

import math

import numpy as np
import pytest

from horizon_bo.errors import InvalidTableError
from horizon_bo.published.audit import CURVATURE, CURVATURE_CENTER, CURVATURE_EXPONENTS
from horizon_bo.published.comparison import compare_laws
from horizon_bo.published.fits.optimum import curve_vertices, fit_optimum
from horizon_bo.published.fits.runs import read_runs
from horizon_bo.published.fits.search_factor import fit_search_factor
from tests.published.sweeps import lr_sweep, steplaw

BATCHES = (131_072.0, 262_144.0, 524_288.0)


def test_exponents_of_a_known_sweep_are_recovered_from_its_vertices():
    fit = fit_optimum(
        lr_sweep(batches=BATCHES), inputs=("params", "tokens", "batch_tokens"), vertices=True
    )
    assert math.isclose(fit.exponents["params"], -0.5, abs_tol=0.02)
    assert math.isclose(fit.exponents["tokens"], -0.3, abs_tol=0.02)
    assert math.isclose(fit.exponents["batch_tokens"], 0.4, abs_tol=0.02)
    rate, low, high = fit.predict(params=1.6e9, tokens=3.2e10, batch_tokens=262_144)
    truth = 2e-3 * 8**-0.5 * 8**-0.3
    assert math.isclose(rate, truth, rel_tol=0.05)
    assert low < rate < high
    assert fit.extrapolation_error is not None
    assert fit.extrapolation_error < 0.1
    assert fit.covariance.shape == (4, 4)


def test_near_best_runs_give_the_same_exponents_without_a_parabola():
    fit = fit_optimum(lr_sweep(), by="cell")
    assert math.isclose(fit.exponents["params"], -0.5, abs_tol=0.05)
    assert math.isclose(fit.exponents["tokens"], -0.3, abs_tol=0.05)
    assert "cell" in fit.method


def test_a_power_law_of_batch_is_recovered():
    sizes, lengths = (1e8, 4e8), (2e9, 4e9, 8e9)
    rows = [
        (1e-3, n, d, b, 3.0 + abs(math.log2(b / 65_536) - 0.5 * math.log2(d / 1e9)))
        for n in sizes
        for d in lengths
        for b in 65_536.0 * 2.0 ** np.arange(0, 4.5, 0.5)
    ]
    names = ("learning_rate", "params", "tokens", "batch_tokens", "loss")
    table = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    fit = fit_optimum(table, "batch_tokens", ("tokens",))
    assert math.isclose(fit.exponents["tokens"], 0.5, abs_tol=1e-6)


def test_one_horizon_or_one_size_is_refused_with_what_is_missing():
    with pytest.raises(InvalidTableError, match="2 different tokens"):
        fit_optimum(lr_sweep(lengths=(2e9,)))
    with pytest.raises(InvalidTableError, match="2 different params"):
        fit_optimum(lr_sweep(sizes=(1e8,)))
    with pytest.raises(InvalidTableError, match="no usable run"):
        fit_optimum({name: [math.nan] for name in lr_sweep()})


def test_curves_whose_optimum_is_at_the_edge_are_counted():
    table = lr_sweep(sizes=(1e8, 2e8, 1e14))
    fit = fit_optimum(table, vertices=True)
    assert any("4 curves left out" in text for text in fit.remarks)
    assert fit.rows == 8


def test_the_search_factor_law_is_recovered_from_few_runs():
    table = lr_sweep(lengths=(2e9, 4e9, 8e9))
    few = [k for k, rate in enumerate(table["learning_rate"]) if 5e-4 < rate < 9e-3]
    table = {name: [column[k] for k in few] for name, column in table.items()}
    fit = fit_search_factor(table, draws=100)
    assert math.isclose(fit.coefficients[1], -0.5, abs_tol=0.03)
    assert math.isclose(fit.coefficients[2], -0.3, abs_tol=0.05)
    rate, low, high = fit.predict(1.6e9, 6.4e10)
    assert math.isclose(rate, 2e-3 * 8**-0.5 * 16**-0.3, rel_tol=0.15)
    assert low < rate < high
    assert fit.extrapolation_error is not None
    assert fit.extrapolation_error < 2e-3


def test_two_lengths_say_nothing_of_the_error_in_extrapolation():
    fit = fit_search_factor(lr_sweep(lengths=(2e9, 4e9)), draws=10)
    assert fit.extrapolation_error is None
    assert any("extrapolation error is unknown" in text for text in fit.remarks)


def test_the_search_factor_law_wants_one_batch_three_rates_and_a_bowl():
    with pytest.raises(InvalidTableError, match="batch_tokens takes 3 values"):
        fit_search_factor(lr_sweep(batches=BATCHES))
    with pytest.raises(InvalidTableError, match="2 different tokens"):
        fit_search_factor(lr_sweep(lengths=(2e9,)))
    flat = lr_sweep()
    flat["loss"] = [3.0 - 0.01 * math.log(rate) ** 2 for rate in flat["learning_rate"]]
    with pytest.raises(InvalidTableError, match="no bowl"):
        fit_search_factor(flat)


def test_a_law_at_the_optimum_of_a_sweep_beats_one_that_is_off():
    table = lr_sweep(slope_n=-0.36, slope_d=0.0, batches=BATCHES, slope_b=0.0)
    (first, second), remarks = compare_laws(table, ["kaplan", "porian"])
    # the sweep's optimum is 2e-3 (N/2e8)^-0.36, Porian's law 3.8e-3 there, Kaplan's 6e-4
    assert (first.law, second.law) == ("porian", "kaplan")
    assert 0 < first.mean < second.mean
    assert remarks == ()


def test_step_laws_refit_lands_inside_its_published_bootstrap(data_folder):
    table = steplaw(data_folder)  # all 41 cells; the 17 largest alone give -0.77 and 0.20
    rate = fit_optimum(table)
    assert abs(rate.exponents["params"] - -0.713) < 0.030
    assert abs(rate.exponents["tokens"] - 0.307) < 0.019
    assert math.isclose(rate.standard_errors["params"], 0.030, rel_tol=0.2)
    assert math.isclose(rate.standard_errors["tokens"], 0.019, rel_tol=0.2)
    batch = fit_optimum(table, "batch_tokens", ("tokens",))
    assert abs(batch.exponents["tokens"] - 0.571) < 0.019


def test_at_fixed_batch_the_optimum_does_not_move_with_tokens(data_folder):
    fit = fit_optimum(
        steplaw(data_folder, "steplaw"),
        inputs=("params", "tokens", "batch_tokens"), vertices=True,
    )  # fmt: skip
    assert fit.rows == 156
    published = {"params": -0.60, "tokens": -0.004, "batch_tokens": 0.320}
    for name, exponent in published.items():
        assert math.isclose(fit.exponents[name], exponent, abs_tol=0.005), name
    assert math.isclose(fit.coefficients[0], 1.21, abs_tol=0.01)
    assert math.isclose(fit.residual_sd, 0.265, abs_tol=0.001)
    assert math.isclose(fit.r_squared, 0.74, abs_tol=0.005)


def test_the_curvature_of_an_audit_is_that_of_the_public_sweep(data_folder):
    columns = ("learning_rate", "params", "tokens", "batch_tokens", "loss")
    vertices = curve_vertices(read_runs(steplaw(data_folder, "steplaw"), columns))
    relative = vertices["curvature"] / vertices["loss"]
    # printed: median .0147, 10 to 90 % .0098 to .0249
    np.testing.assert_allclose(
        np.quantile(relative, [0.1, 0.5, 0.9]), [0.0098, 0.0147, 0.0249], rtol=0.01
    )
    names = tuple(CURVATURE_EXPONENTS)
    logs = [vertices.log(n) - math.log(getattr(CURVATURE_CENTER, n)) for n in names]
    x = np.column_stack([np.ones(len(vertices)), *logs])
    found = np.linalg.lstsq(x, np.log(relative), rcond=None)[0]
    np.testing.assert_allclose(np.exp(found[0]), CURVATURE, rtol=0.01)
    np.testing.assert_allclose(found[1:], list(CURVATURE_EXPONENTS.values()), atol=0.005)


#: Mean relative excess over each cell's best run, and cells that could be judged.
PUBLISHED_EXCESS = {
    "step": (0.00118, 17),
    "porian": (0.0069, 16),
    "deepseek": (0.0087, 17),
    "bjorck": (0.0090, 16),
    "kaplan": (0.0137, 15),
}


@pytest.mark.parametrize("law", PUBLISHED_EXCESS)
def test_the_comparison_of_laws_on_the_public_sweep_is_reproduced(data_folder, law):
    # DeepSeek's compute counts attention: 1.125 times 6 N D for these models
    table = steplaw(data_folder, "steplaw")
    (found,), _ = compare_laws(table, [law], flops_factor=1.125, data=["steplaw"])
    excess, cells = PUBLISHED_EXCESS[law]
    assert abs(found.mean - excess) < 0.0003
    assert len(found.excess) == cells
    assert found.fitted_here == (law == "step")
