"""Watch: does a large run that has begun look as the study's runs foretell?

A rate that is too high shows in spikes, in a loss that rises or is lost, or in a curve that lies
where runs at too high rates lay and not where good ones did. A loss outside of what is expected at
any of these rates says that something else is wrong. Before the end of warm-up nothing is foretold.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from horizon_bo.core.batch.choice import best_batch
from horizon_bo.core.checks.curves import Curve
from horizon_bo.core.checks.expected_curve import ExpectedCurve, expected_curve
from horizon_bo.core.inference import Belief
from horizon_bo.study.quantities import shown_count, shown_rate
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
#: From this probability on the rate is said to be too high: more likely than not.
_SURE = 0.5
#: The end of a curve is its last share of points, and no fewer than this.
_END, _LEAST_POINTS = 0.05, 5
#: Losses rise where the last fifth lies above the fifth before by so many standard errors, and by
#: this share.
_PARTS, _RISE_ERRORS, _LEAST_RISE = 5, 4.0, 0.005
_NORMAL_MAD = 1.4826  # standard deviation of a normal over its median absolute deviation


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
    warmup: float | None = None,
) -> Watched:
    """What the beginning of the large run says.

    Args:
        study: The study.
        belief: `settled` on the study: where the target leaves its batch open, at the best one.
        curve: The large run's so far, by growing tokens.
        learning_rate: Its peak learning rate.
        recorded: Curves of the study's runs by trial id, where there are any.
        warmup: Share of the run in which its rate rises; `None` takes the target's, or 2 %.
    """
    end = max(_LEAST_POINTS, math.ceil(_END * len(curve.losses)))
    at, loss = float(curve.tokens[-1]), float(np.median(curve.losses[-end:]))
    expected = expected_curve(study, belief, learning_rate, recorded, warmup)
    if expected is not None and not expected.foretells(at):
        expected = None
    low, high = (None, None) if expected is None else expected.band(at)
    found = _spikes(curve.losses)
    word, what = _trouble(curve, found) or _compared(expected, at, loss) or ("fine", "")
    if word in ("fine", "too early"):
        what = f"{len(found)} spike{'' if len(found) == 1 else 's'} in {len(curve.losses)} points"
    if expected is None:
        band = (
            "of which nothing is foretold: warm-up, or far fewer tokens than runs have ended with"
        )
    else:
        band = f"expected {low:.4g} to {high:.4g} ({_source(expected)})"
    if study.target.batch_tokens is None and (batch := best_batch(study, belief)) is not None:
        band += f", in batches of {shown_count(batch)} tokens, the best of those left open"
    where = f"loss {loss:.4g} at {shown_count(at)} tokens"
    return Watched(
        fine=word in ("fine", "too early"),
        word=word,
        sentence=f"{word}: {what}; {where}, {band}, at rate {shown_rate(learning_rate)}",
        tokens=at,
        loss=loss,
        low=low,
        high=high,
        spikes=len(found),
    )


def _trouble(curve: Curve, spikes: list[int]) -> tuple[str, str] | None:
    """Signs of a rate that is too high which need no study; the surest first."""
    lost = np.flatnonzero(~np.isfinite(curve.losses))
    if len(lost):
        first = float(curve.tokens[int(lost[0])])
        return "rate too high", f"the loss was lost at {shown_count(first)} tokens"
    if len(spikes) > _MOST_SPIKES:
        last = float(curve.tokens[spikes[-1]])
        count = f"{len(spikes)} spikes in {len(curve.losses)} points"
        return "rate too high", f"{count}, the last at {shown_count(last)} tokens"
    if (rise := _rise(curve.losses)) is not None:
        return "rate too high", f"the loss rises, from {rise[0]:.4g} to {rise[1]:.4g}"
    return None


def _compared(expected: ExpectedCurve | None, at: float, loss: float) -> tuple[str, str] | None:
    """What a loss says beside the expected ones; `None` where nothing is wrong."""
    if expected is None:
        return "too early", ""
    low, high = expected.band(at)
    if not expected.explains(at, loss):
        return "above the band", "at no likely rate is it so high: loss, data, batch or code differ"
    probability, times = expected.too_high(at, loss)
    if probability >= _SURE:
        what = f"{probability:.0%} probable, some {times:.2g} times the best one"
        return "rate too high", f"{what}, if loss, data, batch and code are the study's"
    if loss > high:
        return "above the band", "the rate is too high, or data, batch or code are not the study's"
    if loss < low and not expected.extrapolates(at):
        return "below the band", "another loss, other data, or tokens miscounted"
    return None


def _source(expected: ExpectedCurve) -> str:
    if not expected.curves:
        return "final losses, and how runs under way lie above them elsewhere"
    return f"{expected.curves} recorded curve{'' if expected.curves == 1 else 's'}"


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
