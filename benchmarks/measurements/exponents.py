"""Exponents: how does the best rate move with size and horizon in the sweep that ships?

    python -m benchmarks.measurements.exponents

In each cell (size, horizon, recipe) a parabola in ln rate through the losses near the lowest gives
the best rate; a plane in (ln params, ln tokens) through those gives the exponents. Intervals are
from a bootstrap that redraws the residuals of each cell, scaled to what a parabola with three
coefficients leaves, and the cells themselves.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from benchmarks.problems.sweep import TABLE

#: Losses this far above a cell's lowest still count, by half at `HALF`; nats per byte.
FARTHEST, HALF = 0.4, 0.04
DRAWS = 2_000


@dataclass(frozen=True)
class Bowl:
    """The runs of one cell near its lowest loss, and the parabola through them."""

    params: float
    tokens: float
    log_rate: np.ndarray
    loss: np.ndarray
    weight: np.ndarray

    def log_optimum(self, loss: np.ndarray | None = None) -> float:
        """Ln of the best rate, within the rates that were trained."""
        losses = self.loss if loss is None else loss
        second, first, _ = self._coefficients @ losses
        low, high = self.log_rate.min(), self.log_rate.max()
        if second <= 0:
            return float(self.log_rate[losses.argmin()])
        return float(np.clip(-first / (2 * second), low, high))

    def redrawn(self, generator: np.random.Generator) -> float:
        """Ln of the best rate when the noise had been another."""
        fit, scaled = self._fit
        return self.log_optimum(fit + generator.choice(scaled, len(fit)) / self.weight)

    @cached_property
    def _coefficients(self) -> np.ndarray:
        """What takes losses to the coefficients of the weighted parabola, highest power first."""
        columns = np.vander(self.log_rate, 3) * self.weight[:, None]
        return np.linalg.pinv(columns) * self.weight

    @cached_property
    def _fit(self) -> tuple[np.ndarray, np.ndarray]:
        """The parabola's losses, and the residuals as they are redrawn."""
        fit = np.polyval(self._coefficients @ self.loss, self.log_rate)
        count = len(self.loss)
        return fit, (self.loss - fit) * self.weight * math.sqrt(count / max(1, count - 3))


def bowls(table: pd.DataFrame) -> list[Bowl]:
    """The cells of a table of runs, diverged runs left out."""
    return list(_bowls(table[~table["diverged"]]))


def _bowls(table: pd.DataFrame) -> Iterator[Bowl]:
    for (params, tokens), cell in table.groupby(["params", "tokens"]):
        means = cell.groupby("learning_rate")["loss"].transform("mean")
        near = cell[means < means.min() + FARTHEST]
        weight = 1 / (means[near.index] - means.min() + HALF)
        rates = np.log(near["learning_rate"].to_numpy())
        yield Bowl(params, tokens, rates, near["loss"].to_numpy(), weight.to_numpy())


def plane(cells: list[Bowl], optima: list[float]) -> np.ndarray:
    """Level and exponents of the best rate in ln params and ln tokens."""
    return np.linalg.lstsq(_columns(cells), np.array(optima), rcond=None)[0]


def _columns(cells: list[Bowl]) -> np.ndarray:
    return np.array([[1.0, math.log(cell.params), math.log(cell.tokens)] for cell in cells])


def exponents(cells: list[Bowl], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Exponents in params and tokens, and their draws, one a row."""
    generator = np.random.default_rng(seed)
    found = plane(cells, [cell.log_optimum() for cell in cells])[1:]
    draws = []
    while len(draws) < DRAWS:
        chosen = [cells[k] for k in generator.integers(len(cells), size=len(cells))]
        if np.linalg.matrix_rank(_columns(chosen)) == 3:  # else they fix no plane
            draws.append(plane(chosen, [cell.redrawn(generator) for cell in chosen])[1:])
    return found, np.array(draws)


def of_parametrization(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The cells to compare: under µP the base width is the standard one, to the last bit."""
    grid = table[(table["schedule"] == "cosine") & (table["averaging"] == "none")]
    grid = grid[(grid["batch_tokens"] == 1_024) & (grid["weight_decay"] == 0.1)]
    if name == "standard":
        return grid[grid["parametrization"] == "standard"]
    horizons = grid[grid["parametrization"] == "mup"]["tokens"].unique()
    base = (grid["width"] == grid["width"].min()) & grid["tokens"].isin(horizons)
    return grid[(grid["parametrization"] == "mup") | base]


def text() -> str:
    """The exponents as Markdown."""
    table = pd.read_csv(TABLE)
    lines = (
        "| parametrization | cells | in params | 90 % | in tokens | 90 % |\n" + "|---" * 6 + "|\n"
    )
    for name in ("standard", "mup"):
        cells = bowls(of_parametrization(table, name))
        found, draws = exponents(cells)
        low, high = np.quantile(draws, [0.05, 0.95], axis=0)
        spans = [f"{a:+.2f} to {b:+.2f}" for a, b in zip(low, high, strict=True)]
        lines += f"| {name} | {len(cells)} | {found[0]:+.2f} | {spans[0]} "
        lines += f"| {found[1]:+.2f} | {spans[1]} |\n"
    return lines


if __name__ == "__main__":
    print(text())
