"""Cluster: how is the race run on many machines?

    python -m benchmarks.harness.cluster 20 --on slurm --resources cpus=1,time=4:00:00
    python -m benchmarks.harness.cluster 2                                # two processes here

Sends shares of `open_race` through an engine of the run loop and waits for them. Each share writes
to `FOLDER/NUMBER`, on a disk that all machines share; the same call goes on where they stopped.
"""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

import typer

from horizon_bo.runs.engines.protocol import Engine, Job, Placed, stored_exit
from horizon_bo.runs.folder import write_json
from horizon_bo.runs.outcomes import Exit
from horizon_bo.runs.plan import RunPlan
from horizon_bo.runs.processes import engine_of

_POLL_S = 1.0


def begun(engine: Engine, folder: Path, argv: Sequence[str], needs: dict[str, Any]) -> Placed:
    """A command on its way, as the next attempt of its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    attempt = next(k for k in count(1) if stored_exit(folder, k) is None)
    write_json(folder / "run.json", {"argv": list(argv), "attempt": attempt})
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    engine.submit(
        Job(
            folder=folder,
            attempt=attempt,
            environment=environment,
            most_s=float("inf"),
            resources=needs,
        )
    )
    return Placed(engine, folder, attempt)


def waited(jobs: Sequence[Placed]) -> list[Exit]:
    """How jobs ended, once all have."""
    while True:
        ends = [job.exit() for job in jobs]
        if all(ends):
            return [end for end in ends if end is not None]
        time.sleep(_POLL_S)


def main(
    parts: Annotated[int, typer.Argument(min=1, help="Shares, each a process.")],
    on: Annotated[str, typer.Option(help="local, slurm or ray.")] = "local",
    resources: Annotated[str, typer.Option(help="NAME=VALUE,… of every share.")] = "",
    folder: Annotated[Path, typer.Option(help="Where shares write.")] = Path("build/open"),
    options: Annotated[str, typer.Option(help="Further options of open_race.")] = "",
) -> None:
    """Race in so many parts and wait for them; exit code 1 where one of them failed."""
    needs = dict(pair.split("=", 1) for pair in resources.split(",") if pair)
    race = (sys.executable, "-m", "benchmarks.harness.open_race", *options.split())
    with ExitStack() as stack:
        lock = stack.enter_context(TemporaryFile())
        engine = stack.enter_context(engine_of(RunPlan(on=on, resources=needs), lock.fileno(), ()))
        jobs = []
        for part in range(1, parts + 1):
            own = (folder / str(part)).resolve()
            argv = (*race, "--share", f"{part}/{parts}", "--out", str(own))
            jobs.append(begun(engine, own, argv, needs))
        ends = waited(jobs)
    for part, end in enumerate(ends, 1):
        if end.code:
            print(f"share {part}: {end}; see {folder / str(part) / 'stderr.log'}", file=sys.stderr)
    sys.exit(any(end.code for end in ends))


if __name__ == "__main__":
    typer.run(main)
