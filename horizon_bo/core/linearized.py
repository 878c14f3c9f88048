"""LinearGaussian: what would any run tell of the best rate at the target, and what did each tell?

Around each of a few posterior coefficient sets the surrogate is linearised, so that the runs so
far, the candidates and the optimum at the target are jointly normal.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from horizon_bo.core.arrays import Array, diagonal, namespace
from horizon_bo.core.normal import given, probability
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
    places: Float[Array, "place 3"]
    weights: Float[Array, "place"]
    curvature: float | None = None

    @staticmethod
    def place(log_batch: float) -> Float[Array, "1 3"]:
        """The target's size and tokens at a batch."""
        return np.array([[0.0, 0.0, log_batch]])


#: The best rate at the target and its own batch.
RATE = Aim(effect=1, places=Aim.place(0.0), weights=np.ones(1))


@dataclass(frozen=True)
class LinearGaussian:
    """Joint normal of what is aimed at (index 0) and candidates, given the runs so far."""

    covariance: Float[Array, "set all all"]
    noise: Float[Array, "set run"]
    curvature: Float[Array, "set"]  # at the target, in units of the typical loss

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
    posterior, pending, xp = known.posterior, known.pending, namespace(known.posterior.z)
    pick = posterior.some(sets)
    c = posterior.coefficients.select(pick)
    seen, own = _measured(posterior, known.runs, pick)
    f = features(c, Points.cat(pending.points, candidates.points))
    joint = _joint_covariance(
        posterior, pick, Points.cat(seen.points, pending.points, candidates.points), known.aim
    )
    # a run that may diverge tells of the loss with the probability that it does not
    safety = xp.clip(probability(-f.divergence_score), _LEAST_SAFETY, None)
    noise = xp.concat([own, f.variance * _NOISE_LOSS / safety], 1)
    first = len(seen) + len(pending)
    made = 1 + np.arange(first)
    covariance = given(joint, made, diagonal(noise[:, :first]))
    keep = np.append(0, np.arange(1 + first, joint.shape[1]))
    curvature = c.law.curvature(*known.aim.places[0])
    if known.aim.curvature is not None:
        curvature = xp.full_like(curvature, known.aim.curvature)
    return LinearGaussian(covariance[:, keep][:, :, keep], noise[:, first:], curvature)


@dataclass(frozen=True)
class LeftOut:
    """What would be left of the answer's quality without each run, one run at a time.

    A diverged run has no loss to linearise and counts as having told nothing: 1 in both fields.
    """

    regret: Float[Array, "run"]  # expected regret without the run over that with it, >= 1
    spread: Float[Array, "run"]  # the same of the standard deviation of ln η* at the target


def leave_one_out(posterior: Posterior, runs: Runs) -> LeftOut:
    """Leave each run out of the linearised surrogate.

    With A the covariance of the measured losses and j theirs with the optimum, P = A⁻¹, w = P j,

        Var(ln η* | all) = J₀₀ − jᵀ w,        Var(ln η* | all but i) = that + wᵢ² / Pᵢᵢ.

    Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 5.12, from
    the inverse of a partitioned matrix.
    """
    pick = posterior.some(LINEARISATIONS)
    seen, own = _measured(posterior, runs, pick)
    one = np.ones_like(runs.loss)
    if not len(seen):
        return LeftOut(one, one)
    joint = _joint_covariance(posterior, pick, seen.points, RATE)
    precision = np.linalg.inv(joint[:, 1:, 1:] + diagonal(own))
    told = (precision @ joint[:, 1:, :1])[..., 0]
    with_all = joint[:, 0, 0] - (joint[:, 0, 1:] * told).sum(-1)
    added = told**2 / np.linalg.diagonal(precision)
    curvature = np.exp(posterior.coefficients.select(pick).law.log_curvature)
    lost = (curvature[:, None] * added).mean(0) / (curvature * with_all).mean()
    regret, spread = one.copy(), one.copy()
    regret[~runs.diverged] += lost
    spread[~runs.diverged] = np.sqrt(1 + added.mean(0) / with_all.mean())
    return LeftOut(regret, spread)


def _measured(
    posterior: Posterior, runs: Runs, pick: Int[Array, "set"]
) -> tuple[Runs, Float[Array, "set seen"]]:
    """The runs that have a loss, and the variance of its noise under some coefficient sets."""
    done = ~runs.diverged
    seen = runs.select(done)
    c = posterior.coefficients.select(pick)
    variance = features(c, seen.points, seen.variance, seen.count).variance
    return seen, variance * posterior.noise_scale[pick][:, done]


def _joint_covariance(
    posterior: Posterior, pick: Int[Array, "set"], points: Points, aim: Aim
) -> Float[Array, "set all all"]:
    """Covariance of (what is aimed at, loss of each run) of the linearised surrogate."""
    z, c = posterior.z[pick], posterior.coefficients.select(pick)
    jacobian = _jacobian(z, posterior.priors, points, aim)
    # the quantity at a place is the law's plus the departure of the place's own cell
    count = len(aim.weights)
    xp = namespace(z)
    at_places = xp.zeros((len(z), 3, count), dtype=z.dtype)
    at_places[:, aim.effect] = 1.0
    basis = xp.concat([at_places, features(c, points).basis], -1)
    own = Points(
        xp.zeros_like(aim.weights),
        at_own_inputs(aim.places, points),
        xp.zeros_like(aim.weights, dtype=points.source.dtype),
    )
    everything = Points.cat(own, points)
    joint = jacobian @ jacobian.mT + loss_covariance(c, (basis, everything), (basis, everything))
    if count == 1:
        return joint
    summed = np.eye(1 + len(points), count + len(points), count - 1)
    summed[0, :count] = aim.weights
    return summed @ joint @ summed.mT


def _jacobian(
    z: Array, priors: Priors, points: Points, aim: Aim
) -> Float[Array, "set all coordinate"]:
    """Slopes of (quantity at each place, mean loss of each run) in standard-normal coordinates."""
    xp, (sets, dimension) = namespace(z), z.shape
    steps = _STEP * xp.eye(dimension, dtype=z.dtype)
    moved = xp.stack([z[:, None] + steps, z[:, None] - steps], 1).reshape(-1, dimension)
    c = coefficients(moved, priors)
    loss = level_mean(c, points.log_scales) + features(c, points).mean
    quantity = c.log_optimal_lr(aim.places) if aim.effect else level_mean(c, aim.places)
    values = xp.concat([quantity, loss], -1)
    values = values.reshape(sets, 2, dimension, -1)
    return ((values[:, 0] - values[:, 1]) / (2 * _STEP)).mT
