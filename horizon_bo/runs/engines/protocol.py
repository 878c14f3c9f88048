"""Engine protocol: what does a run loop ask of whatever trains its runs?

Four things: to start an attempt, to say where all of them are, to end some, and to find again those
of a loop that is gone. How an attempt ended is read from the file that its guard leaves; the
engine's own word counts only where there is no such file.
"""

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from horizon_bo.errors import InvalidObjectiveError
from horizon_bo.runs import guard
from horizon_bo.runs.folder import read_json
from horizon_bo.runs.outcomes import Exit
from horizon_bo.study.horizons import Scale

#: Settings of a scale that say what its runs need of a machine; the others are the command's.
RESOURCES: tuple[str, ...] = ("nodes", "gpus", "cpus", "memory", "time", "partition")
#: Slurm's ways to write a time limit: minutes[:seconds], hours:minutes:seconds, days-hours[:…].
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")

#: Where an attempt is, in words, or how it ended.
State = str | Exit


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attempt of a run, as an engine is given it; its command stands in the run's folder.

    Args:
        folder: The run's folder, on a disk that all machines share.
        attempt: Its number, from 1.
        environment: Variables to set in addition.
        most_s: Longest time it may take, seconds; infinity sets no limit.
        resources: What it needs of a machine: those of `RESOURCES`, and others by the engine's
            own names.
    """

    folder: Path
    attempt: int
    environment: Mapping[str, str]
    most_s: float
    resources: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the engine knows it by."""
        return job_name(self.folder, self.attempt)

    @property
    def argv(self) -> tuple[str, ...]:
        """The guard that runs its command."""
        where = str(self.folder.resolve()), str(self.attempt), str(self.most_s)
        return sys.executable, "-I", "-S", guard.__file__, *where


class Engine(Protocol):
    """Something that trains runs.

    Args:
        name: What people call it.
        look_s: How often the files of a run under way are looked at, in seconds: of one that has
            just been started, and at last.
    """

    name: str
    look_s: tuple[float, float]

    def submit(self, job: Job) -> None:
        """Start an attempt, or queue it."""
        ...

    def states(self) -> Mapping[str, State]:
        """By name, where the attempts are that were submitted or adopted here, or how they ended.

        Asked of the scheduler for all at once, and no oftener than it can bear.
        """
        ...

    def cancel(self, names: Sequence[str]) -> None:
        """End attempts and wait until they are gone; one that has ended is no error."""
        ...

    def adopt(self, names: Sequence[str]) -> set[str]:
        """Those of these attempts that an earlier loop left waiting or running."""
        ...


@dataclass(frozen=True)
class Placed:
    """An attempt that an engine has."""

    engine: Engine
    folder: Path
    attempt: int

    def exit(self) -> Exit | None:
        """How it ended, or `None` while it waits or runs: by its file first."""
        found = stored_exit(self.folder, self.attempt)
        if found is None and isinstance(state := self._state(), Exit):
            return stored_exit(self.folder, self.attempt) or state  # it may have come meanwhile
        return found

    def cancel(self) -> None:
        """End it, and wait until it is gone."""
        self.engine.cancel([self._name])

    @property
    def where(self) -> str | None:
        """Where it is, in words, as far as the engine says."""
        state = self._state()
        return state if isinstance(state, str) else None

    def _state(self) -> State | None:
        return self.engine.states().get(self._name)

    @cached_property
    def _name(self) -> str:
        return job_name(self.folder, self.attempt)


def job_name(folder: Path, attempt: int) -> str:
    """Name of an attempt that no other one has on a cluster: which runs, which run, which try."""
    whose = hashlib.sha256(str(folder.resolve().parent).encode()).hexdigest()[:10]
    return f"horizon-{whose}-{folder.name}-{attempt}"


def stored_exit(folder: Path, attempt: int) -> Exit | None:
    """How an attempt's guard says that it ended."""
    record = read_json(folder / f"exit.{attempt}.json")
    return None if record is None else Exit(**record)


def resources(scale: Scale, given: Mapping[str, Any]) -> dict[str, Any]:
    """What runs of a scale need of a machine: what it says itself, else what all do."""
    own = {name: scale.settings[name] for name in RESOURCES if name in scale.settings}
    if scale.gpus is not None:
        own = {"gpus": scale.gpus, **own}
    return {**given, **own}


def gpu_count(needs: Mapping[str, Any]) -> float | None:
    """How many GPUs these resources are, `None` where they do not say: 8, a100:8, or by node."""
    for name, times in (("gpus", 1), ("gpus-per-node", needs.get("nodes", 1))):
        count = str(needs.get(name, "")).rpartition(":")[2]
        if count.isdecimal():
            return float(count) * float(times)
    return None


def time_limit_s(limit: Any) -> float:
    """A time limit in seconds, from minutes or the ways in which Slurm writes it."""
    match = _TIME.fullmatch(str(limit))
    if match is None:
        raise InvalidObjectiveError(
            f"time is {limit!r}, expected minutes, HH:MM:SS or DAYS-HH:MM:SS; correct it"
        )
    days, first, second, third = (int(part) if part else 0 for part in match.groups())
    if match[1] is not None:
        hours, minutes, seconds = 24 * days + first, second, third
    elif match[4] is not None:
        hours, minutes, seconds = first, second, third
    else:
        hours, minutes, seconds = 0, first, second
    return 3600.0 * hours + 60.0 * minutes + seconds
