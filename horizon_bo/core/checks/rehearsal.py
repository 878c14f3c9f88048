"""Rehearsal: did a check's runs come out as expected, and is the answer still good enough?

With losses y of mean ȳ, and draws of the same losses from the posterior predictive, of mean m and
covariance S of their contrasts,

    c = (yᵢ − ȳ)ᵢ,     T(y) = (c − m)ᵀ S⁻¹ (c − m),     p = P(T(drawn) ≥ T(y))

p is small where the curve along the rate is not the one that was expected, whatever its level.

Source: Gelman, Meng & Stern (1996), Statistica Sinica 6(4):733-807, posterior predictive p-values
of a discrepancy, here of runs that took no part in the fit, so that p is uniform where the model is
right.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from horizon_bo.core.arrays import lower_solved, softmax
from horizon_bo.core.checks.check import Expectation
from horizon_bo.core.decision import regret
from horizon_bo.core.inference import Belief
from horizon_bo.core.laws import clip_offset, linex
from horizon_bo.study.quantities import shown_rate
from horizon_bo.study.trials import Study, Trial

#: What would have come out by chance this seldom was not expected: one check in twenty of a model
#: that is right in all.
SURPRISE = 0.05
#: The rung's best rate is looked for so far to both sides of the one recommended, in ln units, on
#: so many places.
_REACH, _PLACES = 3.0, 241

Word = Literal["holds", "widen", "tune again"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check's runs said.

    Args:
        word: `holds`: as expected. `widen`: not as expected, but the answer still is good enough;
            the interval covers what was believed before and after. `tune again`: the answer is now
            expected to lose more than another check may cost, or a run at or below the rate
            recommended for the rung blew up.
        reason: Why, in a sentence.
        contrast_p: How likely a curve along the rate so far from the expected one was, from 0 to 1.
        level_p: The same of the mean loss, which says nothing of the rate: data or code.
        divergence_p: How likely the run that blew up was to do so, the least likely one; 1 where
            none did.
        interval_90: Central 90 % of the target's best rate after the check, widened if so.
        regret: What the answer given before is now expected to lose at the target, in the study's
            unit of loss.
        rehearsed: What the answer would lose, were it off by as much as the rate recommended for
            the rung was by the check's runs alone.
        overhead: What `regret` is worth, or the larger of the two where the outcome was a
            surprise, in target runs.
        warnings: What else is not as it should be, a sentence each.
    """

    word: Word
    reason: str
    contrast_p: float
    level_p: float
    divergence_p: float
    interval_90: tuple[float, float]
    regret: float
    rehearsed: float
    overhead: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check as it stands.

    Args:
        expected: What was written down before its runs were made.
        outcomes: Loss of each run; `None` where it diverged, NaN where it says nothing (yet).
        pending: Ids of the runs still to be made.
        verdict: What they said; `None` until all have ended, or where too few say anything.
    """

    expected: Expectation
    outcomes: tuple[float | None, ...]
    pending: tuple[int, ...]
    verdict: Verdict | None


def checked(study: Study, told: Expectation, believed: Callable[[Study], Belief]) -> Check:
    """A check as it stands; what ended after its last run changes nothing about its verdict.

    Args:
        study: The study.
        told: What was expected.
        believed: What a study's runs say.
    """
    trials = [study.trials[k] for k in told.trials]
    pending = tuple(trial.id for trial in trials if trial.status == "pending")
    outcomes = tuple(map(_outcome, trials))
    losses = [loss for loss in outcomes if loss is not None and not math.isnan(loss)]
    said = None
    if not pending and (len(losses) > 1 or None in outcomes):
        then = replace(study, trials=study.trials[: told.trials[-1] + 1])
        said = verdict(told, outcomes, believed(then))
    return Check(expected=told, outcomes=outcomes, pending=pending, verdict=said)


def _outcome(trial: Trial) -> float | None:
    if trial.status == "diverged":
        return None
    return math.nan if trial.loss is None else trial.loss


def verdict(told: Expectation, outcomes: Sequence[float | None], after: Belief) -> Verdict:
    """What the outcomes of a check say of what was expected.

    The answer is to be tuned again where what it is expected to lose would pay for another check:
    tuning can save no more than that, and costs no more than the user allows. What it loses is what
    the belief that has seen the check says, as long as what the belief foretold came true. Where it
    did not, the check also counts as a rehearsal (`rehearsal`) and the worse of both is taken,
    since a belief that is wrong may take the check for noise.
    The interval is widened where what was seen was not expected, by the contrast's p-value or by a
    divergence.

    Args:
        told: What was expected.
        outcomes: Loss of each run, `None` where it diverged, NaN where nothing was learnt.
        after: What the study's runs say together with the check's.
    """
    losses = np.array([math.nan if loss is None else loss for loss in outcomes], dtype=float)
    there = ~np.isnan(losses)
    drawn = np.array(told.losses)[:, there]
    contrast_p = contrast_p_value(drawn, losses[there])
    level_p = level_p_value(drawn.mean(1), float(losses[there].mean())) if there.any() else 1.0
    blown = [told.divergence[k] for k, loss in enumerate(outcomes) if loss is None]
    divergence_p = min(blown, default=1.0)
    surprising = min(contrast_p, divergence_p) < SURPRISE
    unit = float(after.target.token_slope.mean()) * after.loss_scale
    answer = np.array([math.log(told.answer)])
    lost = float(regret(after.target, answer).mean()) * after.loss_scale
    rehearsed = rehearsal(told, losses, unit)
    overhead = (max(lost, rehearsed) if surprising else lost) / unit
    ends = np.exp(np.quantile(after.target.log_optimum, [0.05, 0.95])).tolist()
    covered = (*ends, *(told.interval_90 if surprising else ()))
    interval = (min(covered), max(covered))
    low_blew = any(
        loss is None and rate <= told.recommended
        for rate, loss in zip(told.learning_rates, outcomes, strict=True)
    )
    word: Word = "widen" if surprising else "holds"
    if low_blew or overhead > told.max_cost:
        word = "tune again"
    return Verdict(
        word=word,
        reason=_reason(word, told, overhead, contrast_p, divergence_p, interval),
        contrast_p=contrast_p,
        level_p=level_p,
        divergence_p=divergence_p,
        interval_90=interval,
        regret=lost,
        rehearsed=rehearsed,
        overhead=overhead,
        warnings=_level_warning(level_p, float(losses[there].mean() - drawn.mean())),
    )


def _reason(
    word: Word,
    told: Expectation,
    overhead: float,
    contrast_p: float,
    divergence_p: float,
    interval: tuple[float, float],
) -> str:
    """Why the verdict is what it is."""
    worth = (
        f"the answer {shown_rate(told.answer)} is expected to lose {overhead:.1%} of a target run"
    )
    seen = f"the losses along the rate came out {{}}as expected (p = {contrast_p:.2g})"
    if word == "holds":
        return f"{seen.format('')}, and {worth}"
    if word == "tune again" and overhead > told.max_cost:
        return (
            f"{worth}, more than the {told.max_cost:.0%} that another check may cost; make more "
            "runs before the large one"
        )
    if word == "tune again":
        return (
            f"a run at or below {shown_rate(told.recommended)}, the rate recommended for its size "
            "and length, blew up; make more runs at lower rates before the large one"
        )
    if contrast_p >= SURPRISE:
        seen = f"a run blew up that was likely to with probability {divergence_p:.2g}"
    low, high = interval
    return (
        f"{seen.format('not ')}, yet {worth}; take the wider interval {shown_rate(low)} to "
        f"{shown_rate(high)}"
    )


def _level_warning(level_p: float, above: float) -> tuple[str, ...]:
    if level_p >= SURPRISE:
        return ()
    return (
        f"the losses lie {abs(above):.3g} {'above' if above > 0 else 'below'} what was expected "
        f"(p = {level_p:.2g}), which says nothing of the rate: look at data, code and recipe "
        "before the large run",
    )


def rehearsal(told: Expectation, losses: Float[np.ndarray, "run"], most: float) -> float:
    """What the answer would lose, were it off by as much as the rung's recommendation was.

    With the bowls that were believed in, and nothing believed of where the rung's best rate lies,
    the contrasts c of the losses say by how much, u, the recommended rate misses it:

        p(u, bowl | c) ∝ exp(−|c − c(u, bowl)|² / 2σ²) / σ^(runs − 1)

    and the answer loses r / (1 + r / R), r = κ h_s(−u) at the target, as in `decision`.

    Args:
        told: What was expected.
        losses: Loss of each run, NaN where it says none; fewer than two say nothing of u.
        most: R, what an e-fold of the target's tokens buys, in the study's unit of loss.
    """
    there = ~np.isnan(losses)
    count = int(there.sum())
    if count < 2:
        return 0.0
    rung, target, asymmetry, sd = np.array(told.bowls).T[..., None]
    miss = np.linspace(-_REACH, _REACH, _PLACES)
    at = np.log(np.array(told.learning_rates)[there])
    offset = (at - math.log(told.recommended))[:, None, None] - miss
    curve = rung * linex(clip_offset(offset, asymmetry), asymmetry)
    error = curve - curve.mean(0) - (losses[there] - losses[there].mean())[:, None, None]
    likelihood = -(error**2).sum(0) / (2 * sd**2) - (count - 1) * np.log(sd)
    weight = softmax(likelihood)
    lost = target * linex(clip_offset(-miss, asymmetry), asymmetry)
    return float((weight * lost / (1 + lost / most)).sum())


def contrast_p_value(
    drawn: Float[np.ndarray, "draw run"], losses: Float[np.ndarray, "run"]
) -> float:
    """p-value of the losses' contrasts; one loss alone has none, and surprises nobody."""
    if len(losses) < 2:
        return 1.0
    # any run's contrast follows from the others'
    contrasts = (drawn - drawn.mean(1, keepdims=True))[:, 1:]
    factor = np.linalg.cholesky(np.atleast_2d(np.cov(contrasts.T)))
    seen = (losses - losses.mean())[1:]
    away = np.concat([contrasts, seen[None]]) - contrasts.mean(0)
    squares = (lower_solved(factor, away.T) ** 2).sum(0)
    return (1 + float((squares[:-1] >= squares[-1]).sum())) / (1 + len(drawn))


def level_p_value(drawn: Float[np.ndarray, "draw"], mean_loss: float) -> float:
    """Two-sided p-value of the mean of the losses."""
    above = (1 + float((drawn >= mean_loss).sum())) / (1 + len(drawn))
    below = (1 + float((drawn <= mean_loss).sum())) / (1 + len(drawn))
    return min(1.0, 2 * min(above, below))
