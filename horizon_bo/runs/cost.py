"""Cost: how long do runs really take, and how many GPU-hours?

The compute of 6 · params · tokens says nothing of how well a machine is used: a small model may
train at a tenth of a large one's FLOP per second. So each scale has a speed of its own:

    seconds = tokens / tokens_per_second            GPU-hours = GPUs · seconds / 3600

The speed is the median of what runs of that scale reached from start to end; before the first,
what the user said; else that of the nearest size, at the same FLOP per second and GPU.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.runs.engines.protocol import gpu_count
from horizon_bo.runs.folder import read_json
from horizon_bo.runs.outcomes import Outcome, stored_outcome
from horizon_bo.study.branches import by_run, suggestion
from horizon_bo.study.horizons import Scale, SearchSpace
from horizon_bo.study.trials import Study, Suggestion

_HOUR_S = 3600.0


@dataclass(frozen=True)
class Measured:
    """What one run reached.

    Args:
        run: Its id.
        params: Its scale's size, a count.
        tokens_per_second: Tokens trained, cooldowns included, per second of wall clock.
        gpus: On how many GPUs; `None` where nobody said.
    """

    run: int
    params: float
    tokens_per_second: float
    gpus: float | None = None


@dataclass(frozen=True, kw_only=True)
class GpuHours:
    """A study's compute in GPU-hours.

    A run's GPUs are those that its scale says, or those that runs were given; else it has one.

    Args:
        spent: By all charged runs, those under way included: by its own time each run that trained
            to its end in one go, by its scale's speed any other.
        budget: What is spent plus what is left, spent at the largest scale's speed.
        target: By the target run, at that speed.
        overhead: Expected overhead in target runs times that.
    """

    spent: float
    budget: float
    target: float
    overhead: float


def measured(folder: Path, run: Suggestion, outcome: Outcome) -> tuple[Measured, ...]:
    """The speed of a run that trained to its end in one go, none of any other."""
    record = read_json(folder / "run.json")
    if record is None or record["attempt"] > 1:
        return ()
    if outcome.status != "completed" or outcome.elapsed_s <= 0:
        return ()
    tokens = run.flops / run.scale.flops(1.0)
    return (Measured(run.id, run.params, tokens / outcome.elapsed_s, record.get("gpus")),)


def reached(study: Study, root: Path | None) -> tuple[Measured, ...]:
    """The speeds of a study's runs that ended, as far as their folders are known and here."""
    found: tuple[Measured, ...] = ()
    if root is None:
        return found
    for trials in by_run(study.trials):
        run = suggestion(trials, study)
        folder = root / str(run.id)
        if (outcome := stored_outcome(folder)) is not None:
            found += measured(folder, run, outcome)
    return found


def tokens_per_second(
    scale: Scale, scales: Sequence[Scale], known: Sequence[Measured]
) -> float | None:
    """The speed of a scale's runs, `None` where nothing is known of any scale."""
    own = _known_speed(scale, known)
    if own is not None:
        return own
    others = [other for other in scales if _known_speed(other, known) is not None]
    if not others:
        return None
    near = min(others, key=lambda other: abs(math.log(other.params / scale.params)))
    speed = _known_speed(near, known)
    assert speed is not None
    per_gpu = speed * near.flops(1.0) / _gpus(near, known)
    return per_gpu * _gpus(scale, known) / scale.flops(1.0)


def longest_tokens(study: Study, known: Sequence[Measured], left_s: float) -> dict[float, float]:
    """Tokens that a run can train on within a time, for each size whose speed is known."""
    scales = study.space.scales
    speeds = {scale.params: tokens_per_second(scale, scales, known) for scale in scales}
    return {params: speed * left_s for params, speed in speeds.items() if speed is not None}


def most_flops(
    study: Study, known: Sequence[Measured], left_s: float, parallel: int
) -> float | None:
    """Compute that so many runs at once can spend within a time, `None` where no speed is known."""
    most = longest_tokens(study, known, left_s)
    if len(most) < len(study.space.scales):
        return None
    return parallel * max(scale.flops(most[scale.params]) for scale in study.space.scales)


def gpu_hours(study: Study, known: Sequence[Measured], overhead: float) -> GpuHours | None:
    """What a study costs, `None` where no speed is known.

    Args:
        study: The study.
        known: Speeds of the runs that ended.
        overhead: Expected overhead, in target runs.
    """
    scales = study.space.scales
    per_flop = {scale.params: _hours_per_flop(scale, scales, known) for scale in scales}
    largest = per_flop[max(per_flop)]
    if largest is None:
        return None
    spent = math.fsum(each_gpu_hours(study, known).values())
    target = study.target.flops * largest
    return GpuHours(
        spent=spent,
        budget=spent + study.remaining * largest,
        target=target,
        overhead=overhead * target,
    )


def flops_of_hours(
    hours: float,
    space: SearchSpace,
    study: Study | None = None,
    known: Sequence[Measured] = (),
) -> float:
    """The budget, in FLOP, that comes to so many GPU-hours at the largest scale's speed.

    Args:
        hours: What may be spent in all, what runs of the study took included.
        space: The runs that may be made.
        study: The study; `None` for one without runs.
        known: Speeds of the runs that ended.

    Raises:
        InvalidSpaceError: Nothing tells how fast runs train, or more is spent already.
    """
    largest = max(space.scales, key=lambda scale: scale.params)
    per_flop = _hours_per_flop(largest, space.scales, known)
    if per_flop is None:
        raise InvalidSpaceError(
            f"budget is {hours:g} GPU-hours and nothing tells how fast runs train, expected "
            "tokens_per_second (and gpus) of a scale; say them with --scales FILE.json, or give "
            "the budget in target runs"
        )
    if study is None:
        return hours / per_flop
    spent = math.fsum(each_gpu_hours(study, known).values())
    if hours < spent:
        raise InvalidSpaceError(
            f"budget is {hours:g} GPU-hours, expected at least the {spent:.3g} that are spent or "
            "promised to pending runs; give what may be spent in all"
        )
    return study.spent + (hours - spent) / per_flop


def run_gpu_hours(study: Study, run: Suggestion, known: Sequence[Measured]) -> float | None:
    """What a run took, or its price as long as that is unknown; `None` where no speed is."""
    own = [other for other in known if other.run == run.id]
    per_flop = _hours_per_flop(run.scale, study.space.scales, own or known)
    return None if per_flop is None else run.flops * per_flop


def each_gpu_hours(study: Study, known: Sequence[Measured]) -> dict[int, float]:
    """What each charged run took or will take in GPU-hours, by id, where any speed is known."""
    found: dict[int, float] = {}
    for trials in by_run(study.trials):
        flops = math.fsum(trial.flops for trial in trials if trial.charged)
        run = replace(suggestion(trials, study), flops=flops)
        if flops > 0 and (hours := run_gpu_hours(study, run, known)) is not None:
            found[run.id] = hours
    return found


def _hours_per_flop(
    scale: Scale, scales: Sequence[Scale], known: Sequence[Measured]
) -> float | None:
    speed = tokens_per_second(scale, scales, known)
    if speed is None:
        return None
    return _gpus(scale, known) / (speed * scale.flops(1.0) * _HOUR_S)


def _gpus(scale: Scale, known: Sequence[Measured]) -> float:
    """GPUs of a scale's runs: as it says itself, else what runs were given, else one."""
    said = scale.gpus or gpu_count(scale.settings)
    given = [(run.params == scale.params, run.gpus) for run in known if run.gpus]
    own = [gpus for its, gpus in given if its] or [gpus for _, gpus in given]
    return said or (median(own) if own else 1.0)


def _known_speed(scale: Scale, known: Sequence[Measured]) -> float | None:
    """The speed that runs of a scale reached, else what was said of it."""
    reached = [run.tokens_per_second for run in known if run.params == scale.params]
    return median(reached) if reached else scale.tokens_per_second
