"""Launch: where may runs train, and how are they put there?

A slot is a place for one run at a time. Whatever engine it belongs to, a run is launched by a
function that takes its folder, in which everything else is written.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from horizon_bo.runs.commands import Function, result_text
from horizon_bo.runs.engines.guards import Guards
from horizon_bo.runs.engines.local import local
from horizon_bo.runs.engines.protocol import (
    Engine,
    Job,
    Placed,
    gpu_count,
    resources,
    time_limit_s,
)
from horizon_bo.runs.folder import clear_disk_errors
from horizon_bo.runs.outcomes import Exit
from horizon_bo.runs.plan import RunPlan
from horizon_bo.study.horizons import Scale
from horizon_bo.study.trials import Suggestion


@dataclass(frozen=True)
class Slot:
    """A place where one process at a time may train.

    Args:
        name: What people call it.
        environment: Its environment variables.
        gpus: How many GPUs it has; `None` where that is unknown.
    """

    name: str
    environment: Mapping[str, str]
    gpus: float | None = None


Launch = Callable[[Suggestion, Path, int, Slot], Placed]


def slots(parallel: int, gpus: Sequence[str]) -> tuple[Slot, ...]:
    """Slots that share the GPUs, or the CPU's cores where there is none."""
    if gpus:
        shares = [gpus[k::parallel] or [gpus[k % len(gpus)]] for k in range(parallel)]
        names = [",".join(share) for share in shares]
        return tuple(_with_gpus(f"GPU {n}", {"CUDA_VISIBLE_DEVICES": n}) for n in names)
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // parallel)))
    return tuple(_with_gpus(f"slot {k}", {"OMP_NUM_THREADS": threads}) for k in range(parallel))


def _with_gpus(name: str, environment: Mapping[str, str]) -> Slot:
    """A slot of this machine; its GPUs are those that programs see, or that Slurm gave."""
    seen = {**os.environ, **environment}.get("CUDA_VISIBLE_DEVICES")
    given = os.environ.get("SLURM_GPUS_ON_NODE")
    count = len(seen.split(",")) if seen else int(given) if given else None
    return Slot(name, environment, count)


def slots_of(plan: RunPlan) -> tuple[Slot, ...]:
    """The slots that a plan asks for; a scheduler finds the machines itself."""
    if plan.on == "local":
        return slots(plan.parallel, plan.gpus)
    return (Slot(plan.on, {}, gpu_count(plan.resources)),) * plan.parallel


@contextmanager
def engine_of(plan: RunPlan, lock: int, scales: Sequence[Scale]) -> Iterator[Engine]:
    """The engine that a plan names, once it can train runs of all these scales.

    Args:
        plan: The plan.
        lock: File descriptor that processes of this machine hold open as long as they live.
        scales: All that there may be runs of.

    Raises:
        EngineError: It is not there, or has no machine for some of them.
    """
    needs = [resources(scale, plan.resources) for scale in scales]
    for need in needs:
        time_limit_s(need.get("time", "1"))
    if plan.on == "local":
        with local(lock) as engine:
            yield engine
    elif plan.on == "slurm":
        from horizon_bo.runs.engines.slurm import Slurm

        yield Slurm(needs)
    else:
        from horizon_bo.runs.engines.ray import ray_engine

        with ray_engine(needs) as engine:
            yield engine


def launcher(engine: Engine, timeout_s: float | None, given: Mapping[str, Any]) -> Launch:
    """A function that starts an attempt, whose folder is written, on an engine.

    Args:
        engine: Where to.
        timeout_s: Longest time an attempt may take, seconds; `None` sets no limit but that of
            its resources.
        given: Resources of every run whose scale does not say otherwise.
    """

    def launch(run: Suggestion, folder: Path, attempt: int, slot: Slot) -> Placed:
        needs = resources(run.scale, given)
        limits_s = [inf if timeout_s is None else timeout_s]
        limits_s += [time_limit_s(needs["time"])] if "time" in needs else []
        job = Job(
            folder=folder,
            attempt=attempt,
            environment=slot.environment,
            most_s=min(limits_s),
            resources=needs,
        )
        engine.submit(job)
        return Placed(engine, folder, attempt)

    return launch


@contextmanager
def launching(lock: int, timeout_s: float | None, guards: Guards | None = None) -> Iterator[Launch]:
    """A function that starts processes here, none of which outlives this context.

    Args:
        lock: File descriptor that the guards hold open as long as they live.
        timeout_s: Longest time a process may take, seconds; `None` waits for ever.
        guards: What starts guards; `None` has one for this context alone.
    """
    with local(lock, guards) as engine:
        yield launcher(engine, timeout_s, {})


def called_here(function: Function, run: Suggestion, folder: Path) -> Exit:
    """Train by a function in this process; an exception fails the run and goes to its log."""
    began_s = time.monotonic()
    try:
        name, text, code = "result.json", result_text(function.train(run)), 0
    except Exception:  # whatever training raises says how the run ended
        name, text, code = "stderr.log", traceback.format_exc(), 1
    with clear_disk_errors(folder):
        (folder / name).write_text(text)
    return Exit(code=code, elapsed_s=time.monotonic() - began_s)
