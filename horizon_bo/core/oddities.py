"""Oddities: which runs do not fit the others, and what does not look like losses of training?

Each check returns sentences that name runs by the ids of their trials, or nothing.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from horizon_bo.core.arrays import diagonal
from horizon_bo.core.inference import Belief
from horizon_bo.core.surrogate import level_mean, loss_covariance
from horizon_bo.study.trials import Study, Trial

#: Standard deviations of the other runs' prediction beyond which a loss is named. Noise is
#: Student's t with four degrees of freedom: one run in 800 is as far by chance.
_ODD = 8.0
#: Oddities of a kind that are named; coefficient sets and runs that are looked at.
_NAMED, _SETS, _LEAST_RUNS, _MOST_RUNS = 3, 16, 4, 200
#: Ratios of rates, and of sizes and tokens, that count as different.
_APART, _LARGER = 4.0, 2.0
#: Losses of a cell within this share of each other ignore their rates; a rise must be larger.
_SAME, _RISE = 1e-4, 5e-3


def oddities(study: Study, belief: Belief) -> list[str]:
    """All that somebody should look at again."""
    found = [*_far_from_expected(study, belief), *_low_rates_diverge(study)]
    return [*found, *_rates_ignored(study), *_loss_rises(study)]


def _far_from_expected(study: Study, belief: Belief) -> Iterator[str]:
    """Losses that the other runs would not have foretold, those furthest out first."""
    trials, scale = study.informing, belief.loss_scale
    finite = np.flatnonzero(~belief.runs.diverged)
    if len(trials) != len(belief.runs) or not (
        _LEAST_RUNS <= len(finite) <= len(trials) <= _MOST_RUNS
    ):
        return  # runs were condensed into fewer, or few have nothing to agree on
    reported = np.array([t.loss or math.nan for t in trials]) / scale
    blown = np.flatnonzero(belief.runs.diverged & ~np.isnan(reported))
    error, sd = left_out(belief, finite)
    expected, spread = foretold(belief, blown, finite)
    error, sd = np.append(error, reported[blown] - expected), np.append(sd, spread)
    index, away = np.append(finite, blown), abs(error / sd)
    for k in np.argsort(-away)[:_NAMED].tolist():
        if away[k] > _ODD:
            trial = trials[int(index[k])]
            foreseen = (trial.loss or math.nan) - float(error[k]) * scale
            counted = "it counts as blown up; " if k >= len(finite) else ""
            yield (
                f"loss of trial {trial.id} is {trial.loss:.4g} where the other runs let expect "
                f"{foreseen:.4g} ± {float(sd[k]) * scale:.2g}: {counted}correct it if it is "
                "mistyped"
            )


def foretold(
    belief: Belief, wanted: np.ndarray, given: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Losses of some runs as others foretell them, and their sd, in typical losses."""
    if len(wanted) == 0:
        nothing = np.zeros(0)
        return nothing, nothing
    pick, count = belief.posterior.some(_SETS), len(given)
    residual, covariance = measured(belief, pick, np.append(given, wanted))
    across, own = covariance[:, count:, :count], covariance[:, count:, count:]
    weights = np.linalg.solve(covariance[:, :count, :count], across.mT).mT
    gain = (weights @ residual[:, :count, None])[..., 0]
    expected = gain + np.nan_to_num(belief.runs.loss[wanted]) - residual[:, count:]
    variance = np.linalg.diagonal(own - weights @ across.mT)
    spread = variance.mean(0) + expected.var(0)
    return expected.mean(0), np.sqrt(spread)


def left_out(belief: Belief, finite: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error of each loss as the others foretell it, and its sd, in typical losses.

    With A the covariance of the losses, P = A⁻¹ and r their residuals, the others foretell loss i
    with error (P r)ᵢ / Pᵢᵢ and variance 1 / Pᵢᵢ. Its noise counts as if it were ordinary.

    Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 5.12.
    """
    pick = belief.posterior.some(_SETS)
    residual, covariance = measured(belief, pick, finite)
    ordinary = belief.posterior.fit.features.variance[pick][:, finite]
    noise = ordinary * belief.posterior.noise_scale[pick][:, finite]
    precision = np.linalg.inv(covariance)
    own = np.linalg.diagonal(precision)
    error = (precision @ residual[..., None])[..., 0] / own
    variance = np.maximum(1 / own - noise, 0.0) + ordinary
    spread = variance.mean(0) + error.var(0)
    return error.mean(0), np.sqrt(spread)


def measured(
    belief: Belief, pick: Int[np.ndarray, "set"], index: Int[np.ndarray, "run"]
) -> tuple[Float[np.ndarray, "set run"], Float[np.ndarray, "set run run"]]:
    """Residuals of some measured losses under some coefficient sets, and their covariance.

    The residuals are those of the law alone; departures from it and noise are in the covariance. A
    run that blew up has a loss of 0.
    """
    runs, fit = belief.runs, belief.posterior.fit
    own = (fit.features.basis[pick][..., index], runs.points.select(index))
    covariance = loss_covariance(fit.coefficients.select(pick), own, own)
    noise = (fit.features.variance[pick] * belief.posterior.noise_scale[pick])[:, index]
    mean = level_mean(fit.coefficients, runs.points.log_scales) + fit.features.mean
    return (np.nan_to_num(runs.loss) - mean)[pick][:, index], covariance + diagonal(noise)


def _cells(study: Study) -> dict[tuple[float, float, float | None], list[Trial]]:
    """The study's own ended runs by size, tokens and batch, by rising rate."""
    cells: dict[tuple[float, float, float | None], list[Trial]] = {}
    own = (trial for trial in study.informing if study.recipe(trial) is None)
    for trial in sorted(own, key=lambda trial: trial.learning_rate):
        cells.setdefault((trial.params, trial.tokens, trial.batch_tokens), []).append(trial)
    return cells


def _low_rates_diverge(study: Study) -> Iterator[str]:
    found = []
    for trials in _cells(study).values():
        survived = [t.learning_rate for t in trials if t.status == "completed"]
        found += [
            trial
            for trial in trials
            if trial.status == "diverged"
            and sum(rate >= _LARGER * trial.learning_rate for rate in survived) >= 2
        ]
    for trial in found[:_NAMED]:
        yield (
            f"trial {trial.id} diverged at {trial.learning_rate:.3g} where rates of twice as much "
            "did not: look whether it failed for another reason"
        )


def _rates_ignored(study: Study) -> Iterator[str]:
    for (params, tokens, _), trials in _cells(study).items():
        ended = [trial for trial in trials if trial.loss is not None]
        rates = {trial.learning_rate for trial in ended}
        losses = [trial.loss for trial in ended if trial.loss is not None]
        if len(rates) < 3 or max(rates) < _APART * min(rates):
            continue
        if max(losses) - min(losses) < _SAME * min(losses):
            yield (
                f"losses at {params:.3g} params and {tokens:.3g} tokens are the same from rate "
                f"{min(rates):.3g} to {max(rates):.3g}: look whether the command uses the rate"
            )
            return


def _loss_rises(study: Study) -> Iterator[str]:
    """The best loss of a larger or longer cell lies above that of a smaller one, most often."""
    best = {
        place[:2]: min(losses)
        for place, trials in _cells(study).items()
        if len(losses := [t.loss for t in trials if t.loss is not None]) >= 3
    }
    for name, axis in (("params", 0), ("tokens", 1)):
        pairs = [
            (low, high)
            for low, high in itertools.permutations(best, 2)
            if high[axis] >= _LARGER * low[axis] and high[1 - axis] == low[1 - axis]
        ]
        rising = [pair for pair in pairs if best[pair[1]] > (1 + _RISE) * best[pair[0]]]
        if rising and 2 * len(rising) > len(pairs):
            low, high = rising[0]
            yield (
                f"the lowest loss rises with {name}, from {best[low]:.4g} at {low[axis]:.3g} to "
                f"{best[high]:.4g} at {high[axis]:.3g}: look whether losses and {name} belong "
                "together"
            )
