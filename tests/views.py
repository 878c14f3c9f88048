"""Views: random joint normals of runs and the optimum, and how the textbook conditions them."""

import torch
from torch import Tensor

from horizon_bo.core.linearized import LinearGaussian


def view_from(seed: int, runs: int, sets: int = 2) -> LinearGaussian:
    """A random joint normal."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(sets, 1 + runs, 2 + runs, dtype=torch.float64, generator=generator)
    noise = 0.1 + torch.rand(sets, runs, dtype=torch.float64, generator=generator)
    curvature = 0.5 + torch.rand(sets, dtype=torch.float64, generator=generator)
    return LinearGaussian(root @ root.mT, noise, curvature)


def conditioned(covariance: Tensor, noise: dict[int, float]) -> Tensor:
    """A normal's covariance given noisy values of some of its variables, by the textbook."""
    seen = list(noise)
    gram = covariance[seen][:, seen] + torch.diag(
        torch.tensor(list(noise.values()), dtype=torch.float64)
    )
    return covariance - covariance[:, seen] @ torch.linalg.solve(gram, covariance[seen])
