"""LinearGaussian: what would any run tell of the best rate at the target, and what did each tell?

Around each of a few posterior coefficient sets the surrogate is linearised, so that the runs so
far, the candidates and the optimum at the target are jointly normal.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from horizon_bo.core.normal import given
from horizon_bo.core.points import Candidates, Points, Runs, at_own_inputs
from horizon_bo.core.priors import Priors, coefficients
from horizon_bo.core.sampler import Posterior
from horizon_bo.core.surrogate import NOISE_FREEDOM, features, level_mean, loss_covariance

#: Coefficient sets around which the surrogate is linearised.
LINEARISATIONS = 16
#: Student-t noise carries (ν+1)/(ν+3) of the normal's information on where it is centred, as if
#: the normal's variance were this much larger.
_NOISE_LOSS = (NOISE_FREEDOM + 3) / (NOISE_FREEDOM + 1)
_LEAST_SAFETY = 1e-6
_STEP = 1e-4  # of central differences in standard-normal coordinates


@dataclass(frozen=True)
class Aim:
    """What runs are to tell of, a sum of one quantity over places, and what it is worth.

    Args:
        effect: 0 for the level of the loss, 1 for ln η*.
        places: (ln N/N*, ln D/D*, ln B/B*) of each.
        weights: Of the places.
        curvature: Regret per half variance, in typical losses; `None` takes the bowl's own at the
            first place, for a rate.
    """

    effect: int
    places: Float[Tensor, "place 3"]
    weights: Float[Tensor, "place"]
    curvature: float | None = None

    @staticmethod
    def place(log_batch: float) -> Float[Tensor, "1 3"]:
        """The target's size and tokens at a batch."""
        return torch.tensor([[0.0, 0.0, log_batch]], dtype=torch.float64)


#: The best rate at the target and its own batch.
RATE = Aim(effect=1, places=Aim.place(0.0), weights=torch.ones(1, dtype=torch.float64))


@dataclass(frozen=True)
class LinearGaussian:
    """Joint normal of what is aimed at (index 0) and candidates, given the runs so far."""

    covariance: Float[Tensor, "set all all"]
    noise: Float[Tensor, "set run"]
    curvature: Float[Tensor, "set"]  # at the target, in units of the typical loss

    @property
    def regret(self) -> float:
        """Expected regret now, in units of the typical loss."""
        return float((self.curvature * self.covariance[:, 0, 0]).mean() / 2)


@dataclass(frozen=True)
class Known:
    """What a plan starts from: the posterior, the runs it came from, runs under way, the aim."""

    posterior: Posterior
    runs: Runs
    pending: Candidates
    aim: Aim = RATE


def linearized(known: Known, candidates: Candidates, sets: int = LINEARISATIONS) -> LinearGaussian:
    """Linearise the surrogate and condition it on all runs made, pending ones included."""
    posterior, pending = known.posterior, known.pending
    pick = posterior.some(sets)
    c = posterior.coefficients.select(pick)
    seen, own = _measured(posterior, known.runs, pick)
    f = features(c, Points.cat(pending.points, candidates.points))
    joint = _joint_covariance(
        posterior, pick, Points.cat(seen.points, pending.points, candidates.points), known.aim
    )
    # a run that may diverge tells of the loss with the probability that it does not
    safety = torch.special.ndtr(-f.divergence_score).clamp_min(_LEAST_SAFETY)
    noise = torch.cat([own, f.variance * _NOISE_LOSS / safety], 1)
    first = len(seen) + len(pending)
    made = 1 + torch.arange(first)
    covariance = given(joint, made, torch.diag_embed(noise[:, :first]))
    keep = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(1 + first, joint.shape[1])])
    curvature = c.law.curvature(*known.aim.places[0])
    if known.aim.curvature is not None:
        curvature = torch.full_like(curvature, known.aim.curvature)
    return LinearGaussian(covariance[:, keep][:, :, keep], noise[:, first:], curvature)


@dataclass(frozen=True)
class LeftOut:
    """What would be left of the answer's quality without each run, one run at a time.

    A diverged run has no loss to linearise and counts as having told nothing: 1 in both fields.
    """

    regret: Float[Tensor, "run"]  # expected regret without the run over that with it, >= 1
    spread: Float[Tensor, "run"]  # the same of the standard deviation of ln η* at the target


def leave_one_out(posterior: Posterior, runs: Runs) -> LeftOut:
    """Leave each run out of the linearised surrogate.

    With A the covariance of the measured losses and j theirs with the optimum, P = A⁻¹, w = P j,

        Var(ln η* | all) = J₀₀ − jᵀ w,        Var(ln η* | all but i) = that + wᵢ² / Pᵢᵢ.

    Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 5.12, from
    the inverse of a partitioned matrix.
    """
    pick = posterior.some(LINEARISATIONS)
    seen, own = _measured(posterior, runs, pick)
    one = torch.ones_like(runs.loss)
    if not len(seen):
        return LeftOut(one, one)
    joint = _joint_covariance(posterior, pick, seen.points, RATE)
    measured = joint[:, 1:, 1:] + torch.diag_embed(own)
    precision = torch.cholesky_inverse(torch.linalg.cholesky(measured))
    told = (precision @ joint[:, 1:, :1]).squeeze(-1)
    with_all = joint[:, 0, 0] - (joint[:, 0, 1:] * told).sum(-1)
    added = told.square() / precision.diagonal(dim1=-2, dim2=-1)
    curvature = torch.as_tensor(posterior.coefficients.law.log_curvature)[pick].exp()
    lost = (curvature[:, None] * added).mean(0) / (curvature * with_all).mean()
    regret, spread = one.clone(), one.clone()
    regret[~runs.diverged] += lost
    spread[~runs.diverged] = (1 + added.mean(0) / with_all.mean()).sqrt()
    return LeftOut(regret, spread)


def _measured(
    posterior: Posterior, runs: Runs, pick: Int[Tensor, "set"]
) -> tuple[Runs, Float[Tensor, "set seen"]]:
    """The runs that have a loss, and the variance of its noise under some coefficient sets."""
    done = ~runs.diverged
    seen = runs.select(done)
    c = posterior.coefficients.select(pick)
    variance = features(c, seen.points, seen.variance, seen.count).variance
    return seen, variance * posterior.noise_scale[pick][:, done]


def _joint_covariance(
    posterior: Posterior, pick: Int[Tensor, "set"], points: Points, aim: Aim
) -> Float[Tensor, "set all all"]:
    """Covariance of (what is aimed at, loss of each run) of the linearised surrogate."""
    z, c = posterior.z[pick], posterior.coefficients.select(pick)
    jacobian = _jacobian(z, posterior.priors, points, aim)
    # the quantity at a place is the law's plus the departure of the place's own cell
    count = len(aim.weights)
    at_places = torch.zeros(len(z), count, 3, dtype=z.dtype)
    at_places[..., aim.effect] = 1.0
    basis = torch.cat([at_places, features(c, points).basis], 1)
    zero = torch.zeros(count, dtype=z.dtype)
    places = at_own_inputs(aim.places, points)
    everything = Points.cat(Points(zero, places, zero.long()), points)
    joint = jacobian @ jacobian.mT + loss_covariance(c, (basis, everything), (basis, everything))
    if count == 1:
        return joint
    summed = torch.block_diag(aim.weights[None], torch.eye(len(points), dtype=z.dtype))
    return summed @ joint @ summed.mT


def _jacobian(
    z: Tensor, priors: Priors, points: Points, aim: Aim
) -> Float[Tensor, "set all coordinate"]:
    """Slopes of (quantity at each place, mean loss of each run) in standard-normal coordinates."""
    sets, dimension = z.shape
    steps = _STEP * torch.eye(dimension, dtype=z.dtype)
    moved = torch.stack([z.unsqueeze(1) + steps, z.unsqueeze(1) - steps], 1).reshape(-1, dimension)
    c = coefficients(moved, priors)
    loss = level_mean(c, points.log_scales) + features(c, points).mean
    quantity = c.log_optimal_lr(aim.places) if aim.effect else level_mean(c, aim.places)
    values = torch.cat([quantity, loss], -1)
    values = values.reshape(sets, 2, dimension, -1)
    return ((values[:, 0] - values[:, 1]) / (2 * _STEP)).transpose(1, 2)
