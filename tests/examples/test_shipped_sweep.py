"""The sweep that ships: bowls with their lowest point inside, and a best rate µP holds still."""

import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.measurements.exponents import Bowl, bowls, exponents, of_parametrization, plane
from benchmarks.problems.sweep import TABLE
from horizon_bo.tables.logged import logged_table

CELL = ["source", "params", "tokens", "batch_tokens", "schedule", "averaging"]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(TABLE)


def test_it_can_be_imported_whole_and_every_recipe_has_a_source_of_its_own(table):
    logged = logged_table(TABLE)
    assert len(logged.runs) == len(table)
    assert {run.source for run in logged.runs} == {
        "standard",
        "mup",
        "standard, decay 0",
        "standard, decay 0.5",
    }
    assert not table.duplicated([*CELL, "learning_rate", "seed"]).any()
    assert table["commit"].notna().all()


def test_about_twenty_cells_of_seven_rates_six_under_mup_and_the_other_axes(table):
    grid = table[table["seed"] == 0]
    rates = grid.groupby(["group", *CELL])["learning_rate"].nunique()
    assert (rates >= 7).all()
    cells = rates.groupby("group").size()
    assert cells["sizes"] >= 20
    assert cells["mup"] == 6
    assert cells["batch"] == cells["decay"] == 4
    wsd = table[table["schedule"] == "wsd"].groupby("params")["tokens"].nunique()
    assert wsd.to_dict() == {25_088: 5, 97_280: 4}
    averaged = table[(table["schedule"] == "constant") & (table["averaging"] == "lawa")]
    assert averaged["params"].nunique() == 2


def test_seeds_are_repeated_next_to_the_optimum(table):
    cosine = table[table["group"] == "sizes"]
    for _, cell in cosine.groupby(["params", "tokens"]):
        means = cell.groupby("learning_rate")["loss"].mean()
        repeated = cell.groupby("learning_rate")["seed"].nunique()
        if repeated.max() > 1:
            # within an octave and a half of the best, whatever the noise makes of the best
            apart = np.abs(np.log2(repeated[repeated > 1].index.to_numpy() / means.idxmin()))
            assert apart.min() <= 1.5


def test_loss_against_rate_is_a_bowl_with_an_interior_optimum(table):
    for name in ("standard", "mup"):
        for cell in bowls(of_parametrization(table, name)):
            best = cell.log_optimum()
            whole = of_parametrization(table, name)
            here = whole[(whole["params"] == cell.params) & (whole["tokens"] == cell.tokens)]
            assert math.log(here["learning_rate"].min()) < best, (name, cell.params, cell.tokens)
            assert best < math.log(here["learning_rate"].max()), (name, cell.params, cell.tokens)


def test_the_best_rate_falls_with_width_and_moves_less_than_half_as_much_under_mup(table):
    standard, draws = exponents(bowls(of_parametrization(table, "standard")))
    held = bowls(of_parametrization(table, "mup"))
    mup = plane(held, [cell.log_optimum() for cell in held])[1:]
    # below zero in 95 of 100 redrawn sweeps
    assert np.quantile(draws[:, 0], 0.95) < 0
    assert abs(mup[0]) < abs(standard[0]) / 2


def test_the_parabola_and_the_plane_find_known_optima():
    rates = np.log([0.001, 0.002, 0.004, 0.008, 0.016])
    cells = []
    for params in (1e4, 4e4, 1.6e5):
        for tokens in (1e5, 4e5):
            best = math.log(0.004) - 0.5 * math.log(params / 4e4) + 0.1 * math.log(tokens / 2e5)
            loss = 2 + 0.05 * (rates - best) ** 2
            cells.append(Bowl(params, tokens, rates, loss, np.ones(5)))
    found = plane(cells, [cell.log_optimum() for cell in cells])
    assert found[1:] == pytest.approx([-0.5, 0.1])
    steady, draws = exponents(cells)
    assert steady == pytest.approx([-0.5, 0.1])
    assert draws.std(axis=0) == pytest.approx([0, 0], abs=1e-6)
