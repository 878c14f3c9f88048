"""The surrogate serves BoTorch's own acquisition functions, without Ax."""

import math

import numpy as np
import pytest
import torch
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.knowledge_gradient import qMultiFidelityKnowledgeGradient
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.objective import GenericMCObjective, ScalarizedPosteriorTransform
from botorch.models.deterministic import GenericDeterministicModel
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler

from horizon_bo.core.botorch import HorizonModel, MatchedModel
from horizon_bo.errors import UnsupportedModelError
from tests.beliefs import informed

LOWER = [math.log(1e-4), math.log(0.06), math.log(0.05), 0.0]
UPPER = [math.log(2e-2), math.log(0.12), math.log(0.2), 0.0]
BOUNDS = torch.tensor([LOWER, UPPER], dtype=torch.float64)


def at_target(log_lr: torch.Tensor) -> torch.Tensor:
    """Runs at the target, one a batch."""
    log_scales = torch.zeros(*log_lr.shape, 3, dtype=torch.float64)
    return torch.cat([log_lr.unsqueeze(-1), log_scales], -1)


def projected(X: torch.Tensor) -> torch.Tensor:
    """The same rates at the target."""
    return torch.cat([X[..., :1], torch.zeros_like(X[..., 1:])], -1)


def knowledge_gradient(model: HorizonModel | MatchedModel) -> qMultiFidelityKnowledgeGradient:
    """Knowledge gradient at the target, per relative FLOP."""
    grid = at_target(torch.linspace(LOWER[0], UPPER[0], 101, dtype=torch.float64))
    cost = GenericDeterministicModel(lambda X: (X[..., 1] + X[..., 2]).exp().unsqueeze(-1))
    return qMultiFidelityKnowledgeGradient(
        model,
        num_fantasies=None,
        sampler=SobolQMCNormalSampler(torch.Size([16]), seed=0),
        posterior_transform=ScalarizedPosteriorTransform(torch.tensor([-1.0], dtype=torch.float64)),
        current_value=-model.posterior(grid).mean.min(),
        cost_aware_utility=InverseCostWeightedUtility(cost_model=cost),
        project=projected,
    )


@pytest.mark.parametrize("kind", [lambda model: model, MatchedModel], ids=["mixture", "matched"])
def test_noisy_expected_improvement_is_optimised_on_the_surrogate(kind):
    belief = informed()[1]
    points = belief.runs.points
    seen = torch.tensor(np.column_stack([points.log_lr, points.log_scales]))
    acquisition = qLogNoisyExpectedImprovement(
        kind(HorizonModel(belief)),
        seen,
        sampler=SobolQMCNormalSampler(torch.Size([64]), seed=0),
        objective=GenericMCObjective(lambda y, X=None: -y[..., 0]),
        prune_baseline=False,
        cache_root=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        point, value = optimize_acqf(
            acquisition, BOUNDS, q=1, num_restarts=2, raw_samples=16, options={"maxiter": 20}
        )
    edge = torch.stack([BOUNDS[0], BOUNDS[1]]).unsqueeze(1)
    assert float(value) > float(acquisition(edge).max())
    # the largest and longest run has the lowest loss, at a rate inside the space
    assert point[0, 1:3].tolist() == pytest.approx(UPPER[1:3])
    assert LOWER[0] + 0.5 < float(point[0, 0]) < UPPER[0] - 0.5


def test_the_multi_fidelity_knowledge_gradient_is_optimised_on_the_matched_process():
    acquisition = knowledge_gradient(MatchedModel(HorizonModel(informed()[1])))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        point, value = optimize_acqf(
            acquisition, BOUNDS, q=1, num_restarts=2, raw_samples=16, options={"maxiter": 15}
        )
    assert float(value) > 0  # a run teaches something about the target
    assert ((point >= BOUNDS[0] - 1e-9) & (point <= BOUNDS[1] + 1e-9)).all()


def test_a_mixture_says_why_it_has_no_knowledge_gradient():
    acquisition = knowledge_gradient(HorizonModel(informed()[1]))
    with pytest.raises(UnsupportedModelError, match="pass MatchedModel") as caught:
        acquisition(torch.zeros(1, 17, 4, dtype=torch.float64))
    assert len(str(caught.value).splitlines()) == 1


def test_the_matched_process_has_the_moments_of_the_mixture():
    mixture = HorizonModel(informed()[1])
    X = at_target(torch.tensor([-7.0, -6.5, -6.0], dtype=torch.float64))
    matched, mixed = MatchedModel(mixture).posterior(X), mixture.posterior(X)
    assert torch.allclose(matched.mean, mixed.mixture_mean, rtol=1e-12)
    # BoTorch divides by one set less
    assert torch.allclose(matched.variance, mixed.mixture_variance, rtol=0.03)
    singly = MatchedModel(mixture).posterior(X.unsqueeze(1))
    assert torch.allclose(singly.variance.squeeze(1), matched.variance, rtol=1e-9)
    noisy = MatchedModel(mixture).posterior(X, observation_noise=True)
    assert (noisy.variance > matched.variance).all()


def test_imagined_outcomes_condition_as_the_textbook_says():
    model = MatchedModel(HorizonModel(informed()[1]))
    seen = at_target(torch.tensor([-7.0, -6.0], dtype=torch.float64))
    at = at_target(torch.tensor([-6.8, -6.5, -6.2], dtype=torch.float64))
    imagined = model.fantasize(seen, SobolQMCNormalSampler(torch.Size([4]), seed=0))
    losses, noise = imagined.seen[1], imagined.seen[2]
    mean, covariance = model.moments(torch.cat([seen, at]), noisy=False)
    gram = covariance[:2, :2] + noise.diag()
    gain = covariance[2:, :2] @ torch.linalg.inv(gram)
    found, spread = imagined.moments(at.expand(4, 3, 4), noisy=False)
    assert imagined.batch_shape == torch.Size([4])
    for k in range(4):
        expected = mean[2:] + gain @ (losses[k] - mean[:2])
        assert torch.allclose(found[k], expected, rtol=1e-7)
        left = covariance[2:, 2:] - gain @ covariance[:2, 2:]
        assert torch.allclose(spread[k], left, atol=1e-9)
