"""Families: how does each loss law turn coefficients into losses, and where may a fit start?

Coefficients are unconstrained reals around the centre of the data (mean logs of the columns), where
they are least correlated; `natural` turns them into the law's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from horizon_bo.published.constants import named

FloatArray = NDArray[np.float64]
Columns = Mapping[str, FloatArray]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A law with free coefficients.

    Args:
        name: What the command line calls it.
        formula: The law in its natural coefficients.
        coefficients: Names of the natural coefficients.
        columns: Columns of the table it depends on, besides `loss`.
        levels: How many different values of a column it takes to identify the law.
        log_loss: Coefficients `(problem, coefficient)` and centred logs of the columns to log
            losses `(problem, run)`.
        natural: Coefficients and the centre's logs to natural coefficients of the same shape.
        ranges: Lowest, starting and highest values of each coefficient.
        relative: Which of them are levels, relative to the log of the typical loss.
        extent: Columns whose product says how large a run is.
    """

    name: str
    formula: str
    coefficients: tuple[str, ...]
    columns: tuple[str, ...]
    levels: Mapping[str, int]
    log_loss: Callable[[FloatArray, Columns], FloatArray]
    natural: Callable[[FloatArray, Mapping[str, float]], FloatArray]
    ranges: tuple[tuple[float, tuple[float, ...], float], ...]
    relative: tuple[bool, ...]
    extent: tuple[str, ...] = ("params", "tokens")

    def bounds(self, log_level: float) -> FloatArray:
        """Lowest and highest coefficients for losses of that mean log, `(2, coefficient)`."""
        box = np.array([(low, high) for low, _, high in self.ranges]).T
        return box + log_level * np.array(self.relative, dtype=np.float64)

    def starts(self, log_level: float) -> FloatArray:
        """Where to start from, `(start, coefficient)`."""
        grid = np.array(list(product(*(starts for _, starts, _ in self.ranges))))
        return grid + log_level * np.array(self.relative, dtype=np.float64)


def _split(theta: FloatArray) -> tuple[FloatArray, ...]:
    """Coefficients as columns that broadcast against runs."""
    return tuple(theta[:, index, None] for index in range(theta.shape[1]))


def _log_sum(*terms: FloatArray) -> FloatArray:
    """`ln Σ e^term`, with the largest term taken out."""
    top = terms[0]
    for term in terms[1:]:
        top = np.maximum(top, term)
    return top + np.log(sum(np.exp(term - top) for term in terms))


def _stack(*columns: FloatArray) -> FloatArray:
    return np.stack(columns, axis=-1)


#: Log level of a term relative to the loss: from negligible to all of it.
_TERM = (-12.0, (-3.0, -1.0), 1.5)
_IRREDUCIBLE = (-8.0, (-1.0, -0.2), 0.7)
_EXPONENT = (0.0, (0.15, 0.5), 2.0)


def _chinchilla(theta: FloatArray, x: Columns) -> FloatArray:
    e, a, alpha, b, beta = _split(theta)
    return _log_sum(e, a - alpha * x["params"], b - beta * x["tokens"])


def _chinchilla_natural(theta: FloatArray, center: Mapping[str, float]) -> FloatArray:
    e, a, alpha, b, beta = np.moveaxis(theta, -1, 0)
    return _stack(
        np.exp(e),
        np.exp(a + alpha * center["params"]),
        alpha,
        np.exp(b + beta * center["tokens"]),
        beta,
    )


def _kaplan(theta: FloatArray, x: Columns) -> FloatArray:
    p, alpha, q, beta = _split(theta)
    return beta * np.logaddexp((p - alpha * x["params"]) / beta, q / beta - x["tokens"])


def _kaplan_natural(theta: FloatArray, center: Mapping[str, float]) -> FloatArray:
    p, alpha, q, beta = np.moveaxis(theta, -1, 0)
    with np.errstate(over="ignore"):
        size = np.exp(center["params"] + p / alpha)
        length = np.exp(center["tokens"] + q / beta)
    return _stack(size, alpha, length, beta)


def _muennighoff(theta: FloatArray, x: Columns) -> FloatArray:
    e, a, alpha, b, beta, log_d, log_n = _split(theta)
    # unique_tokens are centred as tokens are, and their balance is α A N^-α = β B U^-β
    unique = x["unique_tokens"]
    balanced = (a + np.log(alpha) - b - np.log(beta) + beta * unique) / alpha
    size = _log_saturating(x["params"], balanced, np.exp(log_n))
    length = _log_saturating(x["tokens"], unique, np.exp(log_d))
    return _log_sum(e, a - alpha * size, b - beta * length)


def _log_saturating(amount: FloatArray, unit: FloatArray, decay: FloatArray) -> FloatArray:
    repeats = np.expm1(np.clip(amount - unit, 0.0, 50.0))
    return np.minimum(amount, unit) + np.log1p(-decay * np.expm1(-repeats / decay))


def _muennighoff_natural(theta: FloatArray, center: Mapping[str, float]) -> FloatArray:
    base = _chinchilla_natural(theta[..., :5], center)
    return np.concatenate([base, np.exp(theta[..., 5:])], axis=-1)


def _broken(theta: FloatArray, x: Columns) -> FloatArray:
    a, b, slope, change, place, log_sharp = _split(theta)
    sharp = np.exp(log_sharp)
    scale = next(iter(x.values()))
    bend = np.logaddexp(0.0, (scale - place) / sharp)
    return np.logaddexp(a, b - slope * scale - change * sharp * bend)


def _broken_natural(theta: FloatArray, center: Mapping[str, float]) -> FloatArray:
    a, b, slope, change, place, log_sharp = np.moveaxis(theta, -1, 0)
    middle = next(iter(center.values()))
    return _stack(
        np.exp(a),
        np.exp(b + slope * middle),
        slope,
        change,
        np.exp(place + middle),
        np.exp(log_sharp),
    )


def _convex(theta: FloatArray, x: Columns) -> FloatArray:
    limit, travel, noise = _split(theta)
    eta = x["learning_rate"]
    return _log_sum(limit, travel - x["steps"] - eta, noise + eta)


def _convex_natural(theta: FloatArray, center: Mapping[str, float]) -> FloatArray:
    limit, travel, noise = np.moveaxis(theta, -1, 0)
    shift = center["learning_rate"]
    return _stack(
        np.exp(limit),
        np.exp(0.5 * (travel + shift + center["steps"])),
        np.exp(0.5 * (noise - shift)),
    )


_CHINCHILLA_RANGES = (_IRREDUCIBLE, _TERM, _EXPONENT, _TERM, _EXPONENT)
_CHINCHILLA_NAMES = ("E", "A", "alpha", "B", "beta")


def _broken_family(column: str) -> Family:
    return Family(
        name=f"bnsl-{column}",
        formula=f"L = a + b x^-c0 (1 + (x/d)^(1/f))^(-c1 f), x = {column}",
        coefficients=("a", "b", "c0", "c1", "d", "f"),
        columns=(column,),
        levels={column: 7},
        log_loss=_broken,
        natural=_broken_natural,
        ranges=(
            _IRREDUCIBLE,
            (-12.0, (-1.5, -0.3), 1.5),
            (-0.5, (0.1, 0.4), 2.0),
            (-2.0, (-0.2, 0.3), 2.0),
            (-6.0, (-1.0, 1.0), 6.0),
            (-4.0, (-1.5, 0.0), 2.0),
        ),
        relative=(True, True, False, False, False, False),
        extent=(column,),
    )


_ALL = (
    Family(
        name="chinchilla",
        formula="L = E + A/N^alpha + B/D^beta",
        coefficients=_CHINCHILLA_NAMES,
        columns=("params", "tokens"),
        levels={"params": 3, "tokens": 3},
        log_loss=_chinchilla,
        natural=_chinchilla_natural,
        ranges=_CHINCHILLA_RANGES,
        relative=(True, True, False, True, False),
    ),
    Family(
        name="kaplan-loss",
        formula="L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D",
        coefficients=("N_c", "alpha_N", "D_c", "alpha_D"),
        columns=("params", "tokens"),
        levels={"params": 2, "tokens": 2},
        log_loss=_kaplan,
        natural=_kaplan_natural,
        ranges=(
            (-5.0, (-0.5, 0.0), 2.0),
            (0.005, (0.05, 0.2), 2.0),
            (-5.0, (-0.5, 0.0), 2.0),
            (0.005, (0.05, 0.2), 2.0),
        ),
        relative=(True, False, True, False),
    ),
    Family(
        name="muennighoff",
        formula="L = E + A/N'^alpha + B/D'^beta; D' = U + U R_D (1 - e^(-R/R_D)), R = D/U - 1",
        coefficients=(*_CHINCHILLA_NAMES, "R_D", "R_N"),
        columns=("params", "tokens", "unique_tokens"),
        levels={"params": 3, "tokens": 3, "unique_tokens": 2},
        log_loss=_muennighoff,
        natural=_muennighoff_natural,
        ranges=(
            _IRREDUCIBLE,
            (-12.0, (-2.0,), 1.5),
            (0.02, (0.15, 0.4), 2.0),
            (-12.0, (-2.0,), 1.5),
            (0.02, (0.15, 0.4), 2.0),
            (-2.0, (1.0, 3.0), 8.0),
            (-2.0, (2.0,), 8.0),
        ),
        relative=(True, True, False, True, False, False, False),
    ),
    Family(
        name="convex",
        formula="L = L_inf + q1^2/(T eta) + q2^2 eta at one size, T steps",
        coefficients=("L_inf", "q1", "q2"),
        columns=("learning_rate", "steps"),
        levels={"learning_rate": 3, "steps": 2},
        log_loss=_convex,
        natural=_convex_natural,
        ranges=((-3.0, (-0.1,), 0.3), (-15.0, (-5.0, -3.0), 1.5), (-15.0, (-5.0, -3.0), 1.5)),
        relative=(True, True, True),
        extent=("steps",),
    ),
    _broken_family("params"),
    _broken_family("tokens"),
    _broken_family("flops"),
)

#: Every loss family that can be fitted to a table of runs, by name.
FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _ALL})


def family_named(name: str) -> Family:
    """The family of that name, or an error that lists the names there are."""
    return named(FAMILIES, name, "family")
