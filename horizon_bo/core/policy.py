"""Policy: from a study to the next run, and to the rate to train the target with.

Pure functions on values. `HorizonTuner`, the stateful shell around them, lives in
`horizon_bo.tuner`, because it also writes to disk.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from horizon_bo.core import acquisition
from horizon_bo.core.acquisition import Plan
from horizon_bo.core.batch.choice import (
    BatchDecision,
    Pairs,
    aims,
    batch_decision,
    batch_warnings,
    pairs_at,
)
from horizon_bo.core.candidates import pool_of_space, trunks_of_space
from horizon_bo.core.decision import Decision, decide, probability_within
from horizon_bo.core.diagnostics import warnings
from horizon_bo.core.gains import EMPTY, NO_TRUNKS
from horizon_bo.core.inference import Belief, placed
from horizon_bo.core.linearized import Aim, Known, linearized
from horizon_bo.core.points import Candidates
from horizon_bo.errors import BudgetExhaustedError
from horizon_bo.study.branches import branch_flops, suggestion
from horizon_bo.study.horizons import USUAL_BATCH_COST, open_batches
from horizon_bo.study.trials import Study, Suggestion, Trial


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The rate to train the target with, and what to expect of it.

    Args:
        learning_rate: Rate of least expected regret, as given to the optimizer.
        interval_50: Central half of the posterior of the optimal rate.
        interval_90: Central 90 % of it.
        expected_regret: Expected loss above the best rate's, in loss units.
        predicted_loss: Expected loss of the target at that rate, in loss units.
        expected_overhead: Compute spent plus the compute that would buy back the regret, as a
            share of the target run's.
        divergence_probability: Of the target at that rate.
        spent: Training compute charged so far, FLOP.
        value_of_next_run: Fall of expected regret by the next run of the plan, in loss units.
        stop: No affordable run is expected to lower the overhead, or the regret is tolerable.
        reason: Why to stop or go on, in a sentence.
        warnings: Why to be careful, a sentence each.
        batch_tokens: Tokens per step that all this is for: the target's, or the best of those
            there are to choose among; `None` where batch is no matter.
        batches: What was found of those; `None` where there is nothing to choose.
    """

    learning_rate: float
    interval_50: tuple[float, float]
    interval_90: tuple[float, float]
    expected_regret: float
    predicted_loss: float
    expected_overhead: float
    divergence_probability: float
    spent: float
    value_of_next_run: float
    stop: bool
    reason: str
    warnings: tuple[str, ...]
    batch_tokens: float | None = None
    batches: BatchDecision | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What further runs may take, beside the budget.

    Args:
        tokens: Most tokens of a run by its size; sizes that are not named have no limit.
        flops: Most training compute of all further runs, FLOP.
    """

    tokens: Mapping[float, float]
    flops: float = math.inf


def suggest(
    study: Study,
    belief: Belief,
    n: int = 1,
    pool: Sequence[Trial] | None = None,
    limits: Limits | None = None,
) -> tuple[Suggestion, ...]:
    """The next `n` runs to make at once, best first.

    Args:
        study: The study, its pending runs included.
        belief: `believe(study)`.
        n: How many runs.
        pool: Choose among these instead of the search space, each at most once.
        limits: What runs may take beside the budget.

    Raises:
        BudgetExhaustedError: No run fits into what is left of the budget.
    """
    ahead = _prospect(study, belief, pool, limits, n)
    study = ahead.study
    if ahead.plan is None:
        raise BudgetExhaustedError(_nothing_affordable(study, pool))
    runs: list[Suggestion] = []
    first = len(study.trials)
    for k in ahead.plan.index[:n]:
        runs.append(_suggested(ahead.units[k], study, first))
        first += len(ahead.units[k])
    return tuple(runs)


def recommend(
    study: Study,
    belief: Belief,
    pool: Sequence[Trial] | None = None,
    limits: Limits | None = None,
    batches: Sequence[float] = (),
    max_batch_cost: float = USUAL_BATCH_COST,
) -> Recommendation:
    """The rate to train the target with; before the first run it is the prior's.

    Args:
        study: The study.
        belief: `believe(study)`.
        pool: Judge whether to stop by these runs instead of the search space.
        limits: What further runs may take beside the budget.
        batches: Tokens per step to choose among; none takes the target's, or those that it
            leaves open.
        max_batch_cost: What the largest batch may cost above the best, in target runs.
    """
    pairs = _pairs(study, belief, batches)
    chosen = pairs and batch_decision(study, belief, pairs, max_batch_cost)
    decision = pairs.decision if pairs else decide(belief)
    scale, target_flops = belief.loss_scale, study.target.flops
    slope = decision.token_slope
    ahead = _prospect(study, belief, pool, limits, batches=tuple(batches))
    belief = pairs.at_best(belief) if pairs else belief
    study, plan = ahead.study, ahead.plan
    stop, reason = _advice(study, belief, pairs, decision, plan)
    # a share, since the plan's regrets come from a linearised model
    drop = 1 - plan.regret[0] / plan.start if plan and plan.regret and plan.start else 0.0
    overhead = study.spent / target_flops + decision.expected_regret / slope
    return Recommendation(
        learning_rate=math.exp(decision.log_lr),
        interval_50=_linear(decision.log_interval_50),
        interval_90=_linear(decision.log_interval_90),
        expected_regret=decision.expected_regret * scale,
        predicted_loss=decision.predicted_loss * scale,
        expected_overhead=overhead,
        divergence_probability=decision.divergence_probability,
        spent=study.spent,
        value_of_next_run=max(0.0, drop) * decision.expected_regret * scale,
        stop=stop,
        reason=reason,
        warnings=(*warnings(study, belief, decision), *batch_warnings(study, chosen)),
        batch_tokens=chosen.best.batch_tokens if chosen else study.target.batch_tokens,
        batches=chosen,
    )


def _pairs(study: Study, belief: Belief, batches: Sequence[float]) -> Pairs | None:
    """The pairs to choose among; `None` where the batch is settled and nobody asks."""
    asked = batches or open_batches(study.target, study.space)
    return pairs_at(study, belief, asked) if asked else None


def _linear(log_interval: tuple[float, float]) -> tuple[float, float]:
    return math.exp(log_interval[0]), math.exp(log_interval[1])


def _advice(
    study: Study, belief: Belief, pairs: Pairs | None, decision: Decision, plan: Plan | None
) -> tuple[bool, str]:
    """Whether to stop, and why: by cost, and by the tolerated regret if the user gave one."""
    if study.regret_tolerance is not None:
        tolerance = study.regret_tolerance / belief.loss_scale
        sure = (
            probability_within(belief, decision.log_lr, tolerance)
            if pairs is None
            else pairs.probability_within(tolerance)
        )
        if sure >= 1 - study.regret_risk:
            return True, (
                f"the regret is at most {study.regret_tolerance:.3g} with probability {sure:.0%}"
            )
    if plan is None or not plan.regret:
        return True, "no run fits into what is left of the budget"
    best_saving, steps = _best_saving(plan, decision, study.target.flops)
    if best_saving <= 0:
        return True, (
            "no affordable run is expected to save more target compute than it costs: "
            f"the expected regret is worth {decision.expected_regret / decision.token_slope:.1%} "
            "of the target run"
        )
    runs = ("the next run costs", "is") if steps == 1 else (f"the next {steps} runs cost", "are")
    return False, (
        f"{runs[0]} {plan.cost[steps - 1] / study.target.flops:.1%} of the target run and "
        f"{runs[1]} expected to save {best_saving:.1%} more than that"
    )


def _best_saving(plan: Plan, decision: Decision, target_flops: float) -> tuple[float, int]:
    """Largest expected fall of the overhead along a plan, in target runs, and its length.

    The plan's regrets come from a linearised model; they are scaled to the decision's.
    """
    factor = decision.expected_regret / plan.start / decision.token_slope if plan.start else 0.0
    savings = [
        factor * (plan.start - regret) - cost / target_flops
        for regret, cost in zip(plan.regret, plan.cost, strict=True)
    ]
    best = max(savings)
    return best, 1 + savings.index(best)


def _offered(
    study: Study, pool: Sequence[Trial] | None, limits: Limits | None
) -> tuple[Study, list[Trial]]:
    """The study with what may still be spent, and the runs that may be made and fit into that."""
    runs = _own_readings(study, pool_of_space(study)) if pool is None else pool
    if limits is not None:
        study = replace(study, budget=min(study.budget, study.spent + limits.flops))
        runs = [run for run in runs if run.tokens <= limits.tokens.get(run.params, math.inf)]
    most = study.affordable
    return study, _own_batches(study, [run for run in runs if run.flops <= most])


def _own_batches(study: Study, runs: Sequence[Trial]) -> list[Trial]:
    """Of a size and length that may be run at the target's batch, the runs at that batch alone.

    Another batch costs as much and tells less of a target whose batch is settled.
    """
    own = study.target.batch_tokens
    place = lambda run: (run.params, run.tokens, study.recipe(run))  # noqa: E731
    at_own = {place(run) for run in runs if run.batch_tokens == own}
    return [run for run in runs if run.batch_tokens == own or place(run) not in at_own]


def _own_readings(study: Study, runs: Sequence[Trial]) -> Sequence[Trial]:
    """A reading of another averaging costs as much and tells less, if the target's may be taken."""
    return [run for run in runs if run.averaging == study.target.averaging] or runs


@dataclass(frozen=True)
class _Question:
    """What is planned for; the same question of the same belief has the same plan."""

    belief: Belief
    least: int
    batches: tuple[float, ...]  # to choose among, where somebody asks
    limits: Limits | None = field(hash=False)
    pool: tuple[Trial, ...] | None = field(hash=False)
    study: Study = field(hash=False)


@dataclass(frozen=True)
class _Prospect:
    """What comes next: the study with what may be spent, the plan, and what its indices mean."""

    study: Study
    plan: Plan | None  # without one no run fits
    units: Sequence[tuple[Trial, ...]]


def _prospect(
    study: Study,
    belief: Belief,
    pool: Sequence[Trial] | None,
    limits: Limits | None,
    least: int = 1,
    batches: tuple[float, ...] = (),
) -> _Prospect:
    least = max(least, acquisition.USUAL_LENGTH)
    held = None if pool is None else tuple(pool)
    return _planned(_Question(belief, least, batches, limits, held, study))


# one: a recommendation is followed by a suggestion, or the other way round, and then all is new
@lru_cache(maxsize=1)
def _planned(question: _Question) -> _Prospect:
    study, offers = _offered(question.study, question.pool, question.limits)
    if not offers:
        return _Prospect(study, None, ())
    aimed = aims(_pairs(study, question.belief, question.batches))
    repeatable = question.pool is None
    return _Prospect(
        study, *_plan(study, question.belief, offers, aimed, repeatable, question.least)
    )


def _plan(
    study: Study,
    belief: Belief,
    offers: Sequence[Trial],
    aimed: Sequence[Aim],
    repeatable: bool,
    least: int,
) -> tuple[Plan, list[tuple[Trial, ...]]]:
    """The plan for the remaining budget, and the branches of each run that its indices mean.

    Where several things are to be learnt, the plan is for the one of which a FLOP tells most.
    """
    pending = [trial for trial in study.trials if trial.status == "pending"]
    recipes = _recipes(study, belief, (*pending, *offers))
    known = Known(
        belief.posterior.with_recipes(len(recipes) - len(belief.recipes)),
        belief.runs,
        _candidates(study, recipes, pending),
    )
    offered = _candidates(study, recipes, offers)
    found = [
        _plan_of(study, replace(known, aim=aim), offers, offered, repeatable, least)
        for aim in aimed
    ]
    start = sum(plan.start for plan, _ in found)
    plan, units = max(found, key=lambda each: _best_ratio(each[0]))
    return plan.beside(start - plan.start), units


def _best_ratio(plan: Plan) -> float:
    """Largest fall of regret per FLOP by the first runs of a plan."""
    falls = zip(plan.regret, plan.cost, strict=True)
    return max(((plan.start - regret) / cost for regret, cost in falls), default=0.0)


def _plan_of(
    study: Study,
    known: Known,
    offers: Sequence[Trial],
    offered: Candidates,
    repeatable: bool,
    least: int,
) -> tuple[Plan, list[tuple[Trial, ...]]]:
    """The plan for one aim."""
    kept = acquisition.shortlist(known, offered)
    trunks = trunks_of_space(study, offers) if repeatable else NO_TRUNKS
    trunks = trunks.select(acquisition.shortlist_trunks(known, offered, trunks))
    extra = trunks.candidates[~np.isin(trunks.candidates, kept)]
    seen = np.append(kept, extra)
    plan = acquisition.best_plan(
        linearized(known, offered.select(seen)),
        offered.cost[kept],
        study.affordable,
        repeatable,
        least,
        trunks.among(seen),
    )
    units = [[k] for k in kept.tolist()] + trunks.branches.tolist()
    return plan, [tuple(offers[k] for k in unit if k != EMPTY) for unit in units]


def _recipes(study: Study, belief: Belief, trials: Sequence[Trial]) -> tuple[str, ...]:
    """Labels of the recipes that the belief knows, and of those that no run has ended under."""
    labels = (study.recipe(trial) for trial in trials)
    unseen = {label for label in labels if label is not None and label not in belief.recipes}
    return (*belief.recipes, *sorted(unseen))


def _candidates(study: Study, recipes: tuple[str, ...], trials: Sequence[Trial]) -> Candidates:
    cost = np.array([trial.flops for trial in trials], dtype=float)
    return Candidates(placed(study, trials, recipes), cost)


def _suggested(offers: Sequence[Trial], study: Study, trial_id: int) -> Suggestion:
    """The run whose loss is to be read as these offers say, the longest last."""
    flops = branch_flops([offer.flops for offer in offers], study.space.cooldown or 0.0)
    priced = [
        replace(offer, id=trial_id + k, flops=price)
        for k, (offer, price) in enumerate(zip(offers, flops, strict=True))
    ]
    return suggestion(priced, study)


def _nothing_affordable(study: Study, pool: Sequence[Trial] | None) -> str:
    runs = pool_of_space(study) if pool is None else pool
    cheapest = min((run.flops for run in runs), default=math.inf)
    return (
        f"{study.remaining:.3g} FLOP of the budget are left and the cheapest run costs "
        f"{cheapest:.3g} FLOP; raise the budget, allow smaller runs, or decide with recommend"
    )
