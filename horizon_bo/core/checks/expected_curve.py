"""Expected curve: what does a study expect of its target's run at some tokens, at which rate?

Runs of the study whose curves are recorded tell how losses go down; of others the end is known.
How far a run's rate lies from the best one for it, its belief says, of the target with a spread.
That the best rate of the target lies three or ten times lower than believed is not ruled out
before, and a curve can make it likely: Bayes' rule on a grid of x, the log of rate over best rate.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from horizon_bo.core.checks.curves import Curve, CurveProcess, Points, likeliest
from horizon_bo.core.inference import Belief, placed
from horizon_bo.study.trials import Study, Trial

#: Share of a run in which its rate rises, where nobody says: nanoGPT's GPT-2 has 0.3 %, a run of a
#: few thousand steps some 2 %.
WARMUP = 0.02
#: How likely it is before that the rate is so many times further from the best one than believed.
_ASTRAY = {1.0: 0.8, 3.0: 0.1, 10.0: 0.1}
#: Rates over the best one that are considered, natural logs, and their distance.
_RATES = np.linspace(-4.0, 5.0, 91)
#: A rate this many times the best one is too high.
_TOO_HIGH = 2.0
#: Rates beyond this share of what is believed before explain nothing.
_POSSIBLE = 0.99
#: Points of a curve that are used, and of all curves.
_OF_A_CURVE, _OF_ALL = 8, 400
#: Where a curve is read first, in warm-ups, and last, as a share of its length; one of fewer points
#: is not read.
_FIRST, _LAST, _LEAST_POINTS = 1.5, 0.97, 3
#: The spread is that of so many cells, less one; where there are few, a guess worth as many.
_LEAST_FREEDOM = 3
#: Nothing is foretold of fewer tokens than this share of the fewest that are known.
_BELOW_FIRST = 0.5


@dataclass(frozen=True)
class ExpectedCurve:
    """What is expected of the target's run.

    Args:
        process: What the runs foretell.
        freedom: Degrees of freedom of its spread.
        log_rate: Draws of x, ln of the run's rate over its best one.
        warmup: Share of the run's tokens in which its rate rises.
        target_tokens: Its length, a count.
        curves: Number of runs whose curves are known.
    """

    process: CurveProcess
    freedom: int
    log_rate: Float[np.ndarray, "draw"]
    warmup: float
    target_tokens: float
    curves: int

    def foretells(self, tokens: float) -> bool:
        """Whether there is anything near enough, a run's own warm-up left out."""
        fewest = math.exp(self.process.points.places[:, 1].min())
        warm = tokens > self.warmup * self.target_tokens
        return warm and self._seen(tokens) >= _BELOW_FIRST * fewest

    def extrapolates(self, tokens: float) -> bool:
        """Whether all that is known has seen fewer tokens."""
        longest = math.exp(self.process.points.places[:, 1].max())
        return self._seen(tokens) > longest

    def band(self, tokens: float) -> tuple[float, float]:
        """Central 90 % of the loss there, at the rate as it is believed."""
        mean, sd = self._at(tokens)
        weight = self._believed(1.0)
        middle = float(weight @ mean)
        spread = math.sqrt(weight @ (sd**2 + (mean - middle) ** 2))
        reach = float(self._student.ppf(0.95)) * spread
        return math.exp(middle - reach), math.exp(middle + reach)

    def explains(self, tokens: float, loss: float) -> bool:
        """Whether the loss is as high as that of some rate that is not ruled out before."""
        mean, sd = self._at(tokens)
        reach = float(self._student.ppf(0.95))
        possible = np.cumsum(self._before()) < _POSSIBLE
        return bool((math.log(loss) <= (mean + reach * sd)[possible]).any())

    def too_high(self, tokens: float, loss: float) -> tuple[float, float]:
        """Given a loss there: probability that the rate is too high, and times the best one."""
        mean, sd = self._at(tokens)
        before = self._before()
        likelihood = self._student.pdf((math.log(loss) - mean) / sd) / sd
        after = before * likelihood / (before @ likelihood)
        return float(after[math.log(_TOO_HIGH) < _RATES].sum()), math.exp(float(after @ _RATES))

    @property
    def _student(self) -> Any:
        from scipy import stats  # takes long to load, and who tunes need not wait for it

        return stats.t(self.freedom)

    def _at(self, tokens: float) -> tuple[np.ndarray, np.ndarray]:
        ones = np.ones_like(_RATES)
        seen, share = math.log(self._seen(tokens)), tokens / self.target_tokens
        return self.process.at(np.stack([0 * ones, seen * ones, share * ones, _RATES], 1))

    def _seen(self, tokens: float) -> float:
        """Tokens seen as if all at the peak rate, as a share of the run's."""
        return tokens / self.target_tokens - self.warmup / 2

    def _before(self) -> Float[np.ndarray, "rate"]:
        """Probability of each x before the curve is seen."""
        return np.sum([share * self._believed(times) for times, share in _ASTRAY.items()], axis=0)

    def _believed(self, times: float) -> Float[np.ndarray, "rate"]:
        """Probability of each x, had the best rate been believed so many times too high."""
        step = _RATES[1] - _RATES[0]
        x = np.clip(self.log_rate + math.log(times), _RATES[0], _RATES[-1])
        counts, _ = np.histogram(x, np.append(_RATES, _RATES[-1] + step) - step / 2)
        return counts / counts.sum()


def expected_curve(
    study: Study,
    belief: Belief,
    learning_rate: float,
    recorded: Mapping[int, Curve],
    warmup: float | None,
) -> ExpectedCurve | None:
    """What a study expects of its target's run; `None` where no run of its recipe has ended.

    Args:
        study: The study.
        belief: What its runs say.
        learning_rate: The run's peak rate.
        recorded: Curves by trial id, where there are any.
        warmup: Share of the run in which the rate rises; `None` takes the target's, or 2 %.
    """
    own = [
        trial
        for trial in study.informing
        if study.recipe(trial) is None and trial.status == "completed" and (trial.loss or 0.0) > 0
    ]
    if not own:
        return None
    own = own[:: math.ceil(len(own) / _OF_ALL)]
    told = study.target.inputs.get("warmup_share", WARMUP) if warmup is None else warmup
    known, curves = _known(study, belief, own, recorded, told)
    return ExpectedCurve(
        process=likeliest(known),
        freedom=max(_LEAST_FREEDOM, len({(t.params, t.tokens) for t in own}) - 1),
        log_rate=math.log(learning_rate) - belief.target.log_optimum,
        warmup=told,
        target_tokens=study.target.tokens,
        curves=curves,
    )


def _known(
    study: Study,
    belief: Belief,
    trials: Sequence[Trial],
    recorded: Mapping[int, Curve],
    warmup: float,
) -> tuple[Points, int]:
    """Points of runs that have ended, and how many of these have a curve."""
    at = placed(study, trials, belief.recipes)
    best = belief.posterior.coefficients.log_optimal_lr(at.log_scales).mean(0)
    most = max(1, _OF_ALL // len(trials))
    places, runs, losses, curves = [], [], [], 0
    for k, trial in enumerate(trials):
        rises = trial.inputs.get("warmup_share", warmup)
        curve = recorded.get(trial.id)
        shares = np.array([]) if curve is None else _shares(curve, trial, rises, most)
        if curve is None or not len(shares):
            assert trial.loss is not None
            shares, log_losses = np.ones(1), np.log([trial.loss])
        else:
            log_losses, curves = curve.log_losses(shares * trial.tokens), curves + 1
        seen = np.log((shares - rises / 2) * trial.tokens / study.target.tokens)
        x = np.full_like(shares, at.log_lr[k] - best[k])
        places.append(
            np.stack([np.full_like(shares, at.log_scales[k, 0]), seen, shares, x], axis=1)
        )
        runs.append(np.full_like(shares, k))
        losses.append(log_losses)
    return Points(np.concat(places), np.concat(runs), np.concat(losses)), curves


def _shares(curve: Curve, trial: Trial, warmup: float, most: int) -> Float[np.ndarray, "point"]:
    """Shares of a run at which its curve is read: after its warm-up, where it has points."""
    told = curve.tokens[np.isfinite(curve.losses) & (curve.losses > 0)] / trial.tokens
    if len(told) < _LEAST_POINTS:
        return np.array([])
    first, last = max(_FIRST * warmup, float(told[0])), min(_LAST, float(told[-1]))
    return np.geomspace(first, last, min(_OF_A_CURVE, most)) if first < last else np.array([])
