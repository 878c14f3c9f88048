"""Outcomes: how did a training run end?

The loss comes from `result.json` in the run's folder, else from the last line of standard output.
A run is completed, diverged or failed; what may pass by itself (memory, a lost GPU, a kill, a
time-out) is worth another attempt.
"""

import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from horizon_bo.runs.folder import last_line, last_progress, read_json, tail
from horizon_bo.runs.losses import UnreadableLossError, said_loss
from horizon_bo.study.quantities import quoted, real
from horizon_bo.study.trials import LoggedRun, Study, Suggestion

Cause = Literal[
    "finished", "diverged", "no loss", "exit code", "out of memory", "GPU lost", "killed",
    "timed out", "node failed", "preempted", "lost", "cancelled",
]  # fmt: skip
#: Ends that another attempt may not have.
PASSING: tuple[str, ...] = (
    "out of memory", "GPU lost", "killed", "timed out", "node failed", "preempted", "lost",
)  # fmt: skip

#: What allocators say: PyTorch and CUDA, the C library, Python, XLA.
_OUT_OF_MEMORY = ("out of memory", "cannot allocate memory", "memoryerror", "resource_exhausted")
#: What the CUDA runtime and driver say once a device is gone.
_GPU_LOST = (
    "no cuda-capable device",
    "no cuda gpus are available",
    "gpu is lost",
    "fallen off the bus",
    "busy or unavailable",
    "uncorrectable ecc error",
)
#: A reading further than this from a branch, in ln tokens, is not that branch's.
_SAME_BRANCH = 0.1
#: How much of a line is quoted, in characters.
_QUOTED = 200


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a process ended.

    Args:
        code: Exit code; 128 + n where signal n killed it.
        elapsed_s: Wall-clock time, seconds.
        timed_out: It was ended because it took too long.
        cause: What ended it, where a scheduler says so; `None` leaves it to code and logs.
        detail: The scheduler's words.
    """

    code: int
    elapsed_s: float = 0.0
    timed_out: bool = False
    cause: Cause | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended, as `outcome.json` keeps it.

    Args:
        status: As the study will say.
        cause: What ended it.
        detail: A line for people: what was said, or what to look at.
        loss: Final loss of a completed run, in the study's unit.
        loss_sd: Standard deviation of `loss` where the trainer knows it.
        flops: Compute it really took, FLOP; `None` where nobody measured it.
        elapsed_s: Wall-clock time of the last attempt, seconds.
        readings: Losses of the same run at other horizons, schedules or averagings.
    """

    status: Literal["completed", "diverged", "failed"]
    cause: Cause
    detail: str = ""
    loss: float | None = None
    loss_sd: float | None = None
    flops: float | None = None
    elapsed_s: float = 0.0
    readings: tuple[Mapping[str, Any], ...] = ()

    @property
    def told(self) -> dict[str, Any]:
        """What `observe` is told of it."""
        return {
            "loss": self.loss,
            "loss_sd": self.loss_sd,
            "diverged": self.status == "diverged",
            "failed": self.status == "failed",
            "flops": self.flops,
        }

    @property
    def lacked_memory(self) -> bool:
        """Memory ran out, or the kernel killed it, which it does when memory runs out."""
        by_kernel = self.cause == "killed" and "SIGKILL" in self.detail
        return self.cause == "out of memory" or by_kernel


def outcome_record(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON can hold it."""
    record = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    return {**record, "readings": [dict(reading) for reading in outcome.readings]}


def stored_outcome(folder: Path) -> Outcome | None:
    """How a run is known to have ended, from what an earlier loop or its trainer left."""
    record = read_json(folder / "outcome.json")
    if record is not None:
        return Outcome(**{**record, "readings": tuple(record["readings"])})
    if read_json(folder / "result.json") is None:
        return None
    outcome = _finished(folder, elapsed_s=0.0)
    return outcome if outcome.status != "failed" else None


def outcome_of(run: Suggestion, folder: Path, ended: Exit) -> Outcome:
    """What an attempt that ended like this amounts to."""
    result = read_json(folder / "result.json")
    if not ended.timed_out and ended.code == 0:
        return _finished(folder, ended.elapsed_s)
    if isinstance(result, dict) and result.get("diverged") is True:
        return _finished(folder, ended.elapsed_s)
    cause, detail = _failure(folder, ended)
    done = last_progress(folder).get("tokens")
    share = min(1.0, done / run.tokens) if done is not None and done > 0 else None
    flops = None if share is None else share * run.flops
    return Outcome(
        status="failed", cause=cause, detail=detail, flops=flops, elapsed_s=ended.elapsed_s
    )


def by_branch(
    study: Study, run: Suggestion, outcome: Outcome
) -> list[tuple[float | None, Outcome]]:
    """How each branch of a run ended, or the whole run where it has none or came to nothing.

    A branch takes the reading of the run's own recipe that is nearest in tokens, since trainers
    round to whole steps; one without a reading has failed. The compute is shared as planned.
    """
    own = [
        reading
        for reading in outcome.readings
        if (reading["schedule"], reading["averaging"]) == (run.schedule, run.averaging)
    ]
    if not run.branches or outcome.status == "failed" or not own:
        return [(None, outcome)]
    trials = study.trials[run.id : run.id + len(run.branches)]
    planned = math.fsum(trial.flops for trial in trials)
    parts = []
    for trial in trials:
        apart = lambda reading, at=trial.tokens: abs(math.log(reading["tokens"] / at))  # noqa: E731
        nearest = min(own, key=apart)
        share = None if outcome.flops is None else outcome.flops * trial.flops / planned
        found = replace(outcome, flops=share, loss=nearest["loss"], readings=())
        if apart(nearest) > _SAME_BRANCH:
            found = replace(found, status="failed", cause="no loss", loss=None, loss_sd=None)
        elif found.loss is None:
            found = replace(found, status="diverged", cause="diverged", loss_sd=None)
        else:
            found = replace(found, status="completed", cause="finished")
        if trial.status == "pending":
            parts.append((trial.tokens, found))
    return parts


def recorded_readings(study: Study, run: Suggestion, outcome: Outcome) -> list[LoggedRun]:
    """The other readings of a run as logged runs: those whose recipe the space allows."""
    schedules = study.space.schedules or (study.target.schedule,)
    averagings = study.space.averagings or (study.target.averaging,)
    kept: list[LoggedRun] = []
    for reading in outcome.readings:
        recipe = reading["schedule"], reading["averaging"]
        allowed = recipe[0] in schedules and recipe[1] in averagings
        if allowed and recipe != (run.schedule, run.averaging):
            kept.append(_logged(run, reading))
    return kept


def unrecorded_readings(study: Study, run: Suggestion, outcome: Outcome) -> list[LoggedRun]:
    """Those of the other readings of a run that the study does not hold yet."""
    known = [replace(trial, id=0, row=None) for trial in study.trials if not trial.charged]
    return [
        reading
        for reading in recorded_readings(study, run, outcome)
        if study.trial_from(reading, trial_id=0, charged=False) not in known
    ]


def _logged(run: Suggestion, reading: Mapping[str, Any]) -> LoggedRun:
    return LoggedRun(
        learning_rate=run.learning_rate,
        params=run.params,
        tokens=reading["tokens"],
        batch_tokens=run.batch_tokens,
        flops=reading["flops"] or run.scale.flops(reading["tokens"]),
        schedule=reading["schedule"],
        averaging=reading["averaging"],
        loss=reading["loss"],
        diverged=reading["loss"] is None,
    )


def _finished(folder: Path, elapsed_s: float) -> Outcome:
    """The outcome of a process that says it succeeded, or that it diverged."""
    try:
        result = _result(folder)
        lost = result.get("diverged") is True
        loss = None if lost else _loss(result.get("loss"), "loss")
        return Outcome(
            status="diverged" if loss is None else "completed",
            cause="diverged" if loss is None else "finished",
            loss=loss,
            loss_sd=None if loss is None else _positive(result, "loss_sd"),
            flops=_positive(result, "flops"),
            elapsed_s=elapsed_s,
            readings=_readings(result),
        )
    except UnreadableLossError as error:
        return Outcome(status="failed", cause="no loss", detail=str(error), elapsed_s=elapsed_s)


def _result(folder: Path) -> Mapping[str, Any]:
    """What `result.json` says, or else the last line of standard output."""
    if (folder / "result.json").exists():
        result = read_json(folder / "result.json")
        if not isinstance(result, dict):
            said = last_line(folder / "result.json")[:_QUOTED]
            raise UnreadableLossError(
                f'result.json is {said!r}, expected {{"loss": …}}; write one object'
            )
        return result
    return said_loss(last_line(folder / "stdout.log"))


def _loss(value: Any, name: str) -> float | None:
    """A loss that was reported; `None` where it is not finite: the run diverged."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnreadableLossError(
            f"{name} is {quoted(value)}, expected a number > 0; report the final loss"
        )
    number = real(value)
    if number is None:
        raise UnreadableLossError(
            f"{name} is {quoted(value)}, expected a number > 0; it is too large"
        )
    if not math.isfinite(number):
        return None
    if number <= 0:
        raise UnreadableLossError(
            f"{name} is {value!r}, expected a number > 0; report the final loss"
        )
    return number


def _positive(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    if value is None:
        return None
    number = _loss(value, name)
    if number is None:
        raise UnreadableLossError(
            f"{name} is {value!r}, expected a finite number > 0; leave it out"
        )
    return number


def _readings(result: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The readings of a result, checked; the loss of a diverged one is `None`."""
    readings = result.get("readings") or []
    if not isinstance(readings, Sequence) or not all(isinstance(r, dict) for r in readings):
        raise UnreadableLossError("readings is no list of objects, expected one object a reading")
    checked = []
    for number, reading in enumerate(readings):
        tokens = _positive(reading, "tokens")
        labels = reading.get("schedule"), reading.get("averaging")
        if tokens is None or not all(isinstance(label, str) for label in labels):
            raise UnreadableLossError(
                f"reading {number} is {quoted(reading)}, expected tokens, schedule, averaging and "
                "loss"
            )
        lost = reading.get("diverged") is True
        checked.append(
            {
                "tokens": tokens,
                "schedule": labels[0],
                "averaging": labels[1],
                "loss": None if lost else _loss(reading.get("loss"), f"loss of reading {number}"),
                "flops": _positive(reading, "flops"),
            }
        )
    return tuple(checked)


def _failure(folder: Path, ended: Exit) -> tuple[Cause, str]:
    """Why a process failed, by its exit and what it said."""
    said = (tail(folder / "stdout.log") + tail(folder / "stderr.log")).lower()
    last = (last_line(folder / "stderr.log") or last_line(folder / "stdout.log"))[:_QUOTED]
    if ended.cause is not None:
        return ended.cause, ended.detail
    if ended.timed_out:
        return "timed out", f"ended after {ended.elapsed_s:.1f} s"
    if any(mark in said for mark in _OUT_OF_MEMORY):
        return "out of memory", last
    if any(mark in said for mark in _GPU_LOST):
        return "GPU lost", last
    if (name := _signal_name(ended.code)) is not None:
        hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
        return "killed", f"killed by {name}{hint}"
    return "exit code", f"exit code {ended.code}: {last or 'nothing on stderr'}"


def _signal_name(code: int) -> str | None:
    try:
        return signal.Signals(code - 128).name if code > 128 else None
    except ValueError:
        return None
