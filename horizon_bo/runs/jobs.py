"""Flights: how is one run put on its way, and what do those who watch the loop see of it?"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from horizon_bo.core.policy import Recommendation
from horizon_bo.runs.commands import Command, Function, refuse_missing_program
from horizon_bo.runs.cost import Measured
from horizon_bo.runs.engines.protocol import Placed
from horizon_bo.runs.folder import begin_attempt, clear_disk_errors, write_attempt
from horizon_bo.runs.outcomes import Exit, Outcome
from horizon_bo.runs.processes import Launch, Slot, called_here
from horizon_bo.study.trials import Study, Suggestion


@dataclass(frozen=True, kw_only=True)
class Flight:
    """A run that trains.

    Args:
        run: What was suggested.
        folder: Its folder.
        slot: Where it trains.
        tries: Attempts in this loop, this one included.
        began_s: When it was started, on the monotonic clock, seconds.
        job: What an engine has of it, or how it ended; `None` for a function yet to be called.
    """

    run: Suggestion
    folder: Path
    slot: Slot
    tries: int
    began_s: float
    job: Placed | Exit | None

    def exit(self) -> Exit | None:
        """How it ended, or `None` while it waits or trains."""
        return self.job.exit() if isinstance(self.job, Placed) else self.job

    def look_s(self, bounds: tuple[float, float]) -> float:
        """After how long to look at it again, seconds: sooner in the beginning."""
        least, most = bounds
        return min(most, max(least, (time.monotonic() - self.began_s) / 20))

    @property
    def where(self) -> str:
        """Where it trains, or what it waits for."""
        return (self.job.where if isinstance(self.job, Placed) else None) or self.slot.name


@dataclass(frozen=True)
class RunEvent:
    """Something that happened to a run: `line` tells people, `outcome` is there once it ended."""

    kind: Literal["started", "retried", "ended"]
    run: Suggestion
    folder: Path
    line: str
    outcome: Outcome | None = None


@dataclass(frozen=True)
class WatchedState:
    """Where a loop stands: what is known, believed and under way, and how fast runs were."""

    study: Study
    best: Recommendation | None
    flights: tuple[Flight, ...]
    measured: tuple[Measured, ...] = ()


#: Called with every event, and with `None` each time that processes were looked at.
Watch = Callable[[WatchedState, RunEvent | None], None]


def begin(
    objective: Command | Function,
    launch: Launch,
    run: Suggestion,
    folder: Path,
    slot: Slot,
    tries: int,
) -> Flight:
    """A run put on its way, its folder written first; a function is yet to be called."""
    attempt = begin_attempt(folder, run)
    job = None
    if isinstance(objective, Function):
        write_attempt(folder, run, (), attempt, slot.gpus)
    else:
        argv = objective.argv(run, folder)
        refuse_missing_program(argv[0])
        write_attempt(folder, run, argv, attempt, slot.gpus)
        with clear_disk_errors(folder):  # there to be read from the start
            for name in ("stdout.log", "stderr.log"):
                (folder / name).touch()
        job = launch(run, folder, attempt, slot)
    return Flight(run=run, folder=folder, slot=slot, tries=tries, began_s=time.monotonic(), job=job)


def called(objective: Command | Function, flight: Flight) -> Flight:
    """The flight after its function, if it is one, has been called: that blocks."""
    if isinstance(objective, Function):
        return replace(flight, job=called_here(objective, flight.run, flight.folder))
    return flight
