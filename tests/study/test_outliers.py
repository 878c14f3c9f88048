"""Outliers: a loss far from all others is asked about at once, and recorded all the same."""

import pytest

from horizon_bo.study.outliers import far_apart
from tests.studies import logged, small_tuner


def tuner_with(*losses: float):
    tuner = small_tuner()
    for loss in losses:
        tuner.observe(logged(loss=loss))
    return tuner


@pytest.mark.parametrize("loss", [48_291_600.0, 31.0, 0.31])
def test_a_loss_far_from_all_others_is_recorded_and_asked_about_at_once(loss):
    tuner = tuner_with(3.1, 3.2, 3.4)
    (said,) = tuner.observe(logged(loss=loss))
    assert said.startswith(f"loss of trial 3 is {loss:g}, where all others are 3.1 to 3.4: ")
    assert tuner.study.trials[3].loss == loss


def test_the_number_of_a_job_is_asked_about_even_where_it_comes_first():
    (said,) = tuner_with().observe(logged(loss=48_291_600.0))
    assert said.startswith("loss of trial 0 is 4.82916e+07: recorded; is it the final loss")


@pytest.mark.parametrize(("losses", "loss"), [((3.1, 3.2, 3.4), 4.9), ((3.1,), 7.0), ((), 11.2)])
def test_an_ordinary_loss_and_the_first_one_are_not_asked_about(losses, loss):
    assert tuner_with(*losses).observe(logged(loss=loss)) == ()


@pytest.mark.parametrize(
    ("losses", "bounds"),
    [
        ((3.1, 3.2, 3.4, 31.0, 33.0), (3.1, 3.4)),
        ((0.31, 3.1, 3.2, 3.4, 4.9), (3.1, 4.9)),
        ((3.1, 7.0), (3.1, 7.0)),
        ((3.1, 3.2, 48_291_600.0), (3.1, 3.2)),
        ((2.0,), (2.0, 2.0)),
    ],
)
def test_losses_beyond_a_gap_are_far_from_the_others(losses, bounds):
    assert far_apart(losses) == far_apart(losses[::-1]) == bounds


def test_a_loss_of_a_table_far_from_all_others_is_asked_about_at_once():
    remarks = small_tuner().import_runs([logged(loss=loss) for loss in (3.1, 3.2, 3.4, 3.0, 33.1)])
    (said,) = (line for line in remarks if line.startswith("loss of 1 of 5 rows"))
    assert "which are 3 to 3.4, first row 4 with 33.1: taken as it is" in said
