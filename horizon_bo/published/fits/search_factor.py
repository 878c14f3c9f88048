"""Search factor: can few short runs per size stand in for a grid of sizes, horizons and rates?

The fitting paradigm of Zhou et al.: at one size and batch the loss is a power law of tokens at
every rate, and nearly a parabola in ln LR at every horizon. So a few horizons and a few rates fix
the whole surface, and n · C_D · C_η runs replace n³.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from horizon_bo.errors import InvalidTableError
from horizon_bo.published.fits.optimum import weighted_regression
from horizon_bo.published.fits.runs import Runs, Table, read_runs, require_identifiable
from horizon_bo.published.fits.sampling import resampling_weights

FloatArray = NDArray[np.float64]

#: Runs further than this above the lowest loss of their horizon leave the parabola.
_BAND = 0.05

#: Coefficients of one size's surface.
_PER_SIZE = 6


@dataclass(frozen=True, kw_only=True)
class SearchFactorFit:
    """Optimal rates read off each size's surface, and the law through them.

        ln L(η, D) = Σ_{j≤2} Σ_{k≤1} c_jk uʲ dᵏ,   u = ln η/η₀, d = ln D/D₀, at each size
        u*(d)      = −(c₁₀ + c₁₁ d) / (2 (c₂₀ + c₂₁ d))
        ln η*(N,D) = c + a ln N + b ln D

    Args:
        coefficients: `(c, a, b)`; a is 0 where the table has one size.
        draws: The same of each bootstrap by run, `(draw, 3)`.
        optima: `(params, tokens, learning_rate)` read off the surfaces.
        runs_used: Runs that the surfaces were fitted to.
        runs_of_grid: Runs of the full grid that they replace: sizes · horizons · rates.
        extrapolation_error: Median |error| of log loss at the longest horizon, predicted from the
            shorter; `None` where those do not identify the surface.
        remarks: What a user should know.
    """

    coefficients: FloatArray
    draws: FloatArray
    optima: tuple[tuple[float, float, float], ...]
    runs_used: int
    runs_of_grid: int
    extrapolation_error: float | None
    remarks: tuple[str, ...]

    @property
    def standard_errors(self) -> dict[str, float]:
        """Standard deviation of the exponents over the draws."""
        known = self.draws[np.isfinite(self.draws).all(-1)]
        return dict(zip(("params", "tokens"), known[:, 1:].std(0, ddof=1).tolist(), strict=True))

    def predict(self, params: float, tokens: float) -> tuple[float, float, float]:
        """The optimal rate, and the central 90 % of the draws."""
        x = np.array([1.0, np.log(params), np.log(tokens)])
        known = self.draws[np.isfinite(self.draws).all(-1)]
        low, high = np.quantile(known @ x, [0.05, 0.95])
        return float(np.exp(self.coefficients @ x)), float(np.exp(low)), float(np.exp(high))


def fit_search_factor(
    table: Table,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> SearchFactorFit:
    """Fit each size's surface of loss over rate and horizon, then the law of the optimum.

    Args:
        table: Columns `learning_rate`, `params`, `tokens`, `loss`; with `batch_tokens`, one value.
        draws: Bootstrap resamples of single runs.
        seed: Of the resampling.

    Source: Zhou et al. (2026), arXiv:2601.05049, eqs. 2 and 4; the surface joins the two, and
    is linear in its coefficients because losses enter as logs.
    """
    runs = _near(_one_batch(table))
    sizes = np.unique(runs["params"])
    if not sizes.size:
        raise InvalidTableError("table holds no usable run, expected some; check its columns")
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.ones(len(runs)), resampling_weights(runs, (), draws, "run", rng)])
    places, columns = [], []
    for size in sizes:
        lengths = np.unique(runs["tokens"][runs["params"] == size])
        places += [(float(size), float(length)) for length in lengths]
        columns.append(_Surface.of(runs, weights, size).optimum(np.log(lengths)))
    log_rates = np.concatenate(columns, axis=1)
    kept = np.isfinite(log_rates[0])
    if not kept.any():
        raise InvalidTableError(
            "loss has no bowl in ln LR at any size and horizon, expected one; add runs on both "
            "sides of the best rate"
        )
    left_out = list(compress(places, ~kept))
    places, log_rates = list(compress(places, kept)), log_rates[:, kept]
    laws = _laws(np.array(places), log_rates)
    error, remark = _extrapolation(runs)
    return SearchFactorFit(
        coefficients=laws[0],
        draws=laws[1:],
        optima=tuple(
            (*place, float(np.exp(r))) for place, r in zip(places, log_rates[0], strict=True)
        ),
        runs_used=len(runs),
        runs_of_grid=len(places) * np.unique(runs["learning_rate"]).size,
        extrapolation_error=error,
        remarks=(*runs.remarks, *remark, *_lost(left_out, laws)),
    )


@dataclass(frozen=True, kw_only=True)
class _Surface:
    """One size's surface under every resample."""

    log_rate: float  # ln η₀
    log_tokens: float  # ln D₀
    reach: float  # largest |u| of a run, and an octave more
    coefficients: FloatArray  # (draw, 6): 1, u, u², d, ud, u²d

    @staticmethod
    def of(runs: Runs, weights: FloatArray, size: float) -> "_Surface":
        here = runs["params"] == size
        own = runs.where(here)
        require_identifiable(own, _PER_SIZE, {"learning_rate": 3, "tokens": 2})
        middle = float(own.log("learning_rate").mean()), float(own.log("tokens").mean())
        u = own.log("learning_rate") - middle[0]
        x = _features(u, own.log("tokens") - middle[1])
        return _Surface(
            log_rate=middle[0],
            log_tokens=middle[1],
            reach=float(np.abs(u).max()) + np.log(2.0),
            coefficients=weighted_regression(x, own.log("loss"), weights[:, here]),
        )

    def optimum(self, log_tokens: FloatArray) -> FloatArray:
        """`ln η*` at each horizon, `(draw, horizon)`; NaN without a bowl among the rates."""
        d = log_tokens - self.log_tokens
        _, c10, c20, _, c11, c21 = (self.coefficients[:, k, None] for k in range(_PER_SIZE))
        bend = c20 + c21 * d
        with np.errstate(divide="ignore", invalid="ignore"):
            vertex = -(c10 + c11 * d) / (2.0 * bend)
        return np.where(
            (bend > 0.0) & (np.abs(vertex) <= self.reach), self.log_rate + vertex, np.nan
        )

    def log_loss(self, log_rate: FloatArray, log_tokens: FloatArray) -> FloatArray:
        """Predicted log loss of runs under the first set of weights."""
        x = _features(log_rate - self.log_rate, log_tokens - self.log_tokens)
        return x @ self.coefficients[0]


def _features(u: FloatArray, d: FloatArray) -> FloatArray:
    return np.column_stack([np.ones_like(u), u, u**2, d, u * d, u**2 * d])


def _one_batch(table: Table) -> Runs:
    batch = ("batch_tokens",) if "batch_tokens" in table else ()
    runs = read_runs(table, ("learning_rate", "params", "tokens", "loss", *batch))
    if batch and np.unique(runs["batch_tokens"]).size > 1:
        count = np.unique(runs["batch_tokens"]).size
        raise InvalidTableError(
            f"batch_tokens takes {count} values, expected one; fit the runs of one batch at a time"
        )
    return runs


def _near(runs: Runs) -> Runs:
    """Runs close enough to the best of their cell for a parabola to describe them."""
    if not len(runs):
        return runs
    groups = runs.groups("params", "tokens")
    lowest = np.full(groups.max() + 1, np.inf)
    np.minimum.at(lowest, groups, runs["loss"])
    return runs.where(runs["loss"] <= (1.0 + _BAND) * lowest[groups])


def _laws(places: FloatArray, log_rates: FloatArray) -> FloatArray:
    """`(c, a, b)` through the optima of each draw, which may lack some; NaN where it lacks most."""
    x = np.log(places)
    varying = [k for k in range(2) if np.unique(x[:, k]).size > 1]
    # Centred, because raw logs are all but collinear with the constant.
    middle = x.mean(0)
    design = np.column_stack([np.ones(len(x)), (x - middle)[:, varying]])
    present = np.isfinite(log_rates).astype(np.float64)
    normal = np.einsum("pr,rk,rl->pkl", present, design, design, optimize=True)
    moment = np.nan_to_num(log_rates) @ design
    found = (np.linalg.pinv(normal, hermitian=True) @ moment[..., None])[..., 0]
    laws = np.zeros((len(log_rates), 3))
    laws[:, [0, *(1 + k for k in varying)]] = found
    laws[:, 0] -= laws[:, 1:] @ middle
    laws[2 * present.sum(-1) < len(places)] = np.nan
    return laws


def _lost(places: Sequence[tuple[float, float]], laws: FloatArray) -> tuple[str, ...]:
    remarks = []
    if places:
        named = "; ".join(f"{size:.3g} params, {length:.3g} tokens" for size, length in places)
        remarks.append(f"no optimum among the rates, left out: {named}")
    lost = int((~np.isfinite(laws[1:]).all(-1)).sum())
    if lost:
        remarks.append(f"{lost} of {len(laws) - 1} resamples lack an optimum and were left out")
    return tuple(remarks)


def _extrapolation(runs: Runs) -> tuple[float | None, tuple[str, ...]]:
    """Error at each size's longest horizon when its surface is fitted to the shorter ones."""
    errors = []
    for size in np.unique(runs["params"]):
        own = runs.where(runs["params"] == size)
        longest = own["tokens"] == own["tokens"].max()
        rest, held = own.where(~longest), own.where(longest)
        try:
            surface = _Surface.of(rest, np.ones((1, len(rest))), size)
        except InvalidTableError:
            continue
        predicted = surface.log_loss(held.log("learning_rate"), held.log("tokens"))
        errors.append(np.abs(predicted - held.log("loss")))
    if not errors:
        text = "extrapolation error is unknown: no size has three horizons with runs enough"
        return None, (text,)
    return float(np.median(np.concatenate(errors))), ()
