"""A mistake that was mended leaves no trace but in the history."""

import math
from dataclasses import replace

import numpy as np
import pytest

from horizon_bo import Study
from horizon_bo.core.inference import believe
from horizon_bo.errors import BudgetExhaustedError, InvalidTrialError, UnknownTrialError
from horizon_bo.study import changes
from horizon_bo.study.corrections import correct, enqueue, forget, withdraw
from horizon_bo.study.imports import reconciled
from horizon_bo.study.records import trial_from, trial_record
from tests.studies import logged, pending_trial, small_study

LOSSES = (3.2, 3.1, 3.15)
RATES = (1e-3, 2e-3, 4e-3)


def ended(*losses: float) -> Study:
    """A study whose runs ended so."""
    runs = [logged(learning_rate=lr, loss=loss) for lr, loss in zip(RATES, losses, strict=False)]
    return changes.import_runs(small_study(), runs)


def with_pending() -> Study:
    return ended(*LOSSES).with_trials(pending_trial(3))


def test_a_mistyped_loss_that_was_corrected_is_believed_bit_for_bit_as_if_it_had_been_right():
    right, wrong = ended(*LOSSES), ended(3.2, 31.0, 3.15)
    mended = correct(wrong, 1, loss=3.1, reason="typo")
    assert mended.informing == right.informing
    first, second = believe(right).target, believe(mended).target
    assert np.array_equal(first.log_optimum, second.log_optimum)
    assert np.array_equal(first.level, second.level)


def test_a_forgotten_run_is_believed_bit_for_bit_as_if_it_had_never_been():
    without = ended(*LOSSES[:2])
    forgotten = forget(ended(*LOSSES), [2])
    assert forgotten.informing == without.informing
    first, second = believe(without).target, believe(forgotten).target
    assert np.array_equal(first.log_optimum, second.log_optimum)


def test_the_old_value_and_the_reason_stay_in_the_history_and_on_disk():
    mended = correct(correct(ended(*LOSSES), 1, loss=3.3, reason="typo"), 1, diverged=True)
    trial = trial_from(trial_record(mended.trials[1]))
    assert [change.reason for change in trial.changes] == ["typo", None]
    assert [before.loss for before in trial.earlier] == [3.3, 3.1]
    assert trial.changes == mended.trials[1].changes


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ({"loss": 3.0}, "completed"),
        ({"loss": math.nan}, "diverged"),
        ({"diverged": True}, "diverged"),
        ({"failed": True}, "failed"),
    ],
)
def test_any_ending_can_be_corrected_into_any_other(outcome, status):
    study = ended(*LOSSES)
    for before in ({"diverged": True}, {"failed": True}, {"loss": 2.9}):
        changed = correct(correct(study, 0, **before), 0, **outcome)
        assert changed.trials[0].status == status
        assert changed.trials[0].loss == (3.0 if status == "completed" else None)


def test_what_a_run_took_can_be_corrected_alone():
    mended = correct(ended(*LOSSES), 0, flops=5e17)
    assert (mended.trials[0].flops, mended.trials[0].loss) == (5e17, 3.2)


def test_a_correction_that_says_the_same_changes_nothing():
    study = ended(*LOSSES)
    assert correct(study, 1, loss=3.1).trials[1] is study.trials[1]


def test_what_was_withdrawn_counts_again_once_it_is_corrected():
    study = changes.observe(small_study(), logged()).with_trials(pending_trial(1))
    taken = withdraw(study, 1)
    assert taken.spent == study.trials[0].flops
    again = correct(taken, 1, loss=3.0)
    assert again.spent == study.spent
    assert again.trials[1].state == "completed"


def test_a_forgotten_run_stays_charged_unless_it_is_refunded():
    study = changes.observe(changes.observe(small_study(), logged()), logged(loss=3.3))
    assert forget(study, [0]).spent == study.spent
    refunded = forget(study, [0], refund=True)
    assert refunded.spent == study.trials[1].flops
    assert refunded.trials[0].state == "forgotten"
    assert correct(refunded, 0, loss=3.1).spent == study.spent


def test_a_run_that_will_not_be_made_costs_nothing():
    study = with_pending()
    taken = withdraw(study, 3, reason="the machine is gone")
    assert (taken.spent, study.spent) == (0.0, study.trials[3].flops)
    assert taken.trials[3].state == "withdrawn"
    assert taken.informing == study.informing


@pytest.mark.parametrize("trial_id", [-1, 7, "1", True])
def test_a_trial_that_does_not_exist_is_named_and_nothing_is_lost(trial_id):
    for change in (
        lambda: correct(with_pending(), trial_id, loss=3.0),
        lambda: forget(with_pending(), [trial_id]),
        lambda: withdraw(with_pending(), trial_id),
    ):
        with pytest.raises(UnknownTrialError, match="expected one of 0 to 3"):
            change()


def test_a_pending_trial_is_not_corrected_and_an_ended_one_not_withdrawn():
    with pytest.raises(UnknownTrialError, match="pending, expected one that has ended"):
        correct(with_pending(), 3, loss=3.0)
    with pytest.raises(UnknownTrialError, match="withdraw"):
        forget(with_pending(), [3])
    with pytest.raises(UnknownTrialError, match="completed, expected a pending one"):
        withdraw(with_pending(), 0)


@pytest.mark.parametrize(
    "outcome", [{}, {"loss": 3.0, "diverged": True}, {"loss": -1.0}, {"flops": 0.0}]
)
def test_an_outcome_that_is_none_or_two_is_no_correction(outcome):
    with pytest.raises(InvalidTrialError, match="expected"):
        correct(ended(*LOSSES), 0, **outcome)


def test_a_study_whose_runs_would_all_be_forgotten_says_so():
    with pytest.raises(InvalidTrialError, match="expected one to remain"):
        forget(ended(*LOSSES), [0, 1, 2])


def test_a_corrected_run_is_not_undone_when_its_table_is_imported_again():
    runs = [logged(learning_rate=1e-3), logged(loss=31.0), logged(learning_rate=4e-3)]
    study = reconciled(small_study(), runs).study
    mended = forget(correct(study, 1, loss=3.1, reason="typo"), [2], reason="wrong data")
    again = reconciled(mended, [*runs, logged(learning_rate=8e-3)])
    assert again.known == 3
    assert [t.loss for t in again.study.informing] == [3.1, 3.1, 3.1]
    assert "trial 1 before it was corrected" in again.remarks[0]


def test_an_outcome_that_was_corrected_since_may_be_reported_again_without_news():
    study = changes.observe(with_pending(), 3, loss=31.0)
    mended = correct(study, 3, loss=3.1)
    assert changes.observe(mended, 3, loss=31.0) is mended
    with pytest.raises(UnknownTrialError, match="correct it"):
        changes.observe(mended, 3, loss=2.0)


def test_a_run_that_is_asked_for_has_the_settings_of_its_scale():
    study = enqueue(small_study(), learning_rate=1e-3, params=6e7, tokens=1e9)
    (trial,) = study.trials
    assert (trial.state, trial.settings, trial.batch_tokens) == ("queued", {"width": 512}, 262_144)
    other = enqueue(small_study(), learning_rate=1e-3, params=7e7, tokens=1e9, settings={"a": 1})
    assert other.trials[0].settings == {"a": 1}


def test_a_run_that_does_not_fit_into_the_budget_is_not_queued():
    study = replace(small_study(), budget=1e17)
    with pytest.raises(BudgetExhaustedError, match="extend the budget"):
        enqueue(study, learning_rate=1e-3, params=6e7, tokens=1e9)
    with pytest.raises(InvalidTrialError, match="learning_rate"):
        enqueue(small_study(), learning_rate=-1.0, params=6e7, tokens=1e9)
