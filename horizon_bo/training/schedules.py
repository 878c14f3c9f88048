"""Schedules: which share of the peak rate does a step use, and where do branches leave?"""

import math
from dataclasses import dataclass

from horizon_bo.training.config import RunConfig


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """A run in optimizer steps.

    Args:
        schedule: Shape of the rate after warm-up.
        steps: Length of the trunk.
        warmup: Steps in which the rate rises.
        cooldown: First step of the trunk's own cooldown; `steps` where it has none.
        final: Where cosine ends, as a share of the peak.
        branches: For each branch, the step at which it leaves the trunk and that at which it ends.
        readings: Steps after which the trunk is read, the last included.
    """

    schedule: str
    steps: int
    warmup: int
    cooldown: int
    final: float
    branches: tuple[tuple[int, int], ...]
    readings: tuple[int, ...]


def timetable(config: RunConfig) -> Timetable:
    """A config's tokens and shares as steps.

    A WSD run without branches cools down itself; with branches the trunk stays at its rate as far
    as the last branch needs it or a reading asks for, and every branch is a copy that cools down.
    """
    recipe = config.recipe
    steps = config.steps(config.tokens)
    ends = tuple(config.steps(tokens) for tokens in config.branches)
    leaves = tuple(end - max(1, round(recipe.cooldown * end)) for end in ends)
    readings = {config.steps(tokens) for tokens in config.readings}
    if ends:
        steps = max((*leaves, *readings))
    else:
        readings |= {steps}
    shortest = min((*ends, config.steps(config.tokens)))
    cools = recipe.schedule == "wsd" and not ends
    return Timetable(
        schedule=recipe.schedule,
        steps=steps,
        warmup=max(1, round(recipe.warmup * shortest)),
        cooldown=steps - max(1, round(recipe.cooldown * steps)) if cools else steps,
        final=recipe.final_rate,
        branches=tuple(zip(leaves, ends, strict=True)),
        readings=tuple(sorted(readings)),
    )


def trunk_rate(table: Timetable, step: int) -> float:
    """Share of the peak rate at a 0-based step of the trunk.

    Source: cosine by Loshchilov & Hutter (2017), arXiv:1608.03983, eq. 5; cooldown 1 − √ by
    Hägele et al. (2024), arXiv:2405.18392, section 3.
    """
    if step < table.warmup:
        return (step + 1) / table.warmup
    if step >= table.cooldown:
        return cooled_rate(step, table.cooldown, table.steps)
    done = (step + 1 - table.warmup) / max(1, table.steps - table.warmup)
    if table.schedule == "cosine":
        return table.final + (1 - table.final) * (1 + math.cos(math.pi * done)) / 2
    if table.schedule == "linear":
        return 1 - done + 1 / max(1, table.steps - table.warmup)
    return 1.0


def trunk_label(table: Timetable, step: int) -> str:
    """What a reading of the trunk after `step` steps was trained under.

    Before its cooldown a WSD run is one at constant rate; another schedule that is read on its way
    has not come down yet, and its losses are not those of a run that ends there.
    """
    if table.schedule == "wsd":
        return "constant" if step <= table.cooldown else "wsd"
    return table.schedule if step == table.steps else f"{table.schedule}-midway"


def cooled_rate(step: int, first: int, end: int) -> float:
    """Share of the peak at a step of a cooldown from step `first` to before `end`: 1 − √done."""
    return 1 - math.sqrt((step + 1 - first) / (end + 1 - first))


def trained_steps(table: Timetable) -> int:
    """Optimizer steps in all, trunk and branches: what the run costs."""
    return table.steps + sum(end - leave for leave, end in table.branches)
