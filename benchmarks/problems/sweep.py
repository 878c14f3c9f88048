"""Sweep: what does the loss of small language models look like over rates, sizes and horizons?

    python -m benchmarks.problems.sweep --jobs 2     # hours; goes on where it stopped
    python -m benchmarks.problems.sweep --plan       # what is done, what is left, at which cost
    python -m benchmarks.problems.sweep --export     # writes the table that ships with the package

Every cell is a grid of seven rates an octave apart about the expected optimum. Rates next to the
measured optimum are then repeated with other seeds: noise between seeds, not the grid's spacing,
limits what can be known. Each finished run is one line of JSON; a run is repeatable to the last
bit, so lines from several machines can be joined.
"""

import argparse
import json
import math
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.problems.lines import whole_lines
from horizon_bo.training.config import ModelConfig, Recipe, RunConfig, run_config
from horizon_bo.training.corpus import standard_library
from horizon_bo.training.flops import flops_per_token
from horizon_bo.training.loop import train

HERE = Path(__file__).parents[1]
RESULTS = HERE / "results" / "stdlib_gpt.jsonl"
TABLE = HERE.parent / "horizon_bo" / "data" / "stdlib_gpt.csv"

#: 244 steps of 1,024 tokens, and doublings.
QUARTER = 249_856
MILLION = {0.25: QUARTER, 0.5: 499_712, 1.0: 1_000_448, 2.0: 1_999_872, 4.0: 3_999_744}
RATES_PER_CELL = 7
_SEEDS = (0, 1, 2)
_DIVERGED = 10.0  # nats per byte
#: log₂ of the optimal rate by width under the standard parametrization, from a first small sweep.
CENTER = {32: -6, 48: -7, 64: -7, 96: -8, 128: -8}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One grid of rates: a group's name for the table, a model, a length, a recipe."""

    group: str
    width: int
    millions: float
    center: int
    parametrization: str = "standard"
    schedule: str = "cosine"
    batch_tokens: int = 1_024
    weight_decay: float = 0.1
    branches: tuple[int, ...] = ()
    repeats: int = 2  # other seeds of the rates next to the optimum

    def run(self, log2_rate: float, seed: int) -> RunConfig:
        """The run of this cell at a rate and seed."""
        tokens = MILLION[self.millions]
        readings = tuple(b for b in self.branches if b <= 0.8 * tokens)
        return RunConfig(
            model=ModelConfig(
                width=self.width, depth=2, head_dim=16, parametrization=self.parametrization
            ),
            recipe=Recipe(
                schedule=self.schedule,
                batch_tokens=self.batch_tokens,
                weight_decay=self.weight_decay,
            ),
            learning_rates=(2.0**log2_rate,),
            seeds=(seed,),
            tokens=tokens,
            branches=self.branches,
            readings=readings,
            averagings=("lawa", "ema") if self.branches else (),
        )

    def rates(self) -> list[int]:
        """log₂ of the grid's rates, the middle first."""
        half = RATES_PER_CELL // 2
        return [self.center + step for k in range(half + 1) for step in sorted({k, -k})]


def cells() -> Iterator[Cell]:
    """All cells, the most wanted first."""
    lengths = {32: (0.25, 0.5, 1, 2, 4), 48: (0.25, 0.5, 1, 2), 64: (0.25, 0.5, 1, 2)}
    lengths |= {128: (0.25, 0.5, 1), 96: (0.25, 0.5, 1, 2)}
    sizes = [(width, millions) for width, horizons in lengths.items() for millions in horizons]
    for width, millions in sizes:
        yield Cell(
            group="sizes",
            width=width,
            millions=millions,
            center=CENTER[width],
            repeats=2 if width * millions <= 64 else 1,
        )
    for width in (64, 96, 128):
        for millions in (0.25, 1):
            yield Cell(
                group="mup",
                width=width,
                millions=millions,
                center=-6,
                parametrization="mup",
                repeats=1,
            )
    branches = tuple(MILLION[m] for m in (0.25, 0.5, 1, 2, 4))
    for width, ends in ((32, branches), (64, branches[:-1])):
        yield Cell(
            group="branches",
            width=width,
            millions=4 if width == 32 else 2,
            center=CENTER[width],
            schedule="wsd",
            branches=ends,
            repeats=1,
        )
    for width, millions, batch, shift in (
        (32, 1, 256, -1), (32, 1, 4096, 1), (64, 0.5, 256, -1), (64, 0.5, 4096, 1)
    ):  # fmt: skip
        yield Cell(
            group="batch",
            width=width,
            millions=millions,
            center=CENTER[width] + shift,
            batch_tokens=batch,
            repeats=1,
        )
    for width, millions, decay in ((32, 1, 0.0), (32, 1, 0.5), (64, 0.5, 0.0), (64, 0.5, 0.5)):
        yield Cell(
            group="decay",
            width=width,
            millions=millions,
            center=CENTER[width],
            weight_decay=decay,
            repeats=1,
        )
    yield Cell(group="sizes", width=64, millions=4, center=CENTER[64], repeats=1)


def key(config: RunConfig) -> str:
    """What tells one run from another."""
    return config.as_json()


def best_rates(cell: Cell, done: dict[str, dict[str, Any]]) -> list[int]:
    """log₂ of the three rates about the optimum so far; empty until seed 0 has its grid.

    The optimum is that of a parabola in which low losses count most, since a single lucky run far
    from it is noise. To tell, the rate of the lowest mean and the next beyond it come fourth and
    fifth where they are not among the three.
    """
    found: dict[int, float] = {}
    for rate in cell.rates():
        made = [line for seed in _SEEDS if (line := done.get(key(cell.run(rate, seed))))]
        if not made:
            return []
        found[rate] = float(np.mean([_final_loss(line) for line in made]))
    rates, losses = np.array(list(found.items())).T
    weight = 1 / (losses - losses.min() + 0.04)
    second, first, _ = np.polyfit(rates, losses, 2, w=weight)
    vertex = -first / (2 * second) if second > 0 else rates[losses.argmin()]
    best = round(float(np.clip(vertex, rates.min(), rates.max())))
    lowest = int(rates[losses.argmin()])
    beyond = lowest + (1 if lowest > best else -1)
    about = [best, best - 1, best + 1]
    return about if lowest in about else [*about, lowest, beyond]


def _final_loss(line: dict[str, Any]) -> float:
    """The plain loss at the end; a diverged run's is put far above any other."""
    final = max(line["readings"], key=lambda r: (r["tokens"], r["averaging"] == "none"))
    return _DIVERGED if final["loss"] is None else final["loss"]


def wanted(done: dict[str, dict[str, Any]]) -> Iterator[RunConfig]:
    """Runs that are still to be made: all grids, rates beyond an edge optimum, then repeats."""
    everything = list(cells())
    for cell in everything:
        for rate in cell.rates():
            yield cell.run(rate, 0)
    for cell in everything:
        best = best_rates(cell, done)
        # an optimum at the edge of its grid asks for one more rate
        yield from (cell.run(rate, 0) for rate in best if rate not in cell.rates())
    for seed in (1, 2):
        for cell in everything:
            if seed <= cell.repeats:
                yield from (cell.run(rate, seed) for rate in best_rates(cell, done))


def cost(config: RunConfig) -> float:
    """Tokens trained times compute per token, FLOP."""
    stable = 0.8 * config.tokens if config.branches else config.tokens
    cooled = config.recipe.cooldown * sum(config.branches)
    return flops_per_token(config.model) * (stable + cooled)


def trained(config: RunConfig, commit: str) -> dict[str, Any]:
    """One run as a line of the results."""
    torch.set_num_threads(1)
    text = standard_library()
    began = time.time()
    outcome = train(config, text)
    return {
        "config": asdict(config),
        "readings": list(outcome.readings),
        "params": config.model.params,
        "flops": outcome.flops,
        "tokens_per_second": outcome.tokens_per_second,
        "wall_s": time.time() - began,
        "commit": commit,
        "corpus": text.name,
        "digest": text.digest,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def load(results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Finished runs by key."""
    return {key(run_config(line["config"])): line for line in whole_lines(results)}


def make_runs(
    wanted: Callable[[dict[str, dict[str, Any]]], Iterable[RunConfig]],
    results: Path,
    jobs: int,
    minutes: float = math.inf,
) -> None:
    """Train what is missing and append a line for each run that has ended.

    Args:
        wanted: Runs to make, the most wanted first, given those that are done.
        results: File of lines.
        jobs: Runs at once, a core each.
        minutes: Start no run after these.
    """
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    deadline = time.time() + 60 * minutes
    done = load(results)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        flying: dict[Any, str] = {}
        while time.time() < deadline or flying:
            taken = {*done, *flying.values()}
            open_ = len(flying) < jobs and time.time() < deadline
            fresh = next((c for c in wanted(done) if key(c) not in taken), None) if open_ else None
            if fresh is not None:
                flying[pool.submit(trained, fresh, commit)] = key(fresh)
                continue
            if not flying:
                return
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                line = future.result()
                done[flying.pop(future)] = line
                with results.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(_said(len(done), line), flush=True)


def _said(count: int, line: dict[str, Any]) -> str:
    last = line["readings"][-1]
    return (
        f"{count} done: {line['params']:,} params, {last['tokens']:,} tokens, "
        f"rate 2^{math.log2(last['learning_rate']):g}: {last['loss']}, "
        f"{line['tokens_per_second']:,.0f} tokens/s"
    )


def show_plan() -> None:
    """Print what is done and what is left."""
    done = load()
    todo = [config for config in wanted(done) if key(config) not in done]
    spent = sum(line["wall_s"] for line in done.values())
    speed = sum(line["flops"] for line in done.values()) / spent if spent else 1e10
    left = sum(map(cost, todo)) / speed
    print(f"{len(done)} runs done in {spent / 3600:.2f} core-hours, {len(todo)} left: ", end="")
    print(f"{left / 3600:.2f} core-hours at {speed:.3g} FLOP/s; repeats follow their grids")


def export() -> None:
    """Write the table that ships with the package: one reading a row."""
    groups = {}
    for cell in cells():
        for seed in (0, 1, 2):
            for rate in (cell.center + k for k in range(-5, 6)):
                groups.setdefault(key(cell.run(rate, seed)), cell.group)
    rows = [
        _row(groups.get(name, "other"), line, reading)
        for name, line in load().items()
        for reading in line["readings"]
    ]
    order = ["group", "params", "tokens", "schedule", "averaging", "batch_tokens"]
    order += ["weight_decay", "seed", "learning_rate"]
    # a run that was made with and without averages has the same plain reading twice
    same = ["commit", "group"]
    table = pd.DataFrame(rows).sort_values(["group", *order], ascending=False)
    table = table.drop_duplicates([c for c in table.columns if c not in same]).sort_values(order)
    table["loss"] = table["loss"].round(5)
    table.to_csv(TABLE, index=False)
    print(f"{len(table)} readings of {len(load())} runs in {TABLE.relative_to(HERE.parent)}")


def _source(model: dict[str, Any], recipe: dict[str, Any]) -> str:
    """What was not as in the other runs; replays give every source offsets of its own."""
    decay = recipe["weight_decay"]
    return model["parametrization"] + ("" if decay == 0.1 else f", decay {decay:g}")


def _row(group: str, line: dict[str, Any], reading: dict[str, Any]) -> dict[str, Any]:
    model, recipe = line["config"]["model"], line["config"]["recipe"]
    copied = ("learning_rate", "tokens", "loss", "diverged", "seed", "schedule", "averaging")
    return {
        "group": group,
        "source": _source(model, recipe),
        **{name: reading[name] for name in copied},
        "params": line["params"],
        "batch_tokens": recipe["batch_tokens"],
        "parametrization": model["parametrization"],
        "weight_decay": recipe["weight_decay"],
        "warmup": recipe["warmup"],
        "width": model["width"],
        "depth": model["depth"],
        "flops": flops_per_token(ModelConfig(**model)) * reading["tokens"],
        "corpus": line["corpus"],
        "commit": line["commit"],
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, a core each")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no run after these")
    parser.add_argument("--plan", action="store_true", help="only say what is left")
    parser.add_argument("--export", action="store_true", help="only write the table")
    given = parser.parse_args()
    if given.plan:
        show_plan()
    elif given.export:
        export()
    else:
        make_runs(wanted, RESULTS, given.jobs, given.minutes)


if __name__ == "__main__":
    main()
