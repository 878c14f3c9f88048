"""Views: random joint normals of runs and the optimum, and how the textbook conditions them."""

import numpy as np

from horizon_bo.core.linearized import LinearGaussian


def view_from(seed: int, runs: int, sets: int = 2) -> LinearGaussian:
    """A random joint normal."""
    generator = np.random.default_rng(seed)
    root = generator.standard_normal((sets, 1 + runs, 2 + runs))
    noise = 0.1 + generator.random((sets, runs))
    curvature = 0.5 + generator.random(sets)
    return LinearGaussian(root @ root.mT, noise, curvature)


def conditioned(covariance: np.ndarray, noise: dict[int, float]) -> np.ndarray:
    """A normal's covariance given noisy values of some of its variables, by the textbook."""
    seen = list(noise)
    gram = covariance[seen][:, seen] + np.diag(list(noise.values()))
    return covariance - covariance[:, seen] @ np.linalg.solve(gram, covariance[seen])
