"""Figure series: how do the numbers of a study's figures come from its trials?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from horizon_bo.core.batch.choice import settled
from horizon_bo.core.conditioning import condition, draw_departures
from horizon_bo.core.decision import Decision, decide, octaves, regret
from horizon_bo.core.diagnostics import health
from horizon_bo.core.inference import Belief, placed
from horizon_bo.core.laws import clip_offset, linex
from horizon_bo.core.linearized import leave_one_out
from horizon_bo.core.normal import probability
from horizon_bo.core.points import Cells, Points, nearest, nearest_cell
from horizon_bo.core.policy import recommend
from horizon_bo.core.surrogate import CLIFF_WIDTH, level_mean
from horizon_bo.errors import InvalidSpaceError
from horizon_bo.published.learning_rate import learning_rate_law
from horizon_bo.published.prior import SPEAKING
from horizon_bo.report.batches import batch_figure
from horizon_bo.report.figures import (
    BowlFigure,
    HistoryFigure,
    OpinionsFigure,
    OptimumFigure,
    RunsFigure,
    StudyFigures,
)
from horizon_bo.store.posteriors import believe
from horizon_bo.store.threads import one_thread
from horizon_bo.study.seeds import BELIEF, study_generator
from horizon_bo.study.trials import Study, Trial

#: Posterior quantiles of a band: its lower edge, its middle and its upper edge.
BAND = (0.05, 0.5, 0.95)

_RATES = 121  # on the bowl
#: The bowl is drawn past the 90 % interval by as much as that is wide, within these factors.
_LEAST_BEYOND, _MOST_BEYOND = 1.5, 4.0
_PLACES = 17  # along tokens, and along params
_MARGIN = 1.5  # the curves go this factor past the runs and the target
_DRAWS = 4  # of the departures per coefficient set
_MOST_STATES = 8  # beliefs along the history: of 200 runs each costs up to some seconds
_NORMAL_95 = 1.6449  # 95 % quantile of a standard normal

#: Recommended rate, ends of its 90 % interval, and expected regret in loss units.
State = tuple[float, float, float, float]


def study_figures(
    study: Study,
    belief: Belief | None = None,
    told: Callable[[int, int], None] = lambda done, of: None,
    state: Callable[[Study], State] = lambda study: state_after(study),
) -> StudyFigures:
    """All figures of a study.

    Args:
        study: The study.
        belief: `believe(study)` where it is at hand already.
        told: Called with how many of how many beliefs along the history are known.
        state: What was believed after the first trials of a study; one who asks for the figures
            of a growing study again and again may remember it.
    """
    with one_thread():
        belief = settled(study, believe(study) if belief is None else belief)
        decision = decide(belief)
        over_tokens, over_params, runs = optimum_figures(study, belief, decision)
        return StudyFigures(
            study=study,
            recommendation=recommend(study, belief),
            bowl=bowl_figure(belief, decision),
            over_tokens=over_tokens,
            over_params=over_params,
            runs=runs,
            batches=batch_figure(study, belief, runs),
            history=history_figure(study, belief, told, state),
            opinions=opinions_figure(study, belief),
            health=health(belief),
        )


def bowl_figure(belief: Belief, decision: Decision) -> BowlFigure:
    """The loss at the target above that of its best rate, as believed."""
    low, high = decision.log_interval_90
    beyond = min(max(high - low, math.log(_LEAST_BEYOND)), math.log(_MOST_BEYOND))
    grid = np.linspace(low - beyond, high + beyond, _RATES)
    log_lr = np.unique(np.append(grid, decision.log_lr))
    draws = belief.target
    offset = clip_offset(log_lr[:, None] - draws.log_optimum, draws.asymmetry)
    excess = _quantiles(draws.curvature * linex(offset, draws.asymmetry)) * belief.loss_scale
    hazard = probability((log_lr[:, None] - draws.log_cliff) / CLIFF_WIDTH)
    return BowlFigure(
        learning_rate=np.exp(log_lr),
        low=excess[0],
        median=excess[1],
        high=excess[2],
        expected_regret=regret(draws, log_lr).mean(-1) * belief.loss_scale,
        divergence=hazard.mean(-1),
    )


def _quantiles(values: Float[np.ndarray, "*point draw"]) -> Float[np.ndarray, "share *point"]:
    return np.quantile(values, BAND, axis=-1)


@dataclass(frozen=True)
class _Curves:
    """Places along tokens, then along params, and draws of ln of the best rate there."""

    tokens: Float[np.ndarray, "place"]
    params: Float[np.ndarray, "place"]
    log_optimum: Float[np.ndarray, "draw twice"]
    run_optimum: Float[np.ndarray, "draw run"]  # of each trial's own place and recipe
    run_level: Float[np.ndarray, "draw run"]  # loss at that rate, in typical losses


def optimum_figures(
    study: Study, belief: Belief, decision: Decision
) -> tuple[OptimumFigure, OptimumFigure, RunsFigure]:
    """The best rate along tokens and along params, and all trials in their light."""
    points = placed(study, study.trials, belief.recipes)
    curves = _curves(study, belief, points)
    bands = _quantiles(curves.log_optimum.mT)
    off = points.log_lr - np.median(curves.run_optimum, 0)
    count = len(curves.tokens)
    target = study.target
    figures = []
    for along, at, band, own, unit in (
        ("tokens", curves.tokens, bands[:, :count], points.log_scales[:, 1], target.tokens),
        ("params", curves.params, bands[:, count:], points.log_scales[:, 0], target.size()),
    ):
        carried = np.interp(own, at, band[1]) + off
        low, median, high = np.exp(band)
        figures.append(
            OptimumFigure(
                along=along,
                at=unit * np.exp(at),
                low=low,
                median=median,
                high=high,
                run_at=unit * np.exp(own),
                run_rate=np.exp(carried),
            )
        )
    level = curves.run_level.mean(0) * belief.loss_scale
    return figures[0], figures[1], _runs_figure(study, belief, decision, off, level)


def _curves(study: Study, belief: Belief, points: Points) -> _Curves:
    """Draw the best rates along both quantities, the drift from the law included.

    The points along the curves become cells without runs, so that the departures of all cells are
    drawn jointly; a trial's departures are those of the cell that the belief has put it into.
    """
    target, space, log_scales = study.target, study.space, points.log_scales
    tokens = _axis([t / target.tokens for t in space.tokens], log_scales[:, 1])
    params = _axis([target.size(s.params) / target.size() for s in space.scales], log_scales[:, 0])
    along = np.zeros((len(tokens) + len(params), log_scales.shape[1]))
    along[: len(tokens), 1], along[len(tokens) :, 0] = tokens, params
    along[:, 2] = belief.log_batch
    known = belief.runs
    cells = Cells(
        np.concat([known.cells.log_scales, along]),
        np.append(known.cells.source, np.zeros(len(along), dtype=int)),
    )
    posterior, widened = belief.posterior, replace(known, cells=cells)
    fit = condition(posterior.z, posterior.noise_scale, widened, posterior.priors)
    departures = draw_departures(fit, study_generator(study, BELIEF), _DRAWS)
    c = fit.coefficients
    here = c.log_optimal_lr(along) + departures[:, :, 1, len(known.cells) :]
    cell = nearest_cell(points, known.cells)
    run_optimum = c.log_optimal_lr(log_scales) + c.source_offset[:, points.source]
    return _Curves(
        tokens=tokens,
        params=params,
        log_optimum=np.concat(here),
        run_optimum=np.concat(run_optimum + departures[:, :, 1, cell]),
        run_level=np.concat(level_mean(c, log_scales) + departures[:, :, 0, cell]),
    )


def _axis(
    allowed: Sequence[float], relative: Float[np.ndarray, "run"]
) -> Float[np.ndarray, "place"]:
    """Places, as logs of ratios to the target, past the runs, the space and the target itself."""
    ends = [0.0, *map(math.log, allowed), *relative.tolist()]
    margin = math.log(_MARGIN)
    even = np.linspace(min(ends) - margin, max(ends) + margin, _PLACES)
    return np.unique(np.append(even, 0.0))


def _runs_figure(
    study: Study, belief: Belief, decision: Decision, off: np.ndarray, level: np.ndarray
) -> RunsFigure:
    trials = study.trials
    loss = _numbers([trial.loss for trial in trials])
    regret_share, octave_share = _removed(study, belief)
    return RunsFigure(
        id=np.array([trial.id for trial in trials], dtype=np.int64),
        status=np.array([trial.status for trial in trials], dtype=np.str_),
        recipe=np.array([_made_under(study, trial) for trial in trials], dtype=np.str_),
        learning_rate=_numbers([trial.learning_rate for trial in trials]),
        params=_numbers([trial.params for trial in trials]),
        tokens=_numbers([trial.tokens for trial in trials]),
        batch_tokens=_numbers([trial.batch_tokens for trial in trials]),
        loss=loss,
        cost=_numbers([trial.flops for trial in trials]) / study.target.flops,
        charged=np.array([trial.charged for trial in trials], dtype=np.bool_),
        octaves_off=off / math.log(2),
        excess=loss - level,
        regret_removed=regret_share * decision.expected_regret * belief.loss_scale,
        octaves_removed=octave_share * octaves(decision.log_interval_90),
    )


def _made_under(study: Study, trial: Trial) -> str:
    """What is otherwise in a run than at the target: its recipe, and inputs that vary."""
    other = [
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in trial.inputs.items()
        if name in study.varying and value and value != study.inputs[name]
    ]
    return " · ".join([label for label in [study.recipe(trial)] if label] + other)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)


def _removed(study: Study, belief: Belief) -> tuple[np.ndarray, np.ndarray]:
    """By which share regret and width would grow without each trial; NaN where it has not ended.

    Runs that inference has merged share what they told together.
    """
    share = leave_one_out(belief.posterior, belief.runs)
    ended = study.informing
    member = _members(study, belief, ended)
    count = np.bincount(member, minlength=len(belief.runs))
    removed = np.full((2, len(study.trials)), math.nan)
    for row, factor in zip(removed, (share.regret, share.spread), strict=True):
        row[[trial.id for trial in ended]] = ((factor - 1) / count.clip(1))[member]
    return removed[0], removed[1]


def _members(study: Study, belief: Belief, ended: Sequence[Trial]) -> np.ndarray:
    """Which of the belief's runs each ended trial is in."""
    runs = belief.runs
    if len(ended) == len(runs):
        return np.arange(len(ended))
    points = placed(study, ended, belief.recipes)
    places = lambda at: np.concat([at.log_lr[:, None], at.log_scales], 1)  # noqa: E731
    own = lambda at: (places(at), at.source[:, None])  # noqa: E731
    return nearest(own(points), own(runs.points))


def history_figure(
    study: Study,
    belief: Belief,
    told: Callable[[int, int], None],
    state: Callable[[Study], State],
) -> HistoryFigure:
    """What was believed along the way, the present belief last."""
    lengths = history_lengths(study)
    states = []
    for done, length in enumerate(lengths):
        told(done, len(lengths))
        now = replace(study, trials=study.trials[:length])
        states.append(state_of(belief) if length == len(study.trials) else state(now))
    told(len(lengths), len(lengths))
    flops = _numbers([trial.flops for trial in study.trials]) / study.target.flops
    charged = np.array([trial.charged for trial in study.trials], dtype=np.bool_)
    spent = np.concatenate([[0.0], np.cumsum(np.where(charged, flops, 0.0))])
    compute = np.concatenate([[0.0], np.cumsum(flops)])
    rate, low, high, lost = np.array(states).T
    return HistoryFigure(
        trials=np.array(lengths),
        spent=spent[lengths],
        compute=compute[lengths],
        learning_rate=rate,
        low_90=low,
        high_90=high,
        expected_regret=lost,
        octaves=np.log2(high / low),
    )


def state_of(belief: Belief) -> State:
    """Rate, ends of the 90 % interval and expected regret, in linear values and loss units."""
    decision = decide(belief)
    low, high = decision.log_interval_90
    return (
        math.exp(decision.log_lr),
        math.exp(low),
        math.exp(high),
        decision.expected_regret * belief.loss_scale,
    )


def state_after(study: Study) -> State:
    """What is believed after the trials of a study."""
    return state_of(settled(study, believe(study)))


def history_lengths(study: Study) -> list[int]:
    """How many first trials the states along the history know, ascending, 0 and all included.

    Between them lie the last state before anything was spent, the state after the first run that
    cost something, and those at which the spend first reached another octave of a target run;
    of more than eight, evenly spaced ones. Where all runs were free their compute counts.
    """
    counted = any(trial.charged for trial in study.trials)
    spent, octave, kept = 0.0, -math.inf, [0]
    for length, trial in enumerate(study.trials):
        spent += trial.flops if trial.charged or not counted else 0.0
        reached = math.floor(math.log2(spent / study.target.flops)) if spent else -math.inf
        if reached > octave:
            kept += [length, length + 1] if octave == -math.inf else [length + 1]
            octave = reached
    lengths = sorted({*kept, len(study.trials)})
    if len(lengths) <= _MOST_STATES:
        return lengths
    even = np.linspace(0, len(lengths) - 1, _MOST_STATES).round().astype(int)
    return [lengths[k] for k in even]


def opinions_figure(study: Study, belief: Belief) -> OpinionsFigure:
    """What published laws say of the target, and the guess that the study started from.

    The laws are for the standard parametrization; under another one only the guess is left. A law
    whose formula has no value at the target is left out.
    """
    center, target = belief.center, study.target.without_embeddings
    spread = _NORMAL_95 * center.log_sd
    ends = math.exp(center.log_lr - spread), math.exp(center.log_lr + spread)
    rows = [("prior", math.exp(center.log_lr), *ends, True, ", ".join(center.sources))]
    for name in SPEAKING if study.parametrization == "standard" else ():
        law = learning_rate_law(name)
        try:
            rate = law.learning_rate(target)
        except InvalidSpaceError:
            continue
        low, high = law.interval_90(target) or (math.nan, math.nan)
        rows.append((name, rate, low, high, not law.remarks(target), law.source))
    names, rates, lows, highs, inside, sources = zip(*rows, strict=True)
    lost = regret(belief.target, np.log(rates)).mean(-1)
    return OpinionsFigure(
        name=np.array(names),
        learning_rate=np.array(rates),
        low_90=np.array(lows),
        high_90=np.array(highs),
        expected_regret=lost * belief.loss_scale,
        inside=np.array(inside),
        source=np.array(sources),
    )
