"""Law compare: how far do laws disagree at a run, on a user's sweeps, and in a picture?"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from horizon_bo.errors import InvalidSpaceError, InvalidTableError
from horizon_bo.published.comparison import compare_laws
from horizon_bo.published.fits.runs import Runs, best_of_cells, read_runs
from horizon_bo.published.learning_rate import learning_rate_law
from horizon_bo.published.prior import SPEAKING, prior_center
from horizon_bo.study.horizons import Horizon
from horizon_bo.tables.logged import columns_of

#: Tokens that a picture spans when no run or table says better.
_SPAN = (1e9, 1e13)


def compare_records(
    names: Sequence[str], run: Horizon | None, table: str | None, flops_factor: float
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Rates at a run with their spread, and excess losses on a table."""
    if run is None and table is None:
        raise InvalidSpaceError(
            "neither a run nor a table arrived, expected one; "
            "give --params and --tokens, or --table"
        )
    laws = names or SPEAKING
    record: dict[str, Any] = {}
    remarks: tuple[str, ...] = ()
    if run is not None:
        record, remarks = _at_run(laws, run)
    if table is not None:
        columns = columns_of(table)
        data = [str(value) for value in dict.fromkeys(columns.get("origin", []))]
        judged, more = compare_laws(columns, laws, flops_factor=flops_factor, data=data)
        record["excess"] = [
            {
                "law": one.law,
                "mean_excess": one.mean,
                "median_excess": float(np.median(one.excess)) if one.excess else None,
                "largest_excess": max(one.excess, default=None),
                "cells": len(one.excess),
                "cells_skipped": one.skipped,
                "fitted_to_these_data": one.fitted_here,
            }
            for one in judged
        ]
        fitted = tuple(
            f"{one.law} was fitted to these data, which flatters it"
            for one in judged
            if one.fitted_here
        )
        remarks = (*remarks, *more, *fitted)
    return record, remarks


def _at_run(laws: Sequence[str], run: Horizon) -> tuple[dict[str, Any], tuple[str, ...]]:
    rates = {name: learning_rate_law(name).learning_rate(run) for name in laws}
    prior = prior_center(run)
    record = {
        "rates": rates,
        "octaves_apart": math.log2(max(rates.values()) / min(rates.values())),
        "prior": {
            "learning_rate": prior.learning_rate,
            "log_sd": prior.log_sd,
            "sources": list(prior.sources),
        },
    }
    return record, tuple(text for name in laws for text in learning_rate_law(name).remarks(run))


def draw(names: Sequence[str], run: Horizon | None, table: str | None, figure: Path) -> None:
    """Draw the optimal rate against tokens by each law, with the best run of every cell.

    Laws are drawn at the run's size, else at the table's median size; dashed out of range.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from horizon_bo.report.style import save_figure

    best = None if table is None else _best_runs(table)
    tokens = _span(run, best)
    params = run.params if run is not None else float(np.median(best["params"])) if best else 1e9
    picture = Figure(figsize=(7.0, 4.5), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.add_subplot()
    for position, name in enumerate(names or SPEAKING):
        _draw_law(axes, name, params, tokens, f"C{position}")
    if best is not None:
        points = axes.scatter(best["tokens"], best["learning_rate"], c=np.log10(best["params"]))
        picture.colorbar(points, label="log10 parameters of your best runs")
    axes.set(xscale="log", yscale="log", xlabel="training tokens", ylabel="best learning rate")
    axes.set_title(f"{params:.3g} parameters; dashed: outside a law's range")
    axes.legend()
    save_figure(picture, figure)


def _draw_law(axes: Any, name: str, params: float, tokens: np.ndarray, color: str) -> None:
    law = learning_rate_law(name)
    runs = [Horizon(params=params, tokens=float(length)) for length in tokens]
    rates = np.array([law.learning_rate(run) for run in runs])
    inside = np.array([not law.remarks(run) for run in runs])
    axes.plot(tokens, rates, "--", color=color, linewidth=1.0)
    axes.plot(tokens, np.where(inside, rates, np.nan), color=color, label=name)


def _best_runs(table: str) -> Runs:
    needed = ("learning_rate", "params", "tokens", "loss")
    runs = read_runs(columns_of(table), needed)
    if not len(runs):
        raise InvalidTableError(f"{table} holds no usable run, expected some; check its columns")
    return best_of_cells(runs)


def _span(run: Horizon | None, best: Runs | None) -> np.ndarray:
    if best is not None:
        low, high = best["tokens"].min() / 2, best["tokens"].max() * 2
    elif run is not None:
        low, high = run.tokens / 100, run.tokens * 10
    else:
        low, high = _SPAN
    return np.geomspace(low, high, 200)
