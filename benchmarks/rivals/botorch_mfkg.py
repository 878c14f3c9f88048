"""BoTorch knowledge gradient: how good is the nearest thing to this job in any library?

`qMultiFidelityKnowledgeGradient` values a run by what it does to the best posterior mean at the
target, which is never run, and divides by the run's cost. Source: Wu et al. (2020), UAI, and
BoTorch's tutorial on multi-fidelity optimization.
"""

from collections.abc import Callable, Sequence

import torch
from botorch import fit_gpytorch_mll
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.knowledge_gradient import qMultiFidelityKnowledgeGradient
from botorch.acquisition.utils import project_to_target_fidelity
from botorch.models import SingleTaskGP, SingleTaskMultiFidelityGP
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import Model
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from benchmarks.rivals.gaussian_process import Cube, ModelRival, answer_at_target, mixed
from benchmarks.rivals.protocol import Entry, Point

#: BoTorch's tutorial takes 128 fantasies, 10 restarts of 512 raw points; that is minutes a run on
#: one core, and these were as good on the cases we tried.
FANTASIES, RESTARTS, RAW_SAMPLES, ITERATIONS = 16, 4, 64, 60


def fidelity_model(cube: Cube, places: Tensor, values: Tensor) -> Model:
    """`SingleTaskMultiFidelityGP` with the down-sampling kernel on size and tokens.

    The default kernel of that class, linear-truncated, may not be used for more than two columns.
    """
    if not cube.fidelities:
        return plain_model(cube, places, values)
    return fitted(
        SingleTaskMultiFidelityGP(
            places,
            values,
            data_fidelities=cube.fidelities,
            linear_truncated=False,
            outcome_transform=Standardize(1),
        )
    )


def plain_model(cube: Cube, places: Tensor, values: Tensor) -> Model:
    """`SingleTaskGP`: size and tokens are inputs like any other."""
    return fitted(SingleTaskGP(places, values, outcome_transform=Standardize(1)))


def fitted(model: SingleTaskGP) -> Model:
    """The model at the maximum of its marginal likelihood and priors."""
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def cost_utility(cube: Cube) -> InverseCostWeightedUtility:
    """Gain per FLOP, by the true cost of a run."""
    cost = GenericDeterministicModel(lambda places: cube.log_relative_cost(places).exp()[..., None])
    return InverseCostWeightedUtility(cost_model=cost)


def projection(cube: Cube) -> Callable[[Tensor], Tensor]:
    """Moves places to the target's size, tokens and batch."""
    width = len(cube.names)
    return lambda places: project_to_target_fidelity(
        X=places, target_fidelities=cube.target, d=width
    )


def knowledge_gradient(cube: Cube, model: Model, affordable: Sequence[Point]) -> Sequence[float]:
    """The place that maximises the cost-weighted knowledge gradient within affordable bounds."""
    with torch.no_grad():
        current = mixed(model.posterior(cube.at_target()).mean).max()
    gain = qMultiFidelityKnowledgeGradient(
        model,
        num_fantasies=FANTASIES,
        current_value=current,
        cost_aware_utility=cost_utility(cube),
        project=projection(cube),
    )
    place, _ = optimize_acqf(
        gain,
        cube.bounds(affordable),
        q=1,
        num_restarts=RESTARTS,
        raw_samples=RAW_SAMPLES,
        options={"batch_limit": RESTARTS, "maxiter": ITERATIONS},
    )
    return place[0].tolist()


ENTRIES = (
    Entry(
        name="botorch-mfkg",
        make=lambda job: ModelRival(job, fidelity_model, knowledge_gradient, answer_at_target),
        given=(
            "SingleTaskMultiFidelityGP(linear_truncated=False), which was better here than "
            "SingleTaskGP; qMFKG over (LR, size, tokens, batch), projected to the target, per "
            "FLOP, continuous within affordable bounds; centre and Sobol first; diverged runs at "
            "the worst loss that trained"
        ),
    ),
)
