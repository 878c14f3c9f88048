"""Identified: what do one recipe's data say of its coefficients, and what do they leave open?

Bowls go through the surrogate itself under priors so wide that they hardly speak. The posterior of
their standard-normal coordinates z, divided by that prior, is the likelihood as a normal:

    Λ_z = S⁻¹ − I,    h_z = S⁻¹ m,

in the directions that the data narrowed to less than `_NARROWED` of the prior's variance, none in
the others. Optima and published exponents are linear in the exponents and need no sampler.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from horizon_bo.core.hierarchy import VAGUE
from horizon_bo.core.inference import finished_runs, target_draws
from horizon_bo.core.priors import PER_INPUT, Prior, Priors
from horizon_bo.core.sampler import likeliest
from horizon_bo.errors import InvalidTableError
from horizon_bo.learning.corpus import Recipe
from horizon_bo.published.evidence import COEFFICIENTS, Evidence, Optimum
from horizon_bo.study.horizons import Horizon, Scale, SearchSpace
from horizon_bo.study.inputs import SLOPES
from horizon_bo.study.trials import LoggedRun, Study

FloatArray = NDArray[np.float64]

#: Widths of the weak priors: spreads between recipes, and ln units of the optimal rate.
_WIDER, _RATE_SD = 2.5, 2.0
_NARROWED = 0.8
#: A run this far above its cell's best, as a share of it, is no part of a bowl; this far, it
#: did not train.
_BEYOND_THE_BOWL, _NOT_TRAINED = 0.12, 0.4
#: Runs and cells of a recipe that are looked at; the rest would say the same again.
_MOST_RUNS, _MOST_CELLS = 120, 40
#: Coefficient sets of a population, for a sweep of one's own and for those that ship: there the
#: population's asymmetry still moved by 0.1 with the seed. And how many populations are tried.
PARTICLES, FINE = 512, 2048
_POPULATIONS = 4
_EXPONENTS = {"params": 0, "tokens": 1, "batch": 2}


@dataclass(frozen=True)
class _Cell:
    place: tuple[float, float, float | None]
    runs: tuple[LoggedRun, ...]


def evidence_of(recipe: Recipe, particles: int = PARTICLES) -> Evidence:
    """What a recipe's data say, of whichever kind they are."""
    if recipe.runs:
        return _of_bowls(recipe, particles)
    if recipe.optima is not None:
        precision, score = _of_optima(recipe)
        return _evidence(recipe, "optima", precision, score, None, len(recipe.optima))
    precision, score = _of_exponents(recipe.exponents)
    return _evidence(recipe, "exponents", precision, score, None, 0)


def _evidence(
    recipe: Recipe,
    kind: str,
    precision: FloatArray,
    score: FloatArray,
    optimum: Optimum | None,
    rows: int,
) -> Evidence:
    return Evidence(
        name=recipe.name,
        group=recipe.group,
        data=recipe.data,
        kind=kind,
        optimizer=recipe.optimizer,
        parametrization=recipe.parametrization,
        experts=recipe.experts,
        weight=recipe.weight,
        precision=tuple(map(tuple, precision.tolist())),
        score=tuple(score.tolist()),
        optimum=optimum,
        rows=rows,
        source=recipe.source,
    )


def _of_bowls(recipe: Recipe, particles: int) -> Evidence:
    cells = _bowls(recipe.runs)
    rates = {run.learning_rate for cell in cells for run in cell.runs}
    if not cells or len(rates) < 2:
        raise InvalidTableError(
            f"{recipe.name} has {len(cells)} cells with {len(rates)} rates that trained, expected "
            "a cell with at least 2; such a sweep says nothing of where the optimum lies"
        )
    largest = max(cells, key=lambda cell: cell.place[0] * cell.place[1]).place
    study = Study(
        target=Horizon(params=largest[0], tokens=largest[1], batch_tokens=largest[2]),
        space=SearchSpace(
            learning_rate=(1e-9, 1e3), scales=[Scale(params=largest[0])], tokens=[largest[1]]
        ),
        budget=1.0,
    )
    logged = [run for cell in cells for run in cell.runs]
    trials = [study.trial_from(run, trial_id=k, charged=False) for k, run in enumerate(logged)]
    study = study.with_trials(*trials)
    runs, _, _ = finished_runs(study)
    priors = _weak_priors(_middle_of_bests(cells), study.coordinates)
    generator = np.random.default_rng(1)
    posterior = likeliest(runs, priors, generator, particles, _POPULATIONS)
    z = posterior.z[:, : len(priors)]
    precision, score = _likelihood(z, priors)
    draws = target_draws(posterior, runs, generator).log_optimum  # of the cell, not of the law
    optimum = Optimum(
        learning_rate=float(f"{math.exp(draws.mean()):.4g}"),
        log_sd=float(f"{draws.std():.3g}"),
        params=largest[0],
        tokens=largest[1],
        batch_tokens=largest[2],
    )
    return _evidence(recipe, "bowls", precision, score, optimum, len(logged))


def _bowls(runs: Sequence[LoggedRun]) -> list[_Cell]:
    """The cells of a sweep that show a bowl, what did not train recorded as diverged."""
    groups: dict[tuple, list[LoggedRun]] = {}
    for run in runs:
        if not run.failed:
            groups.setdefault((run.params, run.tokens, run.batch_tokens), []).append(run)
    cells = []
    for place, members in groups.items():
        losses = [run.loss for run in members if run.loss is not None and not run.diverged]
        kept = tuple(_of_the_bowl(members, min(losses))) if losses else ()
        if len({run.learning_rate for run in kept if not run.diverged}) >= 2:
            cells.append(_Cell(place, kept))
    return _fewer(cells)


def _of_the_bowl(runs: Sequence[LoggedRun], best: float) -> list[LoggedRun]:
    kept = []
    for run in runs:
        above = math.inf if run.diverged or run.loss is None else run.loss / best - 1
        if above > _NOT_TRAINED:
            kept.append(
                LoggedRun(
                    learning_rate=run.learning_rate,
                    params=run.params,
                    tokens=run.tokens,
                    batch_tokens=run.batch_tokens,
                    diverged=True,
                )
            )
        elif above <= _BEYOND_THE_BOWL:
            kept.append(run)
    return kept


def _fewer(cells: list[_Cell]) -> list[_Cell]:
    """A spread of the cells where there are many, by compute, until few enough runs are left."""
    ordered = sorted(cells, key=lambda cell: (cell.place[0] * cell.place[1], str(cell.place)))
    most = min(_MOST_CELLS, len(ordered))
    while ordered:
        pick = np.unique(np.linspace(0, len(ordered) - 1, most).round().astype(int))
        chosen = [ordered[k] for k in pick]
        if most <= 4 or sum(len(cell.runs) for cell in chosen) <= _MOST_RUNS:
            return chosen
        most -= 1
    return []


def _middle_of_bests(cells: Sequence[_Cell]) -> float:
    """Median over cells of the natural log of the rate with the lowest loss."""
    best = [
        min((run for run in cell.runs if not run.diverged), key=lambda run: run.loss or math.inf)
        for cell in cells
    ]
    return float(np.median([math.log(run.learning_rate) for run in best]))


def _weak_priors(log_center: float, varying: Sequence[str]) -> Priors:
    """Wide priors of what is learnt; of an input that varies what any study believes."""
    weak = {name: Prior(location, _WIDER * spread) for name, (location, spread) in VAGUE.items()}
    inputs = {PER_INPUT + name: Prior(*SLOPES[name]) for name in varying}
    return Priors.independent({"log_optimum": Prior(log_center, _RATE_SD), **weak, **inputs})


def _likelihood(z: FloatArray, priors: Priors) -> tuple[FloatArray, FloatArray]:
    """Λ and h in the coefficients' own units, ln LR* left open."""
    own = [priors.names.index(name) for name in COEFFICIENTS]
    mean, covariance = z.mean(0)[own], np.cov(z.T)[np.ix_(own, own)]
    values, vectors = np.linalg.eigh(covariance)
    told = values < _NARROWED
    precise = np.where(told, 1 / values - 1, 0.0)
    pulled = vectors @ np.where(told, (vectors.T @ mean) / values, 0.0)
    spread = np.array([priors[name].scale for name in COEFFICIENTS])
    location = np.array([priors[name].location for name in COEFFICIENTS])
    precision = (vectors * precise) @ vectors.T / np.outer(spread, spread)
    precision = (precision + precision.T) / 2
    return precision, pulled / spread + precision @ location


def _of_optima(recipe: Recipe) -> tuple[FloatArray, FloatArray]:
    """A regression of ln LR* on ln size, tokens and batch, its constant left open."""
    assert recipe.optima is not None
    assert recipe.log_sd is not None, "optima come with their standard deviation"
    names = ["params", "tokens", "batch_tokens"]
    inputs = np.log(recipe.optima[names].to_numpy(dtype=np.float64))
    rates = np.log(recipe.optima["lr_star"].to_numpy(dtype=np.float64))
    inputs, rates = inputs - inputs.mean(0), rates - rates.mean()
    precision, score = _nothing()
    precision[:3, :3] = inputs.T @ inputs / recipe.log_sd**2
    score[:3] = inputs.T @ rates / recipe.log_sd**2
    return precision, score


def _of_exponents(rows: Sequence[Mapping[str, float]]) -> tuple[FloatArray, FloatArray]:
    """Published exponents, each a linear combination of ours."""
    precision, score = _nothing()
    for row in rows:
        shares = np.zeros(len(score))
        for name, position in _EXPONENTS.items():
            shares[position] = row.get(name, 0.0)
        precision += np.outer(shares, shares) / row["sd"] ** 2
        score += shares * row["value"] / row["sd"] ** 2
    return precision, score


def _nothing() -> tuple[FloatArray, FloatArray]:
    size = len(COEFFICIENTS)
    return np.zeros((size, size)), np.zeros(size)
