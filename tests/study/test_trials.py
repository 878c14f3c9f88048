"""Trials: runs are checked once where they enter, and a study keeps its own books."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo import Horizon
from horizon_bo.errors import InvalidTrialError, UnknownTrialError
from horizon_bo.study.trials import log_inputs
from tests.studies import TARGET, logged, pending_trial, small_study

IMPOSSIBLE = [0, -1.0, math.nan, math.inf, "3e-4", True]
positive = st.floats(1e-6, 1e12)


@pytest.mark.parametrize("value", [*IMPOSSIBLE, None])
@pytest.mark.parametrize("name", ["learning_rate", "params", "tokens", "flops"])
def test_a_trial_that_cannot_be_is_refused_by_name(name, value):
    with pytest.raises(InvalidTrialError, match=f"^{name} of trial 3 is ") as caught:
        replace(pending_trial(3), **{name: value})
    assert repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", IMPOSSIBLE)
@pytest.mark.parametrize("name", ["batch_tokens", "loss_sd"])
def test_an_optional_figure_that_cannot_be_is_refused_by_name(name, value):
    with pytest.raises(InvalidTrialError, match=f"^{name} of trial 0 is "):
        replace(pending_trial(), **{name: value})


@pytest.mark.parametrize("loss", [0, -2.0, "2.9", True])
def test_a_loss_that_is_not_positive_is_refused(loss):
    with pytest.raises(InvalidTrialError, match=r"^loss of trial 0 is ") as caught:
        pending_trial().completed(loss)
    assert "record" in str(caught.value)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_means_diverged(loss):
    assert pending_trial().completed(loss).status == "diverged"
    assert pending_trial().completed(loss).loss is None


@pytest.mark.parametrize("status", ["pending", "diverged", "failed"])
def test_only_completed_trials_have_a_loss(status):
    with pytest.raises(InvalidTrialError, match="exactly for completed trials"):
        replace(pending_trial().completed(2.9), status=status)
    with pytest.raises(InvalidTrialError, match="expected one of"):
        replace(pending_trial(), status="done")


@given(positive, positive, positive, positive)
def test_only_ratios_to_the_target_and_logs_enter_the_core(rate, params, tokens, batch):
    trial = replace(
        pending_trial(), learning_rate=rate, params=params, tokens=tokens, batch_tokens=batch
    )
    log_lr, n, d, b = log_inputs(trial, TARGET)
    assert math.exp(log_lr) == pytest.approx(rate, rel=1e-12)
    assert math.exp(n) == pytest.approx(params / 1e9, rel=1e-12)
    assert math.exp(d) == pytest.approx(tokens / 2e10, rel=1e-12)
    assert math.exp(b) == pytest.approx(batch / 262_144, rel=1e-12)


def test_an_unknown_batch_counts_as_the_targets():
    without = replace(pending_trial(), batch_tokens=None)
    assert log_inputs(without, TARGET)[3] == 0.0
    bare = Horizon(params=1e9, tokens=2e10)
    assert log_inputs(replace(pending_trial(), batch_tokens=1.0), bare)[3] == 0.0


def test_the_budget_is_charged_for_pending_diverged_and_failed_runs_alike():
    study = small_study()
    cost = pending_trial().flops
    trials = [
        pending_trial(0),
        replace(pending_trial(1), status="diverged"),
        replace(pending_trial(2), status="failed"),
        replace(pending_trial(3), charged=False),
    ]
    filled = study.with_trials(*trials)
    assert filled.spent == 3 * cost
    assert filled.remaining == study.budget - 3 * cost
    assert replace(filled, budget=cost).remaining == 0.0


@pytest.mark.parametrize("trial_id", [-1, 1, "0", 0.5, None])
def test_an_unknown_id_is_answered_with_the_known_ones(trial_id):
    study = small_study().with_trials(pending_trial(0))
    with pytest.raises(UnknownTrialError, match=r"pending ids \[0\]"):
        study.pending(trial_id)


def test_an_outcome_is_recorded_once():
    study = small_study().with_trials(pending_trial(0), pending_trial(1))
    done = study.with_outcome(study.pending(0).completed(2.9))
    assert [trial.status for trial in done.trials] == ["completed", "pending"]
    assert done.pending(1) == study.trials[1]
    with pytest.raises(UnknownTrialError, match="already completed"):
        done.pending(0)


@pytest.mark.parametrize(
    ("changes", "recipe"),
    [
        ({}, None),
        ({"source": "old"}, "old"),
        ({"schedule": "wsd"}, "wsd"),
        ({"averaging": "lawa"}, "lawa"),
        ({"optimizer": "Muon"}, "study · Muon"),
        ({"optimizer": "AdamW"}, None),
        ({"optimizer": "adamw_torch_fused"}, None),
        ({"source": "old", "averaging": "lawa"}, "old · lawa"),
    ],
)
def test_another_source_optimizer_schedule_or_averaging_is_another_recipe(changes, recipe):
    study = small_study()
    trial = study.trial_from(logged(**changes), trial_id=0, charged=False)
    assert study.recipe(trial) == recipe


def test_a_logged_run_takes_from_the_target_what_it_leaves_out():
    trial = small_study().trial_from(logged(), trial_id=0, charged=False)
    assert trial.batch_tokens == TARGET.batch_tokens
    assert trial.schedule == TARGET.schedule
    assert trial.flops == 6 * trial.params * trial.tokens


def test_a_logged_run_needs_a_loss_or_a_divergence():
    study = small_study()
    with pytest.raises(InvalidTrialError, match="loss of row 7 is missing"):
        study.trial_from(logged(loss=None), trial_id=0, charged=False, row=7)
    blown = study.trial_from(logged(loss=None, diverged=True), trial_id=0, charged=False)
    assert blown.status == "diverged"
