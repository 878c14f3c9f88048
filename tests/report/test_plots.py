"""Plots: what they show is what the tuner says, and matplotlib is left as it was."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from horizon_bo import HorizonTuner, plots
from horizon_bo.core.decision import decide
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.report import series
from horizon_bo.report.batches import batch_chart
from horizon_bo.report.series import optimum_figures
from horizon_bo.report.style import PALETTE
from tests.beliefs import CELLS, WORLD
from tests.studies import TARGET, logged, small_tuner

ONE = ["bowl", "contributions", "law_opinions", "optimum_by_params", "optimum_by_tokens"]


@pytest.fixture(scope="module")
def tuner() -> HorizonTuner:
    """A tuner with runs that ended in every way there is."""
    made = small_tuner()
    made.import_runs(WORLD.sweep(CELLS[:3], (-1, 0, 1, 2)))
    made.observe(logged(learning_rate=1.5e-2, loss=None), diverged=True)
    made.observe(logged(loss=None), failed=True)
    return made


def answer(ax: Axes) -> tuple[float, float]:
    """Where the recommendation is marked."""
    (mark,) = [line for line in ax.lines if line.get_label() == "recommended"]
    return float(np.ravel(mark.get_xdata())[-1]), float(np.ravel(mark.get_ydata())[-1])


def test_the_bowl_is_marked_where_recommend_says(tuner):
    best = tuner.recommend()
    assert answer(plots.bowl(tuner)) == (best.learning_rate, best.expected_regret)


def test_the_best_rate_at_the_target_is_marked_where_recommend_says(tuner):
    best, target = tuner.recommend(), tuner.study.target
    assert answer(plots.optimum_by_tokens(tuner)) == (target.tokens, best.learning_rate)
    assert answer(plots.optimum_by_params(tuner)) == (target.params, best.learning_rate)
    assert answer(plots.law_opinions(tuner))[0] == best.learning_rate


def test_every_run_is_on_the_curve_under_its_status(tuner):
    ax = plots.optimum_by_tokens(tuner)
    counts = {str(c.get_label()): len(np.asarray(c.get_offsets())) for c in ax.collections[1:]}
    assert counts == {"run, completed": 12, "run, diverged": 1, "run, failed": 1}


def test_contributions_are_those_of_the_runs(tuner):
    (points,) = plots.contributions(tuner).collections
    runs = optimum_figures(tuner.study, tuner.belief, decide(tuner.belief))[2]
    told = runs.regret_removed > 0
    expected = np.stack([runs.cost[told], runs.regret_removed[told]], 1)
    np.testing.assert_array_equal(np.asarray(points.get_offsets()), expected)


def test_the_spend_ends_at_the_recommendation(tuner):
    regret, rate = plots.spend(tuner)
    best = tuner.recommend()
    assert np.ravel(regret.lines[0].get_ydata())[-1] == best.expected_regret
    assert np.ravel(rate.lines[0].get_ydata())[-1] == best.learning_rate
    at = np.ravel(regret.lines[0].get_xdata())
    assert np.isclose(at[-1], best.spent / tuner.study.target.flops, rtol=1e-12)


@pytest.mark.parametrize("name", [*ONE, "spend"])
def test_a_figure_has_units_and_its_labels_do_not_overlap(tuner, name):
    drawn = getattr(plots, name)(tuner)
    for ax in drawn if isinstance(drawn, tuple) else (drawn,):
        figure = ax.get_figure(root=True)
        figure.draw_without_rendering()
        assert any(unit in ax.get_xlabel() for unit in ("rate", "(count)", "(share of"))
        if name != "law_opinions":
            assert "(nats per token)" in ax.get_ylabel() or "learning rate" in ax.get_ylabel()
        low, high = ax.get_xlim()
        spans = sorted(
            label.get_window_extent().extents[[0, 2]].tolist()
            for tick, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
            if low <= tick <= high and label.get_text()
        )
        assert len(spans) >= 2
        assert all(left[1] <= right[0] for left, right in pairwise(spans))


def test_a_figure_is_drawn_into_the_axes_that_are_given(tuner):
    figure = Figure()
    axes = figure.subplots(2, 4).ravel().tolist()
    for ax, name in zip(axes, ONE, strict=False):
        assert getattr(plots, name)(tuner, ax=ax) is ax
    assert plots.spend(tuner, axes=(axes[5], axes[6])) == (axes[5], axes[6])
    assert len(figure.axes) == 8


def test_a_study_without_runs_has_figures_of_its_prior():
    tuner = small_tuner()
    for name in (*ONE, "spend"):
        drawn = getattr(plots, name)(tuner)
        ax = drawn[0] if isinstance(drawn, tuple) else drawn
        ax.get_figure(root=True).draw_without_rendering()
    assert answer(plots.bowl(tuner))[0] == tuner.recommend().learning_rate


def test_settings_of_matplotlib_are_left_alone(tuner):
    before = dict(matplotlib.rcParams)
    plots.bowl(tuner)
    assert dict(matplotlib.rcParams) == before


def test_pyplot_is_not_loaded():
    code = "import sys, horizon_bo.report.plots; print('matplotlib.pyplot' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "False"


def test_every_colour_is_grey_or_of_the_palette(tuner):
    allowed = {matplotlib.colors.to_hex(colour) for colour in PALETTE}
    for name in ONE:
        for line in getattr(plots, name)(tuner).lines:
            colour = matplotlib.colors.to_rgb(line.get_color())
            assert matplotlib.colors.to_hex(colour) in allowed or len(set(colour)) == 1


def test_the_plane_of_batch_and_rate_shows_runs_at_their_batches_and_costs_around_the_best_pair():
    made = small_tuner(prior_center=1.5e-3)
    sweep = WORLD.sweep(CELLS[:2], (0, 1, 2))
    made.import_runs([replace(run, batch_tokens=b) for run in sweep for b in (131_072, 524_288)])
    figures = series.study_figures(made.study, made.belief)
    plane = figures.batches
    assert plane is not None
    assert set(plane.run_batch) == {131_072, 524_288}
    batch, rate = plane.best
    for k in np.flatnonzero(np.isfinite(plane.low_rate).any(1)):
        at = int(np.argmin(np.abs(plane.batch_tokens - batch)))
        assert plane.low_rate[k, at] <= rate <= plane.high_rate[k, at]
    widths = np.nan_to_num(np.log(plane.high_rate / plane.low_rate))
    assert (np.diff(widths, axis=0) >= 0).all()  # a higher cost allows more
    marks = {line.get_label(): line for line in plots.batches(made).lines}
    assert float(np.ravel(marks["costs least"].get_xdata())[0]) == batch
    names = [trace.get("name") for trace in batch_chart(plane)["data"]]
    assert {"best rate at each batch", "run, completed", "costs least"} <= set(names)


def test_a_study_of_one_batch_has_no_plane_to_draw(tuner):
    with pytest.raises(InvalidSpaceError, match="the study has one batch or none"):
        plots.batches(tuner)


def test_batches_that_are_asked_about_are_drawn_for_a_study_without_any():
    tuner = small_tuner(target=replace(TARGET, batch_tokens=None), prior_center=1.5e-3)
    marks = {line.get_label(): line for line in plots.batches(tuner, [131_072, 524_288]).lines}
    low, high = np.ravel(marks["best rate at each batch"].get_xdata())[[0, -1]]
    assert low < 131_072
    assert high > 524_288
