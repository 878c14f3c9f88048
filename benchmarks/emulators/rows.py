"""Rows: what does an emulator learn from, in which units?

A run is four natural logs, of its rate, size, tokens and batch, the last three relative to the
middle of the sweep; its loss is relative to the sweep's typical one.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from horizon_bo.evaluation.cases import DATA_VARIABLE
from horizon_bo.learning.corpus import Recipe, corpus
from horizon_bo.study.trials import LoggedRun

FloatArray = NDArray[np.float64]

#: A recipe is emulated if so many of its cells have so many rates: fewer tell nothing of bowls.
LEAST_BOWLS, LEAST_RATES = 6, 3

#: Above the best rate, a loss this share above the lowest of its cell is that of a diverged run.
BLOWN_UP = 0.25


@dataclass(frozen=True)
class Units:
    """The middle of a sweep, that inputs and losses are relative to.

    Args:
        params: Geometric middle of the sizes, a count.
        tokens: The same of the tokens, a count.
        batch_tokens: The same of the batches, or `None` where batch does not vary.
        loss: Median loss, in the sweep's unit.
    """

    params: float
    tokens: float
    batch_tokens: float | None
    loss: float


@dataclass(frozen=True)
class Rows:
    """Runs as arrays; `loss` is NaN where a run diverged.

    Args:
        inputs: `(run, 4)`: ln rate, and ln size, tokens and batch relative to the units.
        loss: `(run,)`, relative to the units.
    """

    inputs: FloatArray
    loss: FloatArray

    @property
    def diverged(self) -> NDArray[np.bool_]:
        """Which runs blew up."""
        return np.isnan(self.loss)

    def select(self, which: NDArray[np.bool_]) -> "Rows":
        """Some of the runs."""
        return Rows(self.inputs[which], self.loss[which])

    @property
    def finished(self) -> "Rows":
        """The runs that have a loss."""
        return self.select(~self.diverged)

    def labels(self, columns: Sequence[int] = (1, 2, 3)) -> NDArray[np.int64]:
        """A number for each run's cell: runs alike in these columns share it."""
        places = np.round(self.inputs[:, list(columns)], 6)
        return np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)


def recipes() -> list[Recipe]:
    """The recipes of the shipped corpus that have bowls, as far as their tables are here."""
    shipped = Path(str(files("horizon_bo") / "data"))
    folder = os.environ.get(DATA_VARIABLE)
    found = corpus(shipped / "corpus.toml", (*([Path(folder)] if folder else []), shipped))
    return [recipe for recipe in found if _bowls(recipe.runs) >= LEAST_BOWLS]


def _bowls(runs: Sequence[LoggedRun]) -> int:
    """How many cells have enough rates."""
    rates: dict[tuple[float, float, float | None], set[float]] = {}
    for run in runs:
        rates.setdefault((run.params, run.tokens, run.batch_tokens), set()).add(run.learning_rate)
    return sum(len(found) >= LEAST_RATES for found in rates.values())


def units_of(runs: Sequence[LoggedRun]) -> Units:
    """The middle of a sweep.

    Where the batch goes with size or tokens alone, its share of the optimum is theirs.
    """
    batches = {run.batch_tokens for run in runs}
    cells = {(run.params, run.tokens) for run in runs}
    pairs = {(run.params, run.tokens, run.batch_tokens) for run in runs}
    free = len(pairs) > len(cells) and None not in batches
    losses = [run.loss for run in runs if run.loss is not None and not run.diverged]
    return Units(
        params=_middle([run.params for run in runs]),
        tokens=_middle([run.tokens for run in runs]),
        batch_tokens=_middle([run.batch_tokens or 1.0 for run in runs]) if free else None,
        loss=float(np.median(losses)),
    )


def _middle(values: Sequence[float]) -> float:
    return math.sqrt(min(values) * max(values))


def rows_of(runs: Sequence[LoggedRun], units: Units) -> Rows:
    """Runs as arrays."""
    inputs = [
        log_inputs(run.learning_rate, run.params, run.tokens, run.batch_tokens, units)
        for run in runs
    ]
    losses = [
        math.nan if run.diverged or run.loss is None else run.loss / units.loss for run in runs
    ]
    return _blown_up_ones_diverged(Rows(np.array(inputs), np.array(losses)))


def _blown_up_ones_diverged(rows: Rows) -> Rows:
    """Sweeps call a run finished that blew up and half recovered: no bowl holds such losses."""
    lowest_rate, lowest = np.zeros(len(rows.loss)), np.full(len(rows.loss), np.inf)
    labels = rows.labels()
    for cell in np.unique(labels[~rows.diverged]):
        inside = labels == cell
        best = np.flatnonzero(inside)[np.nanargmin(rows.loss[inside])]
        lowest[inside], lowest_rate[inside] = rows.loss[best], rows.inputs[best, 0]
    above = (rows.inputs[:, 0] > lowest_rate) & (rows.loss > (1 + BLOWN_UP) * lowest)
    return Rows(rows.inputs, np.where(above, np.nan, rows.loss))


def log_inputs(
    learning_rate: float, params: float, tokens: float, batch_tokens: float | None, units: Units
) -> tuple[float, float, float, float]:
    """The four logs of a run."""
    batch = 0.0
    if units.batch_tokens is not None and batch_tokens is not None:
        batch = math.log(batch_tokens / units.batch_tokens)
    size, length = math.log(params / units.params), math.log(tokens / units.tokens)
    return math.log(learning_rate), size, length, batch
