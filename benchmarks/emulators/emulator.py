"""Emulator: what would a run of this recipe have lost, at any rate, size, tokens and batch?

An emulator is a law, its departures, a cliff and the noise's shape, all learnt from one sweep. A
`World` is one function that it thinks possible: the truth of a race, and another one for each seed.
The noise of a run is one of the sweep's own standardized residuals (each of a run left out), so its
tails are the sweep's. The same run asked again in the same world is another seed of it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch

from benchmarks.emulators.cliff import Cliff, fitted_cliff
from benchmarks.emulators.departures import (
    Departure,
    Scales,
    conditioned,
    factor,
    fitted_scales,
    noise_sd,
    placed,
)
from benchmarks.emulators.law import Law, fitted
from benchmarks.emulators.rows import FloatArray, Rows, Units, log_inputs, rows_of, units_of
from horizon_bo.learning.corpus import Recipe

#: Of the file; another one is refused. Raised whenever a world would change.
VERSION = 1
#: A residual is kept within so many deviations of the median: beyond lie mistyped rows.
_MOST_DEVIATIONS = 6.0
#: Rates at which the best one is looked for.
_RATES = 2001


@dataclass(frozen=True)
class Emulator:
    """One recipe's emulator.

    Args:
        name: The recipe.
        group: Recipes of one group share code, data or people.
        data: Names of the sweeps it was made from; no prior learnt from them may race on it.
        optimizer: The optimizer.
        parametrization: `"standard"` or `"mup"`.
        experts: Whether sizes are active ones.
        units: What inputs and losses are relative to.
        rows: The runs.
        law, scales, cliff: What was learnt.
        residuals: Standardized residuals of runs left out.
    """

    name: str
    group: str
    data: tuple[str, ...]
    optimizer: str
    parametrization: str
    experts: bool
    units: Units
    rows: Rows
    law: Law
    scales: Scales
    cliff: Cliff
    residuals: FloatArray

    def world(self, seed: int | None) -> "World":
        """One possible world; without a seed the most plausible loss everywhere."""
        return World(self, conditioned(self.scales, self.law, self.rows.finished, seed), seed or 0)


@dataclass(frozen=True)
class World:
    """One function that an emulator thinks possible."""

    emulator: Emulator
    departure: Departure
    seed: int

    def loss(self, inputs: FloatArray) -> FloatArray:
        """Expected loss of runs `(run, 4)` that do not diverge, in the sweep's unit."""
        law = self.emulator.law
        relative = law.loss(inputs) + self.departure(placed(law, inputs))
        return self.emulator.units.loss * relative

    def inputs(
        self, learning_rates: Sequence[float], params: float, tokens: float, batch: float | None
    ) -> FloatArray:
        """Runs of one cell at some rates."""
        units = self.emulator.units
        return np.array([log_inputs(rate, params, tokens, batch, units) for rate in learning_rates])

    def run(
        self, learning_rate: float, params: float, tokens: float, batch: float | None, repeat: int
    ) -> float | None:
        """Loss of one run with its noise, or `None` where it diverged.

        Args:
            learning_rate: Peak rate.
            params: Size, a count.
            tokens: Training tokens, a count.
            batch: Tokens per step, a count.
            repeat: How often the very same run was made before: its seed.
        """
        inputs = self.inputs([learning_rate], params, tokens, batch)
        place = ",".join(f"{value:.6g}" for value in inputs[0])
        generator = np.random.default_rng([self.seed, repeat, crc32(place.encode())])
        if generator.random() < self.emulator.cliff.probability(self.emulator.law, inputs)[0]:
            return None
        return float(self.loss(inputs)[0] + self._noise(inputs) * self._residual(generator))

    def curve(
        self, rates: tuple[float, float], params: float, tokens: float, batch: float | None
    ) -> tuple[FloatArray, FloatArray]:
        """Ln of rates between two, and the expected loss at each."""
        log_rates = np.linspace(math.log(rates[0]), math.log(rates[1]), _RATES)
        inputs = self.inputs(np.exp(log_rates).tolist(), params, tokens, batch)
        return log_rates, self.loss(inputs)

    def _noise(self, inputs: FloatArray) -> float:
        places = placed(self.emulator.law, inputs)
        return self.emulator.units.loss * float(noise_sd(self._theta, places)[0])

    def _residual(self, generator: np.random.Generator) -> float:
        return float(generator.choice(self.emulator.residuals))

    @cached_property
    def _theta(self) -> torch.Tensor:
        return self.emulator.scales.theta()


def emulated(recipe: Recipe) -> Emulator:
    """The emulator of a recipe's runs."""
    units = units_of(recipe.runs)
    rows = rows_of(recipe.runs, units)
    law = fitted(rows)
    scales = fitted_scales(law, rows)
    return Emulator(
        name=recipe.name,
        group=recipe.group,
        data=recipe.data,
        optimizer=recipe.optimizer,
        parametrization=recipe.parametrization,
        experts=recipe.experts,
        units=units,
        rows=rows,
        law=law,
        scales=scales,
        cliff=fitted_cliff(law, rows),
        residuals=standardized(law, scales, rows.finished),
    )


def standardized(law: Law, scales: Scales, done: Rows) -> FloatArray:
    """Each run's loss against what all others say of it, in standard deviations, of mean square 1.

    Source: Rasmussen and Williams (2006), equations 5.12.
    """
    root = factor(scales.theta(), placed(law, done.inputs))
    precision = torch.cholesky_inverse(root)
    pull = precision @ torch.from_numpy(done.loss - law.loss(done.inputs))
    standard = (pull / precision.diagonal().sqrt()).numpy()
    standard = np.clip(standard - np.median(standard), -_MOST_DEVIATIONS, _MOST_DEVIATIONS)
    standard = standard - standard.mean()
    return standard / math.sqrt(float(np.mean(standard**2)))


def write(emulator: Emulator, folder: Path) -> Path:
    """Write an emulator, as one JSON file named after its recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = asdict(emulator)
    plain["rows"] = {"inputs": emulator.rows.inputs.tolist(), "loss": emulator.rows.loss.tolist()}
    plain["residuals"] = emulator.residuals.tolist()
    path = folder / f"{emulator.name.replace(' ', '-')}.json"
    path.write_text(json.dumps({"version": VERSION, **plain}))
    return path


def read(path: Path) -> Emulator:
    """An emulator from its file.

    Raises:
        ValueError: The file is of another version.
    """
    plain: dict[str, Any] = json.loads(path.read_text())
    version = plain.pop("version", None)
    if version != VERSION:
        raise ValueError(
            f"{path} is of version {version}, expected {VERSION}; "
            "build it again with python -m benchmarks.emulators build"
        )
    rows = plain.pop("rows")
    return Emulator(
        **{
            **plain,
            "data": tuple(plain["data"]),
            "units": Units(**plain["units"]),
            "rows": Rows(np.array(rows["inputs"]), np.array(rows["loss"])),
            "law": Law(**plain["law"]),
            "scales": Scales(**plain["scales"]),
            "cliff": Cliff(**{**plain["cliff"], "slopes": tuple(plain["cliff"]["slopes"])}),
            "residuals": np.array(plain["residuals"]),
        }
    )
