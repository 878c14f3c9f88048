"""The commands `worker` and `status`, typed as a user would."""

import io
import json
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from horizon_bo.cli.app import app
from horizon_bo.report.status_text import picture, run_lines
from horizon_bo.store.status import RunStatus
from horizon_bo.tuner import HorizonTuner
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
    assert ", about " in invoke(f"init {study}.2 {init}").stdout
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
    assert json.loads(invoke(f"recommend {study} --json").stdout)["gpu_hours"] == cost
    told = invoke(f"recommend {study}").stdout
    assert f"{cost['spent']:.3g} of about {cost['budget']:.3g} GPU-hours" in told
    assert f"of a target run, about {cost['overhead']:.3g} GPU-hours:" in told
    tuner = HorizonTuner.open(study)
    measured = tuner.gpu_hours(tmp_path / "runs.runs")
    assert measured is not None
    assert asdict(measured) == cost
    unmeasured = tuner.gpu_hours()
    assert unmeasured is not None
    assert unmeasured.target == pytest.approx(8 * 1e9 * 2e10 / (6e7 * 4e5) / 3600)
    twice = json.loads(invoke(f"recommend {study} --target 1e9,4e10 --json").stdout)["gpu_hours"]
    assert twice["target"] == pytest.approx(2 * cost["target"])


def test_a_watched_study_is_one_picture_that_is_drawn_at_once_and_then_believed(
    tmp_path, monkeypatch
):
    """Its runs are there before what they say has been worked out."""
    tuner_with_pending(tmp_path / "runs.db")
    drawn = []

    def look(seconds: float) -> None:
        sys.stdout.flush()
        drawn.append(sys.stdout.buffer.getvalue().decode())  # type: ignore[attr-defined]
        if "advice" in drawn[-1]:
            raise KeyboardInterrupt
        time.sleep(0.05)

    monkeypatch.setattr("horizon_bo.cli.status.time", SimpleNamespace(sleep=look))
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    assert invoke(f"status {tmp_path / 'runs.db'} --watch").exit_code == 0
    assert "handed out" in drawn[0]
    assert "being worked out" in drawn[0]
    assert "\x1b[1A" in drawn[-1]  # it goes up to draw over what was there


def test_a_picture_leaves_out_first_what_ended_long_ago_and_what_is_missed_least():
    runs = [shown_run(k, state="running" if k % 10 == 0 else "completed") for k in range(40)]
    text = io.StringIO()
    Console(file=text, width=80).print(picture(runs, {39: 0.5}, ["belief  none"], 80, 16))
    head, *lines, more, belief = text.getvalue().splitlines()
    assert [int(line.split()[0]) for line in lines] == [0, 10, 20, 30, 37, 38, 39]
    assert more.strip() == "and 33 more: 33 completed"
    assert belief == "belief  none"
    assert {"run", "state", "worker", "done", "loss"} <= set(head.split())
    assert "heard" not in head
    assert lines[0].split()[3:5] == ["2", "h"]
    assert "0.5 GPU-h" in lines[-1]
    assert all("heard" in line for line in run_lines(runs, {}, None)[:1])


def shown_run(run_id: int, **changes: Any) -> RunStatus:
    """A run as a status shows it."""
    given: dict[str, Any] = {"state": "running", "worker": "node7:123", "attempt": 1}
    given |= {"since_s": 7300.0, "heard_s": 5.0, "learning_rate": 1e-3, "params": 6e7}
    given |= {"tokens": 1e9, "flops": 3.6e17, "loss": None, "done": 0.25}
    return RunStatus(id=run_id, **{**given, **changes})


def test_a_study_is_named_behind_a_hash(tmp_path: Path):
    init = "--target-params 1e9 --target-tokens 2e10 --scales 6e7 --tokens 1e9,4e9"
    init += " --learning-rate 1e-4,2e-2 --budget 0.05"
    for name in ("7b", "13b"):
        assert invoke(f"init '{tmp_path}/runs.db#{name}' {init}").exit_code == 0
    assert invoke(f"status '{tmp_path}/runs.db#7b'").exit_code == 0
    refused = invoke(f"status {tmp_path}/runs.db")
    assert refused.exit_code == 2
    assert "expected one of its studies (13b, 7b)" in refused.stderr


def test_a_worker_of_a_study_on_a_server_needs_a_folder_and_shows_no_password(monkeypatch):
    monkeypatch.setattr("horizon_bo.store.opening.FIRST_PATIENCE_S", 0.1)
    line = "worker postgresql://me:secret@127.0.0.1:1/runs --command"
    refused = invoke(f"{line} 'true {{learning_rate}}'")
    assert refused.exit_code == 2
    assert "secret" not in refused.stderr
