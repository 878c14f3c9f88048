"""Hierarchy: what may the next recipe be like, after what other recipes said of themselves?

Each recipe r has coefficients of its own, one draw from a population that its covariates shift:

    θ_r = m + B_r x_r + e_r,  e_r ~ N(0, Σ),    p(data_r | θ_r) ∝ exp(−½ θᵀ Λ_r θ + h_rᵀ θ)

x_r holds the family of its optimizer, µP, and experts; they move the exponents of the optimum only,
by a B_r ~ N(B, T) that may be each recipe's own.
With few recipes Σ = D R D is shrunk: each variance towards a hand-set one worth `_PSEUDO_RECIPES`
recipes, the correlations towards none, as if `_UNCORRELATED` more recipes had shown none, few of
them among the exponents, whose trade-off is what recipes agree on most. m and B are normal; given
Σ they are integrated out exactly, and so is each θ_r, so that the fixed point below is expectation
maximisation. The next recipe is N(m̂ + B̂ x, Σ + x T xᵀ + what m and B are unsure of).

Sources: Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39(1):1-38; Barnard, McCulloch & Meng
(2000), Statistica Sinica 10(4):1281-1311, for D R D.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from horizon_bo.published.evidence import COEFFICIENTS, Evidence
from horizon_bo.published.optimizers import family_of

FloatArray = NDArray[np.float64]

#: What one would believe of a recipe without any sweep: location and spread between recipes. The
#: sweeps move the locations and replace the spreads as far as they can tell.
VAGUE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "optimum_per_params": (-0.35, 0.2),
        "optimum_per_tokens": (-0.15, 0.2),
        "optimum_per_batch": (0.4, 0.2),  # linear below the critical batch, none above
        "log_curvature": (-4.4, 1.0),  # of the loss, per squared e-fold
        "curvature_per_params": (-0.1, 0.15),
        "curvature_per_tokens": (-0.2, 0.15),
        "curvature_per_batch": (0.07, 0.15),
        "asymmetry": (0.75, 0.4),
        "log_params_exponent": (-1.2, 0.4),
        "log_tokens_exponent": (-1.2, 0.4),
        "log_drift_sd": (-1.6, 0.5),
        "log_length": (0.7, 0.4),
        "log_misfit_sd": (-5.8, 0.7),
        "log_noise_sd": (-6.2, 0.9),
        "noise_per_compute": (-0.1, 0.1),
        "log_bowl_error": (-2.5, 0.5),
        "log_cliff": (0.7, 0.6),  # half of the runs diverge two e-folds above the optimum
    }
)
#: What covariates may shift: exponent, prior mean and standard deviation of the shift, and how far
#: it differs between recipes. Under µP the optimum is expected not to move with width (Yang et al.,
#: 2022, arXiv:2203.03466), nor where weights keep their norms: a rate is an angle there. Sweeps of
#: experts differ in what grows with their active parameters: Step Law's best rate stays, that of
#: the trainer here falls as a dense model's.
SHIFTS: tuple[tuple[str, str, float, float, float], ...] = (
    ("matrix", "optimum_per_params", 0.0, 0.3, 0.0),
    ("matrix", "optimum_per_tokens", 0.0, 0.3, 0.0),
    ("matrix", "optimum_per_batch", 0.0, 0.3, 0.0),
    ("mup", "optimum_per_params", 0.35, 0.2, 0.0),
    ("experts", "optimum_per_params", 0.0, 0.3, 0.3),
)
_PSEUDO_RECIPES = 3.0
#: Of any two coefficients, and of two exponents of the optimum: leaving groups of recipes out finds
#: the first as good as none, and the second 2 nats better than 8 (`benchmarks/LOG.md`).
_UNCORRELATED, _UNCORRELATED_EXPONENTS = 30.0, 1.0
#: Spread of m's prior, in spreads between recipes.
_LOCATION_SPREADS = 1.5
_SETTLED = 1e-4


@dataclass(frozen=True)
class Population:
    """Mean and covariance of the coefficients (`COEFFICIENTS`) of a recipe not seen yet."""

    mean: FloatArray
    covariance: FloatArray


@dataclass(frozen=True)
class Hierarchy:
    """What a set of recipes say together.

    Args:
        effects: Mean of m and then of the shifts.
        effects_covariance: Their covariance.
        spread: Σ, the covariance between recipes alike, but for what their shifts differ by.
        recipes: Their number, relatives counted in part.
    """

    effects: FloatArray
    effects_covariance: FloatArray
    spread: FloatArray
    recipes: float

    def population(self, optimizer: str, parametrization: str, *, experts: bool) -> Population:
        """The next recipe's coefficients under some covariates."""
        family = family_of(optimizer)
        share = {"adam": 0.0, "matrix": 1.0}.get(family or "", 0.5)
        design = _design(share, parametrization != "standard", experts)
        covariance = _spread(self.spread, design) + design @ self.effects_covariance @ design.T
        if family is None:  # either family: half of each shift, give or take as much
            halves = (_design(1.0, False, False) - _design(0.0, False, False)) @ self.effects / 2
            covariance = covariance + np.outer(halves, halves)
        return Population(design @ self.effects, covariance)


def hierarchy(evidence: Sequence[Evidence]) -> Hierarchy:
    """Learn the population of recipes from what each of them said."""
    recipes = _Recipes.of(evidence)
    locations, spreads = (np.array(column) for column in zip(*VAGUE.values(), strict=True))
    prior_mean = np.concatenate([locations, [shift[2] for shift in SHIFTS]])
    prior_sd = np.concatenate([_LOCATION_SPREADS * spreads, [shift[3] for shift in SHIFTS]])
    weight = float(recipes.weight.sum())
    spread = np.diag(spreads**2)
    doubt = np.full((len(spreads), len(spreads)), _UNCORRELATED)
    doubt[:3, :3] = _UNCORRELATED_EXPONENTS
    while True:
        effects, covariance = _effects(recipes, spread, prior_mean, prior_sd)
        moments = _moments(recipes, spread, effects, covariance)
        variances = (moments.diagonal() + _PSEUDO_RECIPES * spreads**2) / (weight + _PSEUDO_RECIPES)
        scale = np.sqrt(np.maximum(moments.diagonal(), 1e-300))
        seen = weight * moments / np.outer(scale, scale)
        correlations = seen / (weight + doubt)
        np.fill_diagonal(correlations, 1.0)
        fresh = correlations * np.sqrt(np.outer(variances, variances))
        change = np.abs(np.sqrt(fresh.diagonal() / spread.diagonal()) - 1).max()
        spread = fresh
        if change < _SETTLED:
            return Hierarchy(effects, covariance, spread, weight)


@dataclass(frozen=True)
class _Recipes:
    """Recipes as the fixed point needs them, one a row."""

    design: FloatArray  # recipe coefficient effect
    precision: FloatArray  # Λ, recipe coefficient coefficient
    score: FloatArray  # h, recipe coefficient
    weight: FloatArray  # recipe

    @staticmethod
    def of(evidence: Sequence[Evidence]) -> "_Recipes":
        size = len(COEFFICIENTS)
        return _Recipes(
            np.array([_design_of(each) for each in evidence]).reshape(-1, size, size + len(SHIFTS)),
            np.array([each.precision for each in evidence]).reshape(-1, size, size),
            np.array([each.score for each in evidence]).reshape(-1, size),
            np.array([each.weight for each in evidence], dtype=float),
        )


def _design(matrix: float, mup: bool, experts: bool) -> FloatArray:
    """Which effects make up each coefficient under some covariates."""
    size = len(COEFFICIENTS)
    present = {"matrix": matrix, "mup": float(mup), "experts": float(experts)}
    design = np.zeros((size, size + len(SHIFTS)))
    design[:, :size] = np.eye(size)
    for column, (covariate, coefficient, *_) in enumerate(SHIFTS):
        design[COEFFICIENTS.index(coefficient), size + column] = present[covariate]
    return design


def _spread(spread: FloatArray, design: FloatArray) -> FloatArray:
    """Covariance of recipes of a design about their mean: Σ, and T where their shifts differ."""
    shifts = design[..., len(COEFFICIENTS) :]
    return spread + shifts * np.square([differs for *_, differs in SHIFTS]) @ shifts.mT


def _design_of(each: Evidence) -> FloatArray:
    share = 1.0 if family_of(each.optimizer) == "matrix" else 0.0
    return _design(share, each.parametrization != "standard", each.experts)


def _effects(
    recipes: _Recipes, spread: FloatArray, prior_mean: FloatArray, prior_sd: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Posterior mean and covariance of m and the shifts, every θ_r integrated out."""
    told = np.concat([recipes.precision, recipes.score[..., None]], -1)
    own = _spread(spread, recipes.design)
    shrunk = np.linalg.solve(np.eye(len(spread)) + recipes.precision @ own, told)
    across = recipes.weight[:, None, None] * (recipes.design.mT @ shrunk)
    precision = np.diag(prior_sd**-2) + (across[..., :-1] @ recipes.design).sum(0)
    covariance = np.linalg.inv(precision)
    return covariance @ (prior_mean * prior_sd**-2 + across[..., -1].sum(0)), covariance


def _moments(
    recipes: _Recipes, spread: FloatArray, effects: FloatArray, covariance: FloatArray
) -> FloatArray:
    """Expected Σ_r e_r e_rᵀ, with what is not known of each θ_r and of the effects."""
    inverse = np.linalg.inv(_spread(spread, recipes.design))
    posterior = np.linalg.inv(recipes.precision + inverse)
    expected = (recipes.design @ effects)[..., None]
    error = posterior @ (recipes.score[..., None] + inverse @ expected) - expected
    sway = (posterior @ inverse - np.eye(len(spread))) @ recipes.design
    whole = error @ error.mT + posterior + sway @ covariance @ sway.mT
    share = spread @ inverse  # of a deviation, what is e_r and no shift of its own
    each = share @ whole @ share.mT + spread - share @ spread
    return np.tensordot(recipes.weight, each, 1)
