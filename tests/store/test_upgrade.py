"""Upgrades: files of older versions are read, those of newer ones refused, and nothing is lost."""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from horizon_bo.errors import MissingExtraError, StudyFormatError
from horizon_bo.store.address import address_of
from horizon_bo.store.schema import METADATA
from horizon_bo.study.records import study_record, trial_record
from horizon_bo.tuner import HorizonTuner
from tests.studies import logged, pending_trial, small_study, small_tuner

TABLES = (
    "CREATE TABLE meta (name VARCHAR(64) NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE events (sequence INTEGER NOT NULL PRIMARY KEY, kind VARCHAR(16) NOT NULL, "
    "payload TEXT NOT NULL, time VARCHAR(40) NOT NULL)",
    "INSERT INTO meta VALUES ('format', '1')",
)


def old_study(address: str) -> None:
    """A study as version 0.1.0 wrote it: format 1, one suggested run that has ended."""
    study, trial = small_study(prior_center=1e-3), pending_trial()
    payloads = [
        ("created", study_record(study)),
        ("suggested", {"trials": [trial_record(trial)]}),
        ("observed", {"trials": [trial_record(trial.completed(2.9))]}),
    ]
    engine = create_engine(address_of(address).url)
    with engine.begin() as connection:
        for statement in TABLES:
            connection.execute(text(statement))
        for sequence, (kind, payload) in enumerate(payloads):
            row = {"s": sequence, "k": kind, "p": json.dumps(payload)}
            connection.execute(text("INSERT INTO events VALUES (:s, :k, :p, '2026-01-01')"), row)
    engine.dispose()


def test_an_older_study_is_upgraded_and_goes_on(address):
    old_study(address)
    tuner = HorizonTuner.open(address)
    assert [trial.loss for trial in tuner.study.trials] == [2.9]
    assert tuner.study.prior_center == 1e-3
    tuner.observe(logged(loss=2.8))
    assert [trial.loss for trial in HorizonTuner.open(address).study.trials] == [2.9, 2.8]


def test_without_its_library_an_older_study_is_left_as_it_is_and_the_extra_named(
    tmp_path, monkeypatch
):
    path = tmp_path / "runs.db"
    old_study(str(path))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "alembic", None)
        with pytest.raises(MissingExtraError, match=r"format 1, needs .*'horizon-bo\[upgrade\]'"):
            HorizonTuner.open(path)
    assert list(tmp_path.glob("*format-1*")) == []
    assert [trial.loss for trial in HorizonTuner.open(path).study.trials] == [2.9]


def test_an_upgraded_database_has_the_tables_of_a_new_one(address):
    old_study(address)
    HorizonTuner.open(address)
    engine = create_engine(address_of(address).url)
    for table in METADATA.sorted_tables:
        there = {column["name"]: column for column in inspect(engine).get_columns(table.name)}
        assert list(there) == [column.name for column in table.columns]
        for column in table.columns:
            assert there[column.name]["nullable"] == column.nullable
        key = inspect(engine).get_pk_constraint(table.name)["constrained_columns"]
        assert key == [column.name for column in table.primary_key]
    engine.dispose()


def test_a_copy_of_the_older_file_stays_beside_it(tmp_path):
    old_study(str(tmp_path / "runs.db"))
    HorizonTuner.open(tmp_path / "runs.db")
    with closing(sqlite3.connect(tmp_path / "runs.db.format-1")) as copy:
        assert copy.execute("SELECT value FROM meta").fetchall() == [("1",)]
        assert copy.execute("SELECT count(*) FROM events").fetchall() == [(3,)]


def test_a_second_opening_upgrades_nothing(tmp_path):
    old_study(str(tmp_path / "runs.db"))
    HorizonTuner.open(tmp_path / "runs.db")
    HorizonTuner.open(tmp_path / "runs.db")
    assert sorted(path.name for path in tmp_path.glob("*.format-*")) == ["runs.db.format-1"]


def changed(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_client_on_a_newer_study_is_refused_in_one_line(tmp_path):
    tuner = small_tuner(study=tmp_path / "runs.db")
    changed(tmp_path / "runs.db", "UPDATE meta SET value = '3'")
    for call in (lambda: HorizonTuner.open(tmp_path / "runs.db"), lambda: tuner.observe(logged())):
        with pytest.raises(StudyFormatError, match="format 3, expected 2") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_an_event_of_a_kind_that_this_version_does_not_know_is_refused(tmp_path):
    tuner = small_tuner(study=tmp_path / "runs.db")
    tuner.observe(logged())
    changed(tmp_path / "runs.db", "UPDATE events SET kind = 'foretold' WHERE sequence = 1")
    with pytest.raises(StudyFormatError, match="event 'foretold'"):
        HorizonTuner.open(tmp_path / "runs.db")
