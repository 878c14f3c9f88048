"""BoTorch: the surrogate as a `Model` and its worth of runs as an acquisition function.

`HorizonModel` is a mixture over coefficient sets, one Gaussian process each; `MatchedModel` is the
single Gaussian process with its mean and covariance, for what a mixture cannot do. Inputs have
columns `(log_lr, log_params, log_tokens, log_batch)`, the last three relative to the target, so
that the target's runs are `(log_lr, 0, 0, 0)`. Losses are in the study's unit, to be minimised.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior, Posterior
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from botorch.sampling.base import MCSampler
from gpytorch.distributions import MultivariateNormal
from jaxtyping import Float
from torch import Tensor

from horizon_bo.core.gains import variance_reduction
from horizon_bo.core.inference import Belief
from horizon_bo.core.linearized import Known, linearized
from horizon_bo.core.normal import remaining
from horizon_bo.core.points import Candidates, Points, at_own_inputs
from horizon_bo.core.surrogate import NOISE_FREEDOM, features, level_mean, loss_covariance
from horizon_bo.errors import UnsupportedModelError

#: Coefficient sets in the mixture, taken evenly from the particles.
MIXTURE = 64
#: Variance of Student-t noise over its scale squared, ν/(ν − 2).
_STUDENT_VARIANCE = NOISE_FREEDOM / (NOISE_FREEDOM - 2)
_LEAST_DROP = 1e-300  # keeps the log finite where a run tells nothing
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
        posterior, all_runs = _tensors(belief.posterior), _tensors(belief.runs)
        pick, done = belief.posterior.some(sets), ~all_runs.diverged
        runs = all_runs.select(done)
        self.scale = belief.loss_scale
        self.coefficients = posterior.coefficients.select(pick)
        at_runs = features(self.coefficients, runs.points, runs.variance, runs.count)
        noise = at_runs.variance * posterior.noise_scale[pick][:, done]
        self.seen = (at_runs.basis, runs.points)
        covariance = loss_covariance(self.coefficients, self.seen, self.seen)
        self.factor = torch.linalg.cholesky(covariance + torch.diag_embed(noise))
        mean = level_mean(self.coefficients, runs.points.log_scales) + at_runs.mean
        residual = (runs.loss - mean).unsqueeze(-1)
        self.weights = torch.cholesky_solve(residual, self.factor)

    @property
    def num_outputs(self) -> int:
        """One: the loss."""
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        """Number of coefficient sets in the mixture."""
        return torch.Size([len(self.weights)])

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
        c, points = self.coefficients, _points(X, self.seen[1])
        f = features(c, points)
        among = loss_covariance(c, (f.basis, points), (f.basis, points))
        cross = loss_covariance(c, (f.basis, points), self.seen)
        covariance = remaining(among, cross.mT, self.factor)
        mean = level_mean(c, points.log_scales) + f.mean + (cross @ self.weights).squeeze(-1)
        extra = f.variance * _STUDENT_VARIANCE if noisy else _JITTER
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
        left = remaining(covariance[..., count:, count:], cross.mT, factor)
        return mean[..., count:] + shift.squeeze(-1), left

    def _noise(self, X: Tensor) -> Tensor:
        """Noise variance of a single run, averaged over the mixture."""
        model = self.mixture
        f = features(model.coefficients, _points(X, model.seen[1]))
        return f.variance.mean(-2) * _STUDENT_VARIANCE * model.scale**2


class RegretReductionPerCost(AcquisitionFunction):
    """Log of the expected reduction of regret at the target per FLOP, for BoTorch's optimisers.

        ln ΔR(X) − ln Σ cost(x),    ΔR = mean over sets of ½ κ aᵀ (S + noise)⁻¹ a

    with a the covariance of the runs' losses with the optimum and S their own, given all runs so
    far. A batch is worth more than its runs one by one where they share an unknown level.

    Args:
        model: The surrogate, as BoTorch's contract asks for one.
        known: The posterior, the runs it came from, and runs under way.
        log_cost: Natural log of the training FLOP of runs, from their four log inputs.
    """

    _log = True

    def __init__(
        self,
        model: Model,
        known: Known,
        log_cost: Callable[[Float[Tensor, "*batch 4"]], Float[Tensor, "*batch"]],
    ) -> None:
        super().__init__(model)
        self.known, self.log_cost = _tensors(known), log_cost

    def forward(self, X: Float[Tensor, "batch q 4"]) -> Float[Tensor, "batch"]:
        """Score batches of runs with columns (log_lr, log_params, log_tokens, log_batch)."""
        batch, q, _ = X.shape
        runs = X.reshape(-1, 4)
        cost = self.log_cost(runs).exp()
        points = _points(runs, self.known.runs.points)
        view = linearized(self.known, Candidates(points, cost))
        unit = torch.arange(batch * q).reshape(batch, q)
        noise = torch.diag_embed(view.noise[:, unit])
        reduction = variance_reduction(view.covariance, noise, unit)
        drop = (view.curvature[:, None] / 2 * reduction).mean(0)
        return drop.clamp_min(_LEAST_DROP).log() - cost.reshape(batch, q).sum(-1).log()


def _tensors(value: Any) -> Any:
    """The same with PyTorch's tensors for NumPy's arrays."""
    if isinstance(value, np.ndarray):
        return torch.tensor(value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return replace(value, **{f.name: _tensors(getattr(value, f.name)) for f in fields(value)})


def _points(X: Float[Tensor, "*batch q 4"], like: Points) -> Points:
    """Runs of the study's own recipe and the target's inputs, from their four log inputs."""
    source = torch.zeros(X.shape[-2], dtype=torch.long)
    return Points(X[..., 0], at_own_inputs(X[..., 1:], like), source)
