"""Model: the surrogate as a BoTorch `Model`, for BoTorch's own acquisition functions and for Ax.

`HorizonModel` is a mixture over coefficient sets, one Gaussian process each; `MatchedModel` is the
single Gaussian process with its mean and covariance, for what a mixture cannot do. Inputs have
columns `(log_lr, log_params, log_tokens, log_batch)`, the last three relative to the target, so
that the target's runs are `(log_lr, 0, 0, 0)`. Losses are in the study's unit, to be minimised.
"""

from typing import Any

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior, Posterior
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from botorch.sampling.base import MCSampler
from gpytorch.distributions import MultivariateNormal
from jaxtyping import Float
from torch import Tensor

from horizon_bo.core.inference import Belief
from horizon_bo.core.priors import coefficients
from horizon_bo.core.surrogate import (
    NOISE_FREEDOM,
    cell_covariance,
    features,
    level_mean,
    same_source,
)
from horizon_bo.errors import UnsupportedModelError

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
        self.log_scales, self.source = runs.log_scales[done], runs.source[done]
        at_runs = features(
            self.coefficients,
            runs.log_lr[done],
            self.log_scales,
            self.source,
            runs.variance[done],
            runs.count[done],
        )
        noise = at_runs.variance * posterior.noise_scale[pick][:, done]
        departures = cell_covariance(
            self.coefficients,
            self.log_scales,
            self.log_scales,
            same_source(self.source, self.source),
        )
        covariance = _between(at_runs.basis, departures, at_runs.basis) + torch.diag_embed(noise)
        self.basis = at_runs.basis
        self.factor = torch.linalg.cholesky(covariance)
        mean = level_mean(self.coefficients, self.log_scales) + at_runs.mean
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
        mean, covariance = self.moments(X, noisy=observation_noise is not False)
        posterior = GaussianMixturePosterior(MultivariateNormal(mean, covariance))
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def moments(
        self, X: Float[Tensor, "*batch q 4"], *, noisy: bool
    ) -> tuple[Float[Tensor, "*batch set q"], Float[Tensor, "*batch set q q"]]:
        """Mean and covariance of the loss of runs under each coefficient set."""
        log_scales, source = X[..., 1:], torch.zeros(X.shape[-2], dtype=torch.long)
        f = features(self.coefficients, X[..., 0], log_scales, source)
        among = cell_covariance(
            self.coefficients, log_scales, log_scales, same_source(source, source)
        )
        across = cell_covariance(
            self.coefficients, log_scales, self.log_scales, same_source(source, self.source)
        )
        cross = _between(f.basis, across, self.basis)
        half = torch.linalg.solve_triangular(self.factor, cross.mT, upper=False)
        covariance = _between(f.basis, among, f.basis) - half.mT @ half
        mean = (
            level_mean(self.coefficients, log_scales) + f.mean + (cross @ self.weights).squeeze(-1)
        )
        extra = f.variance * _NOISE_INFLATION if noisy else _JITTER
        covariance = covariance + torch.diag_embed(torch.ones_like(mean) * extra)
        return mean * self.scale, covariance * self.scale**2

    def fantasize(self, X: Tensor, **kwargs: Any) -> Model:
        """Refuse: each process of the mixture would imagine another outcome of the same run."""
        raise UnsupportedModelError(
            f"fantasies at {X.shape[-2]} runs were asked of a HorizonModel, expected of a single "
            "Gaussian process, which a mixture is not; pass MatchedModel(model) instead"
        )


class MatchedModel(Model):
    """The Gaussian process with the mean and covariance of a `HorizonModel`.

    What is uncertain about the coefficients is part of its covariance, so that one run teaches
    about others through them too. It can imagine outcomes, as knowledge gradients ask:

        m'(x) = m(x) + k(x, X) (k(X, X) + noise)⁻¹ (y − m(X))

    Source: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, eq. 2.25, 2.26.

    Args:
        mixture: The model whose first two moments it has.
        seen: Imagined runs with their losses and noise variances; `None` means none.
    """

    def __init__(
        self, mixture: HorizonModel, seen: tuple[Tensor, Tensor, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.mixture, self.seen = mixture, seen

    @property
    def num_outputs(self) -> int:
        """One: the loss."""
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        """Batches of imagined outcomes."""
        return torch.Size() if self.seen is None else self.seen[1].shape[:-1]

    def posterior(
        self,
        X: Float[Tensor, "*batch q 4"],
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
        **kwargs: Any,
    ) -> Posterior:
        """Joint posterior of the loss of runs, given the imagined ones."""
        mean, covariance = self.moments(X, noisy=observation_noise is not False)
        posterior = GPyTorchPosterior(MultivariateNormal(mean, covariance))
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def fantasize(
        self, X: Float[Tensor, "*batch q 4"], sampler: MCSampler, **kwargs: Any
    ) -> "MatchedModel":
        """The model after imagined outcomes of runs, one batch dimension more in front."""
        assert self.seen is None, "fantasies of fantasies are not needed by any acquisition used"
        losses = sampler(self.posterior(X, observation_noise=True)).squeeze(-1)
        return MatchedModel(self.mixture, (X, losses, self._noise(X)))

    def moments(
        self, X: Float[Tensor, "*batch q 4"], *, noisy: bool
    ) -> tuple[Float[Tensor, "*batch q"], Float[Tensor, "*batch q q"]]:
        """Mean and covariance of the loss of runs, given the imagined ones."""
        mean, covariance = self._moments(X)
        return mean, covariance + torch.diag_embed(self._noise(X)) if noisy else covariance

    def _moments(self, X: Tensor) -> tuple[Tensor, Tensor]:
        if self.seen is None:
            means, covariances = self.mixture.moments(X, noisy=False)
            apart = means - means.mean(-2, keepdim=True)
            between = apart.mT @ apart / apart.shape[-2]
            return means.mean(-2), covariances.mean(-3) + between
        imagined, losses, noise = self.seen
        batch = torch.broadcast_shapes(X.shape[:-2], imagined.shape[:-2])
        both = [points.expand(*batch, *points.shape[-2:]) for points in (imagined, X)]
        mean, covariance = MatchedModel(self.mixture)._moments(torch.cat(both, -2))
        count = imagined.shape[-2]
        gram = covariance[..., :count, :count] + torch.diag_embed(noise)
        cross = covariance[..., count:, :count]
        factor = torch.linalg.cholesky(gram)
        surprise = (losses - mean[..., :count]).unsqueeze(-1)
        shift = cross @ torch.cholesky_solve(surprise, factor)
        half = torch.linalg.solve_triangular(factor, cross.mT, upper=False)
        return mean[..., count:] + shift.squeeze(-1), covariance[
            ..., count:, count:
        ] - half.mT @ half

    def _noise(self, X: Tensor) -> Tensor:
        """Noise variance of a single run, averaged over the mixture."""
        model = self.mixture
        source = torch.zeros(X.shape[-2], dtype=torch.long)
        f = features(model.coefficients, X[..., 0], X[..., 1:], source)
        return f.variance.mean(-2) * _NOISE_INFLATION * model.scale**2


def _between(left: Tensor, departures: Tensor, right: Tensor) -> Tensor:
    """Covariance of losses from that of departures: Σ_j φ_j K_j φ'_j."""
    return (left.mT.unsqueeze(-1) * departures * right.mT.unsqueeze(-2)).sum(-3)
