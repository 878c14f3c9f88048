"""LinearGaussian: what would any run tell of the best rate at the target, and what did each tell?

Around each of a few posterior coefficient sets the surrogate is linearised, so that the runs so
far, the candidates and the optimum at the target are jointly normal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from horizon_bo.core.priors import Prior, coefficients
from horizon_bo.core.sampler import Posterior
from horizon_bo.core.surrogate import Runs, cell_covariance, features, level_mean, same_source

#: Coefficient sets around which the surrogate is linearised.
LINEARISATIONS = 16
#: Student-t noise with 4 degrees of freedom carries (ν+1)/(ν+3) of the normal's information.
_NOISE_LOSS = 1.4
_LEAST_SAFETY = 1e-6
_STEP = 1e-4  # of central differences in standard-normal coordinates


@dataclass(frozen=True)
class Candidates:
    """Runs that could be made."""

    log_lr: Float[Tensor, "run"]
    log_scales: Float[Tensor, "run 3"]
    source: Int[Tensor, "run"]
    cost: Float[Tensor, "run"]  # FLOP

    def select(self, index: Tensor) -> "Candidates":
        """The candidates at an index or mask."""
        return Candidates(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


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


def linearized(
    known: Known,
    candidates: Candidates,
    priors: Mapping[str, Prior],
    sets: int = LINEARISATIONS,
) -> LinearGaussian:
    """Linearise the surrogate and condition it on all runs made, pending ones included."""
    posterior, runs, pending = known.posterior, known.runs, known.pending
    pick = torch.linspace(0, len(posterior.z) - 1, sets).long()
    z = posterior.z[pick]
    done = ~runs.diverged
    log_lr = torch.cat([runs.log_lr[done], pending.log_lr, candidates.log_lr])
    log_scales = torch.cat([runs.log_scales[done], pending.log_scales, candidates.log_scales])
    source = torch.cat([runs.source[done], pending.source, candidates.source])
    c = coefficients(z, priors)
    f = features(c, log_lr, log_scales, source)
    joint = _joint_covariance(z, priors, log_lr, log_scales, source)
    seen = int(done.sum())
    first = seen + len(pending.log_lr)
    own = features(
        c,
        runs.log_lr[done],
        runs.log_scales[done],
        runs.source[done],
        runs.variance[done],
        runs.count[done],
    ).variance
    own = own * posterior.noise_scale[pick][:, done]
    # a run that may diverge tells of the loss with the probability that it does not
    safety = torch.special.ndtr(-f.divergence_score[:, seen:]).clamp_min(_LEAST_SAFETY)
    noise = torch.cat([own, f.variance[:, seen:] * _NOISE_LOSS / safety], 1)
    covariance = _given(joint, noise[:, :first])
    return LinearGaussian(covariance, noise[:, first:], torch.as_tensor(c.law.log_curvature).exp())


@dataclass(frozen=True)
class LeftOut:
    """What would be left of the answer's quality without each run, one run at a time.

    A diverged run has no loss to linearise and counts as having told nothing: 1 in both fields.
    """

    regret: Float[Tensor, "run"]  # expected regret without the run over that with it, >= 1
    spread: Float[Tensor, "run"]  # the same of the standard deviation of ln η* at the target


def leave_one_out(
    posterior: Posterior,
    runs: Runs,
    priors: Mapping[str, Prior],
    sets: int = LINEARISATIONS,
) -> LeftOut:
    """Leave each run out of the linearised surrogate.

    With A the covariance of the measured losses and j theirs with the optimum, P = A⁻¹, w = P j,

        Var(ln η* | all) = J₀₀ − jᵀ w,        Var(ln η* | all but i) = that + wᵢ² / Pᵢᵢ.

    Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 5.12, from
    the inverse of a partitioned matrix.
    """
    pick = torch.linspace(0, len(posterior.z) - 1, sets).long()
    done = ~runs.diverged
    seen = runs.select(done)
    one = torch.ones_like(runs.loss)
    if not len(seen.loss):
        return LeftOut(one, one)
    z = posterior.z[pick]
    c = coefficients(z, priors)
    joint = _joint_covariance(z, priors, seen.log_lr, seen.log_scales, seen.source)
    own = features(c, seen.log_lr, seen.log_scales, seen.source, seen.variance, seen.count).variance
    measured = joint[:, 1:, 1:] + torch.diag_embed(own * posterior.noise_scale[pick][:, done])
    precision = torch.cholesky_inverse(torch.linalg.cholesky(measured))
    told = (precision @ joint[:, 1:, :1]).squeeze(-1)
    with_all = joint[:, 0, 0] - (joint[:, 0, 1:] * told).sum(-1)
    added = told.square() / precision.diagonal(dim1=-2, dim2=-1)
    curvature = torch.as_tensor(c.law.log_curvature).exp()
    lost = (curvature[:, None] * added).mean(0) / (curvature * with_all).mean()
    regret, spread = one.clone(), one.clone()
    regret[done] += lost
    spread[done] = (1 + added.mean(0) / with_all.mean()).sqrt()
    return LeftOut(regret, spread)


def _joint_covariance(
    z: Tensor, priors: Mapping[str, Prior], log_lr: Tensor, log_scales: Tensor, source: Tensor
) -> Float[Tensor, "set all all"]:
    """Covariance of (ln η* at the target, loss of each run) of the linearised surrogate."""
    jacobian = _jacobian(z, priors, log_lr, log_scales, source)
    c = coefficients(z, priors)
    basis = features(c, log_lr, log_scales, source).basis
    # The optimum at the target is the law's plus the drift of the target's own cell.
    at_target = torch.zeros(len(z), 1, 3, dtype=z.dtype)
    at_target[..., 1] = 1.0
    basis = torch.cat([at_target, basis], 1)
    cells = torch.cat([torch.zeros(1, 3, dtype=z.dtype), log_scales])
    cell_source = torch.cat([torch.zeros(1, dtype=source.dtype), source])
    departures = cell_covariance(c, cells, cells, same_source(cell_source, cell_source))
    weights = basis.transpose(1, 2)
    departures = (weights.unsqueeze(-1) * departures * weights.unsqueeze(-2)).sum(1)
    return jacobian @ jacobian.mT + departures


def _jacobian(
    z: Tensor, priors: Mapping[str, Prior], log_lr: Tensor, log_scales: Tensor, source: Tensor
) -> Float[Tensor, "set all coordinate"]:
    """Slopes of (ln η* at the target, mean loss of each run) in the standard-normal coordinates."""
    sets, dimension = z.shape
    steps = _STEP * torch.eye(dimension, dtype=z.dtype)
    moved = torch.stack([z.unsqueeze(1) + steps, z.unsqueeze(1) - steps], 1).reshape(-1, dimension)
    c = coefficients(moved, priors)
    loss = level_mean(c, log_scales) + features(c, log_lr, log_scales, source).mean
    values = torch.cat([torch.as_tensor(c.law.log_optimum).unsqueeze(-1), loss], -1)
    values = values.reshape(sets, 2, dimension, -1)
    return ((values[:, 0] - values[:, 1]) / (2 * _STEP)).transpose(1, 2)


def _given(joint: Tensor, noise: Float[Tensor, "set known"]) -> Tensor:
    """Drop the first `known` runs of a joint normal by conditioning on them."""
    known = noise.shape[1]
    if not known:
        return joint
    seen = slice(1, 1 + known)
    keep = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(1 + known, joint.shape[1])])
    gram = joint[:, seen, seen] + torch.diag_embed(noise)
    cross = joint[:, seen][:, :, keep]
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), cross, upper=False)
    return joint[:, keep][:, :, keep] - half.mT @ half
