"""Backtest view: what do the results of a backtest look like as tables, records and a figure?"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from horizon_bo.evaluation.backtest import (
    AT_ITS_STOP,
    NO_RUN,
    OWN_PRIOR,
    STARTS,
    Backtest,
    Replayed,
)
from horizon_bo.evaluation.score import outcome, states_at
from horizon_bo.evaluation.verdict import mean_of, regret, verdict
from horizon_bo.report.style import PALETTE, decimal_ticks, save_figure

_LEVELS = (50, 90)
_MARKERS = ("o", "v", "^")
_METHODS = ("horizon", AT_ITS_STOP, "random", NO_RUN)
#: Regrets below this many thousandths are drawn at it: no curve is known better.
_LEAST_REGRET = 0.05
_SPENDS = 200


def print_backtest(result: Backtest, console: Console) -> None:
    """Print the hidden cells, what was said of each, the rivals, and a verdict."""
    console.print(_cell_table(result))
    console.print(_answer_table(result))
    console.print(_method_table(result))
    for sentence in verdict(result):
        console.print(f"- {sentence}", markup=False, highlight=False)


def records(result: Backtest) -> Iterator[dict[str, Any]]:
    """One object for each recommendation, and a last one for the whole."""
    for score in result.scores:
        o = score.outcome
        yield {
            "cell": score.cell.label,
            "target_params": score.cell.case.target_params,
            "target_tokens": score.cell.case.target_tokens,
            "params_ratio": score.cell.params_ratio,
            "tokens_ratio": score.cell.tokens_ratio,
            "compute_ratio": score.cell.compute_ratio,
            "start": score.start,
            "method": score.method,
            "seed": score.seed,
            "runs": score.runs,
            "spent": o.spent,
            "learning_rate": score.learning_rate,
            "best_rate": score.best_rate,
            "octaves": o.octaves,
            "regret": o.regret,
            "regret_percent": score.regret_percent,
            "expected_regret": o.claimed,
            "overhead": o.overhead,
            "hit_50": o.hit_50,
            "hit_90": o.hit_90,
        }
    found = result.coverage(90)
    yield {
        "cells": found.cells,
        "hits_90": found.hits,
        "hit_rate_90_low": found.low,
        "hit_rate_90_high": found.high,
        "verdict": list(verdict(result)),
        "unused": list(result.unused),
    }


def draw_backtest(result: Backtest, figure_path: Path) -> None:
    """Write a figure: coverage, claimed against realised regret, regret against spend."""
    figure = Figure(figsize=(13.5, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    coverage, claims, spend = figure.subplots(1, 3)
    _draw_coverage(coverage, result)
    _draw_claims(claims, result)
    _draw_spend(spend, result)
    for axis in (coverage, claims, spend):
        axis.grid(visible=True, alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    save_figure(figure, figure_path)


def _cell_table(result: Backtest) -> Table:
    table = Table(title="Hidden cells; how many times the largest run that could be bought")
    table.add_column("#", justify="right")
    table.add_column("cell", overflow="fold")
    for name in ("size", "tokens", "compute", "best rate", "known to", "loss there", "seed noise"):
        table.add_column(name, justify="right")
    for number, cell in enumerate(result.cells, 1):
        truth = cell.truth
        ratios = (cell.params_ratio, cell.tokens_ratio, cell.compute_ratio)
        table.add_row(
            str(number),
            cell.label,
            *(f"{ratio:.1f}x" for ratio in ratios),
            f"{truth['optimum']:.3g}",
            f"{truth['optimum_log_sd'] / math.log(2):.2f} oct",
            f"{truth['minimum']:.4f}",
            f"{truth['scatter']:.4f}",
        )
    return table


def _answer_table(result: Backtest) -> Table:
    table = Table(
        title=f"What the tuner recommended with {100 * result.terms.budget:g} % of a target run "
        "to spend; regret in thousandths of the loss unit"
    )
    table.add_column("#", justify="right")
    table.add_column("start")
    names = ("runs", "spent", "rate", "off by", "regret", "% of loss", "expected", "50 %", "90 %")
    for name in names:
        table.add_column(name, justify="right")
    for number, cell in enumerate(result.cells, 1):
        ours = [score for score in result.of("horizon") if score.cell == cell]
        for score in ours:
            o = score.outcome
            off = math.log2(score.learning_rate / score.best_rate)
            table.add_row(
                str(number) if score is ours[0] else "",
                score.start,
                str(score.runs),
                f"{100 * o.spent:.1f} %",
                f"{score.learning_rate:.3g}",
                f"{off:+.2f} oct",
                f"{regret(score):.1f}",
                f"{score.regret_percent:.2f}",
                f"{1e3 * (o.claimed or 0):.1f}",
                *("hit" if hit else "miss" for hit in (o.hit_50, o.hit_90)),
                end_section=score is ours[-1],
            )
    return table


def _method_table(result: Backtest) -> Table:
    table = Table(title="Mean regret (thousandths) by start, and overhead (% of a target run)")
    table.add_column("method")
    for name in (*STARTS, "mean", "worst", "spent", "overhead"):
        table.add_column(name, justify="right")
    for method in _METHODS:
        scores = result.of(method)
        starts = [result.of(method, start) for start in STARTS]
        table.add_row(
            method,
            *(f"{mean_of(some, regret):.1f}" if some else "–" for some in starts),
            f"{mean_of(scores, regret):.1f}",
            f"{max(map(regret, scores)):.1f}",
            f"{mean_of(scores, lambda s: 100 * s.outcome.spent):.1f}",
            f"{mean_of(scores, lambda s: 100 * s.outcome.overhead):.1f}",
        )
    return table


def _draw_coverage(axis: Axes, result: Backtest) -> None:
    """Share of intervals that held the best rate, with its exact 95 % range."""
    axis.plot([0, 100], [0, 100], color="grey", linewidth=1)
    for index, start in enumerate(STARTS):
        found = [result.coverage(level, start) for level in _LEVELS]
        shares = np.array([100 * c.hits / c.cells for c in found])
        ends = np.array([[100 * c.low, 100 * c.high] for c in found]).T
        axis.errorbar(
            np.array(_LEVELS) + 2.5 * (index - 1),  # side by side
            shares,
            yerr=np.abs(ends - shares),
            color=PALETTE[index],
            marker=_MARKERS[index],
            linestyle="none",
            capsize=3,
            label=start,
        )
    axis.set(xlim=(0, 100), ylim=(-3, 103))
    axis.set_title(f"Intervals (hidden cells: {len(result.cells)}; 95 % exact)", fontsize=11)
    axis.set_xlabel("claimed coverage (%)")
    axis.set_ylabel("intervals that held the best rate (%)")
    axis.legend(frameon=False, loc="lower left")


def _draw_claims(axis: Axes, result: Backtest) -> None:
    """Expected regret against the realised one, a point a replay."""
    points = [
        (index, max(_LEAST_REGRET, 1e3 * (s.outcome.claimed or 0)), max(_LEAST_REGRET, regret(s)))
        for index, start in enumerate(STARTS)
        for s in result.of("horizon", start)
    ]
    values = [value for _, *pair in points for value in pair]
    span = (min(values) / 1.5, max(values) * 1.5)
    axis.plot(span, span, color="grey", linewidth=1)
    for index, claimed, realised in points:
        axis.plot(claimed, realised, color=PALETTE[index], marker=_MARKERS[index], linestyle="")
    axis.set(xscale="log", yscale="log", xlim=span, ylim=span)
    axis.set_title("Above the line: worse than expected", fontsize=11)
    axis.set_xlabel("expected regret (thousandths)")
    axis.set_ylabel("realised regret (thousandths)")
    decimal_ticks(axis.xaxis)
    decimal_ticks(axis.yaxis)


def _draw_spend(axis: Axes, result: Backtest) -> None:
    """Mean regret over cells against what was spent."""
    series = [(start, "horizon", start) for start in STARTS]
    first = min(s["spent"] for replay in result.replays for s in replay.states if s["step"] == 1)
    spends = np.geomspace(first / 2, result.terms.budget, _SPENDS)
    for index, (label, method, start) in enumerate(
        [*series, ("uniform runs", "random", OWN_PRIOR)]
    ):
        ours = [r for r in result.replays if (r.method, r.start) == (method, start)]
        curve = [_mean_regret(ours, float(spend)) for spend in spends]
        axis.plot(
            100 * spends,
            np.maximum(_LEAST_REGRET, curve),
            color=PALETTE[index],
            linestyle="-" if method == "horizon" else "--",
            drawstyle="steps-post",
            label=label,
        )
    axis.set(xscale="log", yscale="log")
    axis.set_title("Mean regret against spend", fontsize=11)
    axis.set_xlabel("compute spent (% of a target run)")
    axis.set_ylabel("regret (thousandths)")
    decimal_ticks(axis.xaxis)
    decimal_ticks(axis.yaxis)
    axis.legend(frameon=False)


def _mean_regret(replays: Sequence[Replayed], spend: float) -> float:
    """Mean over replays of the last state within that spend, in thousandths."""
    regrets = [
        outcome(state, replay.cell.case).regret
        for replay in replays
        for state in states_at(replay.states, spend)
    ]
    return 1e3 * float(np.mean(regrets))
