"""Watch: does a large run that has begun look as the study's runs foretell?

A study knows how runs *end*. Of the target's size at the tokens t that the large run has seen, a
run that ended there would have a loss L(N*, t) within a band; a run under way has not cooled down
yet and lies above it, by no more than a tenth. Where learning curves of the study's runs were
recorded, a larger model of the same recipe is not above a smaller one at equal tokens. A rate that
is too high shows first in spikes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from horizon_bo.core.batch.choice import best_batch
from horizon_bo.core.checks.forecast import predicted_losses, rung_draws
from horizon_bo.core.inference import Belief
from horizon_bo.study.quantities import shown_count, shown_rate
from horizon_bo.study.seeds import CHECK, study_generator
from horizon_bo.study.trials import Study

#: A loss so many standard deviations above what came before it is a spike. Source: OLMo Team
#: (2025), arXiv:2501.00656, the spike score, there from mean and spread of the last 1000 losses.
#: Early on these fall too steeply: here from the median of the last few, and the spread of up to so
#: many differences between neighbours, which a trend hardly touches.
_SPIKE, _WINDOW, _LEAST_BEFORE = 7.0, 1000, 20
#: No loss of a batch is steadier than this share of it.
_STEADIEST = 1e-3
#: One spike may be a bad batch.
_MOST_SPIKES = 1
#: A run that has not cooled down lies above one of its length and rate that has, by up to this
#: share: 2 % at a fifth of the best rate, 6 % at it and 9 % at three times it, of 124M parameters
#: on 5B tokens. Source: the runs of Schaipp et al. (2025), arXiv:2501.18965.
_NOT_COOLED = 0.10
#: Curves of smaller models are compared up to this share of their length, before they cool down,
#: and with this tolerance.
_UNDER_WAY, _TOLERANCE = 0.6, 0.02
#: Nothing is foretold of tokens below this share of the shortest run's.
_BELOW_SHORTEST = 0.5
#: The end of a curve is its last share of points, and no fewer than this.
_END, _LEAST_POINTS = 0.05, 5
#: Losses rise where the last fifth lies above the fifth before by so many standard errors, and by
#: this share.
_PARTS, _RISE_ERRORS, _LEAST_RISE = 5, 4.0, 0.005
_NORMAL_MAD = 1.4826  # standard deviation of a normal over its median absolute deviation


@dataclass(frozen=True)
class Curve:
    """A run's loss as it went on; NaN and infinity are losses that were lost."""

    tokens: Float[np.ndarray, "point"]
    losses: Float[np.ndarray, "point"]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a curve looks like.

    Args:
        fine: Nothing speaks against going on.
        word: The verdict, with which the sentence begins.
        sentence: What was seen, in one line.
        tokens: Tokens so far, a count.
        loss: Median of the last losses, in the study's unit.
        low: Lowest loss that is expected there; `None` where nothing is foretold.
        high: Highest one.
        spikes: Number of spikes so far.
    """

    fine: bool
    word: str
    sentence: str
    tokens: float
    loss: float
    low: float | None
    high: float | None
    spikes: int


def watched(
    study: Study,
    belief: Belief,
    curve: Curve,
    learning_rate: float,
    recorded: Mapping[int, Curve],
) -> Watched:
    """What the beginning of the large run says.

    Args:
        study: The study.
        belief: `settled` on the study: where the target leaves its batch open, at the best one.
        curve: The large run's so far, by growing tokens.
        learning_rate: Its peak learning rate.
        recorded: Curves of the study's runs by trial id, where there are any.
    """
    end = max(_LEAST_POINTS, math.ceil(_END * len(curve.losses)))
    at, loss = float(curve.tokens[-1]), float(np.median(curve.losses[-end:]))
    low, high, source = _band(study, belief, learning_rate, at, recorded)
    found = _spikes(curve.losses)
    word, what = _seen(curve, found, loss, (low, high))
    where = f"loss {loss:.4g} at {shown_count(at)} tokens"
    if low is None and high is None:
        band = f"of which the study foretells nothing ({source})"
    else:
        least = "" if low is None else f"{low:.4g} to "
        band = f"expected {least}{'' if least else 'at most '}{high:.4g} ({source})"
    if study.target.batch_tokens is None and (batch := best_batch(study, belief)) is not None:
        band += f", in batches of {shown_count(batch)} tokens, the best of those left open"
    return Watched(
        fine=word == "fine",
        word=word,
        sentence=f"{word}: {what}; {where}, {band}, at rate {shown_rate(learning_rate)}",
        tokens=at,
        loss=loss,
        low=low,
        high=high,
        spikes=len(found),
    )


def _seen(
    curve: Curve, spikes: list[int], loss: float, band: tuple[float | None, float | None]
) -> tuple[str, str]:
    """The first word of the line, and what it rests on; the surest sign of trouble first."""
    lost = np.flatnonzero(~np.isfinite(curve.losses))
    low, high = band
    if len(lost):
        first = float(curve.tokens[int(lost[0])])
        return "rate too high", f"the loss was lost at {shown_count(first)} tokens"
    if len(spikes) > _MOST_SPIKES:
        last = float(curve.tokens[spikes[-1]])
        count = f"{len(spikes)} spikes in {len(curve.losses)} points"
        return "rate too high", f"{count}, the last at {shown_count(last)} tokens"
    if (rise := _rise(curve.losses)) is not None:
        return "rate too high", f"the loss rises, from {rise[0]:.4g} to {rise[1]:.4g}"
    if high is not None and loss > high:
        return "above the band", "the rate is too high, or data, batch or code are not the study's"
    if low is not None and loss < low:
        return (
            "below the band",
            "no run that has ended gets there: another loss, other data, or tokens miscounted",
        )
    said = f"{len(spikes)} spike{'' if len(spikes) == 1 else 's'} in {len(curve.losses)} points"
    return "fine", said


def _spikes(losses: Float[np.ndarray, "point"]) -> list[int]:
    """Where spikes begin."""
    found: list[int] = []
    above = False
    for k in range(_LEAST_BEFORE, len(losses)):
        middle = float(np.median(losses[k - _LEAST_BEFORE : k]))
        steps = np.median(abs(np.diff(losses[max(0, k - _WINDOW) : k])))
        sd = max(float(steps) * _NORMAL_MAD / math.sqrt(2), _STEADIEST * middle)
        was, above = above, float(losses[k]) > middle + _SPIKE * sd
        if above and not was:
            found.append(k)
    return found


def _rise(losses: Float[np.ndarray, "point"]) -> tuple[float, float] | None:
    """Medians of the last two fifths where the later is surely the higher one."""
    size = len(losses) // _PARTS
    if size < _LEAST_BEFORE:
        return None
    before, last = losses[-2 * size : -size], losses[-size:]
    middle = (np.median(before), np.median(last))
    away = np.append(before - middle[0], last - middle[1])
    scatter = np.median(abs(away)) * _NORMAL_MAD
    # the median's standard error is 1.25 of the mean's
    error = 1.25 * float(scatter) * math.sqrt(2 / size)
    least = max(_RISE_ERRORS * error, _LEAST_RISE * float(middle[0]))
    rises = float(middle[1] - middle[0]) > least
    return (float(middle[0]), float(middle[1])) if rises else None


def _band(
    study: Study,
    belief: Belief,
    learning_rate: float,
    at: float,
    recorded: Mapping[int, Curve],
) -> tuple[float | None, float | None, str]:
    """Lowest and highest loss at some tokens, and what says so."""
    low, high, source = _ended_band(study, belief, learning_rate, at)
    limits = [
        loss * (1 + _TOLERANCE)
        for trial_id, curve in recorded.items()
        if (loss := _under_way(study, trial_id, curve, at)) is not None
    ]
    if limits:
        count = f"{len(limits)} recorded curve{'' if len(limits) == 1 else 's'}"
        return low, min(limits), f"the lowest of {count} of smaller models at equal tokens"
    return low, high, source


def _ended_band(
    study: Study, belief: Belief, learning_rate: float, at: float
) -> tuple[float | None, float | None, str]:
    """From the final losses of runs: central 90 % of one that ended there, and a tenth above."""
    own = [trial.tokens for trial in study.informing if study.recipe(trial) is None]
    if not own:
        return None, None, "no run of its recipe has ended"
    if at < _BELOW_SHORTEST * min(own):
        return None, None, f"its shortest run has {shown_count(min(own))} tokens"
    place = np.array([0.0, math.log(at / study.target.tokens), belief.log_batch])
    generator = study_generator(study, CHECK)
    draws = rung_draws(belief, place, generator)
    log_lr = np.array([math.log(learning_rate)])
    losses = predicted_losses(belief, draws, log_lr, place, generator)[:, 0] * belief.loss_scale
    low, high = np.quantile(losses, [0.05, 0.95]).tolist()
    return low, high * (1 + _NOT_COOLED), "final losses, and a tenth above as it has not cooled"


def _under_way(study: Study, trial_id: int, curve: Curve, at: float) -> float | None:
    """Loss of a smaller run at some tokens, before it cooled down; `None` where not known."""
    trial = study.trials[trial_id]
    smaller = trial.status == "completed" and trial.params <= study.target.params
    if not smaller or study.recipe(trial) is not None or at > _UNDER_WAY * trial.tokens:
        return None
    near = abs(np.log(curve.tokens / at)) < math.log(1 + _END)
    losses = curve.losses[near & np.isfinite(curve.losses)]
    return float(np.median(losses)) if len(losses) else None
