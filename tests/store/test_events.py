"""Storage: what is acknowledged stays, and a damaged file is named, on real files."""

import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from horizon_bo.errors import StorageError, StudyExistsError, StudyFormatError, StudyNotFoundError
from horizon_bo.store.opening import create_study
from horizon_bo.store.schema import FORMAT
from horizon_bo.study.changes import observe
from horizon_bo.tuner import HorizonTuner
from tests.studies import logged, small_study, small_tuner

OBSERVER = """
    import sys
    from horizon_bo import LoggedRun
    from horizon_bo.tuner import HorizonTuner

    tuner = HorizonTuner.open(sys.argv[1])
    print("ready", flush=True)
    for count in range(int(sys.argv[2])):
        loss = 2.0 + len(tuner.study.trials) / 1000
        run = LoggedRun(learning_rate=1e-3, params=6e7, tokens=1e9, loss=loss, source=sys.argv[3])
        tuner.observe(run)
        print(repr(loss), flush=True)
"""


def observer(path: Path, count: int, source: str = "a") -> subprocess.Popen[str]:
    """A process that observes runs and prints each loss once it is acknowledged."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OBSERVER), str(path), str(count), source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_reopened_study_is_the_same(tmp_path):
    tuner = small_tuner(study=tmp_path / "runs.db", prior_center=1e-3, seed=7)
    tuner.observe(logged(loss=2.9 + 1e-16))
    tuner.import_runs([logged(loss=float("nan")), logged(source="old", loss_sd=0.01)])
    assert HorizonTuner.open(tmp_path / "runs.db").study == tuner.study


def test_an_sqlalchemy_url_is_an_address_too(tmp_path):
    tuner = small_tuner(study=f"sqlite:///{tmp_path}/runs.db")
    tuner.observe(logged())
    assert HorizonTuner.open(tmp_path / "runs.db").study == tuner.study


def test_an_existing_study_is_never_overwritten(tmp_path):
    tuner = small_tuner(study=tmp_path / "runs.db")
    tuner.observe(logged())
    with pytest.raises(StudyExistsError, match="already holds a study"):
        small_tuner(study=tmp_path / "runs.db")
    assert len(HorizonTuner.open(tmp_path / "runs.db").study.trials) == 1


def test_a_missing_study_is_not_created_by_opening_it(tmp_path):
    with pytest.raises(StudyNotFoundError, match="horizon-bo init"):
        HorizonTuner.open(tmp_path / "no.db")
    assert not (tmp_path / "no.db").exists()


def test_an_empty_file_is_no_study_but_may_become_one(tmp_path):
    (tmp_path / "runs.db").touch()
    with pytest.raises(StudyFormatError, match="holds no study"):
        HorizonTuner.open(tmp_path / "runs.db")
    small_tuner(study=tmp_path / "runs.db")
    assert HorizonTuner.open(tmp_path / "runs.db").study.trials == ()


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "notes.db").write_text("learning rates I have known\n" * 100)
    with pytest.raises(StudyFormatError, match="damaged or no study"):
        HorizonTuner.open(tmp_path / "notes.db")
    with pytest.raises(StudyFormatError, match="damaged or no study"):
        small_tuner(study=tmp_path / "notes.db")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8, 0.99])
def test_a_truncated_study_is_refused_not_half_read(tmp_path, kept):
    tuner = small_tuner(study=tmp_path / "runs.db")
    tuner.import_runs([logged(loss=2 + i / 1000) for i in range(200)])
    content = (tmp_path / "runs.db").read_bytes()
    (tmp_path / "cut.db").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(StudyFormatError):
        HorizonTuner.open(tmp_path / "cut.db")


def test_a_study_of_another_version_is_refused(tmp_path):
    small_tuner(study=tmp_path / "runs.db")
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        connection.execute("UPDATE meta SET value = '999'")
    connection.close()
    with pytest.raises(StudyFormatError, match=f"format 999, expected {FORMAT}"):
        HorizonTuner.open(tmp_path / "runs.db")


@pytest.mark.parametrize(
    "spoil",
    [
        "DELETE FROM events WHERE sequence = 1",
        "DELETE FROM events",
        "UPDATE events SET payload = '{' WHERE sequence = 2",
        'UPDATE events SET payload = \'{"trials": [{"id": 0}]}\' WHERE sequence = 2',
        "DROP TABLE events",
    ],
)
def test_missing_or_unreadable_events_are_noticed(tmp_path, spoil):
    tuner = small_tuner(study=tmp_path / "runs.db")
    for _ in range(3):
        tuner.observe(logged())
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        connection.execute(spoil)
    connection.close()
    with pytest.raises(StudyFormatError):
        HorizonTuner.open(tmp_path / "runs.db")


@pytest.mark.parametrize("address", ["sqlite://", "no-such-database://host/x", "://"])
def test_an_address_that_cannot_keep_a_study_is_refused(address):
    with pytest.raises(StorageError):
        small_tuner(study=address)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match="refused"):
        small_tuner(study=tmp_path / "no" / "runs.db")


def test_an_outcome_is_taken_whatever_its_sender_has_read_before(tmp_path):
    store, first = create_study(tmp_path / "runs.db", small_study())
    observed = lambda study: observe(study, logged(), loss=2.0 + len(study.trials))  # noqa: E731
    for _ in range(3):
        store.record(first, "observed", observed)
    assert [trial.loss for trial in store.read().study.trials] == [2.0, 3.0, 4.0]


def test_two_tuners_on_one_study_see_each_other(tmp_path):
    first = small_tuner(study=tmp_path / "runs.db")
    second = HorizonTuner.open(tmp_path / "runs.db")
    first.observe(logged(loss=3.0))
    second.observe(logged(loss=2.9))
    first.observe(logged(loss=2.8))
    assert [trial.loss for trial in first.study.trials] == [3.0, 2.9, 2.8]
    assert HorizonTuner.open(tmp_path / "runs.db").study == first.study


def test_two_processes_lose_nothing(tmp_path):
    small_tuner(study=tmp_path / "runs.db")
    processes = [observer(tmp_path / "runs.db", 40, source) for source in ("a", "b")]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    trials = HorizonTuner.open(tmp_path / "runs.db").study.trials
    assert [trial.id for trial in trials] == list(range(80))
    assert sorted(trial.source for trial in trials) == ["a"] * 40 + ["b"] * 40


def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path):
    # a limit on file size makes every write beyond it fail, as a full disk does
    small_tuner(study=tmp_path / "runs.db").observe(logged(loss=2.5))
    code = """
        import resource, signal, sys
        from horizon_bo import LoggedRun
        from horizon_bo.tuner import HorizonTuner
        from horizon_bo.errors import StorageError

        tuner = HorizonTuner.open(sys.argv[1])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            for _ in range(200):
                tuner.observe(LoggedRun(learning_rate=1e-3, params=6e7, tokens=1e9, loss=2.5))
        except StorageError as error:
            print(len(tuner.study.trials), error)
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "runs.db")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    count, message = said.split(" ", 1)
    assert "expected a writable disk with space" in message
    assert message.count("\n") == 1
    assert len(HorizonTuner.open(tmp_path / "runs.db").study.trials) == int(count)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs the sqlite3 program")
def test_a_study_is_written_ahead_and_synced(tmp_path):
    small_tuner(study=tmp_path / "runs.db")
    said = subprocess.run(
        ["sqlite3", str(tmp_path / "runs.db"), "PRAGMA journal_mode"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "wal"
