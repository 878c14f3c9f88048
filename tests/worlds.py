"""Worlds that tests know the truth of: drawn from the model itself, or following a plain law."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import ndtr

from horizon_bo import LoggedRun
from horizon_bo.core.conditioning import cell_root, condition
from horizon_bo.core.points import Points, Runs, assign_cells
from horizon_bo.core.priors import Priors, coefficients
from horizon_bo.core.surrogate import CLIFF_WIDTH, NOISE_FREEDOM
from horizon_bo.study.horizons import Horizon
from tests.priors import PRIORS


def runs_at(
    log_lr: Sequence[float],
    log_scales: Sequence[Sequence[float]],
    loss: Sequence[float] | None = None,
    source: Sequence[int] | None = None,
    known_sd: float = 0.0,
) -> Runs:
    """Runs at rates and log scales; without `loss` all are 1, NaN means diverged."""
    count = len(log_lr)
    points = Points(
        np.array(log_lr, dtype=float),
        np.array(log_scales, dtype=float).reshape(count, 3),
        np.array(source or [0] * count, dtype=int),
    )
    cell, cells = assign_cells(points)
    return Runs(
        points=points,
        loss=np.array(loss or [1.0] * count, dtype=float),
        variance=np.full(count, known_sd**2),
        count=np.ones(count),
        cell=cell,
        cells=cells,
    )


@dataclass(frozen=True)
class World:
    """Runs whose coefficients, cell departures and noise factors were drawn from the priors."""

    z: np.ndarray  # 1 coordinate
    departures: np.ndarray  # 1 3 cell
    runs: Runs


def drawn_world(
    seed: int,
    runs: int = 6,
    cells: int = 3,
    priors: Priors = PRIORS,
    spread: float = 3.0,
) -> World:
    """A world drawn from the model: coefficients, departures, Student-t noise and divergences."""
    generator = np.random.default_rng(seed)
    offered = np.concat(
        [-1 - 2 * generator.random((cells, 2)), 0.7 * generator.standard_normal((cells, 1))], 1
    )
    log_scales = offered[np.arange(runs) % cells]
    center = priors["log_optimum"].location
    blank = runs_at(
        (center + spread * (generator.random(runs) - 0.5)).tolist(), log_scales.tolist()
    )
    z = generator.standard_normal((1, len(priors)))
    c = coefficients(z, priors)
    fit = condition(z, np.ones((1, runs)), blank, priors)
    root = cell_root(c, blank)
    departures = (root @ generator.standard_normal((1, 3, root.shape[-1], 1)))[..., 0]
    mean = fit.expected(departures[:, :, blank.cell], blank)[0]
    noise_scale = NOISE_FREEDOM / 2 / generator.standard_gamma(NOISE_FREEDOM / 2, runs)
    noise = np.sqrt(fit.features.variance[0] * noise_scale) * generator.standard_normal(runs)
    score = blank.points.log_lr - c.law.log_optimal_lr(*blank.points.log_scales.T) - c.cliff
    diverged = generator.random(runs) < ndtr(score / CLIFF_WIDTH)
    loss = np.where(diverged, math.nan, mean + noise)
    return World(z, departures, replace(blank, loss=loss))


@dataclass(frozen=True, kw_only=True)
class PlainWorld:
    """A sweep that follows a power law exactly but for noise, in nats per token.

    `shift` moves ln LR* and `offset` the loss of runs made under another recipe.
    """

    target: Horizon
    log_optimum: float = math.log(1.5e-3)  # ln LR* at the target
    per_params: float = -0.35
    per_tokens: float = -0.1
    curvature: float = 0.04
    curvature_per_tokens: float = -0.2
    noise: float = 2e-3
    shift: float = 0.0
    offset: float = 0.0

    def log_optimum_at(self, params: float, tokens: float) -> float:
        """Natural log of the best rate."""
        n, d = math.log(params / self.target.params), math.log(tokens / self.target.tokens)
        return self.log_optimum + self.shift + self.per_params * n + self.per_tokens * d

    def loss(self, log_lr: float, params: float, tokens: float) -> float:
        """Loss without noise: Hoffmann's level at the target, and a bowl of asymmetry 0.7."""
        n, d = math.log(params / self.target.params), math.log(tokens / self.target.tokens)
        u = log_lr - self.log_optimum_at(params, tokens)
        bowl = (math.exp(0.7 * u) - 0.7 * u - 1) / 0.49
        level = 1.8 + 0.25 * math.exp(-0.32 * n) + 0.25 * math.exp(-0.3 * d)
        steepness = self.curvature * math.exp(self.curvature_per_tokens * d)
        return level + self.offset + steepness * bowl

    def sweep(
        self,
        cells: Sequence[tuple[float, float]],
        octaves: Sequence[float],
        seed: int = 0,
        source: str | None = None,
    ) -> list[LoggedRun]:
        """Logged runs in (params, tokens) cells, at rates so many octaves from 1.5e-3."""
        generator = torch.Generator().manual_seed(seed)
        runs = []
        for params, tokens in cells:
            for octave in octaves:
                log_lr = math.log(1.5e-3) + octave * math.log(2)
                noise = self.noise * float(torch.randn((), generator=generator))
                loss = self.loss(log_lr, params, tokens) + noise
                rate = math.exp(log_lr)
                runs.append(
                    LoggedRun(
                        learning_rate=rate, params=params, tokens=tokens, loss=loss, source=source
                    )
                )
        return runs
