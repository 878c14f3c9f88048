"""Run loop: real training processes, in every order and with every end, one study each."""

import errno
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from horizon_bo import Suggestion
from horizon_bo.errors import (
    InvalidObjectiveError,
    InvalidSpaceError,
    StorageError,
    StudyBusyError,
    TrainingFailedError,
)
from horizon_bo.runs.folder import locked
from horizon_bo.runs.jobs import RunEvent, WatchedState
from horizon_bo.study.branches import suggestion
from horizon_bo.tuner import HorizonTuner
from tests.bowl import bowl
from tests.studies import SPACE, TARGET, small_tuner, tuner_with_pending

SCRIPT = Path(__file__).parents[1] / "training_script.py"
TRAIN = [sys.executable, "-S", str(SCRIPT), "--lr", "{learning_rate}", "--params", "{params}"]
TRAIN += ["--tokens", "{tokens}", "--folder", "{folder}"]


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", f"import os, sys, time; {code}", "{learning_rate}"]


def fails_loudly(run: Suggestion) -> float:
    raise ValueError(f"no such layer in run {run.id}")


def silent(state: WatchedState, event: RunEvent | None) -> None:
    """A watch that says nothing."""


def outcome_at(folder: Path) -> dict:
    return json.loads((folder / "outcome.json").read_text())


def test_a_function_and_a_command_give_the_same_study(tmp_path):
    by_function, by_command = small_tuner(), small_tuner()
    report = by_function.run(bowl, folder=tmp_path / "a", max_runs=2, watch=silent)
    by_command.run(TRAIN, folder=tmp_path / "b", max_runs=2, watch=silent)
    assert by_function.study == by_command.study
    assert [trial.status for trial in by_function.study.trials] == ["completed"] * 2
    assert report.observed == (0, 1)
    assert report.reason == "as many runs as asked for were started (2)"
    assert report.recommendation == by_function.recommend()


def test_the_loop_ends_with_the_advice_to_stop_unless_told_to_use_the_budget(tmp_path):
    tuner = small_tuner(regret_tolerance=10.0)
    report = tuner.run(bowl, folder=tmp_path / "a", watch=silent)
    assert report.observed == ()
    assert "the regret is at most 10" in report.reason
    cheapest = 6 * 6e7 * 1e9
    tuner = small_tuner(regret_tolerance=10.0, budget=1.5 * cheapest)
    report = tuner.run(bowl, folder=tmp_path / "b", until_budget=True, watch=silent)
    assert report.observed == (0,)
    assert "of the budget are left" in report.reason


def test_runs_that_somebody_asked_for_are_made_first_whatever_the_advice(tmp_path):
    tuner = small_tuner(regret_tolerance=10.0, study=tmp_path / "runs.db")
    for rate in (1e-3, 4e-3):
        tuner.enqueue(learning_rate=rate, params=6e7, tokens=1e9)
    report = tuner.run(bowl, folder=tmp_path / "runs", watch=silent)
    assert report.observed == (0, 1)
    assert "the regret is at most 10" in report.reason
    study = tuner.study
    assert [t.loss for t in study.trials] == [bowl(suggestion([t], study)) for t in study.trials]


def test_two_slots_really_overlap_and_a_freed_one_is_filled_at_once(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 3)
    folder = tmp_path / "runs"
    # the first two end once both have begun
    code = (
        "import time, json; began = time.time(); at = '{folder}/../began'; open(at + '{id}', 'w'); "
        "exec('while {id} < 2 and not os.path.exists(at + str(1 - {id})) "
        "and time.time() < began + 60: time.sleep(0.01)'); print(json.dumps(dict(loss=3.0)), "
        "file=open('{folder}/result.json', 'w')); "
        "print(json.dumps(dict(began_s=began, ended_s=time.time())))"
    )
    tuner.run(python(code), folder=folder, parallel=2, max_runs=3, watch=silent)
    times = [json.loads((folder / str(k) / "stdout.log").read_text()) for k in range(3)]
    assert times[1]["began_s"] < times[0]["ended_s"]
    assert times[0]["began_s"] < times[1]["ended_s"]
    assert times[2]["began_s"] >= min(times[0]["ended_s"], times[1]["ended_s"])
    assert {trial.status for trial in tuner.study.trials} == {"completed"}


def test_a_function_runs_in_processes_of_its_own_when_runs_are_parallel(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 2)
    tuner.run(bowl, folder=tmp_path / "runs", parallel=2, max_runs=2, watch=silent)
    study = tuner.study
    assert [t.loss for t in study.trials] == [bowl(suggestion([t], study)) for t in study.trials]


def test_an_exception_of_a_function_fails_the_run_and_is_in_its_log(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    tuner.run(fails_loudly, folder=tmp_path / "runs", max_runs=1, watch=silent)
    assert tuner.study.trials[0].status == "failed"
    log = (tmp_path / "runs" / "0" / "stderr.log").read_text()
    assert log.startswith("Traceback")
    assert log.endswith("ValueError: no such layer in run 0\n")
    assert outcome_at(tmp_path / "runs" / "0")["detail"].endswith("no such layer in run 0")


def test_what_may_pass_by_itself_is_tried_again_in_the_same_folder(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    code = "f = '{folder}/tried'; n = os.path.exists(f); open(f, 'w'); n or os.kill(os.getpid(), 9)"
    tuner.run(python(f"{code}; print(3.5)"), folder=tmp_path / "runs", max_runs=1, watch=silent)
    assert tuner.study.trials[0].loss == 3.5


@pytest.mark.parametrize(
    ("code", "cause", "attempts"),
    [("sys.exit(3)", "exit code", 1), ("time.sleep(9)", "timed out", 2)],
)
def test_a_run_fails_after_its_last_attempt(tmp_path, code, cause, attempts):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    tuner.run(python(code), folder=tmp_path, max_runs=1, retries=1, timeout_s=0.5, watch=silent)
    assert tuner.study.trials[0].status == "failed"
    assert outcome_at(tmp_path / "0")["cause"] == cause
    assert json.loads((tmp_path / "0" / "run.json").read_text())["attempt"] == attempts


def test_three_failures_in_a_row_end_the_loop_with_the_last_error_and_its_folder(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 5)
    command = python("sys.exit('no data' if {id} != 0 else 0)")
    with pytest.raises(TrainingFailedError) as caught:
        tuner.run(command, folder=tmp_path, watch=silent)
    assert str(caught.value) == (
        f"3 runs in a row failed, the last in {tmp_path / '2'} by exit code (exit code 1: "
        "no data), expected a command that trains; mend it and run again"
    )
    statuses = [trial.status for trial in tuner.study.trials]
    assert statuses == ["failed"] * 3 + ["pending"] * 2
    assert HorizonTuner.open(tmp_path / "runs.db").study == tuner.study


def test_a_scale_that_does_not_fit_ends_the_loop_and_can_be_left_out(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 4)
    command = python("sys.exit('CUDA out of memory' if {params} == 60000000 else print(3.5))")
    with pytest.raises(TrainingFailedError, match=r"2 runs of 6e\+07 .*\(--without 6e\+07\)"):
        tuner.run(command, folder=tmp_path / "runs", retries=0, watch=silent)
    assert [trial.status for trial in tuner.study.trials] == ["failed"] * 2 + ["pending"] * 2
    tuner.run(command, folder=tmp_path / "runs", without=[6e7], max_runs=1, watch=silent)
    assert [trial.params for trial in tuner.study.trials] == [6e7] * 4 + [1.2e8]
    assert [trial.status for trial in tuner.study.trials[2:4]] == ["pending"] * 2
    with pytest.raises(InvalidSpaceError, match="the scales to leave out are"):
        tuner.suggest(without=[7e7])


def test_a_slot_whose_gpu_is_gone_is_given_up_as_long_as_there_is_another(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 4)
    gone = "os.environ['CUDA_VISIBLE_DEVICES'] == '1' and sys.exit('GPU is lost')"
    folder = tmp_path / "runs"
    started: list[str] = []

    def watch(state: WatchedState, event: RunEvent | None) -> None:
        if event is not None and event.kind == "started":
            started.append(event.line)

    tuner.run(
        python(f"{gone}; time.sleep(0.3); print(3.5)"),
        folder=folder,
        parallel=2,
        gpus=[0, 1],
        max_runs=4,
        watch=watch,
    )
    assert {trial.status for trial in tuner.study.trials} == {"completed"}
    assert sum("GPU 1" in line for line in started) == 1


def test_a_command_that_is_not_found_starts_nothing(tmp_path):
    tuner = small_tuner(study=tmp_path / "runs.db")
    with pytest.raises(InvalidObjectiveError, match="'trian' is not found"):
        tuner.run("trian --lr {learning_rate}", folder=tmp_path / "runs")
    assert tuner.study.trials == ()
    assert not (tmp_path / "runs").exists()


def test_what_finished_before_a_crash_is_observed_without_running_it_again(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 2)
    folder = tmp_path / "runs"

    class CrashError(Exception):
        """The loop dies between the end of run 0 and its being observed."""

    def crash(*_, **__) -> None:
        raise CrashError

    tuner.observe = crash  # type: ignore[method-assign]
    with pytest.raises(CrashError):
        tuner.run(python("print(3.5)"), folder=folder, watch=silent)
    tuner = HorizonTuner.open(tmp_path / "runs.db")
    assert tuner.study.trials[0].status == "pending"
    tuner.run(python("print(3.6)"), folder=folder, max_runs=1, watch=silent)
    assert [trial.loss for trial in tuner.study.trials] == [3.5, 3.6]
    tuner.run(python("print(3.7)"), folder=folder, max_runs=1, watch=silent)
    assert [trial.loss for trial in tuner.study.trials] == [3.5, 3.6, 3.7]


def test_readings_are_recorded_once_at_no_cost_even_after_a_crash_between(tmp_path):
    space = replace(SPACE, averagings=("none", "lawa"))
    tuner = small_tuner(study=tmp_path / "runs.db", space=space)

    def train(run: Suggestion) -> dict:
        other = "lawa" if run.averaging == "none" else "none"
        reading = {"tokens": run.tokens, "schedule": run.schedule, "averaging": other, "loss": 3.1}
        return {"loss": 3.0, "readings": [reading]}

    recorded = tuner.import_runs
    tuner.import_runs = lambda *_, **__: ()  # type: ignore[method-assign]  # dies before it
    tuner.run(train, folder=tmp_path / "runs", max_runs=1, watch=silent)
    tuner.import_runs = recorded  # type: ignore[method-assign]
    assert len(tuner.study.trials) == 1
    tuner.run(train, folder=tmp_path / "runs", max_runs=1, watch=silent)
    first, reading, second, other = tuner.study.trials
    assert {first.averaging, reading.averaging} == {second.averaging, other.averaging}
    assert (reading.loss, other.loss) == (3.1, 3.1)
    assert reading.tokens == first.tokens
    assert tuner.study.spent == first.flops + second.flops


def test_measured_compute_is_charged_and_the_folder_still_known_as_the_runs(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 2)
    for spent in (1e15 + 6 * 6e7 * 1e9, 2e15):
        tuner.run(lambda _: {"loss": 3.0, "flops": 1e15}, folder=tmp_path, max_runs=1, watch=silent)
        assert tuner.study.spent == spent


def test_the_target_is_not_held_to_the_time_of_small_runs(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    report = tuner.run(
        python("{params} > 1e8 and time.sleep(1); print(3.5)"),
        folder=tmp_path / "runs",
        timeout_s=0.7,
        max_runs=1,
        train_target=True,
        watch=silent,
    )
    assert report.target is not None
    assert report.target.outcome.loss == 3.5


def test_an_unfinished_target_at_another_rate_is_not_gone_on_with(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    folder = tmp_path / "runs"
    failing = python("sys.exit({params} > 1e8 or print(3.5))")
    report = tuner.run(failing, folder=folder, max_runs=1, train_target=True, watch=silent)
    assert report.target is not None
    assert report.target.outcome.status == "failed"
    with pytest.raises(InvalidObjectiveError, match="an unfinished target at learning rate"):
        tuner.run(failing, folder=folder, max_runs=1, train_target=True, watch=silent)


def test_a_full_disk_is_said_and_the_run_stays_pending(tmp_path, monkeypatch):
    tuner = tuner_with_pending(tmp_path / "runs.db")

    def full(*_, **__) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("horizon_bo.runs.folder.os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        tuner.run(python("print(3.5)"), folder=tmp_path / "runs", watch=silent)
    assert HorizonTuner.open(tmp_path / "runs.db").study.trials[0].status == "pending"
    monkeypatch.undo()
    tuner.run(python("print(3.5)"), folder=tmp_path / "runs", max_runs=1, watch=silent)
    assert tuner.study.trials[0].loss == 3.5


def test_a_second_loop_on_one_folder_is_refused(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    with (
        locked(tmp_path / "runs"),
        pytest.raises(StudyBusyError, match="is held by another loop"),
    ):
        tuner.run(bowl, folder=tmp_path / "runs", watch=silent)
    assert tuner.study.trials[0].status == "pending"


def test_the_folder_of_another_study_is_refused(tmp_path):
    tuner_with_pending(tmp_path / "a.db").run(bowl, folder=tmp_path, max_runs=1, watch=silent)
    other = small_tuner(seed=7)
    other.suggest()
    with pytest.raises(InvalidObjectiveError, match="belongs to another study"):
        other.run(bowl, folder=tmp_path, max_runs=1, watch=silent)
    assert other.study.trials[0].status == "pending"


def test_a_run_observed_by_hand_meanwhile_keeps_that_outcome(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db")

    def train(_: Suggestion) -> float:
        HorizonTuner.open(tmp_path / "runs.db").observe(0, loss=3.0)
        return 3.5

    lines: list[str] = []
    tuner.run(
        train,
        folder=tmp_path / "runs",
        max_runs=1,
        watch=lambda _, event: lines.append(event.line) if event else None,
    )
    assert tuner.study.trials[0].loss == 3.0
    assert "not recorded: trial 0 is already completed" in lines[-1]


def test_the_target_is_trained_once_and_is_no_part_of_the_study(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db")
    calls: list[Suggestion] = []

    def train(run: Suggestion) -> float:
        calls.append(run)
        return bowl(run)

    again = {"folder": tmp_path / "runs", "train_target": True, "watch": silent}
    again |= {"target_settings": {"width": 4096}}
    report = tuner.run(train, max_runs=1, **again)
    assert [run.params for run in calls] == [6e7, TARGET.params]
    target = calls[-1]
    assert (target.params, target.tokens) == (TARGET.params, TARGET.tokens)
    assert target.scale.settings == {"width": 4096}
    assert target.learning_rate == report.recommendation.learning_rate
    assert report.target is not None
    assert report.target.outcome.loss == bowl(target)
    assert len(tuner.study.trials) == 1
    assert tuner.study.spent == tuner.study.trials[0].flops
    assert outcome_at(tmp_path / "runs" / "target")["loss"] == bowl(target)
    tuner.run(train, max_runs=1, **again)
    assert [run.params for run in calls[2:]] == [tuner.study.trials[1].params]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"parallel": 0}, "parallel is 0"),
        ({"retries": -1}, "retries is -1"),
        ({"max_runs": 0}, "max_runs is 0"),
        ({"timeout_s": 0.0}, "timeout_s is 0.0"),
        ({"gpus": "0,1"}, "gpus holds ','"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(tmp_path, changes, named):
    with pytest.raises(InvalidObjectiveError, match=named):
        small_tuner().run(bowl, folder=tmp_path, **changes)
