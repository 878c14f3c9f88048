"""Proof: is the rate that a tenth of a target run buys as good as a sweep of the target itself?

    python -m benchmarks.measurements.proof --jobs 2   # an hour of two cores; goes on
    python -m benchmarks.measurements.proof --table

The target, a language model of 221k parameters on 2M bytes, is trained at seven rates an octave
apart, three seeds next to the best. `horizon-bo run --builtin` tunes for it with at most a tenth of
one such run, from three guesses and two seeds. What others would have done with the same tenth:

grid       seven rates at the dearest cell that the budget affords, the best one used as it is
horizon    the same, moved by the token-horizon rule LR* ∝ D^−0.32 (Bjorck et al., 2409.19913)
µTransfer  seven rates of the smallest width under µP; the target is then trained under µP

Regret is read off a smooth curve through the target's losses, except for µTransfer, whose target is
another model and is trained at the rate it chose, with three seeds.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.problems.sweep import MILLION, RESULTS, Cell, best_rates, key, load, make_runs
from horizon_bo.training.config import ModelConfig, RunConfig
from horizon_bo.training.flops import flops_per_token

HERE = Path(__file__).parents[1]
STUDIES = HERE / "results" / "proof.jsonl"
RIVALS = HERE / "results" / "proof_rivals.jsonl"

TARGET = Cell(group="sizes", width=96, millions=2.0, center=-8, repeats=2)
BUDGET = 0.1  # target runs
#: Guesses of the target's best rate: none (published laws), a third and three times 2^−8.
GUESSES = (None, 1.3e-3, 1.17e-2)
SEEDS = (0, 1)
HORIZON_EXPONENT = -0.32
WIDTHS = (16, 32, 48, 64)
SHORTEST = 62_464  # 61 steps


def target_runs(done: dict[str, Any]) -> Iterator[RunConfig]:
    """The target's grid, then other seeds next to its best."""
    for rate in TARGET.rates():
        yield TARGET.run(rate, 0)
    for seed in (1, 2):
        yield from (TARGET.run(rate, seed) for rate in best_rates(TARGET, done))


def smooth_curve(done: dict[str, Any]) -> np.polynomial.Polynomial:
    """Loss against log₂ of the rate: a cubic, rates far above the best loss counting less."""
    points = [
        (math.log2(run.learning_rates[0]), done[key(run)]["readings"][-1]["loss"])
        for run in target_runs(done)
    ]
    rates, losses = np.array([p for p in points if p[1] is not None]).T
    weight = 1 / (losses - losses.min() + 0.05)
    return np.polynomial.Polynomial.fit(rates, losses, 3, w=weight)


def best_of(curve: np.polynomial.Polynomial) -> tuple[float, float]:
    """log₂ of the best rate on the curve within its grid, and the loss there."""
    grid = np.linspace(TARGET.center - 3, TARGET.center + 3, 2001)
    best = int(curve(grid).argmin())
    return float(grid[best]), float(curve(grid)[best])


def budget_flops() -> float:
    """Compute that each method may spend, FLOP."""
    run = TARGET.run(TARGET.center, 0)
    return BUDGET * flops_per_token(run.model) * run.tokens


def grid_cell(parametrization: str) -> Cell:
    """The longest cell of the smallest width, or of a wider one, at which seven rates fit."""
    width = 32
    model = ModelConfig(width=width, depth=2, head_dim=16)
    tokens = budget_flops() / 7 / flops_per_token(model)
    steps = int(tokens // 1024)
    return replace(
        TARGET,
        width=width,
        millions=steps * 1024 / 1e6,
        center=-6,
        parametrization=parametrization,
    )


def rival_run(cell: Cell, log2_rate: int) -> RunConfig:
    """A run of a rival's grid, whose length is no round number."""
    tokens = round(cell.millions * 1e6)
    return replace(replace(cell, millions=0.25).run(log2_rate, 0), tokens=tokens)


def rival_runs(done: dict[str, Any]) -> Iterator[RunConfig]:
    """Grids of the rivals, then µTransfer's target at the rate it chose."""
    for parametrization in ("standard", "mup"):
        cell = grid_cell(parametrization)
        yield from (rival_run(cell, rate) for rate in cell.rates())
    rate = chosen(done, "mup")
    if rate is not None:
        cell = replace(TARGET, parametrization="mup")
        yield from (cell.run(rate, seed) for seed in (0, 1, 2))


def chosen(done: dict[str, Any], parametrization: str) -> int | None:
    """log₂ of the rate of least loss in a rival's grid; `None` until it is trained."""
    cell = grid_cell(parametrization)
    runs = {rate: key(rival_run(cell, rate)) for rate in cell.rates()}
    if not all(name in done for name in runs.values()):
        return None
    losses = {rate: done[name]["readings"][-1]["loss"] or math.inf for rate, name in runs.items()}
    return min(losses, key=losses.__getitem__)


def tune(guess: float | None, seed: int, jobs: int) -> dict[str, Any]:
    """One study by the command line, from `init` to what `run` says at its end."""
    run = TARGET.run(TARGET.center, 0)
    program = [sys.executable, "-c", "from horizon_bo.cli.app import app; app()"]
    with tempfile.TemporaryDirectory() as folder:
        study = str(Path(folder) / "proof.db")
        init = [
            *("init", study, "--target-params", f"{TARGET.width}x2", "--batch-tokens", "1024"),
            *("--target-tokens", str(run.tokens), "--budget", str(BUDGET), "--seed", str(seed)),
            *("--scales", ",".join(f"{width}x2" for width in WIDTHS)),
            *("--tokens", f"{SHORTEST},{MILLION[0.5]}", "--learning-rate", "5e-4,0.12"),
            *([] if guess is None else ["--prior-center", str(guess)]),
        ]
        subprocess.run([*program, *init], check=True, stdout=subprocess.DEVNULL)
        train = ["run", study, "--builtin", "--parallel", str(jobs), "--until-budget", "--json"]
        done = subprocess.run([*program, *train], check=True, stdout=subprocess.PIPE, text=True)
        *runs, best = [json.loads(line) for line in done.stdout.splitlines()]
    flops = flops_per_token(run.model) * run.tokens
    return {
        "guess": guess,
        "seed": seed,
        "runs": runs,
        "spent": best["spent"] / flops,
        **{name: best[name] for name in ("learning_rate", "interval_90", "expected_regret")},
    }


def rows() -> Iterator[tuple[str, float, float, float, str]]:
    """Method, spend (target runs), rate, regret (nats per byte) and a remark, a line each."""
    done, rivals = load(RESULTS), load(RIVALS)
    curve = smooth_curve(done)
    best, least = best_of(curve)
    regret = lambda rate: float(curve(np.clip(math.log2(rate), -11, -5)) - least)  # noqa: E731
    for line in map(json.loads, STUDIES.read_text().splitlines()):
        low, high = line["interval_90"]
        held = "holds" if low <= 2.0**best <= high else "misses"
        remark = (
            f"guess {line['guess'] or 'from published laws'}, seed {line['seed']}, "
            f"{len(line['runs'])} runs; 90 % interval {low:.1e} to {high:.1e} {held}; "
            f"expected regret {1e3 * line['expected_regret']:.0f}"
        )
        rate = line["learning_rate"]
        yield "horizon_bo", line["spent"], rate, regret(rate), remark
    cell, rate = grid_cell("standard"), 2.0 ** (chosen(rivals, "standard") or 0)
    tokens = round(cell.millions * 1e6)
    yield "grid", BUDGET, rate, regret(rate), f"7 rates of 25k parameters on {tokens:,} tokens"
    target = TARGET.run(TARGET.center, 0)
    moved = rate * (target.tokens / tokens) ** HORIZON_EXPONENT
    yield "horizon rule", BUDGET, moved, regret(moved), "the grid's best, moved by D^−0.32"
    mup = chosen(rivals, "mup")
    if mup is not None:
        runs = [replace(TARGET, parametrization="mup").run(mup, seed) for seed in (0, 1, 2)]
        losses = [rivals[key(run)]["readings"][-1]["loss"] for run in runs]
        error = np.std(losses, ddof=1) / len(losses) ** 0.5
        remark = f"loss of the µP target minus the best standard one, ± {1e3 * error:.0f}"
        yield "µTransfer", BUDGET, 2.0**mup, float(np.mean(losses)) - least, remark


def table() -> str:
    """The comparison as Markdown."""
    best, least = best_of(smooth_curve(load(RESULTS)))
    text = f"Best rate of the target {2.0**best:.2e}, loss there {least:.3f} nats per byte.\n\n"
    text += "| method | spent (target runs) | rate | regret (mnat) | |\n|---|---|---|---|---|\n"
    for method, spent, rate, regret, remark in rows():
        text += f"| {method} | {spent:.3f} | {rate:.2e} | {1e3 * regret:.0f} | {remark} |\n"
    return text


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, a core each")
    parser.add_argument("--table", action="store_true", help="only print the comparison")
    given = parser.parse_args()
    if given.table:
        print(table())
        return
    made = STUDIES.read_text().splitlines() if STUDIES.is_file() else []
    known = {(line["guess"], line["seed"]) for line in map(json.loads, made)}
    for seed in SEEDS:
        for guess in GUESSES:
            if (guess, seed) not in known:
                line = tune(guess, seed, given.jobs)
                with STUDIES.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(f"guess {guess}, seed {seed}: {line['learning_rate']:.2e}", flush=True)
    make_runs(target_runs, RESULTS, given.jobs)
    make_runs(rival_runs, RIVALS, given.jobs)
    print(table())


if __name__ == "__main__":
    main()
