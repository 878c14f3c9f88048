"""BatchPlane: what does each pair of batch and rate cost at the target, and where do runs lie?"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from horizon_bo.core.batch.choice import Pairs, pairs_at
from horizon_bo.core.decision import regret
from horizon_bo.core.inference import Belief
from horizon_bo.report.chart_parts import (
    Chart,
    band,
    chart,
    count_label,
    diamond,
    line,
    log_axis,
    points,
    rate_label,
)
from horizon_bo.report.figures import BatchFigure, RunsFigure
from horizon_bo.report.numbers import shown
from horizon_bo.study.trials import Study

#: Costs of which a contour is drawn, in target runs.
COSTS = (0.01, 0.03, 0.1, 0.3)
_BATCHES, _RATES = 17, 81
_MARGIN = 1.3  # the plane goes this factor past the batches
_BAND = (0.05, 0.5, 0.95)


def batch_figure(
    study: Study, belief: Belief, runs: RunsFigure, asked: Sequence[float] = ()
) -> BatchFigure | None:
    """The costs of batch and rate together; `None` where there is one batch or none.

    Args:
        study: The study.
        belief: `believe(study)`.
        runs: Its trials as in `RunsFigure`.
        asked: Further batches to cover, in tokens per step.
    """
    made = runs.batch_tokens[np.isfinite(runs.batch_tokens)]
    own = [study.target.batch_tokens] if study.target.batch_tokens else []
    known = {*made.tolist(), *own, *asked, *(study.space.batch_tokens or ())}
    if len(known) < 2 or not (study.target.batch_tokens or study.space.batch_tokens):
        return None
    ends = math.log(min(known) / _MARGIN), math.log(max(known) * _MARGIN)
    batches = np.exp(np.linspace(*ends, _BATCHES))
    pairs = pairs_at(study, belief, batches.tolist())
    low, median, high = _quantiles(pairs)
    grid = np.linspace(low.min() - 1.0, high.max() + 1.0, _RATES)
    costs = _costs(pairs, grid)
    at = np.unravel_index(int(costs.argmin()), costs.shape)
    edges = np.array([[_within(row, grid, most) for row in costs] for most in COSTS])
    told = np.isfinite(runs.batch_tokens)
    middle = np.interp(np.log(runs.batch_tokens[told]), np.log(batches), median)
    return BatchFigure(
        batch_tokens=batches,
        low=np.exp(low),
        median=np.exp(median),
        high=np.exp(high),
        costs=np.array(COSTS),
        low_rate=np.exp(edges[..., 0]),
        high_rate=np.exp(edges[..., 1]),
        best=(float(batches[at[0]]), math.exp(float(grid[at[1]]))),
        run_id=runs.id[told],
        run_batch=runs.batch_tokens[told],
        run_rate=np.exp(middle + runs.octaves_off[told] * math.log(2)),
        run_status=runs.status[told],
    )


def _quantiles(pairs: Pairs) -> np.ndarray:
    return np.stack([np.quantile(draws.log_optimum, _BAND) for draws in pairs.draws], 1)


def _costs(pairs: Pairs, log_lr: Float[np.ndarray, "rate"]) -> np.ndarray:
    """Expected cost of each batch at each rate above the best pair, in target runs."""
    loss = np.stack([draws.level.mean() + regret(draws, log_lr).mean(-1) for draws in pairs.draws])
    return (loss - loss.min()) / pairs.draws[0].token_slope.mean()


def _within(costs: np.ndarray, log_lr: np.ndarray, most: float) -> tuple[float, float]:
    """The ends, in ln rate, of where costs are within a bound; NaN where they are nowhere."""
    inside = np.flatnonzero(costs <= most)
    if not len(inside):
        return math.nan, math.nan
    ends = []
    for edge, beyond in ((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1)):
        if not 0 <= beyond < len(costs):
            ends.append(float(log_lr[edge]))
            continue
        share = (most - costs[edge]) / (costs[beyond] - costs[edge])
        ends.append(float(log_lr[edge] + share * (log_lr[beyond] - log_lr[edge])))
    return ends[0], ends[1]


def batch_chart(figure: BatchFigure) -> Chart:
    """Contours of cost over batch and rate, the best rate of each batch, and all runs."""
    at = points(figure.batch_tokens)
    traces = [
        *band(at, points(figure.low), points(figure.high), "90 % band of the best rate"),
        line(at, points(figure.median), "best rate at each batch", hoverinfo="skip"),
    ]
    for k, cost in enumerate(figure.costs):
        outline = contour(figure, k)
        if outline is not None:
            name = f"costs {shown(cost, 'share')} of a target run"
            style = {"color": "$poor", "width": 1.5, "dash": ("solid", "dash", "dot")[min(k, 2)]}
            traces.append(
                line(points(outline[0]), points(outline[1]), name, hoverinfo="name")
                | {"line": style}
            )
    traces.extend(_run_traces(figure))
    batch, rate = figure.best
    said = f"best pair: {shown(batch, 'count')} tokens a step at {shown(rate, 'rate')}"
    traces.append(diamond(batch, rate, said) | {"name": "costs least"})
    rates = [*figure.low, *figure.high]
    return chart(
        traces,
        x=log_axis("tokens per step, at the target", at[0], at[-1], count_label),
        y=log_axis("learning rate", min(rates), max(rates), rate_label),
    )


def _run_traces(figure: BatchFigure) -> list[Chart]:
    found = []
    for status, color, symbol in (
        ("completed", "$good", "circle"),
        ("diverged", "$bad", "x"),
        ("pending", "$second", "triangle-up-open"),
    ):
        of = figure.run_status == status
        if of.any():
            said = [
                f"run {n}: {shown(b, 'count')} tokens a step, {status}"
                for n, b in zip(figure.run_id[of], figure.run_batch[of], strict=True)
            ]
            found.append(
                {
                    "x": points(figure.run_batch[of]),
                    "y": points(figure.run_rate[of]),
                    "mode": "markers",
                    "name": f"run, {status}",
                    "marker": {"color": color, "symbol": symbol, "size": 7},
                    "hovertext": said,
                    "hoverinfo": "text",
                }
            )
    return found


def contour(figure: BatchFigure, k: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Batches and rates round a contour, closed; `None` where nothing costs so little."""
    inside = np.isfinite(figure.low_rate[k])
    if not inside.any():
        return None
    batch = figure.batch_tokens[inside]
    low, high = figure.low_rate[k][inside], figure.high_rate[k][inside]
    return np.r_[batch, batch[::-1], batch[0]], np.r_[low, high[::-1], low[0]]
