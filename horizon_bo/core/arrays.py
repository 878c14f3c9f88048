"""Arrays: which library computes with these, and how are many small matrices factored at once?

The core computes with NumPy, which loads in a tenth of a second. BoTorch differentiates some of its
formulas: those ask `namespace` whose arrays they were given, and use what both libraries have under
one name. Nothing here loads PyTorch; its tensors can only come from somebody who did.
"""

from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

#: An array of NumPy's or of PyTorch's.
Array: TypeAlias = Any


def namespace(array: Array) -> Any:
    """The library of an array."""
    return np if isinstance(array, np.ndarray | float) else import_module("torch")


def lower_solved(
    factor: Float[Array, "*#batch row row"], right: Float[Array, "*#batch row column"]
) -> Float[Array, "*batch row column"]:
    """Solve L x = b for a batch of lower triangular L.

    Row by row for the whole batch, which for small matrices is faster than one after the other.
    """
    xp = namespace(factor)
    if xp is not np:
        return xp.linalg.solve_triangular(factor, right, upper=False)
    return _substituted(factor, right, range(factor.shape[-1]))


def upper_solved(
    factor: Float[np.ndarray, "*#batch row row"], right: Float[np.ndarray, "*#batch row column"]
) -> Float[np.ndarray, "*batch row column"]:
    """Solve Lᵀ x = b for a batch of lower triangular L."""
    return _substituted(factor.mT, right, range(factor.shape[-1] - 1, -1, -1))


def _substituted(triangle: np.ndarray, right: np.ndarray, order: range) -> np.ndarray:
    batch = np.broadcast_shapes(triangle.shape[:-2], right.shape[:-2])
    found = np.empty((*batch, *right.shape[-2:]))
    for row in order:
        known = slice(0, row) if order.step > 0 else slice(row + 1, None)
        told = triangle[..., row, None, known] @ found[..., known, :]
        found[..., row, :] = (right[..., row, :] - told[..., 0, :]) / triangle[..., row, row, None]
    return found


def cholesky_or_nan(
    matrix: Float[np.ndarray, "*batch row row"],
) -> Float[np.ndarray, "*batch row row"]:
    """Cholesky factors, NaN where a matrix has none."""
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        each = matrix.reshape(-1, *matrix.shape[-2:])
        return np.stack([_factor_or_nan(one) for one in each]).reshape(matrix.shape)


def _factor_or_nan(matrix: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return np.full_like(matrix, np.nan)


def diagonal(values: Float[Array, "*batch row"]) -> Float[Array, "*batch row row"]:
    """Matrices with these diagonals and zero elsewhere."""
    xp = namespace(values)
    return xp.where(xp.eye(values.shape[-1], dtype=xp.bool), values[..., None], 0.0)


def with_diagonal(matrix: Float[np.ndarray, "*batch row row"], more: float) -> np.ndarray:
    """The matrices with so much added to their diagonals, in place."""
    np.einsum("...ii->...i", matrix)[...] += more
    return matrix


def softmax(logs: Float[np.ndarray, "*value"]) -> Float[np.ndarray, "*value"]:
    """Weights as the exponentials of these, 1 in all."""
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()
