"""Center: where is the best rate at a target before any run, and how sure may one be?

An optimizer has the best rates of the sweeps that were made with it, else with its family, else of
all, each carried to the target by the exponents of the population, with an error that grows on the
way; AdamW has the published laws beside them. What an optimizer's rate multiplies differs between
implementations, and no sweep says so of the next one. A user's guess is one more opinion. Opinions
are held together by how sure each is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from horizon_bo.core.hierarchy import Population
from horizon_bo.published.evidence import Evidence, Optimum
from horizon_bo.published.optimizers import family_of
from horizon_bo.published.prior import MOST_LOG_SD, prior_center
from horizon_bo.study.horizons import Horizon, anchored
from horizon_bo.study.trials import Study

#: Error of a guess in ln LR: a factor of three.
GUESS_SD = math.log(3.0)
#: Least spread of a centre: of public sweeps without their relatives it errs by 0.7, and a narrower
#: one holds on to a wrong centre for as long as runs are few (`benchmarks/LOG.md`).
LEAST_SD = 1.0
#: Scatter between two studies of one optimizer, of one family, and of any two optimizers, in ln LR.
_SAME_SD, _FAMILY_SD, _ANY_SD = 1.2, 1.5, 2.0
#: What a guess is called among the sources.
GUESS_NAME = "your prior_center"
#: Optimizers that the published laws and recipes speak of, as one.
_OF_THE_LAWS = ("adamw", "adam")


@dataclass(frozen=True)
class Center:
    """The guess of the optimal rate that the prior is centred at, and where it comes from."""

    log_lr: float
    log_sd: float
    sources: tuple[str, ...]
    known: bool = True  # whether any sweep or law knows the optimizer


def study_center(study: Study, evidence: Sequence[Evidence], population: Population) -> Center:
    """What laws and sweeps say, and the user's guess where there is one.

    Args:
        study: The study.
        evidence: What the recipes said that may speak here.
        population: The coefficients expected of the study's own recipe.
    """
    center = _published(study, evidence, population)
    if study.prior_center is not None:
        guess = Center(math.log(study.prior_center), GUESS_SD, (GUESS_NAME,))
        center = _together(guess, center)
    return replace(center, log_sd=max(LEAST_SD, center.log_sd))


def _together(one: Center, other: Center) -> Center:
    """Two opinions, each weighted by its precision.

    The spread grows where they disagree by more than their errors account for.

    Source: Birge (1932), Phys. Rev. 40:207-227, for the ratio that scales it.
    """
    rates = np.array([one.log_lr, other.log_lr])
    precisions = np.array([one.log_sd, other.log_sd]) ** -2.0
    log_lr = float(precisions @ rates / precisions.sum())
    birge = max(1.0, float(precisions @ (rates - log_lr) ** 2))
    log_sd = math.sqrt(birge / float(precisions.sum()))
    return Center(log_lr, log_sd, (*one.sources, *other.sources), one.known or other.known)


def _published(study: Study, evidence: Sequence[Evidence], population: Population) -> Center:
    """What sweeps with such an optimizer say of the target, beside the laws where those speak."""
    target = anchored(study.target, study.space).without_embeddings
    if study.optimizer.lower() not in _OF_THE_LAWS or study.parametrization == "hypersphere":
        return _of_sweeps(replace(study, target=target), evidence, population)
    found = prior_center(target, study.parametrization, study.excluded_data)
    laws = Center(math.log(found.learning_rate), found.log_sd, found.sources)
    of_the_laws = replace(study, target=target, optimizer=_OF_THE_LAWS[0])
    sweeps = _of_sweeps(of_the_laws, evidence, population)
    return _together(laws, sweeps) if sweeps.known else laws


def _of_sweeps(study: Study, evidence: Sequence[Evidence], population: Population) -> Center:
    """The best rates of other sweeps, those of the nearest kin that there are."""
    family = family_of(study.optimizer)
    alike = [
        each
        for each in evidence
        if each.optimum is not None and each.parametrization == study.parametrization
    ]
    same = [each for each in alike if each.optimizer.lower() == study.optimizer.lower()]
    kin = [each for each in alike if family is not None and family_of(each.optimizer) == family]
    chosen, scatter = next(
        (found, sd)
        for found, sd in ((same, _SAME_SD), (kin, _FAMILY_SD), (alike, _ANY_SD))
        if found or found is alike
    )
    carried = [_carried(each.optimum, study.target, population) for each in chosen if each.optimum]
    if not carried:
        laws = prior_center(study.target, study.parametrization, study.excluded_data)
        return Center(math.log(laws.learning_rate), MOST_LOG_SD, laws.sources, known=False)
    rates, variances = np.array(carried).T
    weights = 1 / (variances + scatter**2)
    center = float((weights * rates).sum() / weights.sum())
    between = float((weights * (rates - center) ** 2).sum() / weights.sum())
    log_sd = math.sqrt(between + scatter**2 + float(variances.min()))
    return Center(center, log_sd, tuple(each.name for each in chosen), known=bool(same))


def _carried(optimum: Optimum, target: Horizon, population: Population) -> tuple[float, float]:
    """A best rate brought to the target by the population's exponents: ln LR and its variance."""
    batch = 0.0
    if target.batch_tokens is not None and optimum.batch_tokens is not None:
        batch = math.log(target.batch_tokens / optimum.batch_tokens)
    way: NDArray[np.float64] = np.array(
        [math.log(target.params / optimum.params), math.log(target.tokens / optimum.tokens), batch]
    )
    moved = float(way @ population.mean[:3])
    variance = float(way @ population.covariance[:3, :3] @ way) + optimum.log_sd**2
    return math.log(optimum.learning_rate) + moved, variance
