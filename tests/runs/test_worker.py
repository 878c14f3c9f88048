"""Workers: nobody is in charge, and whoever is killed loses nothing and blocks nobody."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Table, literal, select, update

import horizon_bo.tuner as tuner_module
from horizon_bo.errors import (
    InvalidObjectiveError,
    StorageError,
    StudyBusyError,
    StudyFormatError,
    StudyNotFoundError,
    TrainingFailedError,
)
from horizon_bo.runs.folder import kept_in, locked, read_json
from horizon_bo.store.asks import Ask
from horizon_bo.store.claims import Claim, claim_waiting, renew, tell
from horizon_bo.store.events import StudyStore
from horizon_bo.store.opening import study_store
from horizon_bo.store.owners import new_owner
from horizon_bo.store.schema import ASKS, CLAIMS, SUGGESTERS
from horizon_bo.store.status import RunStatus, run_statuses
from horizon_bo.store.suggesting import suggested, working_out
from horizon_bo.study.branches import run_of
from horizon_bo.study.changes import observe
from horizon_bo.study.trials import Suggestion
from horizon_bo.tuner import HorizonTuner
from tests.bowl import bowl
from tests.quick import child, ended, eventually, quick_inference
from tests.studies import TARGET, small_tuner

pytestmark = pytest.mark.waits
#: Trains for a while, keeps a checkpoint in its folder, and prints the loss.
TRAINER = """
import os, pathlib, sys, time
steps = pathlib.Path(sys.argv[1]) / "steps"
for step in range(int(steps.read_text()) if steps.exists() else 0, int(sys.argv[3])):
    steps.with_suffix(".draft").write_text(str(step + 1))
    os.replace(steps.with_suffix(".draft"), steps)  # it may be killed at any moment
    time.sleep(0.02)
print("loss", 3 + float(sys.argv[2]))
"""


def command(steps: int) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", TRAINER, "{folder}", "{learning_rate}", str(steps)]


def worker(path: Path, steps: int = 3, **given: object) -> Callable[[], object]:
    """A worker without opinions on when to stop, silent."""
    plan = {"folder": path.with_suffix(".runs"), "until_budget": True, "max_runs": 2, **given}
    return lambda: HorizonTuner.open(path).work(
        command(steps), watch=lambda state, event: None, **plan
    )


def rows(path: Path, table: Table) -> list:
    return study_store(path).database.read(lambda connection: [*connection.execute(select(table))])


def statuses(store: StudyStore) -> list[RunStatus]:
    return run_statuses(store, store.read().study)


def states(path: Path) -> list[str]:
    return [run.state for run in statuses(study_store(path))]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study with room for hundreds of runs, which are worked out in no time."""
    quick_inference(monkeypatch)
    small_tuner(study=tmp_path / "runs.db", budget=1e3 * TARGET.flops)
    return tmp_path / "runs.db"


def test_one_worker_does_what_the_plain_loop_does_bit_for_bit(tmp_path):
    tuners = [small_tuner(study=tmp_path / name, prior_center=1e-3) for name in ("a.db", "b.db")]
    given = {"watch": lambda state, event: None, "max_runs": 3}
    report = tuners[0].work(bowl, folder=tmp_path / "a", **given)
    tuners[1].run(bowl, folder=tmp_path / "b", **given)
    assert tuners[0].study.trials == tuners[1].study.trials
    assert report.observed == (0, 1, 2)
    for name in ("run.json", "outcome.json"):
        assert (tmp_path / "a" / "2" / name).exists()


def test_a_worker_ends_when_the_study_says_stop(tmp_path):
    tuner = small_tuner(study=tmp_path / "runs.db", budget=1e9)
    report = tuner.work(bowl, folder=tmp_path / "runs", watch=lambda state, event: None)
    assert report.observed == ()
    assert "budget" in report.reason


def test_a_study_in_memory_has_no_workers(tmp_path):
    with pytest.raises(InvalidObjectiveError, match="in memory"):
        small_tuner().work(bowl, folder=tmp_path)


def test_the_run_of_a_killed_worker_is_taken_up_at_once_and_goes_on_in_its_folder(path):
    first = child(worker(path, steps=300))
    steps = path.with_suffix(".runs") / "0" / "steps"
    eventually(lambda: steps.exists() and int(steps.read_text() or 0) > 20)
    os.kill(first, signal.SIGKILL)
    assert ended(first) == -signal.SIGKILL
    assert states(path) == ["lapsed"]
    done = int(steps.read_text())
    assert ended(child(worker(path, steps=done + 1, max_runs=1))) == 0
    (run,) = statuses(study_store(path))
    assert (run.state, run.attempt) == ("completed", 2)


def test_a_worker_that_is_asked_to_end_gives_its_run_back(path):
    for number in (signal.SIGTERM, signal.SIGINT):
        asked = child(worker(path, steps=300))
        eventually(lambda: states(path) == ["running"])
        os.kill(asked, number)
        assert ended(asked) == 0
        assert states(path) == ["waiting"]
    assert ended(child(worker(path, steps=1, max_runs=1, retries=0))) == 0  # none came to nothing
    assert states(path) == ["completed"]


def test_a_function_that_trains_in_the_worker_is_broken_off_when_asked_to_end(path):
    def trains(run: Suggestion) -> float:
        time.sleep(100)
        return 3.0

    def work() -> None:
        given = {"folder": path.with_suffix(".runs"), "until_budget": True}
        HorizonTuner.open(path).work(trains, watch=lambda state, event: None, **given)

    asked = child(work)
    eventually(lambda: states(path) == ["running"])
    time.sleep(0.5)
    os.kill(asked, signal.SIGTERM)
    assert ended(asked) == 0
    assert states(path) == ["waiting"]


def test_workers_that_are_asked_to_end_while_a_run_is_worked_out_end_at_once(path, monkeypatch):
    monkeypatch.setattr(tuner_module, "believe", lambda study: time.sleep(1000))
    workers = [child(worker(path)) for _ in range(2)]  # one works it out, the other waits for it
    eventually(lambda: [bool(row.holder) for row in rows(path, SUGGESTERS)] == [True])
    eventually(lambda: len(rows(path, ASKS)) == 2)
    for process in workers:
        os.kill(process, signal.SIGTERM)
    assert [ended(process) for process in workers] == [0, 0]
    assert rows(path, ASKS) == []
    assert [row.holder for row in rows(path, SUGGESTERS)] == [None]


def test_a_worker_that_is_asked_to_end_while_a_folder_is_held_gives_its_run_back(path, monkeypatch):
    monkeypatch.setattr("horizon_bo.runs.worker._ENDING_S", 1000.0)
    with locked(path.with_suffix(".runs") / "0"):  # as by a process that does not end
        asked = child(worker(path))
        eventually(lambda: states(path) == ["running"])
        time.sleep(0.5)
        os.kill(asked, signal.SIGTERM)
        assert ended(asked) == 0
    assert states(path) == ["waiting"]


def test_a_run_that_no_worker_can_finish_is_withdrawn_and_costs_nothing(path):
    for _ in range(2):
        killed = child(worker(path, steps=300))
        eventually(lambda: "running" in states(path))
        os.kill(killed, signal.SIGKILL)
        ended(killed)
    assert ended(child(worker(path, max_runs=1, retries=1))) == 0
    assert states(path) == ["withdrawn", "completed"]
    study = HorizonTuner.open(path).study
    assert study.spent == study.trials[1].flops


def test_the_first_outcome_of_a_run_counts_and_a_late_one_is_kept_in_the_history(path):
    store = study_store(path)
    asked = child(worker(path, steps=300))
    eventually(lambda: states(path) == ["running"])
    os.kill(asked, signal.SIGTERM)
    ended(asked)
    known, first = claim_waiting(store, store.read(), new_owner(), retries=1)
    assert first is not None
    silence(store)
    known, second = claim_waiting(store, known, new_owner(), retries=1)
    assert second is not None
    assert second.attempt == first.attempt + 1
    told = lambda loss: lambda study: observe(study, 0, loss=loss)  # noqa: E731
    known, counts = tell(store, known, first, "loss 3", told(3.0))  # silent, but nobody was faster
    assert counts
    known, counts = tell(store, known, second, "loss 4", told(4.0))
    assert not counts
    assert known.study.trials[0].loss == 3.0
    assert tell(store, known, second, "loss 4", told(4.0))[0].study.trials == known.study.trials


def test_a_clock_that_jumps_neither_loses_a_run_nor_holds_one_for_ever(path, monkeypatch):
    store, (far, here) = study_store(path), ("node-7/1/42/9/" + 8 * letter for letter in "01")
    known = store.read()
    ask = Ask(claims=True, asker=far)
    known, _ = suggested(store, known, ask, working_out(ask, lambda study: None))
    first = Claim(run=run_of(known.study, 0), attempt=1, lost=0, owner=far)
    jump = lambda seconds: monkeypatch.setattr(  # noqa: E731
        "horizon_bo.store.claims.moment", lambda connection: literal(time.time() + seconds)
    )
    jump(86_400.0)
    known, second = claim_waiting(store, known, here, retries=3)
    assert second is not None
    assert not renew(store, first)  # it is told, and what it made counts all the same
    jump(0.0)
    assert states(path) == ["lapsed"]  # not held until tomorrow
    told = lambda loss: lambda study: observe(study, 0, loss=loss)  # noqa: E731
    assert tell(store, known, first, "loss 3", told(3.0))[1]
    assert not tell(store, known, second, "loss 4", told(4.0))[1]
    assert [run.loss for run in statuses(store)] == [3.0]


def silence(store: StudyStore) -> None:
    """Let all claims lapse, as if their owners were on machines that are off."""
    store.database.write(lambda connection: connection.execute(update(CLAIMS).values(expires=0.0)))


def test_a_command_that_fails_again_and_again_ends_the_worker(path):
    tuner = HorizonTuner.open(path)
    given = {"folder": path.with_suffix(".runs"), "until_budget": True}
    fails = [sys.executable, "-c", "exit(3)", "{learning_rate}"]
    with pytest.raises(TrainingFailedError, match="3 runs in a row failed"):
        tuner.work(fails, watch=lambda state, event: None, **given)
    assert states(path) == ["failed"] * 3


def test_a_killed_command_is_tried_again_by_whoever_is_free(path):
    once = "import os, sys; f = sys.argv[1] + '/was'; "
    once += "os.path.exists(f) and exit(print('loss 3')); open(f, 'w'); os.kill(os.getpid(), 9)"
    given = {"folder": path.with_suffix(".runs"), "until_budget": True, "max_runs": 1}
    HorizonTuner.open(path).work(
        [sys.executable, "-c", once, "{folder}", "{learning_rate}"],
        watch=lambda state, event: None,
        **given,
    )
    (run,) = statuses(study_store(path))
    assert (run.state, run.attempt, run.loss) == ("completed", 2, 3.0)


def test_an_outcome_that_a_killed_worker_had_written_is_reported_by_the_next(path):
    first = child(worker(path, steps=300))
    folder = path.with_suffix(".runs") / "0"
    eventually(lambda: (folder / "steps").exists())
    os.kill(first, signal.SIGKILL)
    ended(first)
    (folder / "result.json").write_text('{"loss": 2.5}')
    assert ended(child(worker(path, steps=300, max_runs=1))) == 0
    assert HorizonTuner.open(path).study.trials[0].loss == 2.5


def test_a_run_loop_does_not_start_beside_workers_and_takes_over_what_they_left(path, monkeypatch):
    tuner = HorizonTuner.open(path)
    given = {"folder": path.with_suffix(".runs"), "until_budget": True, "max_runs": 1}
    working = child(worker(path, steps=300))
    eventually(lambda: states(path) == ["running"])
    with pytest.raises(StudyBusyError, match="1 runs are made by workers"):
        tuner.run(command(1), watch=lambda state, event: None, **given)
    os.kill(working, signal.SIGKILL)
    ended(working)
    monkeypatch.undo()
    tuner.run(command(1), watch=lambda state, event: None, **given)
    assert states(path) == ["completed"]


def kill_workers(path: Path, kills: int, at_once: int) -> None:
    """Kill workers at random moments; each run ends once, and as it was acknowledged."""
    generator = random.Random(0)
    workers = [child(worker(path, max_runs=None, retries=kills)) for _ in range(at_once)]
    for _ in range(kills):
        time.sleep(generator.uniform(0.0, 0.4))
        victim = workers.pop(generator.randrange(at_once))
        os.kill(victim, signal.SIGKILL)
        assert ended(victim) == -signal.SIGKILL
        workers.append(child(worker(path, max_runs=None, retries=kills)))
    for process in workers:
        os.kill(process, signal.SIGTERM)
    assert {ended(process) for process in workers} <= {0, -signal.SIGTERM}  # perhaps not begun yet
    assert ended(child(worker(path, max_runs=at_once + 1, retries=kills))) == 0
    trials = HorizonTuner.open(path).study.trials
    assert {trial.status for trial in trials} == {"completed"}
    for trial in trials:
        outcome = read_json(path.with_suffix(".runs") / str(trial.id) / "outcome.json")
        assert outcome is not None
        assert trial.loss == outcome["loss"] == 3 + trial.learning_rate


def test_killed_workers_lose_nothing_and_block_nobody(path):
    kill_workers(path, kills=12, at_once=3)


@pytest.mark.kills
@pytest.mark.slow
def test_many_killed_workers_lose_nothing_and_block_nobody(path):
    kill_workers(path, kills=150, at_once=4)


@pytest.mark.parametrize("error", [StorageError, StudyFormatError, StudyNotFoundError])
def test_an_outcome_that_cannot_be_told_is_said_to_be_kept(error, tmp_path):
    kept = f"newer; how run 7 ended is kept in {tmp_path / '7'}"
    with pytest.raises(error, match=kept), kept_in(tmp_path / "7"):
        raise error("newer")
