"""Ax overhead: what does a trial cost through Ax beyond the plain loop, and what does saving add?

Run by hand, on one thread; each line holds one measurement with machine and versions:

    OMP_NUM_THREADS=1 python -m benchmarks.measurements.ax_overhead \
        > benchmarks/results/ax_overhead.jsonl

A step is one `get_next_trials` and one `complete_trial`. The time that the tuner itself takes in
it, the same as in the plain loop, is measured inside and taken off; the rest is Ax's own. Two
studies of suggested runs grow side by side, one in memory and one saved to SQLite at every step,
so that saving can be told apart. Figures are medians over the steps before the count given.
"""

import argparse
import json
import logging
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from statistics import median
from types import SimpleNamespace
from typing import Any

from latency import fresh_tuner, world_loss

_WINDOW = 9  # steps that a median is over


class CoreClock:
    """Wraps the tuner's functions where the generator calls them, and adds up their time."""

    def __init__(self) -> None:
        from horizon_bo.ax import generator

        self.wall = self.cpu = 0.0
        generator.believe = self._timed(generator.believe)
        plain = generator.tuner
        generator.tuner = SimpleNamespace(
            suggest=self._timed(plain.suggest), recommend=self._timed(plain.recommend)
        )

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*given, **named)
            finally:
                self.wall += time.perf_counter() - wall
                self.cpu += time.process_time() - cpu

        return timed


def ax_client(name: str, storage: Any = None) -> Any:
    """An Ax client on the same study as `latency.fresh_tuner`."""
    from horizon_bo.ax import horizon_client

    study = fresh_tuner().study
    return horizon_client(
        target=study.target,
        space=study.space,
        budget=study.budget,
        prior_center=study.prior_center,
        name=name,
        storage=storage,
    )


def ax_step(client: Any, clock: CoreClock) -> dict[str, float]:
    """Ask Ax for one trial and complete it; seconds that Ax took beside the tuner."""
    wall, cpu = time.perf_counter(), time.process_time()
    core_wall, core_cpu = clock.wall, clock.cpu
    for index, run in client.get_next_trials(max_trials=1).items():
        loss = world_loss(run["learning_rate"], run["params"], run["tokens"], 0.0)
        client.complete_trial(index, {"loss": loss})
    return {
        "wall": time.perf_counter() - wall - (clock.wall - core_wall),
        "cpu": time.process_time() - cpu - (clock.cpu - core_cpu),
        "core": clock.wall - core_wall,
    }


def seconds(call: Callable[[], Any]) -> dict[str, float]:
    """Wall and processor seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def medians(steps: list[dict[str, float]]) -> dict[str, float]:
    """The median of each measure over the last steps."""
    return {name: median(step[name] for step in steps[-_WINDOW:]) for name in steps[0]}


def stored(client: Any, path: str, storage: Any) -> Iterator[dict[str, Any]]:
    """Saving a study to Ax's JSON file, and loading it from there and from SQL."""
    from horizon_bo.ax import HorizonClient

    yield {"measured": "ax_json_save_s", **seconds(lambda: client.save_to_json_file(path))}
    yield {
        "measured": "ax_json_load_s",
        "bytes": os.path.getsize(path),
        **seconds(lambda: HorizonClient.load_from_json_file(path)),
    }
    load = seconds(lambda: HorizonClient.load_from_database("saved", storage_config=storage))
    yield {"measured": "ax_sql_load_s", **load}


def measurements(counts: list[int], folder: str) -> Iterator[dict[str, Any]]:
    """Let both studies grow, and measure at the counts given."""
    from horizon_bo.ax import sql_storage

    storage, clock = sql_storage(f"sqlite:///{folder}/ax.db"), CoreClock()
    clients = {"ax_memory_s": ax_client("memory"), "ax_sql_s": ax_client("saved", storage)}
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    for count in range(1, max(counts) + 1):
        for name, client in clients.items():
            steps[name].append(ax_step(client, clock))
        if count not in counts:
            continue
        for name in clients:
            yield {"measured": name, "trials": count, **medians(steps[name])}
        for record in stored(clients["ax_memory_s"], f"{folder}/{count}.json", storage):
            yield {**record, "trials": count}


def main() -> None:
    """Print one JSON line per measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="*", default=[10, 25, 50, 100])
    args = parser.parse_args()
    import torch
    from ax.utils.common.logger import set_ax_logger_levels

    from horizon_bo.store.threads import keep_to_one_thread

    torch.set_num_threads(1)
    keep_to_one_thread()
    set_ax_logger_levels(logging.ERROR)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    where = {
        "commit": commit,
        **{name: version(name) for name in ("ax-platform", "torch", "sqlalchemy", "pandas")},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
    }
    with tempfile.TemporaryDirectory() as folder:
        for record in measurements(args.trials, folder):
            print(json.dumps({**record, **where}), flush=True)


if __name__ == "__main__":
    main()
