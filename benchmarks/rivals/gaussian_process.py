"""Gaussian process: what do BoTorch's rivals share, whatever model and acquisition they use?

An encoding of runs whose top fidelity is the target, a cheap initial design, the treatment of
diverged runs, and the answer that is read off a model at the target.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior
from botorch.utils.sampling import manual_seed
from torch import Tensor

from benchmarks.rivals.protocol import Answer, Job, Point

#: Inputs that make a run dearer and nearer to the target; batch is an input but no fidelity.
FIDELITIES = ("params", "tokens")

#: Runs before the model takes over, the centre included: Ax's default, which BoTorch's users copy.
DESIGN_SIZE = 5

#: The initial design spans the largest of these shares of the range of sizes and horizons that
#: leaves three quarters of the budget; a wider one would spend it all on a few long runs.
DESIGN_SHARES = (1.0, 0.75, 0.5, 0.25)
DESIGN_BUDGET = 0.25

#: Rates at which a model is read at the target, spaced evenly in logs.
GRID = 101

#: Draws of the function at the target behind an interval.
DRAWS = 256


@dataclass(frozen=True)
class Cube:
    """Runs as vectors in the unit cube, scaled so that the target has the top fidelity.

    The first column is the rate. Sizes and tokens are logs scaled so that the larger of the
    target's and the dearest run's is 1, which is what BoTorch's fidelity kernels expect.
    """

    job: Job

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The inputs that vary, in the order of the columns."""
        return tuple(self.job.ranges)

    @cached_property
    def stretch(self) -> tuple[float, ...]:
        """What the top of each column is, as a share of the range of the runs."""
        tops = dict(zip(self.names[1:], self.job.target_vector, strict=True))
        return tuple(max(1.0, tops[n]) if n in FIDELITIES else 1.0 for n in self.names)

    @cached_property
    def target(self) -> dict[int, float]:
        """Columns of the target and its value in each; the rate is free."""
        shares = (0.0, *self.job.target_vector)
        return {c: shares[c] / self.stretch[c] for c in range(1, len(self.names))}

    @property
    def fidelities(self) -> list[int]:
        """Columns of size and tokens."""
        return [column for column, name in enumerate(self.names) if name in FIDELITIES]

    def vector(self, point: Point) -> list[float]:
        """Place of a run."""
        shares = self.job.vector(point)
        return [share / top for share, top in zip(shares, self.stretch, strict=True)]

    def point(self, vector: Sequence[float]) -> Point:
        """The run at a place."""
        return self.job.point([v * top for v, top in zip(vector, self.stretch, strict=True)])

    def vectors(self, points: Sequence[Point]) -> Tensor:
        """Places of some runs, one a row."""
        return torch.tensor([self.vector(point) for point in points], dtype=torch.float64)

    def bounds(self, points: Sequence[Point]) -> Tensor:
        """Lowest and highest place of some runs in each column, over all rates."""
        places = self.vectors(points)
        ends = torch.stack([places.amin(0), places.amax(0)])
        ends[:, 0] = torch.tensor([0.0, 1.0])
        return ends

    def at_target(self, count: int = GRID) -> Tensor:
        """Evenly spaced rates at the target, one a row."""
        places = torch.zeros(count, len(self.names), dtype=torch.float64)
        places[:, 0] = torch.linspace(0, 1, count, dtype=torch.float64)
        for column, value in self.target.items():
            places[:, column] = value
        return places

    def rate(self, share: float) -> float:
        """The rate at a share of its range."""
        low, high = self.job.ranges["learning_rate"]
        return low * (high / low) ** share

    def log_relative_cost(self, places: Tensor) -> Tensor:
        """Log of the cost of runs at these places, relative to the cheapest point of the job.

        It is `6 · params · tokens`, linear in the columns.
        """
        log_cost = torch.zeros(places.shape[:-1], dtype=places.dtype)
        for column in self.fidelities:
            low, high = self.job.ranges[self.names[column]]
            log_cost = log_cost + places[..., column] * self.stretch[column] * math.log(high / low)
        return log_cost


def initial_design(cube: Cube) -> list[Point]:
    """The centre at the cheapest place, then a scrambled Sobol design, cheapest first."""
    job, width = cube.job, len(cube.names)
    drawn = torch.quasirandom.SobolEngine(width, scramble=True, seed=job.seed)
    shares = drawn.draw(DESIGN_SIZE - 1, dtype=torch.float64)
    for reach in DESIGN_SHARES:
        scaled = shares.clone()
        scaled[:, cube.fidelities] *= reach
        # shares of the runs' own range, not of the cube that reaches to the target
        points = [job.point(row) for row in scaled.tolist()]
        if sum(point.cost for point in points) <= DESIGN_BUDGET * job.budget:
            break
    cheapest = min(job.points, key=lambda point: point.cost)
    first = Point(
        learning_rate=job.center,
        params=cheapest.params,
        tokens=cheapest.tokens,
        batch_tokens=cheapest.batch_tokens,
    )
    return [first, *sorted(points, key=lambda point: point.cost)]


#: Fits a model of minus the loss to places (run × column) and values (run × 1).
Fit = Callable[[Cube, Tensor, Tensor], Model]

#: Names the place of the next run, given those still affordable, or `None` for no more runs.
Propose = Callable[[Cube, Model, Sequence[Point]], Sequence[float] | None]


#: Reads the answer off a fitted model; the number seeds its draws.
Read = Callable[[Cube, Model, int], Answer]


class ModelRival:
    """A model, an acquisition and a read-out in a loop."""

    def __init__(self, job: Job, fit: Fit, propose: Propose, read: Read) -> None:
        self._cube = Cube(job)
        self._fit = fit
        self._propose = propose
        self._read = read
        self._design = initial_design(self._cube)
        self._runs: list[tuple[Point, float, bool]] = []
        self._model: Model | None = None

    def suggest(self, affordable: Sequence[Point]) -> Point | None:
        """The next run of the design, then the acquisition's."""
        if len(self._runs) < len(self._design):
            return self._design[len(self._runs)]
        model = self._fitted()
        with manual_seed(self._seed()):
            place = self._propose(self._cube, model, affordable)
        return None if place is None else self._cube.point(place)

    def observe(self, point: Point, loss: float, *, diverged: bool) -> None:
        """Keep a run."""
        self._runs.append((point, loss, diverged))
        self._model = None

    def recommend(self) -> Answer:
        """The centre during the initial design, then what the model says."""
        if len(self._runs) < len(self._design):
            return Answer(learning_rate=self._cube.job.center)
        return self._read(self._cube, self._fitted(), self._seed())

    def _fitted(self) -> Model:
        if self._model is None:
            places = self._cube.vectors([point for point, _, _ in self._runs])
            with manual_seed(self._seed()):
                self._model = self._fit(self._cube, places, -winsorised(self._runs))
        return self._model

    def _seed(self) -> int:
        """A seed of its own for every state of every replay."""
        return 1000 * self._cube.job.seed + len(self._runs)


def winsorised(runs: Sequence[tuple[Point, float, bool]]) -> Tensor:
    """Losses (run × 1), a diverged one lowered to the worst that trained.

    A Gaussian process has no place for a divergence; a huge penalty would spoil its scale, and
    without any it asks for the same rates again.
    """
    worst = max((loss for _, loss, diverged in runs if not diverged), default=math.inf)
    losses = [min(loss, worst) if diverged else loss for _, loss, diverged in runs]
    return torch.tensor(losses, dtype=torch.float64).unsqueeze(-1)


def answer_at_target(cube: Cube, model: Model, seed: int) -> Answer:
    """Best rate of the posterior mean at the target, and where 90 % of the draws have theirs."""
    with torch.no_grad():
        posterior = model.posterior(cube.at_target())
        mean = mixed(posterior.mean).squeeze(-1)
        best = drawn(posterior, seed).argmax(-1).flatten().to(torch.float64) / (GRID - 1)
    ends = torch.quantile(best, torch.tensor([0.05, 0.95], dtype=torch.float64)).tolist()
    rate = cube.rate(int(mean.argmax()) / (GRID - 1))
    return Answer(learning_rate=rate, interval_90=(cube.rate(ends[0]), cube.rate(ends[1])))


def mixed(mean: Tensor) -> Tensor:
    """Posterior mean (point × 1); that of a fully Bayesian model is averaged over its samples."""
    return mean if mean.dim() == 2 else mean.mean(0)


def drawn(posterior: GPyTorchPosterior, seed: int) -> Tensor:
    """Joint draws (draw × … × point) of a posterior whose covariance may be singular.

    Neighbouring rates are so alike that a Cholesky factor would need jitter; a spectral one
    does not.
    """
    mean = posterior.distribution.mean
    values, vectors = torch.linalg.eigh(posterior.distribution.covariance_matrix)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(DRAWS, *mean.shape, 1, generator=generator, dtype=mean.dtype)
    root = vectors * values.clamp(min=0).sqrt().unsqueeze(-2)
    return mean + (root @ noise).squeeze(-1)
