"""Addresses: which database, which study, and never a password."""

import os

import pytest

from horizon_bo.errors import HorizonBOError, StorageError
from horizon_bo.store.address import address_of, masked
from horizon_bo.tuner import HorizonTuner
from tests.studies import logged, small_tuner


@pytest.mark.parametrize(
    ("text", "driver", "database", "name"),
    [
        ("runs.db", "sqlite", "runs.db", None),
        ("a folder/runs.db#7b", "sqlite", "a folder/runs.db", "7b"),
        ("sqlite:///runs.db#7b", "sqlite", "runs.db", "7b"),
        ("postgresql://u@h/d", "postgresql+psycopg", "d", None),
        ("postgres://u@h:5433/d#large run", "postgresql+psycopg", "d", "large run"),
        ("postgresql+psycopg://u:p%23w@h/d#7b", "postgresql+psycopg", "d", "7b"),
    ],
)
def test_a_path_or_url_names_a_database_and_perhaps_a_study(text, driver, database, name):
    address = address_of(text)
    assert address.url.drivername == driver
    assert address.url.database == database
    assert address.study == name


def test_a_file_that_has_a_hash_in_its_name_is_found(tmp_path):
    path = tmp_path / "runs#1.db"
    path.touch()
    assert address_of(path).path == path


@pytest.mark.skipif(os.name != "posix", reason="the system has no such permissions")
def test_the_file_of_a_new_study_is_its_owners_alone(tmp_path):
    small_tuner(study=tmp_path / "runs.db").observe(logged())
    for path in (tmp_path / "runs.db", *tmp_path.glob("runs.db-*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_names_that_differ_are_refused():
    with pytest.raises(StorageError, match="expected one"):
        address_of("runs.db#7b", "13b")
    with pytest.raises(StorageError, match="printable"):
        address_of("runs.db", "")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user:secret@host/database#7b",
        "postgres://user:secret@host/database",
        "postgresql://user:sec@ret@host/database",
        "postgresql://host/database?user=me&password=secret",
    ],
)
def test_a_password_is_never_shown(text):
    for shown in (address_of(text).shown, masked(text), masked(f"error at {text}: no")):
        assert "sec" not in shown
        assert "host" in shown


@pytest.mark.parametrize(
    "text", ["mysql://user:secret@host/x", "postgresql://user:secret@host:port/x"]
)
def test_what_is_no_address_is_refused_without_its_password(text):
    with pytest.raises(HorizonBOError) as caught:
        HorizonTuner.open(text)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_holds_several_studies(address):
    first = small_tuner(study=address, name="7b", seed=1)
    second = small_tuner(study=f"{address}#13b", seed=2)
    first.observe(logged(loss=3.0))
    second.observe(logged(loss=2.0))
    second.observe(logged(loss=2.1))
    assert [t.loss for t in HorizonTuner.open(address, name="7b").study.trials] == [3.0]
    assert [t.loss for t in HorizonTuner.open(f"{address}#13b").study.trials] == [2.0, 2.1]
    with pytest.raises(HorizonBOError, match=r"expected one of its studies \(13b, 7b\)"):
        HorizonTuner.open(address)
    with pytest.raises(HorizonBOError, match="already holds a study named '7b'"):
        small_tuner(study=address, name="7b")


def test_one_study_of_any_name_needs_no_name(address):
    small_tuner(study=address, name="7b", seed=5)
    assert HorizonTuner.open(address).study.seed == 5
