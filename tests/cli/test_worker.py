"""The commands `worker` and `status`, typed as a user would."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from horizon_bo.cli.app import app
from tests.studies import small_tuner, tuner_with_pending


def invoke(line: str) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(app, shlex.split(line))


TRAIN = f"{sys.executable} -c 'print(3.0 + {{learning_rate}})'"


def test_a_worker_makes_runs_and_status_shows_who_made_them(tmp_path):
    small_tuner(study=tmp_path / "runs.db", prior_center=1e-3)
    study = tmp_path / "runs.db"
    made = invoke(f"worker {study} --max-runs 1 --json --command {shlex.quote(TRAIN)}")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)["observed"] == [0]
    run, best = map(json.loads, invoke(f"status {study} --json").stdout.splitlines())
    assert (run["state"], run["attempt"]) == ("completed", 1)
    assert run["loss"] == 3.0 + run["learning_rate"]
    assert best["spent"] == run["flops"]
    shown = invoke(f"status {study}").stdout
    assert run["worker"] in shown
    assert "% of the budget" in shown
    assert "advice" in shown


def test_a_run_that_was_suggested_to_somebody_is_shown_as_by_hand_and_left_to_them(tmp_path):
    tuner_with_pending(tmp_path / "runs.db")
    run, _ = map(json.loads, invoke(f"status {tmp_path / 'runs.db'} --json").stdout.splitlines())
    assert (run["state"], run["worker"]) == ("handed out", None)


def test_gpu_hours_are_what_scales_say_and_then_what_runs_reached(tmp_path):
    study, scales = tmp_path / "runs.db", tmp_path / "scales.json"
    scales.write_text('[{"params": 6e7, "gpus": 8, "tokens_per_second": 4e5}]')
    init = "--target-params 1e9 --target-tokens 2e10 --tokens 1e9,4e9"
    init += f" --scales {scales} --learning-rate 1e-4,2e-2 --budget 0.05"
    assert invoke(f"init {study} {init}").exit_code == 0
    suggested = invoke(f"suggest {study}").stdout
    run, best = map(json.loads, invoke(f"status {study} --json").stdout.splitlines())
    hours = 8 * run["tokens"] / 4e5 / 3600
    assert f", {hours:.3g} GPU-hours" in suggested
    assert best["gpu_hours"]["spent"] == pytest.approx(hours)
    made = invoke(f"worker {study} --max-runs 1 --command {shlex.quote(TRAIN)}")
    assert f"{hours:.3g} GPU-hours" in made.stderr  # when it was started
    cost = json.loads(invoke(f"status {study} --json").stdout.splitlines()[-1])["gpu_hours"]
    assert 0 < cost["spent"] < hours / 10
    assert f"cost    {cost['spent']:.3g} of about" in invoke(f"status {study}").stdout


def test_a_study_is_named_behind_a_hash(tmp_path: Path):
    init = "--target-params 1e9 --target-tokens 2e10 --scales 6e7 --tokens 1e9,4e9"
    init += " --learning-rate 1e-4,2e-2 --budget 0.05"
    for name in ("7b", "13b"):
        assert invoke(f"init '{tmp_path}/runs.db#{name}' {init}").exit_code == 0
    assert invoke(f"status '{tmp_path}/runs.db#7b'").exit_code == 0
    refused = invoke(f"status {tmp_path}/runs.db")
    assert refused.exit_code == 2
    assert "expected one of its studies (13b, 7b)" in refused.stderr


def test_a_worker_of_a_study_on_a_server_needs_a_folder_and_shows_no_password():
    line = "worker postgresql://me:secret@127.0.0.1:1/runs --command"
    refused = invoke(f"{line} 'true {{learning_rate}}'")
    assert refused.exit_code == 2
    assert "secret" not in refused.stderr
