"""Candidates: the runs that a search space allows, as a finite list to choose from.

Tokens and rates are laid out on geometric grids; the grid of rates is shifted from step to step,
so that over a study any rate can be tried.
"""

import math

import torch

from horizon_bo.trials import Study, Trial

#: Spacing of the rates on offer, in octaves, and of horizons where a range is given.
_RATE_STEP = 0.5
_TOKEN_STEP = 1.0


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
        )
        for scale in space.scales
        for tokens in horizons(study)
        for batch in batches
        for schedule in space.schedules or (target.schedule,)
        for averaging in space.averagings or (target.averaging,)
        for rate in rates(study)
    ]


def horizons(study: Study) -> list[float]:
    """Horizons on offer: the allowed ones, or an octave grid over the range."""
    tokens = study.space.tokens
    return list(tokens) if isinstance(tokens, list) else _geometric(*tokens, _TOKEN_STEP)


def rates(study: Study) -> list[float]:
    """Rates on offer: a half-octave grid over the space, shifted at random at every step."""
    low, high = study.space.learning_rate
    generator = torch.Generator().manual_seed(study.seed * 7919 + len(study.trials))
    shift = float(torch.rand((), generator=generator, dtype=torch.float64))
    step = _RATE_STEP * math.log(2)
    count = int((math.log(high / low) / step) - shift) + 1
    if math.log(high / low) < step:
        return _geometric(low, high, _RATE_STEP)
    return [low * math.exp(step * (shift + k)) for k in range(count)]


def _geometric(low: float, high: float, octaves: float) -> list[float]:
    """Values from low to high, about that many octaves apart."""
    count = max(1, round(math.log2(high / low) / octaves)) if high > low else 0
    return [low * (high / low) ** (k / count) for k in range(count)] + [high] if count else [low]
