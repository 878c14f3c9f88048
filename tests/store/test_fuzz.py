"""Fuzz: is a damaged study ever read as another one, or more than one clear line?"""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horizon_bo import HorizonTuner, Study
from horizon_bo.errors import StudyFormatError
from horizon_bo.study.extension import summary
from tests.fuzzing import damaged, fuzzed, refused_or, spoilt
from tests.studies import logged, small_tuner


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A study with runs that ended in every way, and changes."""
    path = tmp_path_factory.mktemp("whole") / "runs.db"
    tuner = small_tuner(study=path)
    for k in range(4):
        tuner.observe(logged(loss=3 + k / 10))
    tuner.observe(logged(loss=None), diverged=True)
    tuner.correct(0, loss=3.05, reason="typo")
    tuner.forget(1, reason="wrong data")
    tuner.enqueue(learning_rate=1e-3, params=6e7, tokens=1e9)
    return path


def opened(path: Path) -> Study:
    """A study that is read, and all of it that is shown."""
    tuner = HorizonTuner.open(path)
    assert summary(tuner.study)
    assert len(tuner.trials) == len(tuner.study.trials)
    return tuner.study


@fuzzed("study files, damaged")
@given(data=st.data())
def test_a_study_file_with_damaged_bytes_is_read_as_it_was_or_one_clear_line(whole, data):
    path = whole.parent / "damaged.db"
    path.write_bytes(damaged(data.draw, whole.read_bytes()))
    found = refused_or(lambda: opened(path))
    assert found is None or found == opened(whole)


@fuzzed("events, altered")
@given(data=st.data(), sealed=st.booleans())
def test_a_study_with_altered_events_is_one_clear_line(whole, data, sealed):
    path = whole.parent / "altered.db"
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = connection.execute("SELECT sequence, payload FROM events").fetchall()
        sequence, payload = data.draw(st.sampled_from(rows))
        record = json.loads(payload)
        if not sealed:  # as older versions wrote them: readable is all that can be asked
            del record["crc32"]
        altered = spoilt(data.draw, record)
        connection.execute(
            "UPDATE events SET payload = ? WHERE sequence = ?", (json.dumps(altered), sequence)
        )
    found = refused_or(lambda: opened(path))
    assert not sealed or found is None or found == opened(whole)


def test_a_loss_that_a_flipped_bit_altered_is_refused(whole):
    path = whole.parent / "flipped.db"
    content = whole.read_bytes()
    assert content.count(b'"loss": 3.3') == 1
    path.write_bytes(content.replace(b'"loss": 3.3', b'"loss": 3.2'))
    with pytest.raises(ValueError, match=r"flipped\.db: event 4 is not what was written"):
        HorizonTuner.open(path)


def test_a_schema_of_bytes_that_are_no_text_is_one_clear_line(whole):
    path = whole.parent / "schema.db"
    path.write_bytes(
        whole.read_bytes().replace(b"CREATE TABLE events", b"CREATE TABL\xa0 events", 1)
    )
    with pytest.raises(StudyFormatError, match="is damaged or no study"):
        HorizonTuner.open(path)
