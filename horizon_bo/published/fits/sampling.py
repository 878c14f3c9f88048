"""Sampling: which runs does each bootstrap resample draw, and how often?"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from horizon_bo.published.fits.runs import Runs

Resampling = Literal["run", "cell"]
RESAMPLINGS: tuple[Resampling, ...] = ("run", "cell")


def resampling_weights(
    runs: Runs, cell: Sequence[str], draws: int, by: Resampling, rng: np.random.Generator
) -> NDArray[np.float64]:
    """How often each run occurs in each bootstrap resample, `(draw, run)`.

    Args:
        runs: The runs that are resampled.
        cell: Columns that runs of one cell agree on.
        draws: Number of resamples.
        by: Draw single runs, or whole cells.
        rng: Source of randomness.
    """
    groups = np.arange(len(runs)) if by == "run" else runs.groups(*cell)
    count = int(groups.max()) + 1
    picked = rng.multinomial(count, np.full(count, 1.0 / count), size=draws)
    return picked[:, groups].astype(np.float64)
