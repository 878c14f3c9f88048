"""Diagnostics: when should one not trust the answer, and why?

Each check returns one plain sentence, or nothing where all is well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from horizon_bo.core.arrays import lower_solved
from horizon_bo.core.center import GUESS_NAME, GUESS_SD, Center
from horizon_bo.core.decision import Decision, octaves
from horizon_bo.core.inference import Belief, study_expectation
from horizon_bo.core.normal import remaining
from horizon_bo.core.oddities import measured, oddities
from horizon_bo.core.priors import UNLIKENESS, named_values
from horizon_bo.study.inputs import coordinate, placeless, unsaid
from horizon_bo.study.trials import Study

#: Below these the sampler has not mixed.
LEAST_ACCEPTANCE, _LEAST_DISTINCT = 0.03, 0.2
#: A recommendation this close to the prior's spread was hardly moved by the runs.
_PRIOR_DRIVEN = 0.8
#: A rate this far from a centre, in the centre's standard deviations, is a conflict.
_CONFLICT = 2.0
#: Standard deviations by which one cell may disagree with the others.
SURPRISE = 3.0
#: How many times as far from the public sweeps as they are from each other is worth a warning.
_UNLIKE = 1.35
#: Coefficient sets and runs that the leave-one-horizon-out check looks at.
_CHECKED_SETS, _CHECKED_RUNS = 16, 120
#: No run within this of the target's value of an input, in its coordinate, is worth a warning.
_FAR_INPUT = 0.75
#: Sources of a centre that are named.
_SOURCES = 6
_NORMAL_90 = 2 * 1.6449  # width of a normal's central 90 % in standard deviations


@dataclass(frozen=True)
class Health:
    """How well the sampler did.

    Args:
        acceptance: Share of moves accepted in the last stage.
        distinct: Number of distinct coefficient sets among the particles.
        horizon_error: Largest standardised error of a cell predicted from the other cells;
            `None` with fewer than two cells.
    """

    acceptance: float
    distinct: int
    horizon_error: float | None


def health(belief: Belief) -> Health:
    """Acceptance, effective sample size and the leave-one-horizon-out error."""
    posterior = belief.posterior
    return Health(
        acceptance=posterior.acceptance,
        distinct=len(np.unique(posterior.z, axis=0)),
        horizon_error=_horizon_error(belief),
    )


def _horizon_error(belief: Belief) -> float | None:
    """Largest |z| of a cell's mean residual when its runs are predicted from the other cells.

    Coefficients are those of all runs, so this asks whether the cells agree, not the law's power
    to extrapolate; a value above 3 means that one cell does not fit the others.
    """
    runs = belief.runs
    finite = np.flatnonzero(~runs.diverged)
    finite = finite[:: 1 + len(finite) // _CHECKED_RUNS]
    cells = np.unique(runs.cell[finite])
    if len(cells) < 2:
        return None
    residual, covariance = measured(belief, belief.posterior.some(_CHECKED_SETS), finite)
    scores = [_left_out(covariance, residual, runs.cell[finite] == cell) for cell in cells]
    return max(abs(score) for score in scores)


def _left_out(covariance: np.ndarray, residual: np.ndarray, out: np.ndarray) -> float:
    """Standardised mean error of the runs left out, averaged over coefficient sets."""
    factor = np.linalg.cholesky(covariance[:, ~out][:, :, ~out])
    cross = covariance[:, ~out][:, :, out]
    foretold = lower_solved(factor, cross).mT @ lower_solved(factor, residual[:, ~out, None])
    error = residual[:, out] - foretold[..., 0]
    spread = remaining(covariance[:, out][:, :, out], cross, factor)
    scale = np.sqrt(np.maximum(spread.mean((-1, -2)), 1e-300))
    return float((error.mean(-1) / scale).mean())


def warnings(study: Study, belief: Belief, decision: Decision) -> tuple[str, ...]:
    """All that a user should know before trusting the recommendation."""
    checks = (
        _unknown_optimizer,
        _prior_driven,
        _at_the_edge,
        _one_sided,
        _conflict_with_guess,
        _conflict_with_laws,
        _all_diverged,
        _unlike_public_sweeps,
    )
    found = [check(study, belief, decision) for check in checks]
    found.extend(_inputs(study))
    found.extend(oddities(study, belief))
    found.extend(_unhealthy(belief))
    return tuple(sentence for sentence in found if sentence)


def _unknown_optimizer(study: Study, belief: Belief, decision: Decision) -> str | None:
    if belief.center.known:
        return None
    kin = _named(belief.center.sources) or "nothing"
    made = study.optimizer
    if study.parametrization != "standard":
        made += f" under {study.parametrization}"
    return (
        f"no sweep behind the prior was made with {made}: it is wide, and rests on "
        f"{kin}; give prior_center if you know better"
    )


def _named(sources: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(sources) - _SOURCES
    return ", ".join(sources[:_SOURCES]) + (f" and {more} more" if more > 0 else "")


def _prior_driven(study: Study, belief: Belief, decision: Decision) -> str | None:
    names = _named(belief.center.sources)
    if not len(belief.runs):
        return f"no run yet: the recommendation is the prior's ({names})"
    prior_width = _NORMAL_90 * belief.center.log_sd / math.log(2)
    width = octaves(decision.log_interval_90)
    if width > _PRIOR_DRIVEN * prior_width:
        return (
            f"prior-driven: the interval is {width:.1f} octaves wide after the runs, "
            f"{prior_width:.1f} before ({names})"
        )
    return None


def _at_the_edge(study: Study, belief: Belief, decision: Decision) -> str | None:
    low, high = study.space.learning_rate
    if low <= math.exp(decision.log_lr) <= high:
        return None
    return (
        f"the recommended rate {math.exp(decision.log_lr):.2e} lies outside the space "
        f"[{low:.2e}, {high:.2e}]; widen learning_rate if runs there are possible"
    )


def _one_sided(study: Study, belief: Belief, decision: Decision) -> str | None:
    runs, fit = belief.runs, belief.posterior.fit
    points, c = runs.points, fit.coefficients
    if len(runs) < 3:  # fewer cannot straddle and repeat
        return None
    optimum = c.log_optimal_lr(points.log_scales)
    drift = fit.mean_departures[:, 1, runs.cell]
    offset = points.log_lr - optimum - c.source_offset[:, points.source] - drift
    below = float((offset < 0).mean(0).max())
    above = float((offset > 0).mean(0).max())
    if min(below, above) > 0.5:
        return None
    side = "above" if below <= 0.5 else "below"
    return f"one-sided bowls: every run lies {side} its optimum; try rates on the other side"


def _conflict_with_guess(study: Study, belief: Belief, decision: Decision) -> str | None:
    if study.prior_center is None:
        return None
    guess = Center(math.log(study.prior_center), GUESS_SD, (GUESS_NAME,))
    return _far_from(guess, decision, GUESS_NAME)


def _conflict_with_laws(study: Study, belief: Belief, decision: Decision) -> str | None:
    if study.prior_center is None:
        return _far_from(belief.center, decision, "the prior")
    laws, _ = study_expectation(replace(study, prior_center=None))
    return _far_from(laws, decision, "the consensus of published laws")


def _far_from(center: Center, decision: Decision, whose: str) -> str | None:
    away = decision.log_lr - center.log_lr
    if abs(away) < _CONFLICT * center.log_sd:
        return None
    return (
        f"conflict with {whose}: the optimum is {math.exp(abs(away)):.0f} times "
        f"{'above' if away > 0 else 'below'} its centre {math.exp(center.log_lr):.2e}"
    )


def _all_diverged(study: Study, belief: Belief, decision: Decision) -> str | None:
    if len(belief.runs) and bool(belief.runs.diverged.all()):
        return "every run diverged: they only bound the optimum from above; try lower rates"
    return None


def _unlike_public_sweeps(study: Study, belief: Belief, decision: Decision) -> str | None:
    """The runs surprise under the prior, which has widened for it."""
    posterior, priors = belief.posterior, belief.posterior.priors
    unlike = priors.names.index(UNLIKENESS)
    factor = float(np.exp(priors[UNLIKENESS].scale * posterior.z[:, unlike]).mean())
    if factor < _UNLIKE:
        return None
    values = named_values(posterior.z, priors)
    away = {
        name: (float(values[name].mean()) - priors[name].location) / priors[name].scale
        for name in priors.names[1:unlike]
    }
    name = max(away, key=lambda name: abs(away[name]))
    return (
        f"unlike the recipes behind the prior, which is believed {factor:.1f} times less surely: "
        f"most in {name.replace('_', ' ')}, {away[name]:+.1f} standard deviations off; a few cheap "
        "runs at other sizes and lengths tell more than the prior can"
    )


def _inputs(study: Study) -> list[str]:
    """Numbers of the target's recipe that nobody named, or that no run was made near."""
    found, ended = [], study.informing
    for name, own in study.inputs.items():
        told = [trial.inputs[name] for trial in ended if name in trial.inputs]
        if ended and not told:
            found.append(
                f"no run says its {name}: all are taken as made at the target's {own:g}, so that "
                "the answer is the same at any; import them with that column"
            )
        if told and all(placeless({name: value}, study.inputs) for value in told):
            label = placeless({name: told[0]}, study.inputs)[0]
            found.append(
                f"every run is {label}, the target is not: 0 has no logarithm, so "
                "that all are of another recipe, which tells how the rate moves and not where it "
                "lies; make some as the target is"
            )
        if name not in study.varying:
            continue
        if name not in study.target.inputs:
            found.append(unsaid(name, own))
        at, places = coordinate(name, own), [coordinate(name, value) for value in told]
        if math.isfinite(at) and all(abs(place - at) > _FAR_INPUT for place in places):
            found.append(
                f"no run was made near {name} {own:g} ({min(told):g} to {max(told):g} were): what "
                "it does to the best rate there rests on the prior; make some"
            )
    return found


def _unhealthy(belief: Belief) -> list[str]:
    found, state = [], health(belief)
    if state.acceptance < LEAST_ACCEPTANCE or belief.posterior.distinct < _LEAST_DISTINCT:
        found.append(
            f"inference did not mix: {state.acceptance:.0%} of moves accepted, "
            f"{belief.posterior.distinct:.0%} of particles survived; do not trust the interval"
        )
    if state.horizon_error is not None and state.horizon_error > SURPRISE:
        found.append(
            f"one size or horizon disagrees with the others by {state.horizon_error:.1f} standard "
            "deviations; check its runs"
        )
    return found
