"""Cluster: shares are jobs of the run loop's engines, and one that fails is told."""

import sys
from tempfile import TemporaryFile

from benchmarks.harness.cluster import begun, waited
from horizon_bo.runs.plan import RunPlan
from horizon_bo.runs.processes import engine_of


def test_shares_run_on_an_engine_and_go_on_as_further_attempts(tmp_path):
    with TemporaryFile() as lock, engine_of(RunPlan(), lock.fileno(), ()) as engine:
        said = (sys.executable, "-I", "-S", "-c", "print('raced')")
        fails = (sys.executable, "-I", "-S", "-c", "raise SystemExit(3)")
        ends = waited(
            [begun(engine, tmp_path / "1", said, {}), begun(engine, tmp_path / "2", fails, {})]
        )
        assert [end.code for end in ends] == [0, 3]
        assert waited([begun(engine, tmp_path / "2", said, {})])[0].code == 0
    assert (tmp_path / "1" / "stdout.log").read_text() == "raced\n"
    assert (tmp_path / "2" / "exit.2.json").exists()
