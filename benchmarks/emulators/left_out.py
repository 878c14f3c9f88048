"""Left out: how far off is an emulator in cells that it never saw?

Every size and length is left out in turn, at all of its batches; the law is fitted and the
departures are tied to the other runs alone (the hyperparameters are those of the whole sweep). In
each cell three errors are taken:

- the bowl's shape: predicted less measured loss, about its mean over the cell's runs near the
  optimum, so that the level, which no race is scored by, drops out. Noise alone would leave the
  seed noise there;
- the optimum: ln of the predicted best rate over that of a bowl smoothed through the cell, whose
  own uncertainty is stated;
- what the predicted best rate would cost there, by the smoothed bowl.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.emulators.departures import conditioned, noise_sd, placed
from benchmarks.emulators.emulator import Emulator
from benchmarks.emulators.law import fitted
from benchmarks.emulators.rows import FloatArray, Rows
from horizon_bo.evaluation.truth import optimum_log_sd, smoothed

#: Runs predicted this share of the loss above the lowest of their cell are near the optimum.
NEAR = 0.02
#: A cell needs so many rates near the optimum for its shape, and so many in all for its optimum.
_SHAPE_RATES, _OPTIMUM_RATES = 3, 4


@dataclass(frozen=True)
class CellError:
    """Errors in one cell that was left out; losses relative to the sweep's typical one.

    Args:
        shape: Root mean square of the bowl's shape error, corrected for the mean taken off;
            `None` where too few runs lie near the optimum.
        noise: Root mean square of the noise that the emulator gives those runs.
        optimum: Predicted ln LR* less the measured one; `None` where the cell has no inner optimum.
        optimum_sd: Uncertainty of the measured one.
        cost: Loss at the predicted best rate above the best one, by the smoothed bowl.
    """

    shape: float | None
    noise: float
    optimum: float | None
    optimum_sd: float | None
    cost: float | None


def cell_errors(emulator: Emulator) -> Iterator[CellError]:
    """The errors of every cell, its size and length left out."""
    done = emulator.rows.finished
    places = done.labels((1, 2))
    for place in range(places.max() + 1):
        held, rest = done.select(places == place), done.select(places != place)
        law = fitted(rest)
        mean = conditioned(emulator.scales, law, rest, None)

        def predicted(inputs: FloatArray, law=law, mean=mean) -> FloatArray:
            return law.loss(inputs) + mean(placed(law, inputs))

        labels = held.labels()
        for label in range(labels.max() + 1):
            cell = held.select(labels == label)
            theta = emulator.scales.theta()
            noise = noise_sd(theta, placed(law, cell.inputs)).numpy()
            shape, near_noise = _shape_error(cell, predicted(cell.inputs), noise)
            yield CellError(shape, near_noise, *_optimum_error(cell, predicted))


def _shape_error(
    cell: Rows, predicted: FloatArray, noise: FloatArray
) -> tuple[float | None, float]:
    # near by what is predicted: chosen by what was measured, lucky runs would be left alone
    near = predicted - predicted.min() < NEAR
    typical = math.sqrt(float(np.mean(noise[near] ** 2)))
    if near.sum() < _SHAPE_RATES:
        return None, typical
    error = (predicted - cell.loss)[near]
    error = error - error.mean()
    return math.sqrt(float(error @ error) / (near.sum() - 1)), typical


def _optimum_error(cell: Rows, predicted) -> tuple[float | None, float | None, float | None]:
    log_rates = cell.inputs[:, 0]
    if len(np.unique(log_rates)) < _OPTIMUM_RATES:
        return None, None, None
    bowl = smoothed(log_rates, cell.loss)
    inside = log_rates.min() < bowl.log_optimum < log_rates.max()
    if not inside:
        return None, None, None
    grid = np.linspace(log_rates.min(), log_rates.max(), 401)
    inputs = np.column_stack([grid, np.tile(cell.inputs[0, 1:], (len(grid), 1))])
    best = float(grid[predicted(inputs).argmin()])
    cost = float(bowl.excess(np.array([best]))[0])
    return best - bowl.log_optimum, optimum_log_sd(bowl, log_rates), cost


@dataclass(frozen=True)
class Summary:
    """Errors of one emulator over the cells left out; losses in thousandths of the typical loss.

    Args:
        cells: Cells with a shape error.
        shape: Median over cells of the shape's error.
        noise: Median of the noise in the same cells.
        above: Share of cells whose shape error is above twice their noise.
        optima: Cells with an inner optimum.
        optimum: Root mean square error of ln LR*.
        optimum_sd: Root mean square uncertainty of the measured ln LR*.
        cost: Mean loss at the predicted best rate above the best.
    """

    cells: int
    shape: float
    noise: float
    above: float
    optima: int
    optimum: float
    optimum_sd: float
    cost: float


def summary(errors: list[CellError]) -> Summary:
    """One line for an emulator."""
    shaped = [(e.shape, e.noise) for e in errors if e.shape is not None]
    found = [
        (e.optimum, e.optimum_sd, e.cost)
        for e in errors
        if e.optimum is not None and e.optimum_sd is not None and e.cost is not None
    ]
    shape, noise = np.array(shaped).reshape(-1, 2).T
    optimum, optimum_sd, cost = np.array(found).reshape(-1, 3).T
    return Summary(
        cells=len(shaped),
        shape=1e3 * float(np.median(shape)) if len(shape) else math.nan,
        noise=1e3 * float(np.median(noise)) if len(noise) else math.nan,
        above=float(np.mean(shape > 2 * noise)) if len(shape) else math.nan,
        optima=len(found),
        optimum=float(np.sqrt(np.mean(optimum**2))) if found else math.nan,
        optimum_sd=float(np.sqrt(np.mean(optimum_sd**2))) if found else math.nan,
        cost=1e3 * float(np.mean(cost)) if found else math.nan,
    )
