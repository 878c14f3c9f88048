"""Bounds: whatever is too long, too deep or too many is one short line and exit code 2."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from horizon_bo import HorizonTuner, Scale
from horizon_bo.cli.app import app
from horizon_bo.errors import InvalidSpaceError
from tests.studies import SPACE, small_tuner, tuner_with_pending

INIT = (
    "init STUDY --target-params 1e9 --target-tokens 2e10 --batch-tokens 262144 "
    "--scales 6e7,1.2e8 --tokens 1e9,4e9 --learning-rate 1e-4,2e-2 --budget 0.05"
)
DIGITS, LETTERS = "9" * 5000, "x" * 5000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("suggest runs.db -n 1001", "n is 1001, expected a whole number from 1 to 1000"),
        ("suggest runs.db -n 0", "n is 0, expected a whole number from 1 to 1000"),
        ("suggest runs.db -n 2.5", "-n is '2.5', expected a whole number"),
        (f"suggest runs.db -n {DIGITS}", "expected a whole number"),
        (f"observe runs.db {DIGITS} --loss 3", "expected a whole number"),
        (f"observe runs.db 0 --loss {DIGITS}", "expected a number"),
        (f"recommend runs.db#{'x' * 300}", "expected up to 200 printable characters"),
        (f"recommend {LETTERS}.db", "has 5003 characters, expected up to 4096"),
        (f"recommend {'x' * 400}.db", "has 403 characters, more than a file's name may"),
        (f"report {'9' * 400}", "has 400 characters, more than a file's name may"),
        (f"backtest {'x' * 400}", "characters, more than a file's name may"),
        (INIT.replace("STUDY", f"new.db#{'x' * 300}"), "expected up to 200 printable characters"),
        (f"{INIT} --optimizer {LETTERS}", "expected a name of up to 200 characters"),
        (f"import runs.db {LETTERS}.csv", "is no file"),
    ],
)
def test_what_is_too_long_or_too_many_is_one_short_line(line, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tuner_with_pending(tmp_path / "runs.db")
    before = HorizonTuner.open("runs.db").study
    result = CliRunner().invoke(app, line.replace("STUDY", "new.db").split())
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 400
    assert HorizonTuner.open("runs.db").study == before
    assert not (tmp_path / "new.db").exists()


def test_settings_nested_without_end_are_one_line(tmp_path):
    deep: dict = {}
    for _ in range(20_000):
        deep = {"deeper": deep}
    with pytest.raises(InvalidSpaceError, match="a setting cannot be stored") as caught:
        small_tuner(
            study=tmp_path / "runs.db",
            space=replace(SPACE, scales=[Scale(params=6e7, settings=deep)]),
        )
    assert "\n" not in str(caught.value)
