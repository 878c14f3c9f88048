"""Arrays: triangles are solved and factored, and the normal's tails told, as SciPy does."""

import numpy as np
import scipy.linalg
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import log_ndtr, ndtr

from horizon_bo.core.arrays import (
    cholesky_or_nan,
    diagonal,
    lower_solved,
    upper_solved,
    with_diagonal,
)
from horizon_bo.core.normal import log_probability, probability
from tests.near import close
from tests.strategies import seeds

SIZES = st.integers(1, 12)


def factors(seed: int, batch: tuple[int, ...], size: int) -> np.ndarray:
    """Lower triangular matrices with numbers above the diagonal too, which count for nothing."""
    generator = np.random.default_rng(seed)
    away_from_zero = (1 + generator.random((*batch, size))) * generator.choice([-1, 1], size)
    return generator.uniform(-1, 1, (*batch, size, size)) * (1 - np.eye(size)) + diagonal(
        away_from_zero
    )


@given(seeds, SIZES, st.integers(1, 4), st.sampled_from([(3,), (2, 3), ()]))
def test_triangles_are_solved_one_by_one_as_scipy_does(seed, size, columns, batch):
    factor = factors(seed, batch, size)
    right = np.random.default_rng(seed).standard_normal((*batch, size, columns))
    for solved, transposed in ((lower_solved, 0), (upper_solved, 1)):
        found = solved(factor, right)
        for k in np.ndindex(batch):
            expected = scipy.linalg.solve_triangular(
                factor[k], right[k], lower=True, trans=transposed
            )
            # entries grow to 3¹² where each row adds up those above
            close(found[k], expected, rtol=1e-9, atol=1e-9 * (1 + np.abs(expected).max(initial=0)))


@given(seeds, SIZES)
def test_one_triangle_serves_many_right_sides_and_many_triangles_one(seed, size):
    factor = factors(seed, (3,), size)
    right = np.random.default_rng(seed).standard_normal((3, size, 2))
    for solved in (lower_solved, upper_solved):
        one = solved(factor[0], right)
        each = solved(factor, right[0])
        for k in range(3):
            close(one[k], solved(factor[0], right[k]), rtol=1e-12, atol=0)
            close(each[k], solved(factor[k], right[0]), rtol=1e-12, atol=0)


@given(seeds, SIZES, st.lists(st.booleans(), min_size=6, max_size=6))
def test_a_matrix_without_a_factor_has_nan_and_leaves_the_others_theirs(seed, size, spoilt):
    root = np.random.default_rng(seed).standard_normal((2, 3, size, size + 1))
    matrix = with_diagonal(root @ root.mT, 0.1)
    matrix[np.reshape(spoilt, (2, 3)), -1, -1] *= -1
    found = cholesky_or_nan(matrix)
    for k, bad in zip(np.ndindex(2, 3), spoilt, strict=True):
        if bad:
            assert np.isnan(found[k]).all()
        else:
            close(found[k], scipy.linalg.cholesky(matrix[k], lower=True), rtol=1e-9, atol=1e-9)


def test_diagonals_are_made_and_added_to():
    close(diagonal(np.array([[1.0, 2.0]])), np.array([[[1.0, 0.0], [0.0, 2.0]]]))
    close(with_diagonal(np.ones((2, 2)), 3.0), np.array([[4.0, 1.0], [1.0, 4.0]]))


SCORES = st.lists(st.one_of(st.floats(-1e8, 1e8), st.floats(-45, 15)), min_size=1, max_size=5)


@given(SCORES)
@example([-np.inf, -38.0, -30.0, 0.0, 8.0, 40.0, np.inf])
def test_the_probability_of_a_score_is_scipys(scores):
    # below 1e-300 float64 keeps fewer digits
    close(probability(np.array(scores)), ndtr(scores), rtol=1e-12, atol=1e-300)


@given(SCORES)
@example([-30.0 - 1e-9, -30.0, -30.0 + 1e-9, -1e100, 1e8])
def test_the_log_of_the_probability_of_a_score_is_scipys_far_into_both_tails(scores):
    found = log_probability(np.array(scores))
    # above, Φ is 1 but for its last digit
    close(found, log_ndtr(scores), rtol=1e-12, atol=1.2e-16)


def test_the_log_of_the_probability_is_exact_across_the_switch_to_its_series():
    around = -30.0 + np.array([-1e-9, 0.0, 1e-9])
    close(log_probability(around), log_ndtr(around), rtol=1e-14, atol=0)
    assert (np.diff(log_probability(around)) > 0).all()


def test_many_scores_have_the_log_that_few_have():
    scores = np.linspace(-50, 12, 30_001)
    few = np.concat([log_probability(part) for part in np.array_split(scores, 30)])
    close(log_probability(scores), few, rtol=1e-12, atol=1.2e-16)
