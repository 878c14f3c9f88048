"""Score view: what do the scores look like as tables and as a figure?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from horizon_bo.evaluation.cases import Case
from horizon_bo.evaluation.score import ALL_CENTERS, group_of, outcome, states_at
from horizon_bo.report.style import PALETTE, decimal_ticks, save_figure

_DASHES = ("-", "--", "-.", ":")

#: First spend on the axis, in target runs; before it most methods have bought nothing.
_FIRST_SPEND = 0.005
_SPENDS = 60


def print_scores(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print two tables: regret and overhead, then calibration."""
    centers = list(
        dict.fromkeys(r["prior_center"] for r in rows if r["prior_center"] != ALL_CENTERS)
    )
    named = [("none" if c is None else f"{c:g}") for c in centers]
    regret = Table(title="Regret (mnat) and overhead (% of a target run); columns: prior centre")
    for name in ("cases", "method", "budget", "n"):
        regret.add_column(name, justify="left" if name in ("cases", "method") else "right")
    for name in (*named, "mean", "median", "p90", "worst", "overhead", "octaves"):
        regret.add_column(name, justify="right")
    calibration = Table(title="Calibration of the intervals and of the expected regret")
    for name in ("cases", "method", "budget"):
        calibration.add_column(name, justify="right" if name == "budget" else "left")
    for name in ("hit 50", "hit 90", "99 % range", "p", "width oct", "score oct", "claim/real"):
        calibration.add_column(name, justify="right")
    of_center = {(_place(r), r["prior_center"]): r for r in rows}
    for row in (r for r in rows if r["prior_center"] == ALL_CENTERS):
        where = (row["group"], row["method"], _budget(row["budget"]))
        by_center = [of_center.get((_place(row), center)) for center in centers]
        regret.add_row(
            *where,
            str(row["replays"]),
            *(_number(r["regret_mean"] if r else None) for r in by_center),
            *(_number(row[f"regret_{name}"]) for name in ("mean", "median", "p90", "worst")),
            _number(100 * row["overhead"]),
            _number(row["octaves"], 2),
        )
        calibration.add_row(*where, *_calibration_cells(row))
    console.print(regret)
    console.print(calibration)


def draw_scores(
    lines: Sequence[Mapping[str, Any]], cases: Sequence[Case], figure_path: Path
) -> None:
    """Write a figure of mean regret and mean overhead against spend, a row per group of cases."""
    known = {case.name: case for case in cases}
    groups = list(dict.fromkeys(group_of(line["case"]) for line in lines))
    methods = list(dict.fromkeys(line["method"] for line in lines))
    figure = Figure(figsize=(10, 3.6 * len(groups)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(groups), 2, squeeze=False)
    largest = max(0.02, *(line.get("budget", line["spent"]) for line in lines))
    spends = np.geomspace(_FIRST_SPEND, largest, _SPENDS)
    for group, (left, right) in zip(groups, axes, strict=True):
        for index, method in enumerate(methods):
            ours = [
                line
                for line in lines
                if line["method"] == method and group_of(line["case"]) == group
            ]
            if not ours:
                continue
            at = [[outcome(s, known[s["case"]]) for s in states_at(ours, b)] for b in spends]
            style = {
                "color": PALETTE[index % len(PALETTE)],
                "linestyle": _DASHES[index % len(_DASHES)],
                "label": method,
            }
            regrets = [1e3 * np.mean([o.regret for o in states]) for states in at]
            left.plot(100 * spends, regrets, **style)
            overheads = [100 * np.mean([o.overhead for o in states]) for states in at]
            right.plot(100 * spends, overheads, **style)
        _label(left, f"{group}: mean regret", "regret (mnat)")
        _label(right, f"{group}: mean overhead", "overhead (% of a target run)")
    axes[0][0].legend(frameon=False)
    save_figure(figure, figure_path)


def _label(axis: Axes, title: str, quantity: str) -> None:
    axis.set_title(title)
    axis.set_xlabel("compute spent (% of a target run)")
    axis.set_ylabel(quantity)
    axis.set_xscale("log")
    axis.set_yscale("log")
    decimal_ticks(axis.xaxis)
    decimal_ticks(axis.yaxis)
    axis.grid(visible=True, which="both", alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["group"], row["method"], row["budget"])


def _budget(budget: float | str) -> str:
    return f"at {budget}" if isinstance(budget, str) else f"{100 * budget:g} %"


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _calibration_cells(row: Mapping[str, Any]) -> list[str]:
    if row["hit_90"] is None:
        return ["–"] * 7
    return [
        f"{row['hit_50']:.0%}",
        f"{row['hit_90']:.0%}",
        f"{row['hit_90_low']:.0%}–{row['hit_90_high']:.0%}",
        f"{row['hit_90_p']:.3f}",
        _number(row["width_90"], 2),
        _number(row["interval_score"], 2),
        _number(row["claimed_ratio"], 2),
    ]
