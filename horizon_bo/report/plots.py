"""Plots: how do the figures of a study look in a paper or a notebook?

Each function draws one figure of the report into the axes it is given, or into a figure of its own
that pyplot knows nothing of, and returns the axes:

    plots.bowl(tuner).figure.savefig("bowl.png")

Colours are Okabe and Ito's; no setting of matplotlib is changed.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from horizon_bo.core.decision import decide
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.report import series
from horizon_bo.report.batches import batch_figure, contour
from horizon_bo.report.charts import LAW_TITLES
from horizon_bo.report.figures import HistoryFigure, OptimumFigure, RunsFigure
from horizon_bo.report.numbers import shown
from horizon_bo.report.style import PALETTE
from horizon_bo.store.posteriors import believe
from horizon_bo.study.extension import for_target
from horizon_bo.study.horizons import asked_about

if TYPE_CHECKING:
    from horizon_bo.core.checks.rehearsal import Check
    from horizon_bo.tuner import HorizonTuner

__all__ = [
    "batches",
    "bowl",
    "check",
    "contributions",
    "law_opinions",
    "optimum_by_params",
    "optimum_by_tokens",
    "spend",
]

_OURS, _ANSWER, _GOOD, _BAD, _OPEN = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[6], PALETTE[4]
_BAND = 0.22  # opacity of what is believed with 90 % probability
_SIZE = (6.4, 4.2)  # inches
_WIDE = 300.0  # past this factor from end to end an axis is labelled at decades only
_RATE = "learning rate at the target"

#: How a run that ended in some way is drawn.
_MARKS: dict[str, dict[str, Any]] = {
    "completed": {"color": _GOOD, "marker": "o"},
    "diverged": {"color": _BAD, "marker": "x"},
    "failed": {"color": "0.6", "marker": "+"},
    "pending": {"edgecolors": _OPEN, "facecolors": "none", "marker": "^"},
}


def bowl(tuner: "HorizonTuner", ax: Axes | None = None) -> Axes:
    """Loss above the best rate's against the rate, with the recommendation and its interval."""
    best, decision = tuner.recommend(), decide(tuner.belief)
    shape = series.bowl_figure(tuner.belief, decision)
    (ax,) = _axes([ax])
    rate = shape.learning_rate
    low, high = best.interval_90
    inside = (rate >= low) & (rate <= high)
    ax.axvspan(low, high, color="0.5", alpha=0.12, lw=0, label="90 % interval of the best rate")
    ax.fill_between(rate, shape.low, shape.high, color=_OURS, alpha=_BAND, lw=0, label="90 % band")
    ax.plot(rate, shape.median, color=_OURS, label="median")
    ax.plot(rate, shape.expected_regret, color=_ANSWER, linestyle="--", label="expected regret")
    ax.plot([best.learning_rate], [best.expected_regret], **_answer())
    top = 1.25 * max(shape.expected_regret[inside].max(), shape.high[inside].min())
    ax.set_ylim(0, top)
    ax.set_xlim(rate[0], rate[-1])
    _logarithmic(ax, "x", _rate)
    return _finished(ax, _RATE, "loss above the best rate's (nats per token)")


def batches(
    tuner: "HorizonTuner", batch_tokens: Sequence[float] = (), ax: Axes | None = None
) -> Axes:
    """What batch and rate cost together at the target, with every run on it.

    Args:
        tuner: Whose study it is.
        batch_tokens: Batches to cover beside those of the study, in tokens per step.
        ax: Where to draw.
    """
    runs = _optimum_figures(tuner)[2]
    study, belief = tuner.study, tuner.belief
    meant, _ = asked_about(study.target, study.space, batch_tokens, {})
    if meant != study.target:  # of no batch: as for a target of the middle one of those asked
        study = for_target(study, meant)
        belief = believe(study)
    plane = batch_figure(study, belief, runs, batch_tokens)
    if plane is None:
        raise InvalidSpaceError(
            "the study has one batch or none, expected several to draw; name them in batch_tokens"
        )
    (ax,) = _axes([ax])
    ax.fill_between(
        plane.batch_tokens, plane.low, plane.high, color=_OURS, alpha=_BAND, lw=0,
        label="90 % band of the best rate",
    )  # fmt: skip
    ax.plot(plane.batch_tokens, plane.median, color=_OURS, label="best rate at each batch")
    for k, cost in enumerate(plane.costs):
        outline = contour(plane, k)
        if outline is not None:
            style = ("-", "--", "-.", ":")[k]
            name = f"costs {shown(cost, 'share')} of a target run"
            ax.plot(*outline, color="0.45", linestyle=style, lw=1.2, label=name)
    for status, mark in _MARKS.items():
        of = plane.run_status == status
        if of.any():
            at = plane.run_batch[of], plane.run_rate[of]
            ax.scatter(*at, s=26, label=f"run, {status}", **mark)
    ax.plot(*[[value] for value in plane.best], **{**_answer(), "label": "costs least"})
    _logarithmic(ax, "x", _as("count"))
    _logarithmic(ax, "y", _rate)
    return _finished(ax, "tokens per step, at the target", "learning rate")


def check(found: "Check", ax: Axes | None = None) -> Axes:
    """Losses of a check's runs against the rate: expected, with 90 % bars, and as they came."""
    (ax,) = _axes([ax])
    told = found.expected
    rate = np.array(told.learning_rates)
    spread = np.array([told.spread(k) for k in range(len(rate))])
    low, middle, high = spread.T
    ax.axvspan(
        told.best_rate[0], told.best_rate[2], color="0.5", alpha=0.12, lw=0,
        label="90 % interval of the best rate there",
    )  # fmt: skip
    bars = np.stack([middle - low, high - middle])
    ax.errorbar(rate, middle, bars, color=_OURS, fmt="o", capsize=4, label="expected, 90 %")
    came = np.array([math.nan if loss is None else loss for loss in found.outcomes])
    if np.isfinite(came).any():
        ax.scatter(rate, came, color=_ANSWER, marker="D", zorder=3, label="observed")
    for k, loss in enumerate(found.outcomes):
        if loss is None:
            ax.scatter([rate[k]], [high[k]], label="diverged", **_MARKS["diverged"])
    if found.verdict is not None:
        ax.set_title(found.verdict.word)
    _logarithmic(ax, "x", _rate)
    where = f"{shown(told.params, 'count')} parameters, {shown(told.tokens, 'count')} tokens"
    return _finished(ax, f"learning rate at {where}", "loss (nats per token)")


def optimum_by_tokens(tuner: "HorizonTuner", ax: Axes | None = None) -> Axes:
    """The best rate against training tokens at the target's size, with every run on it."""
    return _optimum(tuner, 0, "training tokens, at the target's size (count)", ax)


def optimum_by_params(tuner: "HorizonTuner", ax: Axes | None = None) -> Axes:
    """The best rate against parameters at the target's tokens, with every run on it."""
    return _optimum(tuner, 1, "parameters, at the target's tokens (count)", ax)


def spend(tuner: "HorizonTuner", axes: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
    """Expected regret, and the rate with its interval, against what was spent.

    Where every run was free, the compute of the logged runs stands for the spend. Up to eight
    states of the study are worked out again, which takes a second or two each.
    """
    regret, rate = _axes(axes or (None, None))
    history = series.history_figure(
        tuner.study,
        tuner.belief,
        told=lambda done, of: None,
        state=series.state_after,
    )
    at, what = _spent(history)
    regret.plot(at, history.expected_regret, "o-", color=_OURS)
    _logarithmic(regret, "y", _as("loss"))
    rate.fill_between(
        at, history.low_90, history.high_90, color=_OURS, alpha=_BAND, lw=0, label="90 % interval"
    )
    rate.plot(at, history.learning_rate, "o-", color=_OURS, label="recommended")
    _logarithmic(rate, "y", _rate)
    for ax in (regret, rate):
        if len(at) > 1:
            _from_nothing(ax, at)
    label = f"{what} (share of a target run)"
    return (
        _finished(regret, label, "expected regret (nats per token)"),
        _finished(rate, label, _RATE),
    )


def contributions(tuner: "HorizonTuner", ax: Axes | None = None) -> Axes:
    """What each run removed of the expected regret, against what it cost."""
    (ax,) = _axes([ax])
    runs = _optimum_figures(tuner)[2]
    told = runs.regret_removed > 0
    ax.scatter(runs.cost[told], runs.regret_removed[told], color=_OURS, alpha=0.7)
    if told.any():
        _logarithmic(ax, "x", _as("share"))
        _logarithmic(ax, "y", _as("loss"))
    else:
        ax.text(0.5, 0.5, "no run has told anything yet", transform=ax.transAxes, ha="center")
    return _finished(
        ax, "cost of the run (share of a target run)", "regret it removes (nats per token)"
    )


def law_opinions(tuner: "HorizonTuner", ax: Axes | None = None) -> Axes:
    """What published laws say of the target, and the guess before any run, beside this study."""
    (ax,) = _axes([ax])
    others, best = series.opinions_figure(tuner.study, tuner.belief), tuner.recommend()
    order = np.argsort(others.learning_rate)
    for row, k in enumerate(order):
        ax.plot([others.low_90[k], others.high_90[k]], [row, row], color="0.6", lw=2)
        filled = _BAD if others.inside[k] else "none"
        ax.scatter([others.learning_rate[k]], [row], facecolors=filled, edgecolors=_BAD, zorder=3)
    row = len(order)
    ax.plot(best.interval_90, [row, row], color=_ANSWER, lw=4, alpha=0.5)
    ax.plot([best.learning_rate], [row], **_answer())
    names = [str(others.name[k]) for k in order]
    titles = [LAW_TITLES.get(name, "guess before any run") for name in names]
    ax.set_yticks(range(row + 1), [*titles, "this study"])
    _logarithmic(ax, "x", _rate)
    ax.scatter([], [], facecolors="none", edgecolors=_BAD, label="target outside the law's runs")
    return _finished(ax, f"{_RATE}, bars: 90 % interval", "")


def _optimum(tuner: "HorizonTuner", which: int, label: str, ax: Axes | None) -> Axes:
    """One of the two curves of the best rate: 0 along tokens, 1 along params."""
    (ax,) = _axes([ax])
    over_tokens, over_params, runs = _optimum_figures(tuner)
    curve = (over_tokens, over_params)[which]
    best, target = tuner.recommend(), tuner.study.target
    ax.fill_between(
        curve.at, curve.low, curve.high, color=_OURS, alpha=_BAND, lw=0, label="90 % band"
    )
    ax.plot(curve.at, curve.median, color=_OURS, label="best rate")
    for status, mark in _MARKS.items():
        of = runs.status == status
        if of.any():
            ax.scatter(curve.run_at[of], curve.run_rate[of], s=26, label=f"run, {status}", **mark)
    low, high = best.interval_90
    at = (target.tokens, target.params)[which]
    ax.plot([at, at], [low, high], color=_ANSWER, lw=2)
    ax.plot([at], [best.learning_rate], **_answer())
    _logarithmic(ax, "x", _as("count"))
    _logarithmic(ax, "y", _rate)
    return _finished(ax, label, "learning rate")


def _optimum_figures(tuner: "HorizonTuner") -> tuple[OptimumFigure, OptimumFigure, RunsFigure]:
    return series.optimum_figures(tuner.study, tuner.belief, decide(tuner.belief))


def _spent(history: HistoryFigure) -> tuple[np.ndarray, str]:
    """Places on a logarithmic axis of spend; nothing spent stands at half the first spend."""
    counted = history.spent[-1] > 0
    spent = history.spent if counted else history.compute
    first = spent[spent > 0].min() / 2 if (spent > 0).any() else 0.0
    what = "compute spent" if counted else "compute of the logged runs"
    return np.where(spent > 0, spent, first), what


def _from_nothing(ax: Axes, at: np.ndarray) -> None:
    """A logarithmic axis whose first place stands for nothing spent."""
    _logarithmic(ax, "x", lambda value: "0" if np.isclose(value, at[0]) else shown(value, "share"))
    ticks = LogLocator(subs=(1.0, 2.0, 5.0)).tick_values(at[0], at[-1])
    kept = [tick for tick in ticks if 1.5 * at[0] < tick <= 1.1 * at[-1]]
    ax.set_xticks([at[0], *kept])


def _axes(given: Sequence[Axes | None]) -> list[Axes]:
    """The axes given, or those of a new figure, one above the other."""
    if all(ax is not None for ax in given):
        return [ax for ax in given if ax is not None]
    figure = Figure(
        figsize=(_SIZE[0], _SIZE[1] * (1 + 0.6 * (len(given) - 1))), layout="constrained"
    )
    FigureCanvasAgg(figure)
    return list(figure.subplots(len(given), 1, squeeze=False)[:, 0])


def _answer() -> dict[str, Any]:
    """How the recommendation is marked in every figure."""
    return {
        "color": _ANSWER,
        "marker": "D",
        "markersize": 8,
        "linestyle": "none",
        "label": "recommended",
        "zorder": 4,
    }


def _rate(value: float) -> str:
    return f"{value:g}"


def _as(kind: str) -> Callable[[float], str]:
    """How numbers of a kind are written on an axis: as the report writes them."""
    return lambda value: shown(value, kind)


def _logarithmic(ax: Axes, which: Literal["x", "y"], written: Callable[[float], str]) -> None:
    """A logarithmic axis with few labels, each a plain number."""
    ax.set(**{f"{which}scale": "log"})
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high / low < _WIDE else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, position: written(value)))
    axis.set_minor_formatter(NullFormatter())


def _finished(ax: Axes, x: str, y: str) -> Axes:
    """The axes with labels, a grid and a legend, in the one style of all figures."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(visible=True, alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(framealpha=0.85, edgecolor="none", fontsize="small")
    return ax
