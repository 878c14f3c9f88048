"""Seen: a loop says nothing to the study, but the folders of its runs tell who trains."""

import os

from horizon_bo.runs.commands import Command
from horizon_bo.runs.engines.local import local
from horizon_bo.runs.engines.protocol import Placed
from horizon_bo.runs.folder import locked, read_json
from horizon_bo.runs.jobs import begin
from horizon_bo.runs.processes import Slot, launcher
from horizon_bo.runs.progress import seen_in
from horizon_bo.store.opening import study_store
from horizon_bo.store.status import RunStatus, run_statuses
from horizon_bo.study.branches import suggestion
from tests.quick import eventually
from tests.studies import tuner_with_pending


def test_runs_of_a_loop_are_running_then_trained_and_handed_out_where_nothing_trains(tmp_path):
    tuner = tuner_with_pending(tmp_path / "runs.db", 3)
    store, root = study_store(str(tmp_path / "runs.db")), tmp_path / "runs"

    def seen() -> list[RunStatus]:
        return seen_in(root, run_statuses(store, tuner.study))

    code = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo 3"
    command = Command(lambda *_: ("sh", "-c", code))
    with locked(root) as lock, local(lock) as engine:
        flights = [
            begin(
                command,
                launcher(engine, None, {}),
                suggestion([trial], tuner.study),
                root / str(trial.id),
                Slot("slot 0", {}),
                1,
            )
            for trial in tuner.study.trials[:2]
        ]
        eventually(lambda: [run.state for run in seen()] == ["running", "running", "handed out"])
        first, second, _ = seen()
        holder = read_json(root / "0" / "holder.json")
        assert holder is not None
        assert (first.worker, first.attempt) == (f"{os.uname().nodename}:{holder['pid']}", 1)
        assert first.since_s is not None
        assert 0 <= first.since_s < 60
        assert second.worker != first.worker
        assert first.done is None  # its trainer has said nothing
        (root / "0" / "progress.jsonl").write_text('{"tokens": 2.5e8, "loss": 4.0}\n')
        assert [run.done for run in seen()] == [0.25, None, None]
        assert isinstance(flights[1].job, Placed)
        flights[1].job.cancel()
        eventually(lambda: [run.state for run in seen()] == ["running", "handed out", "handed out"])
        (tmp_path / "go").touch()
        eventually(lambda: flights[0].exit() is not None)
    assert [run.state for run in seen()] == ["trained", "handed out", "handed out"]
