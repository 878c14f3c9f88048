"""Optimum: how do the best learning rate and batch of a user's own sweep scale?

Power laws of the optimum are linear in logs, so a fit is a regression and its bootstraps are one
batched solve.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from horizon_bo.errors import InvalidTableError
from horizon_bo.published.fits.runs import Runs, Table, read_runs, require_identifiable
from horizon_bo.published.fits.sampling import Resampling, resampling_weights

FloatArray = NDArray[np.float64]

#: Runs this close to the best of their cell count as optimal. Source: Step Law's code.
NEAR_BEST = 0.0025

#: Runs of one curve this close to its lowest loss shape the parabola.
VERTEX_BAND = 0.02

#: Runs a parabola needs.
_FEWEST_ON_CURVE = 4


@dataclass(frozen=True, kw_only=True)
class OptimumFit:
    """A power law of an optimal setting, `ln y = c + Σ a_i ln x_i`.

    Args:
        output: What is predicted: `learning_rate` or `batch_tokens`.
        inputs: What it depends on.
        coefficients: `(c, a_1, …)`, the constant for inputs in counts.
        draws: The same of each bootstrap, `(draw, coefficient)`.
        method: Where the draws come from, in words.
        rows: Runs or vertices used.
        residual_sd: Standard deviation of `ln y` about the law.
        r_squared: Share of the variance of `ln y` that the law explains.
        extrapolation_error: |ln y| error at the largest compute, predicted from the rest; `None`
            where the rest does not identify the law.
        remarks: What a user should know.
    """

    output: str
    inputs: tuple[str, ...]
    coefficients: FloatArray
    draws: FloatArray
    method: str
    rows: int
    residual_sd: float
    r_squared: float
    extrapolation_error: float | None
    remarks: tuple[str, ...]

    @property
    def exponents(self) -> dict[str, float]:
        """The exponent of each input."""
        return dict(zip(self.inputs, self.coefficients[1:].tolist(), strict=True))

    @property
    def standard_errors(self) -> dict[str, float]:
        """Standard deviation of each exponent over the draws."""
        return dict(zip(self.inputs, self.draws[:, 1:].std(0, ddof=1).tolist(), strict=True))

    @property
    def covariance(self) -> FloatArray:
        """Covariance of the constant and the exponents over the draws."""
        return np.cov(self.draws, rowvar=False)

    def predict(self, **run: float) -> tuple[float, float, float]:
        """The optimum at a run, and the central 90 % of the draws."""
        x = np.array([1.0, *(np.log(run[name]) for name in self.inputs)])
        low, high = np.quantile(self.draws @ x, [0.05, 0.95])
        return float(np.exp(self.coefficients @ x)), float(np.exp(low)), float(np.exp(high))


def near_best_runs(runs: Runs) -> Runs:
    """Runs whose loss exceeds the lowest of their (params, tokens) cell by less than a fraction."""
    groups = runs.groups("params", "tokens")
    lowest = np.full(groups.max() + 1, np.inf)
    np.minimum.at(lowest, groups, runs["loss"])
    return runs.where(runs["loss"] / lowest[groups] - 1.0 < NEAR_BEST)


def curve_vertices(runs: Runs) -> Runs:
    """The vertex of each curve of loss over ln LR at fixed params, tokens and batch.

    A parabola goes through the runs within 2 % of the curve's lowest loss; curves whose optimum is
    not inside their rates are left out and counted.
    """
    groups = runs.groups("params", "tokens", "batch_tokens")
    log_rate, loss = runs.log("learning_rate"), runs["loss"]
    kept, vertices, curvatures = [], [], []
    for group in range(groups.max() + 1):
        member = np.flatnonzero(groups == group)
        near = member[loss[member] <= (1.0 + VERTEX_BAND) * loss[member].min()]
        best = member[np.argmin(loss[member])]
        ends = (log_rate[member].min(), log_rate[member].max())
        if near.size < _FEWEST_ON_CURVE or log_rate[best] in ends:
            continue
        bend, slope, _ = np.polyfit(log_rate[near] - log_rate[best], loss[near], 2)
        if bend <= 0.0:
            continue
        vertex = log_rate[best] - slope / (2.0 * bend)
        if ends[0] < vertex < ends[1]:
            kept.append(best)
            vertices.append(np.exp(vertex))
            curvatures.append(2.0 * bend)
    left_out = groups.max() + 1 - len(kept)
    found = runs.where(np.isin(np.arange(len(runs)), kept))
    order = np.argsort(kept)
    columns = {
        **found.columns,
        "learning_rate": np.array(vertices)[order],
        "curvature": np.array(curvatures)[order],
    }
    remark = (f"{left_out} curves left out: too few runs or no optimum inside",) if left_out else ()
    return replace(found, columns=columns, remarks=(*runs.remarks, *remark))


def fit_optimum(
    table: Table,
    output: str = "learning_rate",
    inputs: Sequence[str] = ("params", "tokens"),
    *,
    vertices: bool = False,
    draws: int = 1000,
    by: Resampling = "run",
    seed: int = 0,
) -> OptimumFit:
    """Regress the logs of an optimal setting on the logs of size and horizon.

    By default on every run within 0.25 % of its cell's best, as Step Law does; with `vertices`
    on the vertex of each curve at fixed batch, which is the question of fixed-batch laws.

    Args:
        table: Columns `learning_rate`, `params`, `tokens`, `loss` and, for batch, `batch_tokens`.
        output: `learning_rate` or `batch_tokens`.
        inputs: Columns that it may depend on.
        vertices: Whether to regress the vertices of curves instead of near-best runs.
        draws: Bootstrap resamples.
        by: Resample single runs, or whole (params, tokens) cells.
        seed: Of the resampling.

    Source: Li et al. (2025), arXiv:2503.04715, and its code.
    """
    batch = ("batch_tokens",) if vertices or "batch_tokens" in (output, *inputs) else ()
    needed = dict.fromkeys(("learning_rate", "params", "tokens", "loss", *batch, *inputs, "flops"))
    runs = read_runs(table, tuple(needed))
    if not len(runs):
        raise InvalidTableError("table holds no usable run, expected some; check its columns")
    chosen = curve_vertices(runs) if vertices else near_best_runs(runs)
    require_identifiable(chosen, 1 + len(inputs), dict.fromkeys(inputs, 2))
    x, y = _design(chosen, inputs), chosen.log(output)
    best = weighted_regression(x, y, np.ones((1, y.size)))[0]
    rng = np.random.default_rng(seed)
    weights = resampling_weights(chosen, ("params", "tokens"), draws, by, rng)
    residual = y - x @ best
    error, remark = _extrapolation(chosen, output, inputs)
    return OptimumFit(
        output=output,
        inputs=tuple(inputs),
        coefficients=best,
        draws=weighted_regression(x, y, weights),
        method=f"{draws} bootstraps by {by}",
        rows=len(chosen),
        residual_sd=float(np.sqrt(residual @ residual / (y.size - best.size))),
        r_squared=float(1.0 - residual.var() / y.var()),
        extrapolation_error=error,
        remarks=(*chosen.remarks, *remark),
    )


def weighted_regression(x: FloatArray, y: FloatArray, weights: FloatArray) -> FloatArray:
    """Least squares under each row of weights, `(draw, coefficient)`.

    The columns are centred first: with raw counts the constant and the exponents are all but
    collinear. A draw that does not identify a coefficient gets the smallest that fits.
    """
    middle = x[:, 1:].mean(0)
    centred = np.column_stack([x[:, 0], x[:, 1:] - middle])
    normal = np.einsum("pr,rk,rl->pkl", weights, centred, centred, optimize=True)
    moment = np.einsum("pr,rk,r->pk", weights, centred, y, optimize=True)
    found = (np.linalg.pinv(normal, hermitian=True) @ moment[..., None])[..., 0]
    found[:, 0] -= found[:, 1:] @ middle
    return found


def _design(runs: Runs, inputs: Sequence[str]) -> FloatArray:
    return np.column_stack([np.ones(len(runs)), *(runs.log(name) for name in inputs)])


def _extrapolation(
    runs: Runs, output: str, inputs: Sequence[str]
) -> tuple[float | None, tuple[str, ...]]:
    """Error at the cell of the largest compute when the law is fitted to the rest."""
    largest = runs["flops"] >= runs["flops"].max() * (1.0 - 1e-9)
    rest = runs.where(~largest)
    try:
        require_identifiable(rest, 1 + len(inputs), dict.fromkeys(inputs, 2))
    except InvalidTableError:
        text = "extrapolation error is unknown: without the largest runs the law is not identified"
        return None, (text,)
    x, y = _design(rest, inputs), rest.log(output)
    found = weighted_regression(x, y, np.ones((1, y.size)))[0]
    held = runs.where(largest)
    errors = _design(held, inputs) @ found - held.log(output)
    return float(abs(errors.mean())), ()
