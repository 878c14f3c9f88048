"""LinearGaussian: what would any run tell of the best rate at the target, and what did each tell?

Around each of a few posterior coefficient sets the surrogate is linearised, so that the runs so
far, the candidates and the optimum at the target are jointly normal.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from horizon_bo.core.normal import given
from horizon_bo.core.points import Candidates, Points, Runs
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
class LinearGaussian:
    """Joint normal of the optimum at the target (index 0) and candidates, given the runs so far."""

    covariance: Float[Tensor, "set all all"]
    noise: Float[Tensor, "set run"]
    curvature: Float[Tensor, "set"]  # at the target, in units of the typical loss

    @property
    def regret(self) -> float:
        """Expected regret now, in units of the typical loss."""
        return float((self.curvature * self.covariance[:, 0, 0]).mean() / 2)


@dataclass(frozen=True)
class Known:
    """What a plan starts from: the posterior, the runs it came from, and runs under way."""

    posterior: Posterior
    runs: Runs
    pending: Candidates


def linearized(known: Known, candidates: Candidates, sets: int = LINEARISATIONS) -> LinearGaussian:
    """Linearise the surrogate and condition it on all runs made, pending ones included."""
    posterior, pending = known.posterior, known.pending
    pick = posterior.some(sets)
    c = posterior.coefficients.select(pick)
    seen, own = _measured(posterior, known.runs, pick)
    f = features(c, Points.cat(pending.points, candidates.points))
    joint = _joint_covariance(
        posterior, pick, Points.cat(seen.points, pending.points, candidates.points)
    )
    # a run that may diverge tells of the loss with the probability that it does not
    safety = torch.special.ndtr(-f.divergence_score).clamp_min(_LEAST_SAFETY)
    noise = torch.cat([own, f.variance * _NOISE_LOSS / safety], 1)
    first = len(seen) + len(pending)
    made = 1 + torch.arange(first)
    covariance = given(joint, made, torch.diag_embed(noise[:, :first]))
    keep = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(1 + first, joint.shape[1])])
    curvature = torch.as_tensor(c.law.log_curvature).exp()
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
    joint = _joint_covariance(posterior, pick, seen.points)
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
    posterior: Posterior, pick: Int[Tensor, "set"], points: Points
) -> Float[Tensor, "set all all"]:
    """Covariance of (ln η* at the target, loss of each run) of the linearised surrogate."""
    z, c = posterior.z[pick], posterior.coefficients.select(pick)
    jacobian = _jacobian(z, posterior.priors, points)
    # The optimum at the target is the law's plus the drift of the target's own cell.
    at_target = torch.zeros(len(z), 1, 3, dtype=z.dtype)
    at_target[..., 1] = 1.0
    basis = torch.cat([at_target, features(c, points).basis], 1)
    origin = torch.zeros(1, dtype=z.dtype)
    everything = Points.cat(Points(origin, origin.expand(1, 3), origin.long()), points)
    return jacobian @ jacobian.mT + loss_covariance(c, (basis, everything), (basis, everything))


def _jacobian(z: Tensor, priors: Priors, points: Points) -> Float[Tensor, "set all coordinate"]:
    """Slopes of (ln η* at the target, mean loss of each run) in the standard-normal coordinates."""
    sets, dimension = z.shape
    steps = _STEP * torch.eye(dimension, dtype=z.dtype)
    moved = torch.stack([z.unsqueeze(1) + steps, z.unsqueeze(1) - steps], 1).reshape(-1, dimension)
    c = coefficients(moved, priors)
    loss = level_mean(c, points.log_scales) + features(c, points).mean
    values = torch.cat([torch.as_tensor(c.law.log_optimum).unsqueeze(-1), loss], -1)
    values = values.reshape(sets, 2, dimension, -1)
    return ((values[:, 0] - values[:, 1]) / (2 * _STEP)).transpose(1, 2)
