"""Latency: how long does a call take, and how does that grow with the number of runs?

Run by hand, on one thread:

    OMP_NUM_THREADS=1 python benchmarks/measurements/latency.py > latency.jsonl

Each line holds one measurement with the machine and versions it was made on.
"""

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np

#: Nothing is taken from what an earlier call has kept.
os.environ["HORIZON_BO_CACHE"] = ""

TARGET_PARAMS, TARGET_TOKENS = 1e9, 2e10
_SIZES = (6e7, 1.2e8, 2.5e8)
_LENGTHS = (1e9, 2e9, 4e9)


def world_loss(rate: float, params: float, tokens: float, noise: float) -> float:
    """A law of ordinary coefficients: the optimum moves by N^−0.4, runs scatter by 3 mnat."""
    n, d = math.log(params / TARGET_PARAMS), math.log(tokens / TARGET_TOKENS)
    offset = math.log(rate / 2e-3) + 0.4 * n
    bowl = 0.05 * math.exp(-0.25 * d) * offset**2
    return 1.5 + 0.35 * math.exp(-0.25 * n) + 0.3 * math.exp(-0.3 * d) + bowl + 0.003 * noise


def logged_rows(count: int) -> list[dict[str, float]]:
    """Runs of that world at random rates in nine cells."""
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        params, tokens = (float(generator.choice(values)) for values in (_SIZES, _LENGTHS))
        rate = float(np.exp(generator.uniform(math.log(5e-4), math.log(2e-2))))
        noise = float(generator.normal())
        loss = world_loss(rate, params, tokens, noise)
        rows.append({"learning_rate": rate, "params": params, "tokens": tokens, "loss": loss})
    return rows


def fresh_tuner(cooldown: float | None = None) -> Any:
    """A tuner whose budget never ends, and which may branch if it knows a cooldown."""
    from horizon_bo import Horizon, HorizonTuner, Scale, SearchSpace

    schedule = "cosine" if cooldown is None else "wsd"
    target = Horizon(
        params=TARGET_PARAMS, tokens=TARGET_TOKENS, batch_tokens=262_144, schedule=schedule
    )
    space = SearchSpace(
        learning_rate=(1e-4, 2e-2),
        scales=[Scale(params=params) for params in _SIZES],
        tokens=list(_LENGTHS),
        cooldown=cooldown,
    )
    return HorizonTuner(target=target, space=space, budget=100 * target.flops, prior_center=1e-3)


def report(tuner: Any, run: Any) -> None:
    """Observe every reading of a run."""
    for tokens in run.branches or (run.tokens,):
        loss = world_loss(run.learning_rate, run.params, tokens, 0.0)
        tuner.observe(run, loss=loss, branch=tokens if run.branches else None)


def loop_seconds(
    runs: int, repeats: int, cooldown: float | None = None
) -> Iterator[dict[str, Any]]:
    """Median time of observe + suggest once a study holds that many runs."""
    tuner = fresh_tuner(cooldown)
    tuner.import_runs(logged_rows(runs))
    elapsed = []
    run = tuner.suggest()
    for _ in range(repeats):
        began = time.perf_counter()
        report(tuner, run)
        run = tuner.suggest()
        elapsed.append(time.perf_counter() - began)
    best = tuner.recommend()
    yield {
        "measured": "observe_and_suggest_s",
        "cooldown": cooldown,
        "runs": runs,
        "median": median(elapsed),
        "all": elapsed,
        "learning_rate": best.learning_rate,
        "expected_regret": best.expected_regret,
    }


def import_seconds(rows: int) -> Iterator[dict[str, Any]]:
    """Time and memory of importing a long table and recommending from it."""
    tuner = fresh_tuner()
    table = logged_rows(rows)
    began = time.perf_counter()
    tuner.import_runs(table)
    imported = time.perf_counter() - began
    best = tuner.recommend()
    yield {
        "measured": "import_and_recommend_s",
        "runs": rows,
        "import": imported,
        "median": time.perf_counter() - began,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "learning_rate": best.learning_rate,
        "expected_regret": best.expected_regret,
    }


def start_seconds(code: str, name: str, repeats: int = 7) -> Iterator[dict[str, Any]]:
    """Time of a fresh interpreter that runs some code, less that of one that does nothing."""
    elapsed: dict[str, list[float]] = {"pass": [], code: []}
    for _ in range(repeats):
        for source, times in elapsed.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", source], check=True, capture_output=True)
            times.append(time.perf_counter() - began)
    yield {"measured": name, "runs": 0, "median": median(elapsed[code]) - median(elapsed["pass"])}


def measurements(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every measurement, one after the other."""
    yield from start_seconds("import horizon_bo", "import_package_s")
    help_ = "from horizon_bo.cli.app import app; app(['--help'])"
    yield from start_seconds(help_, "command_line_help_s")
    for runs in args.runs:
        yield from loop_seconds(runs, args.repeats)
        yield from loop_seconds(runs, args.repeats, cooldown=0.2)
    yield from import_seconds(args.rows)


def main() -> None:
    """Print one JSON line per measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, nargs="*", default=[20, 50, 100, 200, 400])
    parser.add_argument("--rows", type=int, default=5_000, help="rows of the imported table")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    from horizon_bo.store.threads import keep_to_one_thread

    keep_to_one_thread()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    where = {
        "commit": commit,
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
    }
    for record in measurements(args):
        print(json.dumps({**record, **where}), flush=True)


if __name__ == "__main__":
    main()
