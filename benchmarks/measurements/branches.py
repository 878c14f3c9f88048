"""Branches: at equal spend, does a tuner that may branch its trunks do better?

Tunes synthetic worlds of schedule "wsd" (laws as in `benchmarks/problems/worlds.py`) with and
without a cooldown in the space, and writes the regret at the target as the budget is spent:

    OMP_NUM_THREADS=1 python -m benchmarks.measurements.branches \
        benchmarks/results/branches.jsonl --count 12

Readings of one trunk share half of their noise and the ragged edge of divergence. A world and seed
that are in the file already are skipped.
"""

import itertools
import json
import math
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.problems.worlds import (
    CENTER,
    TARGET_PARAMS,
    TARGET_TOKENS,
    excess,
    law_of_world,
    log_optimum,
)
from horizon_bo import Horizon, HorizonTuner, Scale, SearchSpace, Suggestion
from horizon_bo.errors import BudgetExhaustedError
from horizon_bo.store.threads import keep_to_one_thread

#: Models that can be built, by problem: a ladder, or one size only, of which few runs fit.
SIZES = {"ladder": (3e7, 6e7, 1.2e8, 2.5e8), "one size": (2.5e8,)}
TOKENS = (1e9, 2e9, 4e9, 8e9, 1.6e10)
COOLDOWN = 0.2
BUDGETS = (0.01, 0.02, 0.05, 0.1)  # in target runs
SHARED = 0.5  # of the noise variance, between readings of one trunk
TARGET = Horizon(params=TARGET_PARAMS, tokens=TARGET_TOKENS, batch_tokens=262_144, schedule="wsd")


def losses(w: dict[str, float], run: Suggestion, rng: np.random.Generator) -> list[float]:
    """Final loss of every reading of a run, NaN where it diverged."""
    tokens = np.array(run.branches or (run.tokens,))
    n, d = np.log(run.params / TARGET_PARAMS), np.log(tokens / TARGET_TOKENS)
    u = math.log(run.learning_rate) - log_optimum(w, n, d)
    own, common = rng.standard_t(4, len(tokens)), rng.standard_t(4)
    noise = w["noise"] * (math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * own)
    level = w["irreducible"] + w["params_amplitude"] * np.exp(-w["params_exponent"] * n)
    level = level + w["tokens_amplitude"] * np.exp(-w["tokens_exponent"] * d)
    loss = level + excess(w, np.log(run.learning_rate), n, d) + noise
    return np.where(u + 0.3 * rng.standard_normal() > w["cliff"], np.nan, loss).tolist()


def regret(w: dict[str, float], learning_rate: float) -> float:
    """True regret at the target, as a share of what an e-fold of its tokens buys."""
    zero = np.array(0.0)
    bought = w["tokens_exponent"] * w["tokens_amplitude"]
    return float(excess(w, np.log(learning_rate), zero, zero)) / bought


def tuned(
    w: dict[str, float], problem: str, world: int, seed: int, method: str
) -> list[dict[str, Any]]:
    """Tune one world until the last budget is spent; the state when each budget was."""
    space = SearchSpace(
        learning_rate=(CENTER / 30, CENTER * 30),
        scales=[Scale(params=params) for params in SIZES[problem]],
        tokens=list(TOKENS),
        cooldown=COOLDOWN if method == "branches" else None,
    )
    budget = BUDGETS[-1] * TARGET.flops
    tuner = HorizonTuner(target=TARGET, space=space, budget=budget, prior_center=CENTER, seed=seed)
    rng = np.random.default_rng([seed, world, 1])
    states: list[dict[str, Any]] = []
    while len(states) < len(BUDGETS):
        try:
            run = tuner.suggest()
        except BudgetExhaustedError:
            run = None
        spent = math.inf if run is None else tuner.study.spent / TARGET.flops
        over = [limit for limit in BUDGETS[len(states) :] if spent > limit]
        states += [{"budget": limit, **state(tuner, w)} for limit in over]
        if run is not None:
            report(tuner, run, losses(w, run, rng))
    return states


def report(tuner: HorizonTuner, run: Suggestion, read: list[float]) -> None:
    """Observe every reading of a run."""
    if not run.branches:
        tuner.observe(run, loss=read[0])
    for branch, loss in zip(run.branches, read, strict=False):
        tuner.observe(run, loss=loss, branch=branch)


def state(tuner: HorizonTuner, w: dict[str, float]) -> dict[str, Any]:
    """What is recommended now, how good that is, and what it is based on."""
    best = tuner.recommend()
    low, high = best.interval_90
    ended = [trial for trial in tuner.study.trials if trial.status != "pending"]
    return {
        "spent": sum(trial.flops for trial in ended) / TARGET.flops,
        "regret": regret(w, best.learning_rate),
        "hit": low <= math.exp(float(log_optimum(w, np.array(0.0), np.array(0.0)))) <= high,
        "octaves": math.log2(high / low),
        "readings": len(ended),
        "trunks": len({trial.trunk for trial in ended} - {None}),
    }


def main(
    out: Path,
    count: Annotated[int, typer.Option(min=1, help="Number of worlds.")] = 12,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of the tuner and noise.")] = 1,
) -> None:
    """Tune worlds with and without branches, a JSON line per state.

    Example: python -m benchmarks.measurements.branches branches.jsonl --count 12
    """
    keep_to_one_thread()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    made = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {(line["problem"], line["world"], line["seed"], line["method"]) for line in made}
    jobs = itertools.product(SIZES, range(count), range(seeds), ("single", "branches"))
    for job in jobs:
        if job in done:
            continue
        problem, world, seed, method = job
        began = time.perf_counter()
        law = law_of_world(np.random.default_rng([0, world]))
        states = tuned(law, problem, world, seed, method)
        where = {
            "problem": problem,
            "world": world,
            "seed": seed,
            "method": method,
            "wall_s": time.perf_counter() - began,
            "commit": commit,
            "numpy": version("numpy"),
            "machine": platform.machine(),
        }
        with out.open("a") as file:
            file.writelines(json.dumps({**line, **where}) + "\n" for line in states)


if __name__ == "__main__":
    typer.run(main)
