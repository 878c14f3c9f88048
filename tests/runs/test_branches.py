"""Branches through the front doors: a study on disk, the stateful tuner and the command line."""

import json
import math
import shlex
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from horizon_bo.cli.app import app
from horizon_bo.errors import UnknownTrialError
from horizon_bo.store.opening import create_study
from horizon_bo.study.changes import start
from horizon_bo.tuner import HorizonTuner
from tests.beliefs import STRADDLING, WORLD
from tests.studies import SPACE, TARGET, small_study, small_tuner
from tests.study.test_branches import BRANCHES, branched, ordinary

#: Two cells in which the rate is known well enough that longer readings of one trunk tell most.
CELLS = [(6e7, 5e8), (1.2e8, 5e8)]
WSD = {
    "target": replace(TARGET, schedule="wsd"),
    "space": replace(SPACE, tokens=(5e8, 4e9), cooldown=0.2),
}
INIT = (
    "init runs.db --target-params 1e9 --target-tokens 2e10 --batch-tokens 262144 "
    "--scales 6e7,1.2e8 --tokens 5e8,4e9 --learning-rate 1e-4,2e-2 "
    "--budget 0.1 --prior-center 1.5e-3"
)


def call(line: str) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(app, shlex.split(line))


def waiting(path: Path) -> HorizonTuner:
    """A stored study with a run of three branches, id 0, and an ordinary run, id 3."""
    study = small_study(**WSD)
    store, stored = create_study(path, study)
    store.record(stored, "suggested", lambda study: start(study, [branched(), ordinary()]))
    return HorizonTuner.open(path)


def informed_tuner(**changes) -> HorizonTuner:
    """A tuner that would rather branch than not."""
    cheap = {**WSD, "space": replace(SPACE, tokens=(5e8, 4e9), cooldown=0.05)}
    tuner = small_tuner(**cheap, prior_center=1.5e-3, seed=1, **changes)
    tuner.import_runs(WORLD.sweep(CELLS, STRADDLING))
    return tuner


def report(tuner: HorizonTuner, run_id: int, branch: float) -> None:
    trial = next(t for t in tuner.study.trials if (t.trunk, t.tokens) == (run_id, branch))
    loss = WORLD.loss(math.log(trial.learning_rate), trial.params, branch)
    tuner.observe(run_id, loss=loss, branch=branch)


def test_a_trunk_is_suggested_stored_and_observed_in_part_across_restarts(tmp_path):
    tuner = informed_tuner(study=tmp_path / "runs.db")
    in_memory = informed_tuner()
    run = tuner.suggest()
    assert run == in_memory.suggest()
    assert len(run.branches) >= 2
    for branch in reversed(run.branches):
        reopened = HorizonTuner.open(tmp_path / "runs.db")
        report(reopened, run.id, branch)
        report(in_memory, run.id, branch)
        assert reopened.study == in_memory.study
        # a part of the readings is enough to go on from, and gives the same run after a restart
        assert HorizonTuner.open(tmp_path / "runs.db").suggest() == in_memory.suggest()
        tuner = HorizonTuner.open(tmp_path / "runs.db")
    assert [trial.id for trial in tuner.study.trials] == list(range(len(tuner.study.trials)))
    assert tuner.recommend() == in_memory.recommend()


def test_a_trunk_that_diverged_is_one_call_and_a_loss_of_nan_is_remarked_on(tmp_path):
    tuner = waiting(tmp_path / "runs.db")
    said = tuner.observe(0, loss=math.nan, branch=1e9)
    assert said == ("loss of trial 0 is nan: recorded as diverged",)
    assert tuner.observe(0, diverged=True) == ()
    stored = HorizonTuner.open(tmp_path / "runs.db").study.trials
    assert [trial.status for trial in stored] == ["diverged"] * 3 + ["pending"]
    with pytest.raises(UnknownTrialError):
        tuner.observe(0, failed=True)


def test_a_study_file_from_before_there_were_branches_opens(tmp_path):
    tuner = small_tuner(study=tmp_path / "runs.db")
    tuner.observe(tuner.suggest(), loss=3.0)
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        for sequence, payload in connection.execute(
            "SELECT sequence, payload FROM events"
        ).fetchall():
            record = json.loads(payload)
            del record["crc32"]  # which came later still
            record.get("space", {}).pop("cooldown", None)
            for trial in record.get("trials", []):
                del trial["trunk"]
            connection.execute(
                "UPDATE events SET payload = ? WHERE sequence = ?", (json.dumps(record), sequence)
            )
    connection.close()
    old = HorizonTuner.open(tmp_path / "runs.db")
    assert old.study == tuner.study
    assert old.study.trials[0].trunk is None


def test_a_study_that_branches_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = "--schedules wsd --target-schedule wsd --averagings none --cooldown 0.02"
    assert call(f"{INIT} {options}").exit_code == 0
    study = HorizonTuner.open("runs.db").study
    assert (study.space.cooldown, study.space.schedules) == (0.02, ("wsd",))
    assert (study.target.schedule, study.target.averaging) == ("wsd", "none")
    HorizonTuner.open("runs.db").import_runs(WORLD.sweep(CELLS, STRADDLING))
    run = json.loads(call("suggest runs.db --json").stdout)
    assert run["cooldown"] == 0.02
    assert run["branches"] == sorted(run["branches"])
    assert run["branches"][-1] == run["tokens"]
    assert len(run["branches"]) >= 2
    for k, branch in enumerate(run["branches"]):
        line = f"observe runs.db {run['id']} --branch {branch} --loss 3.0 --json"
        assert json.loads(call(line).stdout) == {
            "id": run["id"] + k,
            "status": "completed",
            "loss": 3.0,
            "run": run["id"],
            "branch": branch,
        }


def test_a_suggestion_in_words_names_its_cooldown_and_branches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    informed_tuner(study="runs.db")
    lines = [" ".join(line.split()) for line in call("suggest runs.db").stdout.splitlines()]
    assert "cooldown the last 5.0%" in lines
    assert any(line.startswith("read at 5e+08, 1e+09") for line in lines)


def test_a_trunk_that_diverged_is_one_line_a_branch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    waiting(tmp_path / "runs.db")
    said = call("observe runs.db 0 --diverged").stdout.splitlines()
    assert said == [
        f"trial {k} at {tokens:g} tokens is diverged" for k, tokens in enumerate(BRANCHES)
    ]


BAD_LINES = {
    "missing": ("observe runs.db 0 --loss 3", "branch of run 0 is missing, expected one of 1000"),
    "not suggested": ("observe runs.db 0 --loss 3 --branch 3e9", "branch of run 0 is 3000000000.0"),
    "a word": ("observe runs.db 0 --loss 3 --branch last", "--branch is 'last'"),
    "negative": ("observe runs.db 0 --loss 3 --branch -1", "--branch is -1"),
    "a reading's id": ("observe runs.db 1 --loss 3", "trial 1 is a branch of run 0"),
    "an ordinary run": ("observe runs.db 3 --loss 3 --branch 1e9", "expected none"),
    "cooldown alone": (INIT.replace("runs", "new") + " --cooldown 0.2", "expected wsd among them"),
    "cooldown of all": (
        INIT.replace("runs", "new") + " --target-schedule wsd --cooldown 1",
        "cooldown is 1.0, expected between 0 and 1",
    ),
    "cooldown in words": (INIT.replace("runs", "new") + " --cooldown long", "--cooldown is 'long'"),
    "no schedule": (INIT.replace("runs", "new") + " --schedules wsd,", "--schedules is 'wsd,'"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_input_about_branches_is_one_line_and_nothing_is_lost(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    waiting(tmp_path / "runs.db")
    line, expected = BAD_LINES[name]
    result = call(line)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert HorizonTuner.open("runs.db").study.spent == pytest.approx(branched().flops + 3.6e17)
