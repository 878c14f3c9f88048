"""Corrections, extensions and queued runs go through the store as every other event."""

import json
import sqlite3
from dataclasses import replace

import pandas as pd
import pytest

from horizon_bo.errors import InvalidTrialError, StudyExistsError, UnknownTrialError
from horizon_bo.study.extension import extended
from horizon_bo.tuner import HorizonTuner
from tests.bowl import bowl
from tests.quick import quick_inference
from tests.studies import SPACE, TARGET, logged, small_tuner, tuner_with_pending

WANTED = {"learning_rate": 1e-3, "params": 6e7, "tokens": 1e9}


def kinds(path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [kind for (kind,) in connection.execute("SELECT kind FROM events ORDER BY sequence")]


def test_every_revision_is_an_event_and_the_study_is_read_back_the_same(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 3)
    tuner.observe(0, loss=31.0)
    tuner.observe(1, loss=3.2)
    tuner.correct(0, loss=3.1, reason="typo")
    tuner.forget(1, reason="wrong data")
    tuner.withdraw(2)
    tuner.enqueue(**WANTED)
    tuner.extend(budget=2 * tuner.study.budget, prior_center=1e-3)
    assert kinds(tmp_path / "runs.db")[2:] == [
        *("observed", "observed", "corrected", "forgotten", "withdrawn", "enqueued", "extended")
    ]
    again = HorizonTuner.open(tmp_path / "runs.db")
    assert again.study == tuner.study
    assert [t.changes for t in again.study.trials] == [t.changes for t in tuner.study.trials]
    assert again.study.trials[3].state == "queued"
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        rows = connection.execute("SELECT payload FROM events WHERE kind = 'corrected'").fetchall()
    (change,) = json.loads(rows[0][0])["trials"][0]["changes"]
    assert (change["before"], change["reason"]) == ({"loss": 31.0}, "typo")


def test_a_refused_revision_leaves_no_event(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 1)
    tuner.observe(0, loss=3.1)
    before = kinds(tmp_path / "runs.db")
    with pytest.raises(UnknownTrialError):
        tuner.correct(5, loss=3.0)
    with pytest.raises(InvalidTrialError):
        tuner.forget(0)
    tuner.correct(0, loss=3.1)  # says the same
    assert kinds(tmp_path / "runs.db") == before


def test_a_study_that_another_process_writes_to_is_extended_without_loss(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 2)
    other = HorizonTuner.open(tmp_path / "runs.db")
    other.observe(0, loss=3.1)
    tuner.extend(budget=2 * tuner.study.budget)
    other.observe(1, loss=3.2)
    both = HorizonTuner.open(tmp_path / "runs.db").study
    assert [trial.loss for trial in both.trials] == [3.1, 3.2]
    assert both.budget == tuner.study.budget == other.study.budget


def test_a_queued_run_is_handed_out_next_and_once(tmp_path, monkeypatch):
    quick_inference(monkeypatch)
    tuner = small_tuner(study=tmp_path / "runs.db")
    asked = tuner.enqueue(**WANTED)
    other = HorizonTuner.open(tmp_path / "runs.db")
    first, second = other.suggest(2)
    assert first == asked
    assert (first.learning_rate, second.id) == (1e-3, 1)
    assert tuner.suggest().id == 2
    assert {trial.state for trial in tuner.study.trials} == {"pending"}


def test_a_queued_run_in_memory_is_handed_out_next(monkeypatch):
    quick_inference(monkeypatch)
    tuner = small_tuner()
    tuner.enqueue(**WANTED)
    tuner.enqueue(**{**WANTED, "learning_rate": 2e-3})
    assert [run.learning_rate for run in (tuner.suggest(), tuner.suggest())] == [1e-3, 2e-3]
    assert tuner.suggest().id == 2


def test_a_worker_makes_a_queued_run_first_and_leaves_a_withdrawn_one(tmp_path):
    tuner = small_tuner(study=tmp_path / "runs.db")
    for rate in (1e-3, 2e-3, 4e-3):
        tuner.enqueue(**{**WANTED, "learning_rate": rate})
    tuner.withdraw(0)
    report = tuner.work(bowl, folder=tmp_path / "runs", max_runs=1, watch=lambda state, event: None)
    assert report.observed == (1,)
    assert [trial.state for trial in tuner.study.trials] == ["withdrawn", "completed", "queued"]


def test_what_was_worked_out_for_another_question_is_not_handed_out(tmp_path, monkeypatch):
    quick_inference(monkeypatch)
    path = tmp_path / "runs.db"
    tuner, other = small_tuner(study=path), HorizonTuner.open(path)
    narrow = replace(SPACE, learning_rate=(8e-3, 1e-2))

    def meanwhile(study):
        if other.study.space != narrow:
            other.record("extended", lambda held: extended(held, space=narrow))

    monkeypatch.setattr("horizon_bo.tuner.believe", meanwhile)
    assert 8e-3 <= tuner.suggest().learning_rate <= 1e-2


def test_a_notebook_cell_that_starts_a_study_can_be_run_again(tmp_path):
    first = small_tuner(study=tmp_path / "runs.db", exist_ok=True)
    first.observe(logged())
    again = small_tuner(study=tmp_path / "runs.db", exist_ok=True)
    assert again.study == first.study
    with pytest.raises(StudyExistsError, match=r"budget is \S+ there and \S+ given"):
        small_tuner(study=tmp_path / "runs.db", exist_ok=True, budget=1e18)
    with pytest.raises(StudyExistsError):
        small_tuner(study=tmp_path / "runs.db")


def test_another_study_gives_its_runs_with_their_costs_and_states(tmp_path):
    old = tuner_with_pending(tmp_path / "old.db", 4)
    old.observe(0, loss=3.1, flops=5e17)
    old.observe(1, diverged=True)
    old.observe(2, failed=True)
    old.export(str(tmp_path / "old.csv"))
    for source in ("old.db", "old.csv"):
        new = small_tuner()
        said = new.import_runs(str(tmp_path / source))
        carried = [(t.status, t.loss, t.flops) for t in new.study.trials]
        assert carried == [(t.status, t.loss, t.flops) for t in old.study.trials[:3]]
        assert new.study.spent == 0.0
        assert any("left out" in line for line in said)
        new.import_runs(str(tmp_path / source))
        assert len(new.study.trials) == 3


def test_trials_are_a_frame_and_a_tuner_says_what_it_is(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 2)
    tuner.observe(0, loss=31.0)
    tuner.correct(0, loss=3.1, reason="typo")
    frame = tuner.trials
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["state"]) == ["completed", "pending"]
    assert frame["history"][0] == "corrected (typo): loss was 31"
    said = repr(tuner)
    for part in ("runs.db", "2 trials (1 completed, 1 pending)", "target 1B parameters on 20B"):
        assert part in said
    assert "in memory" in repr(small_tuner(target=TARGET))
