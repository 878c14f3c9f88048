"""Many processes on one study: all are served, nothing is lost, nothing is counted twice."""

from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from horizon_bo.errors import StorageError
from horizon_bo.store.asks import Ask, entered
from horizon_bo.store.database import PATIENCE_S, Database
from horizon_bo.store.opening import study_store
from horizon_bo.store.suggesting import suggested, working_out
from horizon_bo.tuner import HorizonTuner
from tests.quick import quick_inference, together
from tests.studies import TARGET, logged, small_tuner

pytestmark = pytest.mark.alone
#: Inference takes this long where a test is about waiting for it, in seconds.
THINKING_S = 0.6


def many_writers(address: str, folder: Path, count: int, rounds: int) -> None:
    small_tuner(study=address, budget=1e4 * TARGET.flops)

    def work(number: int) -> list:
        tuner, told = HorizonTuner.open(address), []
        for step in range(rounds):
            run, loss = tuner.suggest(), 3 + number / 100 + step / 10_000
            tuner.observe(run, loss=loss)
            told.append((run.id, loss))
        return told

    told = [entry for entries in together(folder, count, work) for entry in entries]
    trials = HorizonTuner.open(address).study.trials
    assert dict(told) == {trial.id: trial.loss for trial in trials}
    assert len(told) == count * rounds
    places = Counter((trial.learning_rate, trial.params, trial.tokens) for trial in trials)
    assert max(places.values()) == 1


def test_eight_writers_are_served_and_no_two_make_the_same_run(address, tmp_path, monkeypatch):
    quick_inference(monkeypatch, 0.05)
    many_writers(address, tmp_path, 8, 2)


@pytest.mark.slow
def test_64_writers_are_served_and_no_two_make_the_same_run(address, tmp_path, monkeypatch):
    quick_inference(monkeypatch, 0.05)
    many_writers(address, tmp_path, 64, 5)


@pytest.mark.slow  # how long they wait is measured by benchmarks.measurements.store
def test_64_workers_that_ask_at_once_each_get_a_run_of_their_own(address, tmp_path, monkeypatch):
    quick_inference(monkeypatch, THINKING_S)
    small_tuner(study=address, budget=1e4 * TARGET.flops)

    given = together(tmp_path, 64, lambda _: HorizonTuner.open(address).suggest().id)
    assert sorted(given) == list(range(64))


def test_observers_of_runs_nobody_suggested_lose_nothing(address, tmp_path):
    small_tuner(study=address, budget=1e4 * TARGET.flops)

    def work(number: int) -> list:
        tuner, losses = HorizonTuner.open(address), []
        for step in range(5):
            losses.append(1 + number + step / 1000)
            tuner.observe(logged(loss=losses[-1]))
        return losses

    told = [loss for losses in together(tmp_path, 8, work) for loss in losses]
    recorded = [trial.loss for trial in HorizonTuner.open(address).study.trials]
    assert sorted(recorded) == sorted(told)
    assert len(told) == 40


def test_what_was_recorded_but_not_acknowledged_is_not_recorded_again(address, monkeypatch):
    quick_inference(monkeypatch)
    tuner, write = small_tuner(study=address), Database.write

    def twice(self: Database, work, patience_s: float = PATIENCE_S):
        write(self, work, patience_s)  # the server went away before it could say so
        return write(self, work, patience_s)

    monkeypatch.setattr(Database, "write", twice)
    for run in [tuner.suggest(), *tuner.suggest(2)]:
        tuner.observe(run, loss=3.0 + run.id)
    tuner.observe(logged(loss=2.0))
    trials = HorizonTuner.open(address).study.trials
    assert [trial.loss for trial in trials] == [3.0, 4.0, 5.0, 2.0]


def test_an_answer_that_came_while_somebody_entered_again_is_taken(address, monkeypatch):
    quick_inference(monkeypatch)
    small_tuner(study=address)
    store, first, second = study_store(address), Ask(), Ask()
    known, work_out = store.read(), working_out(first, lambda study: None)
    _, elected = store.database.note(partial(entered, store, known, first))
    _, waits = store.database.note(partial(entered, store, known, second))
    assert (elected, waits) == (1, None)
    known, answer = suggested(store, known, first, work_out)  # for both
    assert suggested(store, known, second, work_out)[1].runs == (1,) != answer.runs
    assert len(store.read().study.trials) == 2


def test_workers_opened_before_a_run_was_suggested_may_report_it(address):
    controller = small_tuner(study=address)
    workers = [HorizonTuner.open(address) for _ in range(3)]
    for worker, run in zip(workers, controller.suggest(3), strict=True):
        assert worker.observe(run, loss=3.0 + run.id / 100) == ()
    recorded = [trial.loss for trial in HorizonTuner.open(address).study.trials]
    assert recorded == [3.0, 3.01, 3.02]


def test_an_outcome_never_lands_in_a_study_that_took_its_files_place(tmp_path):
    old = small_tuner(study=tmp_path / "runs.db", prior_center=3e-4)
    run = old.suggest()
    for file in tmp_path.iterdir():
        file.unlink()
    new = small_tuner(study=tmp_path / "runs.db", prior_center=6e-3)
    new.suggest()
    with pytest.raises(StorageError, match="no longer holds the study that was opened") as caught:
        old.observe(run, loss=3.3)
    assert "\n" not in str(caught.value)
    assert new.observe(0, loss=2.9) == ()
    assert HorizonTuner.open(tmp_path / "runs.db").study.trials[0].loss == 2.9
