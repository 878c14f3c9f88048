"""Inference: what a study makes one believe about the learning rate at its target.

`believe` turns a study's trials into tensors, samples coefficient sets and draws the loss curve
at the target. It is a pure function: the same study gives the same belief, bit for bit.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from horizon_bo.core.center import Center, study_center
from horizon_bo.core.conditioning import draw_departures, token_slope
from horizon_bo.core.hierarchy import Hierarchy, Population, hierarchy
from horizon_bo.core.points import Points, Runs, assign_cells, farthest_first
from horizon_bo.core.priors import Priors, study_priors
from horizon_bo.core.sampler import Posterior, sample
from horizon_bo.published.evidence import Evidence, evidence_from, shipped, usable
from horizon_bo.study.horizons import anchored
from horizon_bo.study.seeds import BELIEF, study_generator
from horizon_bo.study.trials import Study, Trial, log_inputs

#: Typical loss before the first run, nats per token; any observed loss replaces it.
LOSS_BEFORE_DATA = 2.5
#: Distance between runs of two recipes, or of one that blew up and one that did not.
_APART = 2.0
#: Draws of the target cell's departures per coefficient set.
_DRAWS = 8
#: A loss this many times that of a run no larger and no longer, at a lower rate, blew up.
_BLOWN_UP = 1.25
#: So many runs that all lie so far above a smaller and shorter one say that it is the odd one.
_WITNESSES = 2
_NEAR = 1e-9  # rounding of ln N/N* and ln D/D*
#: Runs beyond this are condensed, within bins of ln η of this width or wider.
MOST_RUNS, _BIN, _WIDEST_BIN = 200, 0.1, 1.0
#: Of more runs than this in more than a few cells, so many are kept that are spread out.
MOST_SCATTERED, _FEW_CELLS = 100, 10


@dataclass(frozen=True)
class TargetDraws:
    """Posterior draws of the loss curve at the target: level + κ · h_s(ln η − ln η*).

    Losses are in units of the study's typical loss.
    """

    log_optimum: Float[np.ndarray, "draw"]
    curvature: Float[np.ndarray, "draw"]
    asymmetry: Float[np.ndarray, "draw"]
    level: Float[np.ndarray, "draw"]
    token_slope: Float[np.ndarray, "draw"]  # loss that an e-fold of tokens buys
    log_cliff: Float[np.ndarray, "draw"]  # rate at which half of the runs diverge


@dataclass(frozen=True, eq=False)
class Belief:
    """All that a decision needs to know of a study's posterior; equal to itself alone."""

    runs: Runs
    recipes: tuple[str, ...]  # labels of recipes other than the study's own
    loss_scale: float  # typical loss, in the study's unit
    center: Center
    posterior: Posterior
    target: TargetDraws
    log_batch: float = 0.0  # ln of the batch of those draws over that of the origin


def believe(study: Study) -> Belief:
    """Infer everything from a study's trials."""
    return believe_with(study, lambda priors: priors, sample)


def believe_with(
    study: Study,
    priors_of: Callable[[Priors], Priors],
    sampler: Callable[[Runs, Priors, np.random.Generator], Posterior],
) -> Belief:
    """What `believe` infers, under other priors or with another sampler.

    Args:
        study: The study.
        priors_of: The priors to use, made from the study's own.
        sampler: Draws coefficient sets given runs.
    """
    runs, recipes, loss_scale = finished_runs(study)
    center, population = study_expectation(study)
    own = study_priors(center.log_lr, center.log_sd, population, study.coordinates)
    priors = priors_of(own)
    informed = replace(study, trials=study.informing)  # what has not ended changes nothing
    generator = study_generator(informed, BELIEF)
    posterior = sampler(runs, priors, generator)
    draws = target_draws(posterior, runs, generator)
    return Belief(runs, recipes, loss_scale, center, posterior, draws)


def study_evidence(study: Study) -> tuple[Evidence, ...]:
    """What other recipes said, those left out that share data with the study's excluded ones."""
    given = study.prior
    evidence = shipped() if given is None else evidence_from(given, "the study's prior")
    return usable(evidence, study.excluded_data)


@lru_cache(maxsize=8)
def _hierarchy(evidence: tuple[Evidence, ...]) -> Hierarchy:
    return hierarchy(evidence)


def study_expectation(study: Study) -> tuple[Center, Population]:
    """Where the study's best rate may be before any run, and what its recipe may be like."""
    evidence = study_evidence(study)
    population = _hierarchy(evidence).population(
        study.optimizer, study.parametrization, experts=study.experts
    )
    return study_center(study, evidence, population), population


def finished_runs(study: Study) -> tuple[Runs, tuple[str, ...], float]:
    """Completed and diverged trials as tensors, other recipes' labels, and the typical loss.

    The typical loss is the median of the study's own recipe, else of any: priors scale with it.
    """
    trials = list(study.informing)
    labels = [study.recipe(trial) for trial in trials]
    recipes = tuple(sorted({label for label in labels if label is not None}))
    own = [t.loss for t, label in zip(trials, labels, strict=True) if t.loss and label is None]
    losses = own or [trial.loss for trial in trials if trial.loss]
    loss_scale = float(statistics.median(losses)) if losses else LOSS_BEFORE_DATA
    points = placed(study, trials, recipes)
    loss = np.array([t.loss or math.nan for t in trials], dtype=float) / loss_scale
    known = np.array([t.loss_sd or 0.0 for t in trials], dtype=float) / loss_scale
    cell, cells = assign_cells(points)
    runs = Runs(points, loss, known**2, np.ones_like(loss), cell, cells)
    few = thinned(condensed(without_repeats(runs)))
    loss = np.where(blown_up(few.points, few.loss), math.nan, few.loss)
    return replace(few, loss=loss), recipes, loss_scale


def blown_up(points: Points, loss: Float[np.ndarray, "run"]) -> Bool[np.ndarray, "run"]:
    """Which runs ended so high that their loss says no more than that they blew up.

    Those a quarter above a run no larger and no longer, of no smaller batch, at a lower rate: no
    bowl goes on as its bottom does up there, and a digit too many is not read as a steep one. A run
    that two or more others, and all of them, lie so far above is no measure for them.
    """
    n, d, b = points.log_scales[:, :3].T
    same = (points.source[:, None] == points.source) & (b[:, None] <= b + _NEAR)
    harder = same & (n[:, None] >= n - _NEAR) & (d[:, None] >= d - _NEAR)  # [run, measure]
    harder &= ~np.isnan(loss)[:, None] & ~np.eye(len(n), dtype=bool)
    above = harder & (loss[:, None] > _BLOWN_UP * loss)
    odd = (harder.sum(0) >= _WITNESSES) & (above == harder).all(0)
    higher = points.log_lr[:, None] > points.log_lr
    return (above & higher & ~odd).any(1)


def without_repeats(runs: Runs) -> Runs:
    """Runs of one rate at one place become one that knows their number.

    What the bowl's shape errs by at a rate is the same in all of them, and that one of them did
    not blow up is hardly more than another one told: a hundred say little more than one.
    """
    keys = np.stack([_places(runs), _same(runs.points.log_lr[:, None]), runs.diverged], 1)
    group = _same(keys)
    groups = 1 + int(group.max(initial=-1))
    return runs if groups == len(runs) else _merged(runs, group, groups)


def _places(runs: Runs) -> np.ndarray:
    """A number for each size, tokens, batch and recipe."""
    return _same(np.concat([runs.points.log_scales, runs.points.source[:, None]], 1))


def _same(rows: np.ndarray) -> np.ndarray:
    """A number for each row, alike where rows are."""
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def condensed(runs: Runs, most: int = MOST_RUNS) -> Runs:
    """The same runs where there are few; else neighbours in rate, of one place, become one.

    Neighbours lie within a bin of ln η that starts at a tenth and doubles until at most `most`
    runs are left, and stays there where it never comes to that. The bowl bends by less than 10⁻³
    of its curvature within such a bin. A bin is represented by its median loss, so that an
    outlier in it does not count.
    """
    place = _places(runs)
    narrow, width = None, _BIN
    while len(runs) > most and width < _WIDEST_BIN:
        bins = np.round(runs.points.log_lr / width).astype(int)
        group = _same(np.stack([place, bins, runs.diverged], 1))
        found = _merged(runs, group, 1 + int(group.max()))
        if len(found) <= most:
            return found
        narrow, width = narrow or found, 2 * width
    return narrow or runs


def thinned(runs: Runs) -> Runs:
    """The same runs where few or in few cells; else some that are spread out, from the target on.

    A belief costs the third power of three departures a cell, and the runs times their square.
    """
    if len(runs) <= MOST_SCATTERED or len(np.unique(runs.cell)) <= _FEW_CELLS:
        return runs
    points = runs.points
    labels = np.stack([points.source, runs.diverged], 1) * _APART
    places = np.concat([points.log_lr[:, None], points.log_scales, labels], 1)
    nearest = int(np.linalg.norm(points.log_scales, axis=1).argmin())
    return runs.select(np.sort(farthest_first(places, MOST_SCATTERED, nearest)))


def _merged(runs: Runs, group: np.ndarray, groups: int) -> Runs:
    count = np.bincount(group, runs.count, groups)

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.zeros((groups, *values.shape[1:]))
        np.add.at(total, group, values)
        return total / count.reshape(-1, *[1] * (values.ndim - 1))

    order = np.lexsort((np.nan_to_num(runs.loss, nan=0.0), group))
    first = count.cumsum() - count
    lower = order[np.floor(first + (count - 1) / 2).astype(int)]
    upper = order[np.ceil(first + (count - 1) / 2).astype(int)]
    return replace(
        runs,
        points=Points(
            mean(runs.points.log_lr), mean(runs.points.log_scales), runs.points.source[lower]
        ),
        loss=(runs.loss[lower] + runs.loss[upper]) / 2,
        variance=mean(runs.variance) / count,
        count=count,
        cell=runs.cell[lower],
    )


def placed(study: Study, trials: Sequence[Trial], recipes: tuple[str, ...]) -> Points:
    """Where trials lie relative to the target, recipes by their number."""
    origin = anchored(study.target, study.space)
    inputs = np.array(
        [log_inputs(trial, origin) + study.places(trial) for trial in trials], dtype=float
    ).reshape(-1, 4 + len(study.coordinates))
    number = {label: 1 + k for k, label in enumerate(recipes)}
    source = [number.get(study.recipe(trial) or "", 0) for trial in trials]
    return Points(inputs[:, 0], inputs[:, 1:], np.array(source, dtype=int))


def target_draws(posterior: Posterior, runs: Runs, generator: np.random.Generator) -> TargetDraws:
    """Draw the loss curve at the target from every coefficient set."""
    departures = draw_departures(posterior.fit, generator, _DRAWS)[..., 0]
    c = posterior.fit.coefficients
    spread = lambda values: np.tile(values, _DRAWS)  # noqa: E731
    level, drift, steeper = (departures[:, :, j].reshape(-1) for j in range(3))
    optimum = spread(c.law.log_optimum) + drift
    return TargetDraws(
        log_optimum=optimum,
        curvature=np.exp(spread(c.law.log_curvature) + steeper),
        asymmetry=spread(c.law.asymmetry),
        level=1.0 + level,
        token_slope=spread(token_slope(posterior.fit, runs)),
        log_cliff=optimum + spread(c.cliff),
    )
