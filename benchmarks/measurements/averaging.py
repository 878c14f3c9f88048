"""Averaging: what does a mean of weights give at a tuned rate and above it, early and late?

    python -m benchmarks.measurements.averaging --jobs 2
    python -m benchmarks.measurements.averaging --table

The claim of Sanyal et al. (2023), arXiv:2306.03241: averaged checkpoints of a run at a high rate
are as good early on as those of a tuned one, and the gain fades towards the end. Runs of 25k
parameters on 2M tokens under cosine, at the tuned rate and at two, four and eight times it, each
read at an eighth, a quarter, a half and the whole, with three seeds.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.problems.sweep import MILLION, make_runs
from horizon_bo.training.config import ModelConfig, RunConfig

RESULTS = Path(__file__).parents[1] / "results" / "averaging.jsonl"
TUNED = -6  # log₂ of the best rate of this cell in the sweep
SEEDS = (0, 1, 2)
AVERAGINGS = ("lawa", "ema", "swa")


def runs() -> Iterator[RunConfig]:
    """All runs of the comparison."""
    for seed in SEEDS:
        for octaves in range(4):
            yield RunConfig(
                model=ModelConfig(width=32, depth=2, head_dim=16),
                learning_rates=(2.0 ** (TUNED + octaves),),
                seeds=(seed,),
                tokens=MILLION[2.0],
                readings=tuple(MILLION[m] for m in (0.25, 0.5, 1.0)),
                averagings=AVERAGINGS,
            )


def table() -> str:
    """Gain of each mean over the plain weights, mnat, by rate and share of the run."""
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    rows = pd.DataFrame([reading for line in lines for reading in line["readings"]])
    losses = rows.pivot_table(
        index=["learning_rate", "tokens", "seed"], columns="averaging", values="loss"
    )
    gains = losses[["none"]].values - losses[list(AVERAGINGS)]
    mean = 1e3 * gains.groupby(level=[0, 1]).mean()
    error = 1e3 * gains.groupby(level=[0, 1]).std() / len(SEEDS) ** 0.5
    tuned = losses["none"].xs(2.0**TUNED, level=0).groupby(level=0).mean()
    text = "| rate | read at | plain loss | above tuned | " + " | ".join(AVERAGINGS) + " |\n"
    text += "|---" * (4 + len(AVERAGINGS)) + "|\n"
    for (rate, tokens), row in mean.iterrows():
        plain = losses["none"].xs((rate, tokens)).mean()
        cells = " | ".join(
            f"{row[a]:+.0f} ± {error.loc[(rate, tokens), a]:.0f}" for a in AVERAGINGS
        )
        share, lost = tokens / MILLION[2.0], 1e3 * (plain - tuned[tokens])
        text += f"| {rate / 2.0**TUNED:g} × tuned | {share:.3g} of the run "
        text += f"| {plain:.3f} | {lost:+.0f} | {cells} |\n"
    return text


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, a core each")
    parser.add_argument("--table", action="store_true", help="only print the table")
    given = parser.parse_args()
    if given.table:
        print(table())
    else:
        make_runs(lambda done: runs(), RESULTS, given.jobs)


if __name__ == "__main__":
    main()
