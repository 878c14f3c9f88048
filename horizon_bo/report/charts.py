"""Page charts: how does Plotly draw each figure of a study?

A chart is what `page_parts` says; each function here turns one figure into one.
"""

import math

import numpy as np

from horizon_bo.core.policy import Recommendation
from horizon_bo.report.batches import batch_chart
from horizon_bo.report.chart_parts import (
    Chart,
    band,
    chart,
    count_label,
    diamond,
    line,
    linear_axis,
    log_axis,
    loss_label,
    points,
    rate_label,
    share_label,
    span,
)
from horizon_bo.report.figures import (
    BowlFigure,
    HistoryFigure,
    OpinionsFigure,
    OptimumFigure,
    RunsFigure,
    StudyFigures,
)
from horizon_bo.report.numbers import shown
from horizon_bo.study.horizons import Horizon

#: Excess loss up to which a run counts as good, and as fair, relative to the loss: missing the
#: best rate by a factor of two costs about 0.4 % of the loss, by four 1.5 %.
GOOD, FAIR = 0.005, 0.02
#: Names of laws as a reader knows them.
LAW_TITLES = {
    "step": "Step Law",
    "bjorck": "Bjorck et al.",
    "deepseek": "DeepSeek",
    "porian": "Porian et al.",
    "kaplan": "Kaplan et al.",
}


def charts(figures: StudyFigures) -> dict[str, Chart]:
    """The charts of a page by name; one that has nothing to show is left out."""
    best, target = figures.recommendation, figures.study.target
    found = {
        "bowl": bowl_chart(figures.bowl, best),
        "tokens": optimum_chart(figures.over_tokens, figures.runs, best, target),
        "params": optimum_chart(figures.over_params, figures.runs, best, target),
        "opinions": opinions_chart(figures),
    }
    if figures.batches is not None:
        found["batches"] = batch_chart(figures.batches)
    if len(figures.history.trials) > 1:
        found["regret"] = regret_chart(figures.history)
        found["interval"] = interval_chart(figures.history)
    if np.nanmax(figures.runs.regret_removed, initial=0.0) > 0:
        found["runs"] = runs_chart(figures)
    return found


def bowl_chart(bowl: BowlFigure, best: Recommendation) -> Chart:
    """Loss above the best rate's against the rate, with the recommendation and its interval."""
    low, high = best.interval_90
    inside = (bowl.learning_rate >= low) & (bowl.learning_rate <= high)
    top = 1.25 * max(float(bowl.expected_regret[inside].max()), float(bowl.high[inside].min()))
    rate = points(bowl.learning_rate)
    columns = (bowl.learning_rate, bowl.median, bowl.low, bowl.high, bowl.divergence)
    text = [
        f"rate {shown(r, 'rate')}<br>median {shown(m, 'loss')} nats above the best rate's"
        f"<br>90 % of the belief: {shown(a, 'loss')} to {shown(b, 'loss')}"
        f"<br>diverges with probability {shown(d, 'probability')}"
        for r, m, a, b, d in zip(*columns, strict=True)
    ]
    said = (
        f"recommended {shown(best.learning_rate, 'rate')}"
        f"<br>expected regret {shown(best.expected_regret, 'loss')} nats"
    )
    dashed = {"color": "$second", "width": 2, "dash": "dash"}
    return chart(
        [
            *band(rate, points(bowl.low), points(bowl.high), "90 % band"),
            line(rate, points(bowl.median), "median", hovertext=text, hoverinfo="text"),
            {
                **line(rate, points(bowl.expected_regret), "expected regret", hoverinfo="skip"),
                "line": dashed,
            },
            diamond(best.learning_rate, best.expected_regret, said),
        ],
        x=log_axis("learning rate at the target", rate[0], rate[-1], rate_label),
        y=linear_axis("loss above the best rate's (nats)", top, loss_label),
        shapes=[span(*best.interval_90, "$span"), span(*best.interval_50, "$span")],
    )


def optimum_chart(
    curve: OptimumFigure, runs: RunsFigure, best: Recommendation, target: Horizon
) -> Chart:
    """The best rate along tokens or params, every run as far off it as it was off its own best."""
    at = points(curve.at)
    own = target.tokens if curve.along == "tokens" else target.params
    low, high = best.interval_90
    said = (
        f"the target: {shown(best.learning_rate, 'rate')}"
        f"<br>90 % sure: {shown(low, 'rate')} to {shown(high, 'rate')}"
    )
    error = {
        "array": [high - best.learning_rate],
        "arrayminus": [best.learning_rate - low],
        "color": "$second",
        "thickness": 2,
        "width": 5,
    }
    rates = [*curve.low, *curve.high, *curve.run_rate, low, high]
    size = "the target's size" if curve.along == "tokens" else "the target's tokens"
    name = "training tokens" if curve.along == "tokens" else "parameters"
    return chart(
        [
            *band(at, points(curve.low), points(curve.high), "90 % band"),
            line(at, points(curve.median), "best rate", hoverinfo="skip"),
            *_run_traces(runs, curve),
            {**diamond(own, best.learning_rate, said), "error_y": error},
        ],
        x=log_axis(f"{name}, at {size}", at[0], at[-1], count_label),
        y=log_axis("best learning rate", min(rates), max(rates), rate_label),
    )


def _run_traces(runs: RunsFigure, curve: OptimumFigure) -> list[Chart]:
    """Runs by how their loss compares with the best one of their own size and horizon."""
    with np.errstate(invalid="ignore"):
        excess = runs.excess / runs.loss
        kinds = (
            (excess <= GOOD, f"run within {100 * GOOD:g} % of its best loss", "$good", "circle"),
            ((excess > GOOD) & (excess <= FAIR), f"within {100 * FAIR:g} %", "$fair", "square"),
            (excess > FAIR, "worse", "$poor", "circle-open"),
            (runs.status == "diverged", "diverged", "$bad", "x"),
            (runs.status == "pending", "under way", "$second", "triangle-up-open"),
        )
    found = []
    for chosen, name, color, symbol in kinds:
        if not chosen.any():
            continue
        found.append(
            {
                "x": points(curve.run_at[chosen]),
                "y": points(curve.run_rate[chosen]),
                "mode": "markers",
                "name": name,
                "marker": {"color": color, "symbol": symbol, "size": 7, "line": {"width": 1}},
                "hovertext": [_run_text(runs, k) for k in np.flatnonzero(chosen).tolist()],
                "hoverinfo": "text",
            }
        )
    return found


def _run_text(runs: RunsFigure, k: int) -> str:
    ending = runs.status[k]
    if runs.status[k] == "completed":
        ending = f"loss {shown(runs.loss[k], 'level')}"
    off = runs.octaves_off[k]
    side = "above" if off > 0 else "below"
    return (
        f"run {runs.id[k]}: rate {shown(runs.learning_rate[k], 'rate')}, {ending}"
        f"<br>{shown(runs.params[k], 'count')} parameters, {shown(runs.tokens[k], 'count')} tokens"
        f"<br>{shown(abs(off), 'octaves')} octaves {side} the best rate there"
    )


def regret_chart(history: HistoryFigure) -> Chart:
    """Expected regret against what was spent."""
    axis, spend = _spend_axis(history)
    regret = points(history.expected_regret)
    text = [
        f"after {shown(n, 'whole')} runs, {shown(s, 'share')} of a target run"
        f"<br>expected regret {shown(r, 'loss')} nats"
        for n, s, r in zip(history.trials, _spends(history), history.expected_regret, strict=True)
    ]
    return chart(
        [_states(spend, regret, "expected regret", text)],
        x=axis,
        y=log_axis("expected regret (nats)", min(regret), max(regret), loss_label),
    )


def interval_chart(history: HistoryFigure) -> Chart:
    """The recommended rate and its 90 % interval against what was spent."""
    axis, spend = _spend_axis(history)
    text = [
        f"after {shown(n, 'whole')} runs, {shown(s, 'share')} of a target run"
        f"<br>{shown(r, 'rate')}, 90 % sure: {shown(a, 'rate')} to {shown(b, 'rate')}"
        f"<br>{shown(o, 'octaves')} octaves wide"
        for n, s, r, a, b, o in zip(
            history.trials,
            _spends(history),
            history.learning_rate,
            history.low_90,
            history.high_90,
            history.octaves,
            strict=True,
        )
    ]
    low, high = points(history.low_90), points(history.high_90)
    return chart(
        [
            *band(spend, low, high, "90 % interval"),
            _states(spend, points(history.learning_rate), "recommended", text),
        ],
        x=axis,
        y=log_axis("learning rate at the target", min(low), max(high), rate_label),
    )


def _states(spend: list[float], values: list[float], name: str, text: list[str]) -> Chart:
    """What was believed along the way, a dot a state."""
    dots = {"mode": "lines+markers", "marker": {"size": 8}}
    return line(spend, values, name, **dots, hovertext=text, hoverinfo="text")


def spend_counts(history: HistoryFigure) -> bool:
    """Whether anything was charged; else the compute of the runs stands for the spend."""
    return bool(history.spent[-1] > 0)


def _spends(history: HistoryFigure) -> np.ndarray:
    return history.spent if spend_counts(history) else history.compute


def _spend_axis(history: HistoryFigure) -> tuple[Chart, list[float]]:
    """A logarithmic axis whose first place, a factor of two before the rest, stands for nothing."""
    spend = _spends(history)
    paid = spend[spend > 0]
    first = float(paid.min()) / 2 if paid.size else 1.0
    placed = points(np.where(spend > 0, spend, first))
    what = "spent" if spend_counts(history) else "logged compute"
    axis = log_axis(f"{what} (share of a target run)", first, placed[-1], share_label)
    kept = [k for k, value in enumerate(axis["tickvals"]) if value > 1.5 * first]
    axis["tickvals"] = [first, *(axis["tickvals"][k] for k in kept)]
    axis["ticktext"] = ["0", *(axis["ticktext"][k] for k in kept)]
    return axis, placed


def runs_chart(figures: StudyFigures) -> Chart:
    """What each run removed of the expected regret, against what it cost."""
    runs = figures.runs
    told = runs.regret_removed > 0
    cost, removed = points(runs.cost[told]), points(runs.regret_removed[told])
    text = [
        f"{_run_text(runs, k)}<br>cost {shown(runs.cost[k], 'share')} of a target run"
        f"<br>removes {shown(runs.regret_removed[k], 'loss')} nats, "
        f"{shown(runs.octaves_removed[k], 'octaves')} octaves"
        for k in np.flatnonzero(told).tolist()
    ]
    return chart(
        [
            {
                "x": cost,
                "y": removed,
                "mode": "markers",
                "marker": {"color": "$ours", "size": 9, "opacity": 0.75},
                "hovertext": text,
                "hoverinfo": "text",
            }
        ],
        x=log_axis("cost of the run (share of a target run)", min(cost), max(cost), share_label),
        y=log_axis("expected regret it removes (nats)", min(removed), max(removed), loss_label),
    )


def opinions_chart(figures: StudyFigures) -> Chart:
    """Our recommendation above those of others, with what each states as its interval."""
    others, best = figures.opinions, figures.recommendation
    order = [int(k) for k in np.argsort(others.learning_rate)]
    names = [*(opinion_title(figures, str(others.name[k])) for k in order), "this study"]
    rows = list(range(len(names)))
    low, high = best.interval_90
    stated = [*others.low_90[order], *others.high_90[order]]
    ends = [low, high, *others.learning_rate, *filter(math.isfinite, stated)]
    return chart(
        [
            *_opinion_traces(others, order, names),
            {
                **line([low, high], rows[-1:] * 2, "our 90 % interval", hoverinfo="skip"),
                "line": {"color": "$ours", "width": 5},
            },
            diamond(best.learning_rate, rows[-1], f"ours: {shown(best.learning_rate, 'rate')}"),
        ],
        x=log_axis("learning rate at the target", min(ends), max(ends), rate_label),
        y={
            "tickvals": rows,
            "ticktext": names,
            "range": [-0.6, rows[-1] + 0.6],
            "showgrid": False,
        },
        shapes=[span(low, high, "$span")],
    )


def _opinion_traces(others: OpinionsFigure, order: list[int], names: list[str]) -> list[Chart]:
    """Rates of others, a row each, and the intervals of those that state one."""
    bars_x: list[float | None] = []
    bars_y: list[float | None] = []
    for row, k in enumerate(order):
        if math.isfinite(others.low_90[k]):
            bars_x += [*points([others.low_90[k], others.high_90[k]]), None]
            bars_y += [row, row, None]
    text = [
        f"{name}: {shown(others.learning_rate[k], 'rate')}"
        f"<br>expected to lose {shown(others.expected_regret[k], 'loss')} nats"
        f"{'' if others.inside[k] else '<br>the target lies outside the runs behind it'}"
        for name, k in zip(names, order, strict=False)  # ours is the last name
    ]
    symbols = ["circle" if inside else "circle-open" for inside in others.inside[order]]
    return [
        {
            "x": bars_x,
            "y": bars_y,
            "name": "an interval they state",
            "mode": "lines",
            "hoverinfo": "skip",
            "line": {"color": "$muted", "width": 2},
        },
        {
            "x": points(others.learning_rate[order]),
            "y": list(range(len(order))),
            "mode": "markers",
            "marker": {"color": "$text", "size": 10, "symbol": symbols, "line": {"width": 2}},
            "hovertext": text,
            "hoverinfo": "text",
        },
    ]


def opinion_title(figures: StudyFigures, name: str) -> str:
    """A law, or where the study started from, as a reader knows it."""
    if name == "prior":
        return "laws and recipes" if figures.study.prior_center is None else "your guess"
    return LAW_TITLES.get(name, name)
