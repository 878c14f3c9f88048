"""Model: the surrogate as a BoTorch `Model`, for BoTorch's own acquisition functions and for Ax.

Its posterior is a mixture over coefficient sets, one Gaussian process each. Inputs have columns
`(log_lr, log_params, log_tokens, log_batch)`, the last three relative to the target, so that the
target's runs are `(log_lr, 0, 0, 0)`. Losses are in the study's unit, to be minimised.
"""

from typing import Any

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model
from botorch.posteriors import Posterior
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from gpytorch.distributions import MultivariateNormal
from jaxtyping import Float
from torch import Tensor

from horizon_bo.inference import Belief
from horizon_bo.mean import coefficients
from horizon_bo.surrogate import (
    NOISE_FREEDOM,
    cell_covariance,
    features,
    level_mean,
    same_source,
)

#: Coefficient sets in the mixture, taken evenly from the particles.
MIXTURE = 64
#: Variance of Student-t noise over its scale squared, ν/(ν − 2).
_NOISE_INFLATION = NOISE_FREEDOM / (NOISE_FREEDOM - 2)
_JITTER = 1e-10  # on covariances of quantities of order one


class HorizonModel(Model):
    """The loss of any run, given all runs of a study.

    Args:
        belief: What the study makes one believe.
        sets: Coefficient sets in the mixture.
    """

    _is_ensemble = True
    _is_fully_bayesian = True

    def __init__(self, belief: Belief, sets: int = MIXTURE) -> None:
        super().__init__()
        runs, posterior = belief.runs, belief.posterior
        pick = torch.linspace(0, len(posterior.z) - 1, sets).long()
        done = ~runs.diverged
        self.scale = belief.loss_scale
        self.coefficients = coefficients(posterior.z[pick], belief.priors)
        self.places, self.source = runs.places[done], runs.source[done]
        at_runs = features(
            self.coefficients,
            runs.log_lr[done],
            self.places,
            self.source,
            runs.variance[done],
            runs.count[done],
        )
        noise = at_runs.variance * posterior.inflation[pick][:, done]
        departures = cell_covariance(
            self.coefficients, self.places, self.places, same_source(self.source, self.source)
        )
        covariance = _between(at_runs.basis, departures, at_runs.basis) + torch.diag_embed(noise)
        self.basis = at_runs.basis
        self.factor = torch.linalg.cholesky(covariance)
        mean = level_mean(self.coefficients, self.places) + at_runs.mean
        residual = (runs.loss[done] - mean).unsqueeze(-1)
        self.weights = torch.cholesky_solve(residual, self.factor)

    @property
    def num_outputs(self) -> int:
        """One: the loss."""
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        """Number of coefficient sets in the mixture."""
        return torch.Size([len(self.basis)])

    def posterior(
        self,
        X: Float[Tensor, "*batch q 4"],
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
        **kwargs: Any,
    ) -> Posterior:
        """Joint posterior of the loss of runs: a mixture of normals over coefficient sets."""
        places, source = X[..., 1:], torch.zeros(X.shape[-2], dtype=torch.long)
        f = features(self.coefficients, X[..., 0], places, source)
        among = cell_covariance(self.coefficients, places, places, same_source(source, source))
        across = cell_covariance(
            self.coefficients, places, self.places, same_source(source, self.source)
        )
        cross = _between(f.basis, across, self.basis)
        half = torch.linalg.solve_triangular(self.factor, cross.mT, upper=False)
        covariance = _between(f.basis, among, f.basis) - half.mT @ half
        mean = level_mean(self.coefficients, places) + f.mean + (cross @ self.weights).squeeze(-1)
        extra = f.variance * _NOISE_INFLATION if observation_noise is not False else _JITTER
        covariance = covariance + torch.diag_embed(torch.ones_like(mean) * extra)
        normal = MultivariateNormal(mean * self.scale, covariance * self.scale**2)
        posterior = GaussianMixturePosterior(normal)
        return posterior if posterior_transform is None else posterior_transform(posterior)


def _between(left: Tensor, departures: Tensor, right: Tensor) -> Tensor:
    """Covariance of losses from that of departures: Σ_j φ_j K_j φ'_j."""
    return (left.mT.unsqueeze(-1) * departures * right.mT.unsqueeze(-2)).sum(-3)
