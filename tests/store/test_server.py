"""PostgreSQL: a server that restarts loses nothing, one that is not there is said so."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from horizon_bo.cli.app import app
from horizon_bo.errors import HorizonBOError
from horizon_bo.store import database
from horizon_bo.store.opening import study_store
from horizon_bo.store.status import run_statuses
from horizon_bo.tuner import HorizonTuner
from tests.postgres import Server, free_port
from tests.quick import child, ended, eventually, quick_inference
from tests.studies import TARGET, logged, small_tuner

pytest.importorskip("psycopg", reason="psycopg is not installed, expected the extra postgres")


def writing(address: str, told: Path, until_s: float) -> None:
    """Suggest and observe for a while, and note each loss once it is acknowledged."""
    tuner = HorizonTuner.open(address)
    with told.open("a", buffering=1) as file:
        while time.time() < until_s:
            run = tuner.suggest()
            loss = 2.0 + run.id / 1e4
            tuner.observe(run, loss=loss)
            file.write(json.dumps([run.id, loss]) + "\n")
            extra = 5.0 + int(told.name) + time.time() % 1
            tuner.observe(logged(loss=extra))
            file.write(json.dumps([None, extra]) + "\n")


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_through_a_restart_of_the_server_nothing_acknowledged_is_lost_or_doubled(
    how, server: Server, tmp_path, monkeypatch
):
    quick_inference(monkeypatch)
    address = server.database()
    small_tuner(study=address, budget=1e5 * TARGET.flops)
    until_s = time.time() + 6
    files = [tmp_path / str(number) for number in range(4)]
    writers = [child(lambda file=file: writing(address, file, until_s)) for file in files]
    eventually(lambda: all(file.exists() and file.read_text().count("\n") > 2 for file in files))
    server.stop(how)
    time.sleep(0.5)
    server.start()
    assert [ended(writer) for writer in writers] == [0] * 4
    told = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    trials = HorizonTuner.open(address).study.trials
    recorded = {trial.id: trial.loss for trial in trials}
    assert all(recorded[run_id] == loss for run_id, loss in told if run_id is not None)
    extra = sorted(loss for run_id, loss in told if run_id is None)
    assert sorted(t.loss for t in trials if t.loss is not None and t.loss > 4) == extra


def test_a_server_that_is_not_there_is_said_in_one_line_without_the_password(monkeypatch):
    monkeypatch.setattr(database, "FIRST_PATIENCE_S", 0.2)
    monkeypatch.setattr("horizon_bo.store.opening.FIRST_PATIENCE_S", 0.2)
    address = f"postgresql://me:secret@127.0.0.1:{free_port()}/runs"
    with pytest.raises(HorizonBOError, match="cannot be reached") as caught:
        HorizonTuner.open(address)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_does_not_exist_is_said_at_once(server):
    began_s = time.monotonic()
    with pytest.raises(HorizonBOError, match='database "nowhere" does not exist'):
        HorizonTuner.open(f"postgresql://horizon@127.0.0.1:{server.port}/nowhere")
    assert time.monotonic() - began_s < 4


def test_more_processes_than_the_server_lets_in_wait_for_each_other(server, tmp_path, monkeypatch):
    quick_inference(monkeypatch)
    address = server.database()
    small_tuner(study=address, budget=1e5 * TARGET.flops)
    held = [server.connection() for _ in range(server.most_connections - 4)]
    try:
        tuner = HorizonTuner.open(address)
        assert tuner.observe(tuner.suggest(), loss=3.0) == ()
        crowd = [child(lambda: HorizonTuner.open(address).observe(logged())) for _ in range(6)]
        assert [ended(process) for process in crowd] == [0] * 6
    finally:
        for connection in held:
            connection.close()
    assert len(HorizonTuner.open(address).study.trials) == 7


@pytest.mark.parametrize("how", ["worker", "run"])
def test_a_server_that_is_gone_for_good_ends_a_run_in_one_line_and_its_outcome_is_told_later(
    how, server, tmp_path, monkeypatch
):
    address = server.database()
    tuner = small_tuner(study=address, budget=1e3 * TARGET.flops)
    if how == "run":
        best = tuner.recommend()
        monkeypatch.setattr("horizon_bo.core.policy.recommend", lambda *given, **limits: best)
    quick_inference(monkeypatch)
    monkeypatch.setattr(database, "PATIENCE_S", 0.5)
    slow = f"touch {tmp_path}/began; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo 3"
    given = [how, address, "--folder", str(tmp_path / "runs"), "--max-runs", "1", "--until-budget"]
    argv = lambda code: [*given, "--command", f"sh -c '{code}' {{learning_rate}}"]  # noqa: E731

    def first() -> None:
        ended = CliRunner().invoke(app, argv(slow))
        (tmp_path / "said").write_text(f"{ended.exit_code}\n{ended.stderr}")

    loop = child(first)
    eventually(lambda: (tmp_path / "began").exists())
    server.stop("fast")
    try:
        (tmp_path / "go").touch()
        assert ended(loop) == 0
    finally:
        server.start()
    code, *_, line = (tmp_path / "said").read_text().splitlines()
    assert code == "2"
    assert line.startswith("error: ")
    assert f"how run 0 ended is kept in {tmp_path}/runs/0, and the same command" in line
    assert CliRunner().invoke(app, argv("exit 3")).exit_code == 0
    assert HorizonTuner.open(address).study.trials[0].loss == 3.0


def test_a_worker_that_is_asked_to_end_while_the_server_is_away_ends_at_once(
    server, tmp_path, monkeypatch
):
    quick_inference(monkeypatch)
    address = server.database()
    small_tuner(study=address, budget=1e3 * TARGET.flops)
    hangs = [sys.executable, "-c", "import time; time.sleep(1000)", "{learning_rate}"]

    def work() -> None:
        given = {"folder": tmp_path, "until_budget": True, "watch": lambda state, event: None}
        HorizonTuner.open(address).work(hangs, **given)

    asked = child(work)
    eventually(lambda: (tmp_path / "0" / "holder.json").exists())
    server.stop("fast")
    try:
        os.kill(asked, signal.SIGTERM)
        assert ended(asked) == 0
    finally:
        server.start()
    (run,) = run_statuses(store := study_store(address), store.read().study)
    assert run.state == "lapsed"  # the server was away when it was to be given back
