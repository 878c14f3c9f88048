"""BoTorch, fully Bayesian: what does averaging over the hyperparameters cost, and what does it buy?

The nearest in spirit to our own surrogate, which averages over coefficients too: a Gaussian process
with a sparse axis-aligned prior, its hyperparameters sampled by NUTS after every run.
Source: Eriksson and Jankowiak (2021), UAI, as `SaasFullyBayesianSingleTaskGP`.
"""

from collections.abc import Sequence

import torch
from botorch.fit import fit_fully_bayesian_model_nuts
from botorch.models.fully_bayesian import SaasFullyBayesianSingleTaskGP
from botorch.models.model import Model
from botorch.models.transforms import Standardize
from torch import Tensor

from benchmarks.rivals.gaussian_process import GRID, Cube, ModelRival, answer_at_target, drawn
from benchmarks.rivals.protocol import Entry, Point

#: Steps of NUTS thrown away and kept, and the share of those that make up the model. BoTorch's
#: defaults are 512, 256 and every 16th; a quarter of the steps leaves as many models.
WARMUP, KEPT, THINNING = 128, 64, 4


def sampled_model(cube: Cube, places: Tensor, values: Tensor) -> Model:
    """The fully Bayesian model, a batch of Gaussian processes."""
    model = SaasFullyBayesianSingleTaskGP(places, values, outcome_transform=Standardize(1))
    fit_fully_bayesian_model_nuts(
        model,
        warmup_steps=WARMUP,
        num_samples=KEPT,
        thinning=THINNING,
        disable_progbar=True,
        seed=cube.job.seed,
    )
    return model


def variance_reduction(cube: Cube, model: Model, affordable: Sequence[Point]) -> Sequence[float]:
    """The affordable run that, per FLOP, lowers the variance at the target most where it matters.

        Σ_g P(rate g is best) · cov(g, x)² / (var(x) + noise) / cost(x)

    averaged over the sampled models. BoTorch's look-ahead acquisitions need `fantasize`, which its
    fully Bayesian models lack, and its improvements know no target; this one is a closed form.
    """
    target, runs = cube.at_target(), cube.vectors(affordable)
    with torch.no_grad():
        best = drawn(model.posterior(target), seed=cube.job.seed).argmax(-1).flatten()
        weight = torch.bincount(best, minlength=GRID) / best.numel()
        joint = model.posterior(torch.cat([target, runs])).distribution.covariance_matrix
        noisy = model.posterior(runs, observation_noise=True).variance.squeeze(-1)
    explained = joint[..., :GRID, GRID:].square() / noisy.unsqueeze(-2)
    gain = (weight.to(explained.dtype).unsqueeze(-1) * explained.mean(0)).sum(0)
    return runs[int((gain.log() - cube.log_relative_cost(runs)).argmax())].tolist()


ENTRIES = (
    Entry(
        name="botorch-saas",
        make=lambda job: ModelRival(job, sampled_model, variance_reduction, answer_at_target),
        needs=("numpyro", "jax"),
        slow=True,
        given=(
            f"SaasFullyBayesianSingleTaskGP, NUTS with {WARMUP} + {KEPT} steps, a quarter of the "
            "defaults; fall of the variance at the target per FLOP over the affordable runs; "
            "centre and Sobol first; diverged runs at the worst loss that trained"
        ),
    ),
)
