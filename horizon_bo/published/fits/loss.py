"""Fitting: what do a user's own runs say about a loss law, and how far can that be trusted?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from horizon_bo.errors import InvalidTableError
from horizon_bo.published.fits.families import Family, family_named
from horizon_bo.published.fits.posterior import sample_posterior
from horizon_bo.published.fits.robust import HUBER_DELTA, derivatives, fit_curves, huber
from horizon_bo.published.fits.runs import (
    Runs,
    Table,
    best_of_cells,
    read_runs,
    require_identifiable,
)
from horizon_bo.published.fits.sampling import Resampling, resampling_weights

FloatArray = NDArray[np.float64]

#: Normal-consistent factor of the median absolute deviation.
_MAD = 1.4826

#: Residuals beyond this many robust standard deviations are named.
_OUTLYING = 5.0

#: Rank correlation of residuals with a column from which the form is doubted.
_TREND = 0.4

#: Share of the largest sizes that a law is asked to predict from the rest.
_HELD_OUT = 0.1

#: Where the Huber likelihood turns linear, in its own widths (95 % efficient for normal noise).
_HUBER_C = 1.345

#: Width of log-loss noise below which data count as exact.
_LEAST_WIDTH = 1e-9


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """What the residuals of a fit look like, in log loss.

    Args:
        residual_sd: Robust standard deviation (median absolute deviation).
        largest: The largest residual in size.
        outliers: Rows of the table more than five standard deviations off.
        trends: Rank correlation of residuals with each column; far from 0 means misfit.
    """

    residual_sd: float
    largest: float
    outliers: tuple[int, ...]
    trends: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A loss law fitted to runs.

    Args:
        family: The law's family.
        center: Mean log of each column, where the centred coefficients are measured from.
        centered: Centred coefficients: the best ones, then one row a draw.
        method: Where the draws come from, in words.
        rows: Runs used.
        diagnostics: The residuals.
        extrapolation_error: Median |error| of log loss at the largest runs, predicted from the
            rest; `None` where the rest does not identify the law.
        remarks: What a user should know.
    """

    family: Family
    center: Mapping[str, float]
    centered: FloatArray
    method: str
    rows: int
    diagnostics: Diagnostics
    extrapolation_error: float | None
    remarks: tuple[str, ...]

    @property
    def draws(self) -> FloatArray:
        """Natural coefficients of each draw, `(draw, coefficient)`."""
        return self.family.natural(self.centered[1:], self.center)

    @property
    def coefficients(self) -> dict[str, float]:
        """Natural coefficients by name."""
        best = self.family.natural(self.centered[:1], self.center)[0]
        return dict(zip(self.family.coefficients, best.tolist(), strict=True))

    @property
    def covariance(self) -> FloatArray:
        """Covariance of the natural coefficients over the draws."""
        return np.cov(self.draws, rowvar=False)

    @property
    def intervals_90(self) -> dict[str, tuple[float, float]]:
        """Central 90 % of each natural coefficient over the draws."""
        low, high = np.quantile(self.draws, [0.05, 0.95], axis=0)
        pairs = zip(low.tolist(), high.tolist(), strict=True)
        return dict(zip(self.family.coefficients, pairs, strict=True))

    def predict(self, **run: float) -> tuple[float, float, float]:
        """Loss of a run in the unit of the table, with the central 90 % of the draws."""
        missing = [name for name in self.family.columns if name not in run]
        if missing:
            raise InvalidTableError(
                f"run is given by {', '.join(run) or 'nothing'}, expected also "
                f"{', '.join(missing)}; give them"
            )
        point = {n: np.array([np.log(run[n]) - self.center[n]]) for n in self.family.columns}
        losses = np.exp(self.family.log_loss(self.centered, point))[:, 0]
        low, high = np.quantile(losses[1:], [0.05, 0.95])
        return float(losses[0]), float(low), float(high)


def fit_loss_law(
    table: Table,
    family: str,
    *,
    draws: int = 1000,
    by: Resampling = "run",
    bayesian: bool = False,
    best_only: bool = False,
    seed: int = 0,
) -> Fit:
    """Fit a loss law robustly and say how sure one may be of each coefficient.

    The Huber loss of log-loss residuals is minimised from every start of the family, the best
    minimum polished by L-BFGS, and the fit repeated on resampled runs, all in one batch.

    Args:
        table: Columns of equal length: `loss` and the family's own.
        family: Name of the family.
        draws: Bootstrap resamples, or posterior draws.
        by: Resample single runs, or whole cells of equal columns.
        bayesian: Draw from the posterior under a Huber likelihood instead of resampling.
        best_only: Keep the lowest loss of each cell, for sweeps of rate and batch.
        seed: Of the resampling.

    Source: Hoffmann et al. (2022), arXiv:2203.15556, section 3.3.
    """
    law = family_named(family)
    runs = read_runs(table, ("loss", *law.columns))
    if best_only and len(runs):
        runs = best_of_cells(runs, law.columns)
    require_identifiable(runs, len(law.coefficients), law.levels)
    problem = _Problem.of(law, runs)
    best = problem.best()
    rng = np.random.default_rng(seed)
    if bayesian:
        thetas = problem.posterior(best, draws, rng)
    else:
        thetas = problem.refits(best, resampling_weights(runs, law.columns, draws, by, rng))
    error, remark = _extrapolation(law, runs)
    diagnostics = _diagnostics(law, runs, problem.residuals(best))
    return Fit(
        family=law,
        center=problem.center,
        centered=np.vstack([best, thetas]),
        method=f"{draws} posterior draws" if bayesian else f"{draws} bootstraps by {by}",
        rows=len(runs),
        diagnostics=diagnostics,
        extrapolation_error=error,
        remarks=(*runs.remarks, *problem.edges(best), *_doubts(diagnostics), *remark),
    )


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """One table, centred, ready to be fitted."""

    law: Family
    center: Mapping[str, float]
    columns: Mapping[str, FloatArray]
    log_loss: FloatArray

    @staticmethod
    def of(law: Family, runs: Runs) -> "_Problem":
        center = {name: float(runs.log(name).mean()) for name in law.columns}
        if "unique_tokens" in center:  # measured on the scale of tokens
            center["unique_tokens"] = center["tokens"]
        columns = {name: runs.log(name) - center[name] for name in law.columns}
        return _Problem(law=law, center=center, columns=columns, log_loss=runs.log("loss"))

    @property
    def level(self) -> float:
        return float(np.median(self.log_loss))

    @property
    def bounds(self) -> FloatArray:
        return self.law.bounds(self.level)

    def curve(self, theta: FloatArray) -> FloatArray:
        return self.law.log_loss(theta, self.columns)

    def residuals(self, theta: FloatArray) -> FloatArray:
        return self.curve(theta[None])[0] - self.log_loss

    def best(self) -> FloatArray:
        """The best minimum over all starts, polished by L-BFGS."""
        starts = self.law.starts(self.level)
        found = fit_curves(self.curve, starts, self.log_loss, self.bounds)
        start = found.coefficients[np.argmin(found.objective)]
        polished = minimize(
            self._objective, start, jac=True, method="L-BFGS-B", bounds=self.bounds.T
        )
        return polished.x if polished.fun < found.objective.min() else start

    def _objective(self, theta: FloatArray) -> tuple[float, FloatArray]:
        here = self.curve(theta[None])
        residual = here[0] - self.log_loss
        pull = np.clip(residual, -HUBER_DELTA, HUBER_DELTA)
        slope = derivatives(self.curve, theta[None], here)[0] @ pull
        return float(huber(residual).mean()), slope / residual.size

    def refits(self, best: FloatArray, weights: FloatArray) -> FloatArray:
        """Fits to reweighted runs, each from the best fit to all of them."""
        starts = np.repeat(best[None], len(weights), axis=0)
        return fit_curves(self.curve, starts, self.log_loss, self.bounds, weights).coefficients

    def posterior(self, best: FloatArray, draws: int, rng: np.random.Generator) -> FloatArray:
        """Draws under a Huber likelihood of unknown width and a flat prior within the bounds."""
        bounds = self.bounds
        width = _MAD * np.median(np.abs(self.residuals(best))) + _LEAST_WIDTH
        jacobian = derivatives(self.curve, best[None], self.curve(best[None]))[0] / width
        precision = jacobian @ jacobian.T
        covariance = np.zeros((best.size + 1, best.size + 1))
        covariance[:-1, :-1] = np.linalg.pinv(precision, rcond=1e-10, hermitian=True)
        covariance[-1, -1] = 0.5 / self.log_loss.size

        def log_density(points: FloatArray) -> FloatArray:
            theta, log_width = points[:, :-1], points[:, -1]
            residual = (self.curve(theta) - self.log_loss) / np.exp(log_width)[:, None]
            density = -huber(residual, _HUBER_C).sum(-1) - self.log_loss.size * log_width
            inside = ((theta >= bounds[0]) & (theta <= bounds[1])).all(-1)
            return np.where(inside & np.isfinite(density), density, -np.inf)

        start = np.append(best, np.log(width))
        return sample_posterior(log_density, start, covariance, draws, rng)[:, :-1]

    def edges(self, best: FloatArray) -> tuple[str, ...]:
        """One remark that names the coefficients the table leaves at the edge of their range."""
        low, high = self.bounds
        margin = 1e-6 * (high - low)
        stuck = (best <= low + margin) | (best >= high - margin)
        names = [n for n, s in zip(self.law.coefficients, stuck, strict=True) if s]
        if not names:
            return ()
        return (f"{', '.join(names)} ended at the edge of its range: the table says little of it",)


def _extrapolation(law: Family, runs: Runs) -> tuple[float | None, tuple[str, ...]]:
    """Error at the largest runs when the law is fitted to the rest."""
    extent = sum(runs.log(name) for name in law.extent)
    sizes = np.unique(np.round(extent, 9))
    first = sizes[-max(1, int(_HELD_OUT * sizes.size))]
    largest = np.round(extent, 9) >= first
    rest = runs.where(~largest)
    try:
        require_identifiable(rest, len(law.coefficients), law.levels)
    except InvalidTableError:
        text = "extrapolation error is unknown: without the largest runs the law is not identified"
        return None, (text,)
    problem = _Problem.of(law, rest)
    held = runs.where(largest)
    columns = {name: held.log(name) - problem.center[name] for name in law.columns}
    errors = law.log_loss(problem.best()[None], columns)[0] - held.log("loss")
    return float(np.median(np.abs(errors))), ()


def _diagnostics(law: Family, runs: Runs, residuals: FloatArray) -> Diagnostics:
    sd = float(_MAD * np.median(np.abs(residuals - np.median(residuals))))
    outlying = np.abs(residuals) > _OUTLYING * sd + _LEAST_WIDTH
    varying = [name for name in law.columns if np.unique(runs[name]).size > 1]
    trends = {name: _rank_correlation(runs[name], residuals) for name in varying}
    return Diagnostics(
        residual_sd=sd,
        largest=float(np.abs(residuals).max()),
        outliers=tuple(int(row) for row in runs.rows[outlying]),
        trends=trends,
    )


def _rank_correlation(first: FloatArray, second: FloatArray) -> float:
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def _doubts(diagnostics: Diagnostics) -> tuple[str, ...]:
    remarks = []
    if diagnostics.outliers:
        rows = ", ".join(str(row) for row in diagnostics.outliers[:8])
        remarks.append(f"{len(diagnostics.outliers)} outlying runs weigh little: rows {rows}")
    remarks += [
        f"residuals trend with {name} (rank correlation {value:+.2f}): the form may not fit"
        for name, value in diagnostics.trends.items()
        if abs(value) > _TREND
    ]
    return tuple(remarks)
