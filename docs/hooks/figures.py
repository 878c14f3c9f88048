"""Figures: what does the sweep that ships look like, drawn anew at every build?

Pictures have no background and grey letters, so that they can be read on light and dark pages.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from horizon_bo.report.style import PALETTE

#: Readable on white and on the dark theme's slate.
GREY = "#808080"
MARKS = "osD^v"
#: The cells of the sweep whose bowls are shown: their horizon, and the recipes side by side.
TOKENS = 1_000_448
RECIPES = {"standard": "standard parametrization", "mup": "µP"}
LOSS_SHOWN = 0.6  # nats above the lowest of a panel


def bowls_figure(table: Path) -> bytes:
    """Final loss against the peak rate at each size, in both parametrizations, from the sweep."""
    with table.open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["group"] in ("sizes", "mup") and float(row["tokens"]) == TOKENS and row["loss"]
        ]
    sizes = sorted({float(row["params"]) for row in rows})
    figure = _figure(9, 3.6)
    panels = figure.subplots(1, len(RECIPES), sharex=True, sharey=True)
    for axes, (source, title) in zip(panels, RECIPES.items(), strict=True):
        own = [row for row in rows if row["source"] == source]
        for size, colour, mark in zip(sizes, PALETTE, MARKS, strict=False):
            curve = _mean_losses([row for row in own if float(row["params"]) == size])
            if curve:
                label = f"{size / 1e3:.0f}k params"
                axes.plot(*zip(*curve, strict=True), color=colour, marker=mark, label=label)
        axes.set_title(title, color=GREY)
        axes.set_xscale("log")
        axes.set_xlabel("peak learning rate")
        _finish(axes)
    lowest = min(float(row["loss"]) for row in rows)
    panels[0].set_ylim(lowest - 0.03, lowest + LOSS_SHOWN)
    panels[0].set_ylabel("final loss (nats per byte)")
    panels[0].legend(frameon=False, labelcolor=GREY, fontsize="small")
    return _svg(figure)


def _mean_losses(rows: Sequence[Mapping[str, str]]) -> list[tuple[float, float]]:
    """Mean loss over seeds at each rate, ascending."""
    losses: dict[float, list[float]] = defaultdict(list)
    for row in rows:
        losses[float(row["learning_rate"])].append(float(row["loss"]))
    return [(rate, sum(found) / len(found)) for rate, found in sorted(losses.items())]


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _finish(axes: Axes) -> None:
    axes.tick_params(which="both", colors=GREY)
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(visible=True, color=GREY, alpha=0.2)
    axes.set_facecolor("none")


def _svg(figure: Figure) -> bytes:
    text = StringIO()
    # without a date and with a fixed salt the same data give the same file
    with rc_context({"svg.hashsalt": "horizon_bo"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue().encode()
