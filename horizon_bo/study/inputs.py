"""Inputs: which numbers of a recipe move the best rate, and by how much are they expected to?

A number that differs between the runs of a study is a coordinate of its model, 0 at the target's:

    ln η*(x) = ln η* + Σ γ_j x_j,      x_j = t_j(value) − t_j(the target's)

with `t_j` the input's `coordinate` and γ_j learnt, from the `slope` that is expected. One that is
the same everywhere costs nothing. What has no number stays a recipe by name (`source`). How short
a run of few steps is, is one more coordinate, which nobody needs to name.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from horizon_bo.errors import InvalidSpaceError
from horizon_bo.study.quantities import quoted, real


@dataclass(frozen=True, kw_only=True)
class RecipeInput:
    """A number of the recipe that may differ between runs.

    Args:
        unit: What it counts, for a message.
        example: A usual value.
        low: Least value.
        high: Largest value.
        open_ends: Whether `low` and `high` are themselves no values.
        coordinate: Of a value; the loss at the best rate is expected to move by about half a per
            cent a unit. Minus infinity where there is none, which makes a recipe of its own.
        slope: Expected γ, change of ln η* with the coordinate, and its standard deviation.
    """

    unit: str
    example: float
    low: float
    high: float
    open_ends: bool
    coordinate: Callable[[float], float]
    slope: tuple[float, float]


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _schedule_share(share: float) -> float:
    return _SCHEDULE_UNITS * math.sqrt(share)


#: Coordinates this near are the same.
_SAME = 1e-9
#: Warm-up shares far below this one are all alike.
_SHORT_WARMUP = 0.01
#: How many times more the loss differs between models of a sparsity e times another, their active
#: parameters alike, than between other inputs a unit apart.
_SPARSITY_UNITS = 4.0
#: How many times more the loss differs between a constant rate and one that comes down all the way
#: than between other inputs a unit apart: 4 to 6 % of it in two sweeps, against half a per cent.
_SCHEDULE_UNITS = 8.0

#: Every input that is known, by its name in tables and mappings.
INPUTS: Mapping[str, RecipeInput] = MappingProxyType(
    {
        # Two views: the rate alone counts (γ = 0), or AdamW's timescale τ = B / (η λ D) does
        # (γ = −1). Wang & Aitchison (2024), arXiv:2405.13698; Bergsma et al. (2025),
        # arXiv:2505.13738. Both lie within 1.5 standard deviations.
        "weight_decay": RecipeInput(
            unit="the decoupled weight decay λ as given to the optimizer",
            example=0.1,
            low=0.0,
            high=100.0,
            open_ends=False,
            coordinate=_log,
            slope=(-0.4, 0.4),
        ),
        # A longer warm-up lets a higher rate survive, by a little: Kalra & Barkeshli (2024),
        # arXiv:2406.09405; how much is not published as a law.
        "warmup_share": RecipeInput(
            unit="a share of the run's tokens, 0.05 for 5 %",
            example=0.05,
            low=0.0,
            high=1.0,
            open_ends=False,
            coordinate=lambda share: math.log(1 + share / _SHORT_WARMUP),
            slope=(0.1, 0.15),
        ),
        # From a decay to nothing to a constant rate. The best constant rate is half of cosine's in
        # Hägele et al. (2024), arXiv:2405.18392 (cosine ends at a tenth: ln −1.0 per root), and
        # 0.30 to 0.36 of linear decay's in two public sweeps (−1.2 to −1.0), one of them that of
        # Schaipp et al. (2025), arXiv:2501.18965. The first tenth of a final rate takes a third.
        "final_share": RecipeInput(
            unit="the final rate over the peak rate, 0 to 1",
            example=0.1,
            low=0.0,
            high=1.0,
            open_ends=False,
            coordinate=_schedule_share,
            slope=(-1.1 / _SCHEDULE_UNITS, 0.4 / _SCHEDULE_UNITS),
        ),
        # No law is published; β₂ goes with the batch (Porian et al., 2024, arXiv:2406.19146, take
        # 0.99 below 220M parameters, 0.95 above).
        "beta2": RecipeInput(
            unit="AdamW's second-moment decay, below 1",
            example=0.95,
            low=0.0,
            high=1.0,
            open_ends=True,
            coordinate=lambda beta2: math.log1p(-beta2),
            slope=(0.0, 0.15),
        ),
        # From no decay to decay all along is the way from a constant rate to linear decay, that of
        # `final_share` the other way round. A fifth takes half of it in the sweep that ships.
        "decay_share": RecipeInput(
            unit="the share of a WSD run's tokens over which the rate falls, 0.2 for 20 %",
            example=0.2,
            low=0.0,
            high=1.0,
            open_ends=False,
            coordinate=_schedule_share,
            slope=(0.9 / _SCHEDULE_UNITS, 0.4 / _SCHEDULE_UNITS),
        ),
        # Which parameters of a mixture of experts count, its active ones (0) or all (as size does,
        # whose exponent is −0.36 in the population)? Half of each, and as unsure.
        "sparsity": RecipeInput(
            unit="all parameters over active ones, 8 where an eighth is active, 1 if dense",
            example=8.0,
            low=1.0,
            high=1e5,
            open_ends=False,
            coordinate=lambda sparsity: _SPARSITY_UNITS * math.log(sparsity),
            slope=(-0.18 / _SPARSITY_UNITS, 0.18 / _SPARSITY_UNITS),
        ),
    }
)

#: Runs of fewer steps are short: sweeps whose exponents were learnt have next to none of these.
FEW_STEPS = 200.0
#: The coordinate in which short runs differ, and no others do. A run that is too short to arrive
#: wants a higher rate, at most so much that rate times steps stays the same (a slope of 1).
SHORTNESS = "shortness"
_SHORT_SLOPE = (0.5, 0.3)

#: Expected change of ln η* with each coordinate, and its standard deviation.
SLOPES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {name: known.slope for name, known in INPUTS.items()} | {SHORTNESS: _SHORT_SLOPE}
)


def shortness(tokens: float, batch_tokens: float | None) -> float:
    """By how many e-folds a run of so many tokens has fewer steps than `FEW_STEPS`; 0 if not."""
    return 0.0 if batch_tokens is None else max(0.0, math.log(FEW_STEPS * batch_tokens / tokens))


def checked_inputs(
    given: Mapping[str, Any], whose: str, error: type[Exception] = InvalidSpaceError
) -> Mapping[str, float]:
    """Inputs by name as numbers in the order of `INPUTS`, those that are `None` left out.

    Args:
        given: Values by name.
        whose: What they belong to, for a message, as in `trial 7`.
        error: What to raise.
    """
    for name, value in given.items():
        if name not in INPUTS:
            raise error(
                f"inputs of {whose} name {quoted(name)}, expected some of {', '.join(INPUTS)}; "
                "what has no number is a source"
            )
        if value is not None and (fault := input_fault(name, value)):
            raise error(f"{name} of {whose} is {quoted(value)}, {fault}")
    return MappingProxyType(
        {name: float(given[name]) for name in INPUTS if given.get(name) is not None}
    )


def told(given: Mapping[str, float | None]) -> dict[str, float]:
    """The inputs that are said."""
    return {name: value for name, value in given.items() if value is not None}


def input_fault(name: str, value: Any) -> str | None:
    """What was expected of an input's value instead, and what to do; `None` where it is one."""
    known, number = INPUTS[name], real(value)
    if number is not None and math.isfinite(number):
        inside = known.low < number < known.high or number in (known.low, known.high)
        if inside and not (known.open_ends and number in (known.low, known.high)):
            return None
    return f"expected {input_range(name)}; give {known.unit}, such as {known.example:g}"


def input_range(name: str) -> str:
    """The values that an input may take, in words."""
    known = INPUTS[name]
    ends = "between {0:g} and {1:g}" if known.open_ends else "a number from {0:g} to {1:g}"
    return ends.format(known.low, known.high)


def coordinate(name: str, value: float) -> float:
    """Where a value lies; minus infinity where it has no place among the others."""
    return INPUTS[name].coordinate(value)


def target_inputs(
    said: Mapping[str, float],
    own: Sequence[Mapping[str, float]],
    others: Sequence[Mapping[str, float]],
) -> Mapping[str, float]:
    """The target's value of every input that anybody names: as is said of it, or that of most runs.

    Args:
        said: What is said of the target.
        own: Inputs of the runs under its recipe.
        others: Inputs of all runs, for what the own ones do not name.
    """
    found: dict[str, float] = {}
    for name in INPUTS:
        values = [run[name] for run in own if name in run]
        values = values or [run[name] for run in others if name in run]
        if name in said:
            found[name] = said[name]
        elif values:
            counts = Counter(values)
            found[name] = min(counts, key=lambda value: (-counts[value], value))
    return MappingProxyType(found)


def origins(
    target: Mapping[str, float], runs: Sequence[Mapping[str, float]]
) -> Mapping[str, float]:
    """Where the coordinate of each input starts that differs between runs, or from the target.

    At the target's value; where that has no place, at the lowest that has one.
    """
    found: dict[str, float] = {}
    for name, own in target.items():
        values = {own, *(run[name] for run in runs if name in run)}
        places = sorted(at for value in values if math.isfinite(at := coordinate(name, value)))
        if len(places) > 1 and places[-1] - places[0] > _SAME:
            at = coordinate(name, own)
            found[name] = at if math.isfinite(at) else places[0]
    return MappingProxyType(found)


def placeless(run: Mapping[str, float], target: Mapping[str, float]) -> list[str]:
    """The recipes that a run is of since an input of it has a place and the target's has not.

    Weight decay 0 has no logarithm: it is a recipe of its own, as some decay is to one without.
    """
    placed = lambda name, value: math.isfinite(coordinate(name, value))  # noqa: E731
    return [
        f"{'with' if placed(name, value) else 'without'} {name.replace('_', ' ')}"
        for name, value in run.items()
        if placed(name, value) != placed(name, target.get(name, value))
    ]


def log_places(
    run: Mapping[str, float], target: Mapping[str, float], varying: Mapping[str, float]
) -> tuple[float, ...]:
    """Coordinates of a run in each of the inputs that vary, 0 where it says nothing or has none.

    Args:
        run: Its inputs.
        target: The target's, which a run has that says nothing.
        varying: The origin of each.
    """
    places = []
    for name, origin in varying.items():
        at = coordinate(name, run.get(name, target[name]))
        places.append(at - origin if math.isfinite(at) else 0.0)
    return tuple(places)


def unsaid(name: str, value: float) -> str:
    """What to tell whose target does not name an input that differs between runs."""
    return (
        f"the target's {name} is not given although it differs between runs: taken as {value:g}, "
        f"that of most; say it with --inputs {name}={value:g}, in Python "
        f"Horizon(inputs={{{name!r}: {value:g}}})"
    )
