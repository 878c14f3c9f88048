"""Standings figures: what do the standings look like?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from benchmarks.harness.ablations import ABLATIONS
from benchmarks.harness.bench import BUDGETS
from benchmarks.report.standings import SHARED, Replay, alike, answers, results, table_row, together
from benchmarks.report.standings_tables import (
    OURS,
    POOLS,
    Cases,
    at_pools,
    by_method,
    in_sample,
    of,
    ordered,
)
from horizon_bo.report.style import PALETTE

#: Rivals drawn beside ours: more lines than this nobody can tell apart.
_DRAWN = 6


def draw_regret(replays: Sequence[Replay], cases: Cases, path: Path) -> None:
    """Mean regret and mean overhead against the budget, ours beside the best rivals."""
    groups = _worth_drawing(replays, cases)
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for index, (name, *others) in enumerate(groups):
        at = [by_method(results(replays, cases, b)).get(name) for b in BUDGETS]
        shown = [(b, table_row(found)) for b, found in zip(BUDGETS, at, strict=True) if found]
        spends = [100 * b for b, _ in shown]
        style = {**_style(index, name), "label": together([name, *others])}
        left.plot(spends, [row["regret_mean"] for _, row in shown], **style)
        right.plot(spends, [100 * row["overhead"] for _, row in shown], **style)
    _spend_axis(left, "mean regret (thousandths of a nat)")
    _spend_axis(right, "spend + regret (% of a target run)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=150)


def draw_extrapolation(
    replays: Sequence[Replay], cases: Cases, group: str, budget: float, path: Path
) -> None:
    """Mean regret and hit rate against how far below the target the largest runs are."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    at = at_pools(replays, cases, group, budget)
    groups = _worth_drawing(of(replays, "main", group), cases)
    kept = [[n for n in names if n in at["eighth"]] for names in groups]
    for index, (name, *others) in enumerate(names for names in kept if names):
        rows = [table_row(at[experiment][name]) for experiment in POOLS]
        style = {**_style(index, name), "label": together([name, *others])}
        left.plot([2, 4, 8], [row["regret_mean"] for row in rows], **style)
        if rows[0]["hit_90"] is not None:
            right.plot([2, 4, 8], [100 * row["hit_90"] for row in rows], **style)
    right.axhline(90, color="0.6", linewidth=1, linestyle=":")
    left.set_yscale("log")
    left.set_ylabel("mean regret (thousandths of a nat)")
    right.set_ylabel("90 % intervals that hold the best rate (%)")
    right.set_ylim(0, 104)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks([2, 4, 8], ["1/2", "1/4", "1/8"])
        axes.set_xlabel("largest run's share of the target's size and of its tokens")
        _plain(axes)
    _plain_logs(left)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=150)


def _style(index: int, name: str) -> dict[str, Any]:
    return {
        "color": PALETTE[index % len(PALETTE)],
        "marker": "os^Dv<>"[index % 7],
        "linewidth": 2.5 if name == OURS else 1.2,
    }


def _worth_drawing(replays: Sequence[Replay], cases: Cases) -> list[list[str]]:
    """Ours and the best rivals; those that are one and the same line together."""
    order = [n for n in ordered(replays, cases) if not in_sample(n, cases, replays)]
    rivals = [n for n in order if n.removesuffix(SHARED) not in (OURS, *ABLATIONS)]
    at = [by_method(results(replays, cases, budget)) for budget in BUDGETS]
    return [[OURS], *alike(rivals, *map(answers, at))[:_DRAWN]]


def _spend_axis(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([2, 5, 10, 25], ["2 %", "5 %", "10 %", "25 %"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("budget (% of one target run)")
    axes.set_ylabel(label)
    _plain_logs(axes)
    _plain(axes)


def _plain_logs(axes: Axes) -> None:
    """Numbers at 1, 2 and 5 of each decade only: more would overlap."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.3, which="both")
    axes.spines[["top", "right"]].set_visible(False)
