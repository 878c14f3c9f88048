"""Check: which runs show, before the large run, whether the extrapolation holds, and how?

A few runs are made on a rung above all others, at the rate recommended for that rung and to its
sides. What is expected of them is worked out before they are made (`rehearsal` judges them).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from horizon_bo.core.batch.choice import best_batch
from horizon_bo.core.candidates import horizons
from horizon_bo.core.checks.forecast import (
    divergence_probability,
    noise_variance,
    predicted_losses,
    rung_draws,
)
from horizon_bo.core.decision import Decision, decide
from horizon_bo.core.inference import Belief, placed
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.study.seeds import CHECK, study_generator
from horizon_bo.study.trials import Study, Trial

#: How far to its sides the rate recommended for the rung is tried, in octaves: at the usual
#: curvature and noise a miss by half as much shows in three runs, and neither side is near the
#: cliff, two ln units above the optimum.
SIDE = 1.0
#: Draws that are written down.
_KEPT = 256
_QUANTILES = (0.05, 0.5, 0.95)
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What is expected of a check's runs, written down before they are made.

    Args:
        trials: Ids of the runs, by growing rate.
        learning_rates: Their rates.
        params: Parameters of the rung, a count.
        tokens: Its training tokens, a count.
        batch_tokens: Its tokens per step; `None` where batch is not modelled.
        recommended: The rate recommended for the rung.
        best_rate: Its best rate: 5 %, median and 95 % of the belief.
        divergence: How likely each run blows up.
        losses: Equally likely outcomes, a loss for each run, in the study's unit.
        bowls: Equally likely shapes: the rung's curvature, the target's (loss per squared ln unit
            of the rate), the asymmetry of both, and the standard deviation of one run's loss.
        answer: The rate recommended for the target when this was written.
        interval_90: Central 90 % of the target's best rate, then.
        max_cost: What the check may cost in all, in target runs.
    """

    trials: tuple[int, ...]
    learning_rates: tuple[float, ...]
    params: float
    tokens: float
    batch_tokens: float | None
    recommended: float
    best_rate: tuple[float, float, float]
    divergence: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    bowls: tuple[tuple[float, float, float, float], ...]
    answer: float
    interval_90: tuple[float, float]
    max_cost: float

    def spread(self, run: int) -> tuple[float, float, float]:
        """5 %, median and 95 % of the loss expected of one of the runs."""
        low, middle, high = np.quantile([row[run] for row in self.losses], _QUANTILES).tolist()
        return low, middle, high


def proposed(study: Study, belief: Belief, max_cost: float) -> tuple[Trial, ...]:
    """The runs of a check, by growing rate: the dearest rung that a check may cost.

    Args:
        study: The study.
        belief: `believe(study)`.
        max_cost: What the check may cost in all, in target runs.

    Raises:
        InvalidSpaceError: No run has ended, or no rung is above all runs for that price.
    """
    rung, runs = _rung(study, best_batch(study, belief), max_cost)
    rates = side_rates(decide_rung(study, belief, rung).log_lr, runs)
    first = len(study.trials)
    return tuple(replace(rung, id=first + k, learning_rate=rate) for k, rate in enumerate(rates))


def decide_rung(study: Study, belief: Belief, rung: Trial) -> Decision:
    """The rate to train a rung with, and how sure that is."""
    draws = rung_draws(belief, _log_scales(study, rung), study_generator(study, CHECK))
    return decide(replace(belief, target=draws))


def side_rates(log_lr: float, runs: int) -> tuple[float, ...]:
    """Rates to check, by growing rate: the recommended one and its sides, or the sides alone."""
    side = SIDE * math.log(2)
    offsets = (-side, 0.0, side) if runs > 2 else (-side, side)
    return tuple(math.exp(log_lr + offset) for offset in offsets)


def expected(study: Study, belief: Belief, trials: Sequence[Trial], max_cost: float) -> Expectation:
    """What is expected of runs at one rung, by growing rate.

    Args:
        study: The study as it was before they were started.
        belief: `believe(study)`.
        trials: The runs, of one size, horizon and batch.
        max_cost: What the check may cost in all, in target runs.
    """
    first = trials[0]
    generator, log_scales = study_generator(study, CHECK), _log_scales(study, first)
    log_lr = placed(study, trials, belief.recipes).log_lr
    draws = rung_draws(belief, log_scales, generator)
    losses = predicted_losses(belief, draws, log_lr, log_scales, generator) * belief.loss_scale
    kept = np.linspace(0, len(losses) - 1, _KEPT).astype(int)
    sd = np.sqrt(noise_variance(belief, log_lr, log_scales).mean(1))
    scale = belief.loss_scale
    bowls = np.stack(
        [draws.curvature * scale, belief.target.curvature * scale, draws.asymmetry, sd * scale], 1
    )
    low, middle, high = np.exp(np.quantile(draws.log_optimum, _QUANTILES)).tolist()
    answer, rung = decide(belief), decide(replace(belief, target=draws))
    return Expectation(
        trials=tuple(trial.id for trial in trials),
        learning_rates=tuple(trial.learning_rate for trial in trials),
        params=first.params,
        tokens=first.tokens,
        batch_tokens=first.batch_tokens,
        recommended=math.exp(rung.log_lr),
        best_rate=(low, middle, high),
        divergence=tuple(divergence_probability(draws, log_lr).tolist()),
        losses=tuple(map(tuple, losses[kept].tolist())),
        bowls=tuple(map(tuple, bowls[kept].tolist())),
        answer=math.exp(answer.log_lr),
        interval_90=(math.exp(answer.log_interval_90[0]), math.exp(answer.log_interval_90[1])),
        max_cost=max_cost,
    )


def _log_scales(study: Study, rung: Trial) -> Float[np.ndarray, "scale"]:
    return placed(study, [rung], ()).log_scales[0]


def _rung(study: Study, own: float | None, max_cost: float) -> tuple[Trial, int]:
    """The dearest rung above all runs, at no particular rate, and how many runs it is to have."""
    ended = study.informing
    if not ended:
        raise InvalidSpaceError(
            "0 runs have ended, expected some that foretell larger ones; tune first"
        )
    made = max(trial.flops for trial in study.trials)
    above = [rung for rung in _rungs(study, own) if rung.flops > made * (1 + _ROUNDING)]
    for runs in (3, 2):
        within = [r for r in above if runs * r.flops <= max_cost * study.target.flops]
        if within:
            return max(within, key=lambda rung: (rung.flops, rung.params)), runs
    target = study.target.flops
    if not above:
        raise InvalidSpaceError(
            f"the largest run so far takes {made / target:.2%} of a target run and the space has "
            "none above it, expected one; allow larger scales or more tokens"
        )
    least = min(rung.flops for rung in above) / target
    raise InvalidSpaceError(
        f"a check may cost {max_cost:.3g} target runs and two runs of the next rung cost "
        f"{2 * least:.3g}, expected no more; raise the cost, or allow rungs between"
    )


def _rungs(study: Study, own: float | None) -> list[Trial]:
    """Every size and horizon of the space, as near to the target's batch and recipe as it has."""
    space, target, batch = study.space, study.target, own
    if space.batch_tokens is not None and own is not None:
        batch = min(space.batch_tokens, key=lambda b: abs(math.log(b / own)))
    named = lambda own, allowed: own if own in (allowed or (own,)) else allowed[0]  # noqa: E731
    return [
        Trial(
            id=0,
            learning_rate=1.0,
            params=scale.params,
            tokens=tokens,
            batch_tokens=batch,
            flops=scale.flops(tokens),
            schedule=named(target.schedule, space.schedules),
            averaging=named(target.averaging, space.averagings),
            source=study.source,
            settings=scale.settings,
            inputs=scale.inputs(target),
        )
        for scale in space.scales
        for tokens in horizons(study)
        if scale.params <= target.params and tokens <= target.tokens
    ]
