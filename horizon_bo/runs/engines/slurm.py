"""Slurm engine: how do runs train as jobs of a Slurm cluster?

By `sbatch`, `squeue` and `scancel` alone: accounting need not be on. A job that Slurm requeues
(preempted, its node lost) stays the same attempt; the guard of the copy before ends itself.
"""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from horizon_bo.errors import EngineError
from horizon_bo.runs.engines.protocol import Job, State
from horizon_bo.runs.outcomes import Exit

#: How often `squeue` is asked, in seconds: clusters ask their users for no oftener.
ASK_S = 10.0
#: How long an exit file may take to be seen here once its job has ended, in seconds; network
#: disks remember for up to a minute that a file was not there.
GRACE_S = 60.0
#: How long ended jobs may take to be gone, in seconds, and how often that is asked: at first and
#: at last.
_CANCEL_S, _CANCEL_POLLS_S = 120.0, (0.2, 3.0)
#: Longest time that a command of Slurm's may take, in seconds.
_ANSWER_S = 60.0

#: What `sbatch` calls the resources; any other name is one of its own long options.
_OPTIONS = {"cpus": "cpus-per-task", "memory": "mem"}
_WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
#: Ends that Slurm's word is enough for, for the guard leaves no file; of all others the job may
#: be about to be requeued, or its file to be seen.
_FINAL: Mapping[str, Exit] = {
    "CANCELLED": Exit(code=1, cause="cancelled"),
    "TIMEOUT": Exit(code=1, cause="timed out"),
    "DEADLINE": Exit(code=1, cause="timed out"),
    "OUT_OF_MEMORY": Exit(code=1, cause="out of memory"),
}
_PASSING: Mapping[str, Exit] = {
    "NODE_FAIL": Exit(code=1, cause="node failed"),
    "BOOT_FAIL": Exit(code=1, cause="node failed"),
    "LAUNCH_FAILED": Exit(code=1, cause="node failed"),
    "PREEMPTED": Exit(code=1, cause="preempted"),
}
_LOST = Exit(code=1, cause="lost")
#: Why a job may wait that no time will mend.
_HOPELESS = {
    *("BadConstraints", "InvalidAccount", "InvalidQOS", "PartitionNodeLimit"),
    "PartitionTimeLimit",
}
_ENDED = {*_FINAL, *_PASSING, "COMPLETED", "FAILED", "REVOKED"}


class Slurm:
    """Jobs of a Slurm cluster.

    Args:
        needs: Resources of all runs that there may be, checked before any is submitted.
    """

    name = "slurm"
    look_s = (0.5, 2.0)  # the disk is one that a whole cluster shares

    def __init__(self, needs: Sequence[Mapping[str, Any]]) -> None:
        self._jobs: dict[str, str] = {}  # ids by name
        self._states: dict[str, State] = {}
        self._missed_s: dict[str, float] = {}  # when a job was first seen to have ended
        self._asked_s = float("-inf")
        for need in {tuple(sorted(need.items())): need for need in needs}.values():
            _called("sbatch", "--test-only", *_options(need), given="#!/bin/sh\n")

    def submit(self, job: Job) -> None:
        """Queue a job; its name is how another loop finds it again."""
        said = _called(
            *("sbatch", "--parsable", "--requeue", "--open-mode=append"),
            *(f"--job-name={job.name}", f"--output={job.folder.resolve()}/engine.log"),
            *_options(job.resources),
            given=f"#!/bin/sh\nexec {shlex.join(job.argv)}\n",
            environment=job.environment,
        )
        self._jobs[job.name] = said.split(";")[0].strip()  # id[;cluster]

    def states(self) -> Mapping[str, State]:
        """Where the jobs are or how they ended, at most `ASK_S` old."""
        now_s = time.monotonic()
        if self._jobs and now_s - self._asked_s >= ASK_S:
            self._asked_s = now_s
            try:
                seen = self._queue(self._jobs)
            except EngineError:  # away for a while; the files still tell how runs end
                return self._states
            told = {name: self._state(name, seen.get(name), now_s) for name in self._jobs}
            self._states |= told
            # nothing more is to be learnt of a job that has ended
            over = {name for name, state in told.items() if isinstance(state, Exit)}
            self._jobs = {name: job for name, job in self._jobs.items() if name not in over}
        return self._states

    def cancel(self, names: Sequence[str]) -> None:
        """End jobs, waiting ones too, and wait until they are gone."""
        ids = [self._jobs[name] for name in names if name in self._jobs]
        if not ids:
            return
        _called("scancel", "--quiet", *ids)
        until_s, (pause_s, most_s) = time.monotonic() + _CANCEL_S, _CANCEL_POLLS_S
        while any(state[1] not in _ENDED for state in self._queue(names).values()):
            if time.monotonic() > until_s:
                raise EngineError(
                    f"jobs {', '.join(ids)} still run {_CANCEL_S:.0f} s after scancel, expected "
                    "them to end; look at them with squeue"
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, most_s)

    def adopt(self, names: Sequence[str]) -> set[str]:
        """Those of these jobs that wait or run."""
        if not names:
            return set()
        alive = {n: s for n, s in self._queue(names).items() if s[1] not in _ENDED}
        self._jobs.update({name: state[0] for name, state in alive.items()})
        return set(alive)

    def _queue(self, names: Sequence[str] | Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """Id, state, reason, nodes and time of the jobs of these names, also of ended ones."""
        said = _called(
            *("squeue", "--noheader", "--me", "--states=all", f"--name={','.join(names)}"),
            *("--format=%j|%i|%T|%r|%N|%M",),
        )
        rows = [line.strip().split("|") for line in said.splitlines() if line.strip()]
        return {name: tuple(rest) for name, *rest in rows}

    def _state(self, name: str, seen: tuple[str, ...] | None, now_s: float) -> State:
        """What a line of `squeue`, or its absence, means for a job without an exit file."""
        job, state, reason, nodes, took = seen or (self._jobs[name], "gone", "", "", "")
        said = f"job {job} is {state}" + (f" ({reason})" if reason not in ("", "None") else "")
        if state in _WAITING and reason in _HOPELESS:
            _called("scancel", "--quiet", job)
            raise EngineError(
                f"{said}: it would wait for ever, expected resources that its partition gives; it "
                "is cancelled, correct the resources and run again"
            )
        if state in _WAITING:
            self._missed_s.pop(name, None)
            return f"job {job} waits ({reason})"
        if seen is not None and state not in _ENDED:
            self._missed_s.pop(name, None)
            return f"job {job} on {nodes}"
        if state in _FINAL:
            return _told(_FINAL[state], f"{said} after {took}")
        if now_s - self._missed_s.setdefault(name, now_s) >= GRACE_S:
            return _told(_PASSING.get(state, _LOST), f"{said} and left no exit file")
        return f"job {job} has ended"


def _told(ended: Exit, detail: str) -> Exit:
    return Exit(code=ended.code, cause=ended.cause, detail=detail)


def _options(resources: Mapping[str, Any]) -> list[str]:
    whole = lambda value: f"{value:g}" if isinstance(value, float) else str(value)  # noqa: E731
    return [f"--{_OPTIONS.get(name, name)}={whole(value)}" for name, value in resources.items()]


def _called(*argv: str, given: str = "", environment: Mapping[str, str] | None = None) -> str:
    """What a command of Slurm's prints; its error in one line where it fails."""
    # inside an allocation, its own variables would be taken for options of the new job
    outer = re.compile(r"SLURM_(?!CONF$)|SBATCH_")
    around = {name: value for name, value in os.environ.items() if not outer.match(name)}
    try:
        done = subprocess.run(
            argv,
            input=given,
            capture_output=True,
            text=True,
            timeout=_ANSWER_S,
            env={**around, **(environment or {})},
        )
    except FileNotFoundError as error:
        raise EngineError(
            f"{argv[0]} is not found, expected Slurm's commands on the PATH; load its module, or "
            "run with --on local"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            f"{argv[0]} gave no answer in {_ANSWER_S:.0f} s, expected a Slurm controller that can "
            "be reached; jobs go on, try again later"
        ) from error
    if done.returncode != 0:
        said = re.sub(r"^\w+: (error: )?", "", " ".join(done.stderr.split()))
        raise EngineError(
            f"{argv[0]} {' '.join(a for a in argv[1:] if a.startswith('--'))[:200]} was refused "
            f"({said}), expected what sinfo shows; correct the resources or mend the cluster, the "
            "study is intact"
        )
    return done.stdout
