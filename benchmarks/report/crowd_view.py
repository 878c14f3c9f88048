"""Crowd view: how good is the answer by the clock, and what do more workers buy?"""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.measurements.crowd import RESULTS
from horizon_bo.report.style import PALETTE

#: One simulation: its states, by rising time.
Run = Sequence[dict[str, Any]]

_HEAD = (
    "| workers | hours to the end | machine-hours | runs | spent | regret, mnat | overhead |\n"
    "| --- | --- | --- | --- | --- | --- | --- |\n"
)


def simulations(path: Path = RESULTS) -> list[Run]:
    """The simulations of a file, each whole."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        list(states)
        for _, states in groupby(lines, lambda line: (line["case"], line["seed"], line["workers"]))
    ]


def crowds(runs: Sequence[Run]) -> dict[int, list[Run]]:
    """Simulations by how many workers share the study, few first."""
    numbers = sorted({run[-1]["workers"] for run in runs})
    return {n: [run for run in runs if run[-1]["workers"] == n] for n in numbers}


def table(runs: Sequence[Run]) -> str:
    """Means at the end, by number of workers."""
    return _HEAD + "\n".join(_row(workers, part) for workers, part in crowds(runs).items())


def _row(workers: int, runs: Sequence[Run]) -> str:
    mean = lambda key: fmean(run[-1][key] for run in runs)  # noqa: E731
    return (
        f"| {workers:,} | {mean('clock_h'):.1f} | {mean('busy_h'):.1f} | {mean('ended'):.1f} "
        f"| {mean('spent'):.1%} | {1e3 * mean('regret'):.1f} | {mean('overhead'):.1%} |"
    )


def at_hours(runs: Sequence[Run], hours: np.ndarray, key: str) -> np.ndarray:
    """Mean over simulations of the latest value at each hour."""

    def latest(run: Run) -> np.ndarray:
        clock = np.array([state["clock_h"] for state in run])
        values = np.array([state[key] for state in run])
        return values[(np.searchsorted(clock, hours, side="right") - 1).clip(0)]

    return np.mean([latest(run) for run in runs], axis=0)


def draw(runs: Sequence[Run], path: Path) -> None:
    """Regret by the clock, one line a number of workers; overhead at the end by workers."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    hours = np.linspace(0, max(run[-1]["clock_h"] for run in runs), 200)
    parts = crowds(runs)
    for color, (workers, part) in zip(PALETTE, parts.items(), strict=False):
        regret = 1e3 * at_hours(part, hours, "regret")
        left.plot(hours, regret, color=color, drawstyle="steps-post", label=f"{workers:,}")
    left.set_xlabel("hours")
    left.set_ylabel("mean regret (thousandths of a nat)")
    left.legend(title="workers")
    for color, key in zip(PALETTE, ("spent", "overhead"), strict=False):
        values = [100 * fmean(run[-1][key] for run in part) for part in parts.values()]
        right.plot(list(parts), values, marker="o", color=color, label=key)
    right.set_xscale("log")
    right.set_xlabel("workers")
    right.set_ylabel("at the end (% of a target run)")
    right.legend()
    figure.savefig(path, dpi=150)
