"""Departures: how does a sweep leave its law, and how noisy is a run?

The rest of the loss after the law is a Gaussian process over (ℓ, n, d, b), u = ℓ − ℓ* by the law:

    f = a₀ f₀(c) + κ [ a₁ tanh(u) f₁(c) + a₂ g(u) f₂(c) + a₃ (1 + g(u)) f₃(u, c) ],   c = (n, d, b)

level, optimum (a₁ is its scatter in ln η), curvature, and any other shape, g(u) = h/(1 + h/4) being
the bowl kept from growing. All are Matérn-5/2 with a length of its own for each input. A run's
noise has the standard deviation √(σ² e^(2 ρ (n + d)) + (s κ h)²) and a floor: a rate far from the
best is more erratic.

The amplitudes, lengths and noise are those of the highest posterior density under weak priors.
A *draw* is one function that the process thinks possible given the sweep: at the sweep's cells it
goes through their losses, between them it departs from the law as it does elsewhere. It is made of
random Fourier features moved onto the data.

Source: Wilson et al. (2020), ICML, arXiv:2002.09309, equation 9 (Matheron's update of a draw).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from benchmarks.emulators.law import Law
from benchmarks.emulators.rows import FloatArray, Rows

#: Natural logs of the hyperparameters with what is believed of them, mean and standard deviation.
#: Scatter of the optimum is 0.2 to 0.4 in public sweeps, noise 4e-4 to 2e-2 of the loss.
BELIEFS: dict[str, tuple[float, float]] = {
    "level": (-5.0, 1.0),
    "optimum": (-1.2, 0.7),
    "curvature": (-1.2, 0.7),
    "shape": (-1.6, 1.0),
    "length_params": (0.4, 0.7),
    "length_tokens": (0.4, 0.7),
    "length_batch": (0.4, 0.7),
    "length_rate": (0.0, 0.5),
    "noise": (-6.9, 1.5),
    "share": (-3.0, 1.0),
}
NAMES = tuple(BELIEFS)
#: The power ρ of compute in the noise, mean and standard deviation: it is no logarithm.
_PER_COMPUTE = (0.0, 0.1)
#: No public sweep's runs are steadier than this share of the loss; three rates a cell cannot tell.
_LEAST_NOISE = 4e-4
#: Hyperparameters are found on at most so many runs, whole cells at random.
MOST_ROWS = 700
#: Random features of each part of a draw.
FEATURES = 256
_SMOOTHNESS = 2.5
_JITTER = 1e-10


@dataclass(frozen=True)
class Scales:
    """Amplitudes, lengths and noise of one sweep, as natural logs by the names of `BELIEFS`."""

    logs: dict[str, float]
    per_compute: float

    def theta(self) -> Tensor:
        """The same as one vector."""
        return torch.tensor([*(self.logs[n] for n in NAMES), self.per_compute], dtype=torch.float64)

    @classmethod
    def of(cls, theta: FloatArray) -> "Scales":
        """From one vector."""
        return cls(dict(zip(NAMES, map(float, theta[:-1]), strict=True)), float(theta[-1]))


@dataclass(frozen=True)
class Places:
    """What the process sees of runs: `(run,)` each, and `scales` `(run, 3)`."""

    offset: Tensor
    scales: Tensor
    curvature: Tensor
    height: Tensor  # g, the bowl kept from growing
    excess: Tensor  # κ h

    @property
    def loads(self) -> Tensor:
        """How much each of the four parts counts at a run, `(4, run)`, amplitudes aside."""
        kappa = self.curvature
        return torch.stack(
            [
                torch.ones_like(kappa),
                kappa * torch.tanh(self.offset),
                kappa * self.height,
                kappa * (1 + self.height),
            ]
        )


def placed(law: Law, inputs: FloatArray) -> Places:
    """Runs `(run, 4)` as the process sees them."""
    offset = law.offset(inputs)
    bowl, kappa = law.bowl(offset), law.curvature(inputs)
    as_tensor: Callable[[Any], Tensor] = lambda x: torch.from_numpy(np.ascontiguousarray(x))  # noqa: E731
    return Places(
        as_tensor(offset),
        as_tensor(inputs[:, 1:]),
        as_tensor(kappa),
        as_tensor(bowl / (1 + bowl / 4)),
        as_tensor(kappa * bowl),
    )


def covariance(theta: Tensor, left: Places, right: Places) -> Tensor:
    """Covariance `(left, right)` of departures."""
    values = dict(zip(NAMES, theta[:-1].exp(), strict=True))
    lengths = torch.stack([values[f"length_{n}"] for n in ("params", "tokens", "batch")])
    cells = _squares(left.scales / lengths, right.scales / lengths)
    rates = _squares(left.offset[:, None], right.offset[:, None]) / values["length_rate"] ** 2
    by_cell, by_rate = _matern(cells), _matern(cells + rates)
    total = torch.zeros_like(by_cell)
    parts = ("level", "optimum", "curvature", "shape")
    for name, here, there in zip(parts, left.loads, right.loads, strict=True):
        kernel = by_rate if name == "shape" else by_cell
        total = total + values[name] ** 2 * torch.outer(here, there) * kernel
    return total


def noise_sd(theta: Tensor, places: Places) -> Tensor:
    """Standard deviation of a run's noise, `(run,)`."""
    noise, share = theta[NAMES.index("noise")], theta[NAMES.index("share")]
    steady = (noise + theta[-1] * places.scales[:, :2].sum(-1)).exp()
    erratic = share.exp() * places.excess
    return (steady.square() + erratic.square() + _LEAST_NOISE**2).sqrt()


def _squares(left: Tensor, right: Tensor) -> Tensor:
    """Squared distances `(left, right)`; a matrix product, so rounding may go below zero."""
    products = left @ right.T
    return (left.square().sum(-1)[:, None] - 2 * products + right.square().sum(-1)).clamp(min=0)


def _matern(squares: Tensor) -> Tensor:
    scaled = (5 * squares + 1e-12).sqrt()  # away from zero, where the root has no derivative
    return (1 + scaled + scaled**2 / 3) * (-scaled).exp()


def fitted_scales(law: Law, rows: Rows, seed: int = 0) -> Scales:
    """The hyperparameters of the highest posterior density."""
    done = _some_cells(rows.finished, seed)
    places = placed(law, done.inputs)
    rest = torch.from_numpy(done.loss - law.loss(done.inputs))
    location, scale = (
        torch.tensor([*(b[k] for b in BELIEFS.values()), _PER_COMPUTE[k]], dtype=torch.float64)
        for k in (0, 1)
    )

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        theta = torch.from_numpy(flat).requires_grad_()
        root = factor(theta, places)
        white = torch.linalg.solve_triangular(root, rest[:, None], upper=False)
        value = 0.5 * white.square().sum() + root.diagonal().log().sum()
        value = value + 0.5 * ((theta - location) / scale).square().sum()
        value.backward()
        assert theta.grad is not None
        return value.item(), theta.grad.numpy()

    bounds = torch.stack([location - 4 * scale, location + 4 * scale], -1).numpy()
    fit = minimize(
        objective, location.numpy(), jac=True, bounds=bounds, method="L-BFGS-B",
        options={"maxiter": 80},
    )  # fmt: skip
    return Scales.of(fit.x)


def factor(theta: Tensor, places: Places) -> Tensor:
    """Lower Cholesky factor of the covariance of noisy losses."""
    noisy = covariance(theta, places, places) + noise_sd(theta, places).square().diag()
    return torch.linalg.cholesky(noisy + _JITTER * torch.eye(len(noisy), dtype=noisy.dtype))


def _some_cells(done: Rows, seed: int) -> Rows:
    labels = done.labels()
    order = np.random.default_rng(seed).permutation(labels.max() + 1)
    size = np.cumsum(np.bincount(labels)[order])
    return done.select(np.isin(labels, order[: max(1, int((size <= MOST_ROWS).sum()))]))


@dataclass(frozen=True)
class Departure:
    """One function of departures: that of a draw, or without features the process's mean.

    Args:
        theta: The hyperparameters.
        data: The runs it is tied to.
        weights: `(run,)`: how far each run pulls.
        features: Frequencies, phases and weights of the prior's draw, one each part.
    """

    theta: Tensor
    data: Places
    weights: Tensor
    features: tuple[tuple[Tensor, Tensor, Tensor], ...]

    def __call__(self, places: Places) -> FloatArray:
        """Relative loss beside the law, `(run,)`."""
        tied = covariance(self.theta, places, self.data) @ self.weights
        return (tied + _prior_draw(self.theta, self.features, places)).numpy()


def conditioned(scales: Scales, law: Law, done: Rows, seed: int | None) -> Departure:
    """A draw of the departures given the runs, or their mean where `seed` is `None`."""
    theta, places = scales.theta(), placed(law, done.inputs)
    rest = torch.from_numpy(done.loss - law.loss(done.inputs))
    features: tuple[tuple[Tensor, Tensor, Tensor], ...] = ()
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        features = _features(theta, generator)
        drawn = torch.randn(len(rest), generator=generator, dtype=torch.float64)
        rest = rest - _prior_draw(theta, features, places) - noise_sd(theta, places) * drawn
    weights = torch.cholesky_solve(rest[:, None], factor(theta, places)).squeeze(-1)
    return Departure(theta, places, weights, features)


def _features(
    theta: Tensor, generator: torch.Generator
) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
    """Frequencies of a Matérn kernel are Student's t with 2 ν degrees of freedom."""
    lengths = theta[4:8].exp()
    made = []
    for part in range(4):
        normal = torch.randn(FEATURES, 4, generator=generator, dtype=torch.float64)
        gamma = np.random.default_rng(generator.initial_seed() + part).gamma(
            _SMOOTHNESS, 1 / _SMOOTHNESS, FEATURES
        )
        frequency = normal / torch.from_numpy(gamma).sqrt()[:, None] / lengths
        if part < 3:  # the first three do not depend on the rate
            frequency[:, 3] = 0.0
        phase = 2 * math.pi * torch.rand(FEATURES, generator=generator, dtype=torch.float64)
        weight = torch.randn(FEATURES, generator=generator, dtype=torch.float64)
        made.append((frequency, phase, weight * math.sqrt(2 / FEATURES)))
    return tuple(made)


def _prior_draw(
    theta: Tensor, features: tuple[tuple[Tensor, Tensor, Tensor], ...], places: Places
) -> Tensor:
    total = torch.zeros_like(places.offset)
    inputs = torch.cat([places.scales, places.offset[:, None]], -1)
    for amplitude, load, (frequency, phase, weight) in zip(
        theta[:4].exp(), places.loads, features, strict=False
    ):
        total = total + amplitude * load * (torch.cos(inputs @ frequency.T + phase) @ weight)
    return total
