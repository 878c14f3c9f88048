"""Candidates: the runs that a search space allows, as a finite list to choose from.

Tokens and rates are laid out on geometric grids; the grid of rates is shifted from step to step,
so that over a study any rate can be tried.
"""

import math
from collections.abc import Sequence

import numpy as np

from horizon_bo.core.gains import EMPTY, NO_TRUNKS, Trunks
from horizon_bo.study.branches import branch_flops
from horizon_bo.study.horizons import BRANCHING_SCHEDULE
from horizon_bo.study.seeds import RATES, study_generator
from horizon_bo.study.trials import Study, Trial

#: Spacing of the rates on offer, in octaves, and of horizons where a range is given.
_RATE_STEP = 0.5
_TOKEN_STEP = 1.0
#: Branches of a trunk on offer at most: the longest, since the shorter tell little of the target.
_MOST_BRANCHES = 6


def pool_of_space(study: Study) -> list[Trial]:
    """Every run on offer, as pending trials with id 0."""
    space, target = study.space, study.target
    batches = space.batch_tokens or (target.batch_tokens,)
    return [
        Trial(
            id=0,
            learning_rate=rate,
            params=scale.params,
            tokens=tokens,
            batch_tokens=batch,
            flops=scale.flops(tokens),
            schedule=schedule,
            averaging=averaging,
            source=study.source,
            settings=scale.settings,
            inputs=scale.inputs(target),
        )
        for scale in space.scales
        for tokens in horizons(study)
        for batch in batches
        for schedule in space.schedules or (target.schedule,)
        for averaging in space.averagings or (target.averaging,)
        for rate in rates(study)
    ]


def trunks_of_space(study: Study, offers: Sequence[Trial]) -> Trunks:
    """Every trunk on offer that fits into what is left, its branches found among the offers.

    Up to each horizon, a trunk has branches at all of them (the longest six) or at the last two.

    Args:
        study: The study; without a cooldown in its space there are no trunks.
        offers: Single runs, as `pool_of_space` lists them.
    """
    cooldown = study.space.cooldown
    if cooldown is None:
        return NO_TRUNKS
    stems: dict[tuple, dict[float, int]] = {}
    for position, run in enumerate(offers):
        if run.schedule == BRANCHING_SCHEDULE:
            stem = (run.params, run.batch_tokens, run.averaging, run.learning_rate)
            stems.setdefault(stem, {})[run.tokens] = position
    kinds: dict[tuple, int] = {}
    rows = []
    for (*model, _), position in stems.items():
        for tokens in _branchings(sorted(position)):
            branches = [position[count] for count in tokens]
            price = math.fsum(branch_flops([offers[k].flops for k in branches], cooldown))
            if price <= study.remaining:
                kind = kinds.setdefault((*model, tokens), len(kinds))
                rows.append((branches + [EMPTY] * (_MOST_BRANCHES - len(branches)), kind, price))
    if not rows:
        return NO_TRUNKS
    branches, kind, price = zip(*rows, strict=True)
    longest = max(_MOST_BRANCHES - row.count(EMPTY) for row in branches)
    return Trunks(np.array(branches)[:, :longest], np.array(kind), np.array(price))


def _branchings(tokens: Sequence[float]) -> list[tuple[float, ...]]:
    """The sets of horizons at which a trunk may have branches, of those on offer, ascending."""
    sets = []
    for last in range(1, len(tokens)):
        longest = tuple(tokens[max(0, last + 1 - _MOST_BRANCHES) : last + 1])
        sets.append(longest)
        if len(longest) > 2:
            sets.append(longest[-2:])
    return sets


def horizons(study: Study) -> list[float]:
    """Horizons on offer: the allowed ones, or an octave grid over the range."""
    tokens = study.space.tokens
    return list(tokens) if isinstance(tokens, list) else _geometric(*tokens, _TOKEN_STEP)


def rates(study: Study) -> list[float]:
    """Rates on offer: a half-octave grid over the space, shifted at random at every step."""
    low, high = study.space.learning_rate
    shift = study_generator(study, RATES).random()
    step = _RATE_STEP * math.log(2)
    count = int((math.log(high / low) / step) - shift) + 1
    if math.log(high / low) < step:
        return _geometric(low, high, _RATE_STEP)
    return [low * math.exp(step * (shift + k)) for k in range(count)]


def _geometric(low: float, high: float, octaves: float) -> list[float]:
    """Values from low to high, about that many octaves apart."""
    count = max(1, round(math.log2(high / low) / octaves)) if high > low else 0
    return [low * (high / low) ** (k / count) for k in range(count)] + [high] if count else [low]
