"""Schedule fit: which schedule law do a user's own loss curves follow?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from horizon_bo.errors import InvalidTableError
from horizon_bo.published.fits.robust import fit_curves
from horizon_bo.published.fits.runs import Table
from horizon_bo.published.schedule import AnnealingLaw, MultiPowerLaw, annealing_areas

FloatArray = NDArray[np.float64]
ScheduleFamily = Literal["annealing", "multi-power"]

#: Entries that a schedule is resampled to; sums over steps become sums over these.
_ENTRIES = 128

#: Momenta tried for the annealing law, per step. Source: the range Tissue et al. report.
_MOMENTA = (0.99, 0.995, 0.999, 0.9995)

#: Losses beyond which curves are thinned, each and all together; neighbours say the same.
_OBSERVATIONS, _ALL_OBSERVATIONS = 40, 360

#: Steps after which starts are compared and the better ones carried on.
_SCREENING, _FINALISTS = 20, 2

_MAD = 1.4826


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """One run's schedule and the losses read along it.

    Args:
        name: What the table calls it.
        rates: Rate of each entry of the resampled schedule.
        stride: Optimizer steps per entry.
        entries: Entry at which each loss was read.
        losses: The losses, nats per token.
    """

    name: str
    rates: FloatArray
    stride: float
    entries: NDArray[np.int64]
    losses: FloatArray


@dataclass(frozen=True, kw_only=True)
class ScheduleFit:
    """A schedule law fitted to loss curves.

    Args:
        family: `annealing` or `multi-power`.
        law: The law with the best coefficients.
        coefficients: The same by name.
        standard_errors: Over bootstraps that resample whole curves.
        covariance: Of the coefficients over the bootstraps.
        residual_sd: Robust standard deviation of log-loss residuals.
        extrapolation_error: Median |error| of log loss on the longest curve, predicted from the
            others; `None` with fewer than three curves.
        rows: Losses used.
        remarks: What a user should know.
    """

    family: ScheduleFamily
    law: AnnealingLaw | MultiPowerLaw
    coefficients: Mapping[str, float]
    standard_errors: Mapping[str, float]
    covariance: FloatArray
    residual_sd: float
    extrapolation_error: float | None
    rows: int
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """Log losses as a function of coefficients, and where these may lie."""

    log_loss: Callable[[FloatArray], FloatArray]
    natural: Callable[[FloatArray], dict[str, float]]
    starts: FloatArray
    bounds: FloatArray
    observed: FloatArray


def loss_curves(table: Table) -> tuple[LossCurve, ...]:
    """Curves from a table with one row a step: `curve`, `step`, `learning_rate`, `loss`.

    Rates between rows are interpolated linearly; rows without a loss give the schedule alone.
    """
    missing = [n for n in ("curve", "step", "learning_rate", "loss") if n not in table]
    if missing:
        raise InvalidTableError(
            f"table has the columns {', '.join(table)}, expected also {', '.join(missing)}; "
            "give one row a logged step after warm-up"
        )
    names = np.array([str(name) for name in table["curve"]])
    numbers = {n: np.asarray(table[n], dtype=np.float64) for n in ("step", "learning_rate", "loss")}
    return tuple(
        _curve(str(name), {n: v[names == name] for n, v in numbers.items()})
        for name in dict.fromkeys(names.tolist())
    )


def _curve(name: str, columns: Mapping[str, FloatArray]) -> LossCurve:
    order = np.argsort(columns["step"])
    steps, rates = columns["step"][order], columns["learning_rate"][order]
    stride = float(steps[-1]) / _ENTRIES
    grid = stride * np.arange(1, _ENTRIES + 1)
    read = np.flatnonzero(np.isfinite(columns["loss"][order]) & (steps > 0))
    thin = read[:: max(1, -(-read.size // _OBSERVATIONS))]
    return LossCurve(
        name=name,
        rates=np.interp(grid, steps, rates),
        stride=stride,
        entries=np.clip(np.round(steps[thin] / stride).astype(np.int64) - 1, 0, _ENTRIES - 1),
        losses=columns["loss"][order][thin],
    )


def fit_schedule_law(
    curves: Sequence[LossCurve], family: ScheduleFamily, *, draws: int = 200, seed: int = 0
) -> ScheduleFit:
    """Fit a schedule law to loss curves, robustly and from several starts.

    Args:
        curves: At least two, of which one must lower its rate.
        family: `annealing` (Tissue et al.) or `multi-power` (Luo et al.).
        draws: Bootstrap resamples of whole curves.
        seed: Of the resampling.
    """
    _require_falls(curves)
    curves = _thinned(curves)
    problem, theta = _best(curves, family)
    owner = np.repeat(np.arange(len(curves)), [curve.losses.size for curve in curves])
    rng = np.random.default_rng(seed)
    picks = rng.multinomial(len(curves), np.full(len(curves), 1 / len(curves)), size=draws)
    starts = np.repeat(theta[None], draws, axis=0)
    weights = picks[:, owner].astype(np.float64)
    found = fit_curves(problem.log_loss, starts, problem.observed, problem.bounds, weights)
    names = tuple(problem.natural(theta))
    values = np.array([list(problem.natural(row).values()) for row in found.coefficients])
    residual = problem.log_loss(theta[None])[0] - problem.observed
    error = _extrapolation(curves, family)
    remarks = () if error is not None else ("extrapolation error is unknown: give three curves",)
    coefficients = problem.natural(theta)
    return ScheduleFit(
        family=family,
        law=_law(family, coefficients),
        coefficients=coefficients,
        standard_errors=dict(zip(names, values.std(0, ddof=1).tolist(), strict=True)),
        covariance=np.cov(values, rowvar=False),
        residual_sd=float(_MAD * np.median(np.abs(residual))),
        extrapolation_error=error,
        rows=problem.observed.size,
        remarks=remarks,
    )


def _law(family: ScheduleFamily, coefficients: Mapping[str, float]) -> AnnealingLaw | MultiPowerLaw:
    values: dict[str, Any] = dict(coefficients)
    return AnnealingLaw(**values) if family == "annealing" else MultiPowerLaw(**values)


def _require_falls(curves: Sequence[LossCurve]) -> None:
    lacking = []
    if len(curves) < 2:
        lacking.append(f"two curves (there are {len(curves)})")
    if not any(np.any(np.diff(curve.rates) < 0) for curve in curves):
        lacking.append("one schedule that lowers its rate")
    if sum(curve.losses.size for curve in curves) <= 7:
        lacking.append("more than 7 losses")
    if lacking:
        raise InvalidTableError(
            f"{len(curves)} curves do not identify the law, expected {' and '.join(lacking)}; "
            "add such runs"
        )


def _best(curves: Sequence[LossCurve], family: ScheduleFamily) -> tuple[_Problem, FloatArray]:
    """The problem and coefficients of the lowest objective, over starts and momenta."""
    if family == "multi-power":
        problems = [_multi_power(curves)]
    else:
        problems = [_annealing(curves, momentum) for momentum in _MOMENTA]
    solved = [(problem, *_solve(problem)) for problem in problems]
    problem, theta, _ = min(solved, key=lambda one: one[2])
    return problem, theta


def _solve(problem: _Problem) -> tuple[FloatArray, float]:
    """Best coefficients and objective: all starts for a few steps, the better ones to the end."""
    law, observed, bounds = problem.log_loss, problem.observed, problem.bounds
    first = fit_curves(law, problem.starts, observed, bounds, iterations=_SCREENING)
    finalists = first.coefficients[np.argsort(first.objective)[:_FINALISTS]]
    last = fit_curves(law, finalists, observed, bounds)
    best = int(np.argmin(last.objective))
    return last.coefficients[best], float(last.objective[best])


def _thinned(curves: Sequence[LossCurve]) -> list[LossCurve]:
    """The curves with no more losses than a fit needs, evenly spread."""
    most = max(4, _ALL_OBSERVATIONS // len(curves))
    thin = []
    for curve in curves:
        count = min(most, curve.losses.size)
        kept = np.unique(np.linspace(0, curve.losses.size - 1, count).round().astype(np.int64))
        thin.append(replace(curve, entries=curve.entries[kept], losses=curve.losses[kept]))
    return thin


def _extrapolation(curves: Sequence[LossCurve], family: ScheduleFamily) -> float | None:
    longest = max(curves, key=lambda curve: curve.stride)
    rest = [curve for curve in curves if curve is not longest]
    if len(rest) < 2:
        return None
    problem, theta = _best(rest, family)
    law = _law(family, problem.natural(theta))
    predicted = law.curve(longest.rates, longest.stride)[longest.entries]
    return float(np.median(np.abs(np.log(predicted / longest.losses))))


def _annealing(curves: Sequence[LossCurve], momentum: float) -> _Problem:
    areas = [annealing_areas(curve.rates, momentum, curve.stride) for curve in curves]
    area = np.concatenate([a[0][c.entries] for a, c in zip(areas, curves, strict=True)])
    annealed = np.concatenate([a[1][c.entries] for a, c in zip(areas, curves, strict=True)])
    observed = np.log(np.concatenate([curve.losses for curve in curves]))
    middle, top = float(np.log(area).mean()), max(float(annealed.max()), 1e-300)
    level = float(np.median(observed))

    def log_loss(theta: FloatArray) -> FloatArray:
        limit, scale, exponent, gain = (theta[:, k, None] for k in range(4))
        loss = np.exp(limit) + np.exp(scale - exponent * (np.log(area) - middle))
        return np.log(np.maximum(loss - np.exp(gain) * annealed / top, 1e-9))

    def natural(theta: FloatArray) -> dict[str, float]:
        return {
            "irreducible": float(np.exp(theta[0])),
            "scale": float(np.exp(theta[1] + theta[2] * middle)),
            "exponent": float(theta[2]),
            "annealing": float(np.exp(theta[3]) / top),
            "momentum": momentum,
        }

    starts = np.array(
        [[level + e, level - 1.5, a, level - 3.0] for e in (-0.5, -0.1) for a in (0.3, 0.8)]
    )
    low = [level - 6.0, level - 9.0, 0.0, level - 15.0]
    high = [level + 0.5, level + 2.0, 3.0, level]
    return _Problem(
        log_loss=log_loss,
        natural=natural,
        starts=starts,
        bounds=np.array([low, high]),
        observed=observed,
    )


def _multi_power(curves: Sequence[LossCurve]) -> _Problem:
    area, (reader, falls, log_after, since) = _events(curves)
    observed = np.log(np.concatenate([curve.losses for curve in curves]))
    middle = float(np.log(area).mean())
    total = max(float(np.bincount(reader, np.abs(falls), area.size).max()), 1e-300)
    level = float(np.median(observed))
    with_events, first = np.unique(reader, return_index=True)

    def log_loss(theta: FloatArray) -> FloatArray:
        limit, scale, exponent, gain, rate, power, after = (theta[:, k, None] for k in range(7))
        x = np.exp(np.minimum(rate - after * log_after, 600.0)) * since
        bought = -np.expm1(-power * np.log1p(x))
        loss = np.exp(limit) + np.exp(scale - exponent * (np.log(area) - middle))
        drop = np.add.reduceat(falls * bought, first, axis=1)
        loss[:, with_events] -= np.exp(gain) / total * drop
        return np.log(np.maximum(loss, 1e-9))

    def natural(theta: FloatArray) -> dict[str, float]:
        return {
            "irreducible": float(np.exp(theta[0])),
            "scale": float(np.exp(theta[1] + theta[2] * middle)),
            "exponent": float(theta[2]),
            "drop_scale": float(np.exp(theta[3]) / total),
            "drop_rate": float(np.exp(theta[4])),
            "drop_exponent": float(theta[5]),
            "drop_power": float(theta[6]),
        }

    starts = [
        [level + e, level - 1.5, a, level - 2.5, np.log(2.0), 0.6, g]
        for e in (-0.5, -0.1)
        for a in (0.3, 0.6)
        for g in (0.3, 0.7)
    ]
    low = [level - 6.0, level - 9.0, 0.0, level - 15.0, -6.0, 0.01, 0.0]
    high = [level + 0.5, level + 2.0, 3.0, level + 1.0, 6.0, 3.0, 1.5]
    box = np.array([low, high])
    return _Problem(
        log_loss=log_loss, natural=natural, starts=np.array(starts), bounds=box, observed=observed
    )


def _events(
    curves: Sequence[LossCurve],
) -> tuple[FloatArray, tuple[NDArray[np.int64], FloatArray, FloatArray, FloatArray]]:
    """Area so far at each loss, and the changes of the rate before it.

    Of each loss and change: the loss's number, the fall, the log rate after it, the area since.
    """
    areas, numbers, falls, after, since = [], [], [], [], []
    count = 0
    for curve in curves:
        area = curve.stride * np.cumsum(curve.rates)
        before = area - curve.stride * curve.rates
        fall = -np.diff(curve.rates, prepend=curve.rates[:1])
        happened = (curve.entries[:, None] >= np.arange(fall.size)) & (fall != 0.0)
        loss, event = np.nonzero(happened)
        areas.append(area[curve.entries])
        numbers.append(count + loss)
        falls.append(fall[event])
        after.append(np.log(np.maximum(curve.rates[event], 1e-12)))
        since.append(areas[-1][loss] - before[event])
        count += curve.entries.size
    reader, *each = map(np.concatenate, (numbers, falls, after, since))
    return np.concatenate(areas), (reader, each[0], each[1], each[2])
