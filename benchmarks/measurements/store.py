"""Store: what does keeping a study cost a worker, and how long do many wait for each other?

    python -m benchmarks.measurements.store runs.db
    python -m tests.postgres python -m benchmarks.measurements.store {address}

Training and inference are replaced by nothing (by a sleep where many wait), so that what is left is
the store's and the guard's: transactions, connections and time of one run, from one start to the
next; and the longest and median time that each of many processes waits for a suggestion.
"""

import json
import os
import platform
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated
from unittest.mock import patch

import typer
from sqlalchemy import Engine, event
from sqlalchemy.pool import Pool

from horizon_bo import Horizon, HorizonTuner, Scale, SearchSpace
from horizon_bo.core.candidates import pool_of_space
from horizon_bo.study.branches import suggestion

TARGET = Horizon(params=1e9, tokens=2e10)
SPACE = SearchSpace(
    learning_rate=(1e-4, 2e-2), scales=[Scale(params=6e7)], tokens=[1e9, 2e9], batch_tokens=None
)
#: A command that takes no time, and names what every command has to.
COMMAND = ("sh", "-c", "echo 3", "{learning_rate}")


def first_places(study, belief, n, limits=None):
    """Suggestions that take no time."""
    return [suggestion([trial], study) for trial in pool_of_space(study)[:n]]


def run_costs(address: str, runs: int) -> dict[str, float]:
    """Seconds of a run (typical, and of this process's own time), its transactions, connections.

    Typical seconds are those from one start to the next, of a function and of a command.
    """
    tuner = HorizonTuner(
        target=TARGET, space=SPACE, budget=1e4 * TARGET.flops, study=address, name="one"
    )
    counts: Counter[str] = Counter()
    event.listen(Engine, "begin", lambda *_: counts.update(["transactions"]))
    event.listen(Pool, "connect", lambda *_: counts.update(["connections"]))
    with TemporaryDirectory() as folder:
        given = {"folder": folder, "until_budget": True, "watch": lambda *_: None}
        tuner.work(lambda run: 3.0, max_runs=1, **given)
        counts.clear()
        began_s = time.process_time()
        run_s = _between_starts_s(tuner, lambda run: 3.0, runs, given)
        own_s = (time.process_time() - began_s) / runs
        each = {name: count / runs for name, count in counts.items()}
        command_s = _between_starts_s(tuner, COMMAND, runs, given)
    return {"run_s": run_s, "command_run_s": command_s, "own_s": own_s, **each}


def _between_starts_s(tuner, train, runs, given) -> float:
    """Typical time from one run's start to that of the next."""
    moments_s = []

    def watch(state, event):
        if event is not None and event.kind == "started":
            moments_s.append(time.perf_counter())

    tuner.work(train, max_runs=runs, **{**given, "watch": watch})
    return median(later - sooner for sooner, later in pairwise(moments_s))


def waits_s(address: str, askers: int) -> list[float]:
    """How long each of many processes that ask at the same moment waits."""
    HorizonTuner(target=TARGET, space=SPACE, budget=1e4 * TARGET.flops, study=address, name="many")
    with TemporaryDirectory() as folder:
        (opened, opens), (begin, begins) = os.pipe(), os.pipe()
        processes = []
        for number in range(askers):
            if (process := os.fork()) == 0:
                try:
                    os.close(begins)
                    tuner = HorizonTuner.open(address, "many")
                    os.write(opens, b".")
                    os.read(begin, 1)  # ends when nobody can write any more
                    began_s = time.monotonic()
                    tuner.suggest()
                    (Path(folder) / str(number)).write_text(str(time.monotonic() - began_s))
                finally:
                    os._exit(0)
            processes.append(process)
        for _ in processes:
            os.read(opened, 1)
        os.close(begins)
        for process in processes:
            os.waitpid(process, 0)
        return sorted(float(file.read_text()) for file in Path(folder).iterdir())


def main(
    address: Annotated[str, typer.Argument(help="A database that holds no study yet.")],
    runs: Annotated[int, typer.Option(help="Runs of the single worker.")] = 50,
    askers: Annotated[int, typer.Option(help="Processes that ask at the same moment.")] = 64,
    thinking_s: Annotated[float, typer.Option(help="What inference takes then, seconds.")] = 0.6,
) -> None:
    """Print one line of figures."""
    quick = patch("horizon_bo.core.policy.suggest", first_places)
    believe = "horizon_bo.tuner.believe"
    with quick, patch(believe, lambda study: None):
        costs = run_costs(address, runs)
    with quick, patch(believe, lambda study: time.sleep(thinking_s)):
        waits = waits_s(address, askers)
    kind = "PostgreSQL" if address.startswith("postgres") else "SQLite"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    line = {"database": kind, **costs, "asked": askers, "served": len(waits)}
    line |= {"longest_s": waits[-1], "median_s": median(waits), "machine": machine}
    print(json.dumps(line))


if __name__ == "__main__":
    typer.run(main)
