"""Schedule cases: does a method know how the best rate moves with the horizon alone?

Runs of one 124M model under a warm-up, a constant part and a linear cooldown of 10 to 90 % of the
run, at four horizons and three to five rates each; the longest horizon is hidden. Writes one sweep
and one case for each length of the cooldown:

    python -m benchmarks.problems.schedule_cases "$HORIZON_BO_DATA/schedules.csv" OUT_FOLDER

Source of the runs: github.com/fabian-sp/lr-scheduling (MIT).

What these cases can and cannot say: the cheapest run costs 30 % of the target and all ten 5 target
runs, so below a budget of 0.3 only the first guess is judged; the truth is a cubic through five
rates, which leaves residuals of about 2 mnat; most of the runs share a trunk, so their errors are
alike, and their real cost was lower than the full price that a replay charges.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from benchmarks.problems import worlds

#: The size and data with a grid of rates.
PARAMS, DATASET = 123_587_328, "slimpajama"

#: Rates that a truth needs, and rates and shorter horizons that a pool needs.
TRUTH_RATES, POOL_RATES, POOL_HORIZONS = 5, 3, 2

#: Noise of single runs, a floor for the spread of the optimum; repeats differ by 0.2 to 2 mnat.
NOISE = 1e-3

_DRAWS = 400


def posed(table: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
    """Sweep and case of every schedule with enough rates at the longest and at shorter horizons."""
    ours = table[(table["params"] == PARAMS) & (table["dataset"] == DATASET)]
    for schedule, runs in ours[~ours["diverged"]].groupby("schedule"):
        longest = runs["tokens"].max()
        counts = runs.groupby("tokens")["learning_rate"].nunique()
        shorter = counts[(counts.index < longest) & (counts >= POOL_RATES)]
        if counts[longest] < TRUTH_RATES or len(shorter) < POOL_HORIZONS:
            continue
        name = f"{schedule}".replace("_", "-")
        yield (
            runs,
            {
                "name": f"schedule-{name}",
                "sweep": f"schedule_{schedule}.csv",
                "target_params": PARAMS,
                "target_tokens": int(longest),
                "pool_batch": "same",
                "truth": truth(runs, float(longest)),
            },
        )


def truth(runs: pd.DataFrame, longest: float) -> dict[str, Any]:
    """A cubic in ln LR through the mean losses of the longest horizon, as a case's truth."""
    curve = runs[runs["tokens"] == longest].groupby("learning_rate")["loss"].mean()
    log_rate, loss = np.log(curve.index.to_numpy()), curve.to_numpy()
    grid = np.linspace(log_rate[0], log_rate[-1], 161)
    middle = log_rate.mean()
    fitted = np.polyfit(log_rate - middle, loss, 3)
    smooth = np.polyval(fitted, grid - middle)
    residual = np.polyval(fitted, log_rate - middle) - loss
    scatter = max(NOISE, float(np.sqrt(residual @ residual / (len(loss) - 4))))
    generator = np.random.default_rng(0)
    noisy = loss + scatter * generator.standard_normal((_DRAWS, len(loss)))
    drawn = np.polyfit(log_rate - middle, noisy.T, 3)
    optima = grid[np.array([np.polyval(c, grid - middle).argmin() for c in drawn.T])]
    lowest = runs.groupby("tokens")["loss"].min()
    before = lowest.index[lowest.index < longest].max()
    return {
        "learning_rate": np.exp(grid).tolist(),
        "excess": (smooth - smooth.min()).tolist(),
        "optimum": float(np.exp(grid[smooth.argmin()])),
        "optimum_log_sd": float(optima.std()),
        "minimum": float(smooth.min()),
        "scatter": scatter,
        "loss_per_log_tokens": float((lowest[before] - lowest[longest]) / np.log(longest / before)),
    }


def main(
    table: Annotated[Path, typer.Argument(help="The table of runs under several schedules.")],
    folder: Annotated[Path, typer.Argument(help="Where to write the sweeps and the cases.")],
) -> None:
    """Write the sweeps and the cases.

    Example: python -m benchmarks.problems.schedule_cases schedules.csv build/schedules
    """
    worlds.write(folder, list(posed(pd.read_csv(table))))


if __name__ == "__main__":
    typer.run(main)
